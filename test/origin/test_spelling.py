"""When a stop string is complete: against the tokenizers library, and against looking at the whole text each time."""

import codecs
import json

import pytest
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from griffin_origin.spelling import Spelling, StopMatcher

FILE = ROOT / "models/pocket/tokenizer.json"
spelling = Spelling.load(FILE)
library = Tokenizer.from_file(str(FILE))


# Broken characters are spelt otherwise there: one U+FFFD for every byte of a run that has one.
byte_tokens = [library.token_to_id(f"<0x{byte:02X}>") for byte in range(256)]
characters = st.characters(codec="utf-8").map(lambda character: [byte_tokens[byte] for byte in character.encode()])
pieces = st.integers(0, 2047).filter(lambda token: token not in byte_tokens).map(lambda token: [token]) | characters


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.lists(pieces, max_size=30).map(lambda lists: [token for each in lists for token in each]))
def test_tokens_are_spelt_as_the_library_spells_them(tokens):
    text = b"".join(map(spelling.bytes_of, tokens)).decode("utf-8", "replace")
    assert text == library.decode([token for token in tokens if spelling.bytes_of(token)], skip_special_tokens=True)


def test_control_tokens_have_no_text():
    for token in json.loads(FILE.read_text())["added_tokens"]:
        if token["special"] or token["content"] in ("<start_of_turn>", "<end_of_turn>"):
            assert spelling.bytes_of(token["id"]) == b""


SPELT = Spelling(
    {
        "model": {"vocab": {"a": 0, "b": 1, "ab": 2, "▁": 3, "<0xC3>": 4, "<0xA9>": 5, "bab": 6, "é": 7}},
        "decoder": {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
    }
)


@settings(max_examples=1000, deadline=None, derandomize=True)
@given(
    st.lists(st.integers(0, 7), max_size=20), st.lists(st.text("ab é", min_size=1, max_size=4), min_size=1, max_size=3)
)
def test_a_reply_ends_with_the_token_that_completes_a_stop_string(tokens, stops):
    matcher = StopMatcher(SPELT, stops)
    for i, token in enumerate(tokens):
        found = matcher.push(token)
        spelt = b"".join(map(SPELT.bytes_of, tokens[: i + 1]))
        text = codecs.getincrementaldecoder("utf-8")("replace").decode(spelt)
        assert (found is not None) == any(stop in text for stop in stops)
        if found is not None:
            assert found in text
            return


@pytest.mark.parametrize(("stops", "expected"), [(["bc", "abc"], "abc"), (["abcd", "b"], "b"), (["c", "ab"], "ab")])
def test_the_first_that_is_complete_counts(stops, expected):
    vocab = {"model": {"vocab": {"abcd": 0}}, "decoder": {"type": "Fuse"}}
    assert StopMatcher(Spelling(vocab), stops).push(0) == expected
