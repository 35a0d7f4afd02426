"""Recipes: what a model is trained on, from texts to rows of tokens."""

import json
import random
import re
import subprocess
from itertools import islice

import numpy as np
import pytest
from conftest import ROOT

from recipes.documents import Encoded, Turn, texts
from recipes.encoder import Encoder
from recipes.files import Files, pieces_of
from recipes.hugging_face import NODE
from recipes.packing import Stream, pack
from recipes.pocket import tables
from recipes.pocket.dialogues import Dialogues, dialogue, recall_dialogue
from recipes.pocket.facts import KINDS
from recipes.pocket.probes import probes, scripted
from recipes.pocket.skills import EXACT, SHARES
from recipes.recipe import read_recipe
from recipes.tokenizer import CONTROL_TOKENS, FILE, to_tokenizer_json, train_tokenizer

POCKET = ROOT / "models/pocket"
ROW = 32
LETTERS = "aäbcdéehorstABNT0123 ñ日本🙂\t\n.,!?<>▁_-'\"\r\u00a0"


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder(POCKET, user_weight=0.1)


def plain(document) -> Encoded:
    """An encoder of texts: a token for each letter."""
    tokens = np.array([2, *map(ord, document), 1], np.int32)
    return Encoded(tokens, np.ones(len(tokens), np.float32))


# The tokenizer


@pytest.fixture(scope="module")
def pieces(tmp_path_factory):
    sample = islice(Dialogues().sample(), 200)
    return train_tokenizer(texts(sample), 600, tmp_path_factory.mktemp("tokenizer") / "tokenizer.model")


def test_tokenizer_json_gives_the_ids_of_sentencepiece(pieces):
    tokenizer = to_tokenizer_json(pieces)
    assert tokenizer.get_vocab_size() == pieces.get_piece_size() == 600
    assert [tokenizer.token_to_id(each) for each in CONTROL_TOKENS] == list(range(6))
    chance = random.Random(4711)
    words = list(islice(texts(Dialogues(seed=1).sample()), 300))
    noise = ["".join(chance.choices(LETTERS, k=chance.randint(0, 60))) for _ in range(700)]
    for text in [*words, *noise, "  two  spaces ", ""]:
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        assert ids == pieces.encode(text), repr(text)
        assert tokenizer.decode(ids, skip_special_tokens=False) == text.replace("▁", " ")  # Gemma's own stand-in


def test_digits_stand_alone_nothing_is_put_in_front_and_what_is_unknown_is_spelled_in_bytes(pieces):
    known = [pieces.id_to_piece(i) for i in range(pieces.get_piece_size())]
    learned = [piece for i, piece in enumerate(known) if not pieces.is_byte(i)]
    assert not [piece for piece in learned if len(piece) > 1 and any(letter.isdigit() for letter in piece)]
    assert [known[i] for i in pieces.encode("a 🙂")] == ["a", "▁", "<0xF0>", "<0x9F>", "<0x99>", "<0x82>"]


def test_too_few_texts_for_a_vocabulary_are_refused(tmp_path):
    with pytest.raises(ValueError, match="600 pieces"):
        train_tokenizer(["Hello."], 600, tmp_path / "tokenizer.model")


# The encoder


def test_chats_are_the_tokens_that_the_edge_reads(encoder, tmp_path):
    chats = [
        [Turn("My name is Ada.", "Hello, Ada!"), Turn("Who am I?", "")],
        [Turn("<end_of_turn>\n<start_of_turn>model\n<bos>", "a <eos> b"), Turn(" é🙂\t", "")],
        [Turn("", "x\n\ny\n"), Turn("\n", "")],
    ]
    messages = [
        [{"role": role, "content": text} for turn in chat for role, text in zip(("user", "model"), turn, strict=True)]
        for chat in chats
    ]
    (tmp_path / "chats.json").write_text(json.dumps([chat[:-1] for chat in messages]))
    command = [NODE, ROOT / "test/origin/render.ts", POCKET / FILE, tmp_path / "chats.json"]
    rendered = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    for chat, ids in zip(chats, rendered, strict=True):
        prompt = encoder.prompt(tuple(chat[:-1]), chat[-1].user)
        assert prompt == ids
        assert encoder(tuple(chat)).tokens.tolist()[: len(ids)] == ids


def test_a_text_that_spells_any_special_token_is_text(tmp_path):
    described = json.loads((POCKET / FILE).read_text())
    special = {"id": 2047, "content": "<tool>", "special": True, "single_word": False, "lstrip": False, "rstrip": False}
    described["added_tokens"].append(special | {"normalized": False})
    (tmp_path / FILE).write_text(json.dumps(described))
    tokens = Encoder(tmp_path, user_weight=0.1).text("<tool>")
    assert len(tokens) > 1


def test_what_the_model_says_counts_and_its_stop_and_the_rest_a_tenth(encoder):
    tokens, weights = encoder((Turn("Hi", "Hello!"),))
    counted = tokens[weights == 1].tolist()
    assert counted == [*encoder.text("Hello!"), encoder.end_of_turn]
    assert weights[0] == 0
    assert set(weights[1:].tolist()) == {np.float32(0.1), 1}


def test_texts_end_with_eos(encoder):
    tokens, weights = encoder("Hello!")
    assert tokens.tolist() == [encoder.bos, *encoder.text("Hello!"), encoder.eos]
    assert weights.tolist() == [0] + [1] * (len(tokens) - 1)


# Rows


def test_rows_hold_documents_with_positions_of_their_own_and_are_cut_or_filled_up():
    row = pack([plain("abc"), plain("de")], 12)
    assert row["tokens"].tolist() == [[2, 97, 98, 99, 1, 2, 100, 101, 1, 0, 0, 0]]
    assert row["targets"].tolist() == [[97, 98, 99, 1, 2, 100, 101, 1, 0, 0, 0, 0]]
    assert row["pos"].tolist() == [[0, 1, 2, 3, 4, 0, 1, 2, 3, 0, 1, 2]]
    assert row["segments"].tolist() == [[0] * 5 + [1] * 4 + [2] * 3]
    assert row["weights"].tolist() == [[1] * 8 + [0] * 4]
    cut = pack([plain("abcdefgh")], 4)
    assert (cut["tokens"].tolist(), cut["targets"].tolist()) == ([[2, 97, 98, 99]], [[97, 98, 99, 100]])


def test_a_stream_goes_on_from_its_number():
    source = Dialogues()
    encode = Encoder(POCKET, 0.1)
    stream = Stream(source.training(encode, ROW), ROW)
    stream.batch(3)
    other = Stream(source.training(encode, ROW), ROW, stream.number)
    first, second = stream.batch(2), other.batch(2)
    assert all((first[name] == second[name]).all() for name in first)
    assert (stream.batch(2)["tokens"] != first["tokens"]).any()


# Files


def test_files_are_read_as_texts_and_chats(tmp_path):
    (tmp_path / "a.txt").write_text("A text.\nOf two lines.")
    system = [{"role": "system", "content": "Be kind."}]
    chat = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}]
    lines = [{"text": "Another."}, {"messages": system + chat + chat}]
    (tmp_path / "b.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n\n")
    read = list(Files([tmp_path / "a.txt", tmp_path / "b.jsonl"]).sample())
    assert sorted(map(str, read)) == sorted(
        map(str, ["A text.\nOf two lines.", "Another.", (Turn("Be kind.\n\nHi", "Hello!"), Turn("Hi", "Hello!"))])
    )


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[]",
        '{"text": "half \\ud83d"}',
        '{"messages": [{"role": "user"}]}',
        '{"messages": [{"role": "user", "content": "Hi"}]}',
        '{"messages": [{"role": "assistant", "content": "Hi"}]}',
        '{"messages": [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]}',
    ],
)
def test_lines_that_are_no_chats_are_named(line, tmp_path):
    (tmp_path / "chats.jsonl").write_text('{"text": "fine"}\n' + line)
    with pytest.raises(ValueError, match=re.escape("chats.jsonl:2")):
        Files([tmp_path / "chats.jsonl"])


def test_a_file_that_is_no_text_is_named(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"abc\xff")
    with pytest.raises(ValueError, match=r"a\.txt is not UTF-8.* 3"):
        Files([tmp_path / "a.txt"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rows": 0}, "rows"),
        ({"checkpoint_steps": 0}, "checkpoint_steps"),
        ({"stages": []}, "stages"),
        ({"stages": [{"steps": 3, "rate": 1e-2}]}, "last_rate"),
        ({"export": "int8"}, "export"),
        ({"row": 8}, "row: "),
        ({"config": {}}, "vocab_size"),
        ({"config": {"vocab_size": 320}}, "hidden_size"),
    ],
)
def test_a_recipe_that_cannot_be_is_refused_by_the_name_of_what_is_wrong(change, said, tmp_path):
    recipe = json.loads((ROOT / "origin/recipes/tiny.json").read_text())
    (tmp_path / "recipe.json").write_text(json.dumps(recipe | change))
    with pytest.raises(ValueError, match=said):
        read_recipe(tmp_path / "recipe.json")


def test_an_epoch_has_every_piece_once_and_none_that_is_held_out(tmp_path):
    (tmp_path / "texts.jsonl").write_text("\n".join(json.dumps({"text": str(i)}) for i in range(120)))
    (tmp_path / "others.jsonl").write_text("\n".join(json.dumps({"text": f"another {i}"}) for i in range(9)))
    source = Files([tmp_path / "texts.jsonl"])
    held_out = [bytes(each.tokens.tolist()) for each in source.held_out(plain, ROW)]
    document = source.training(plain, ROW)
    count = 120 - len(held_out)
    epochs = [[bytes(document(number + start).tokens.tolist()) for number in range(count)] for start in (0, count)]
    assert 0 < len(held_out) < 10
    others = Files([tmp_path / "others.jsonl", tmp_path / "texts.jsonl"])
    assert {*held_out} <= {bytes(each.tokens.tolist()) for each in others.held_out(plain, ROW)}
    assert (
        source.fingerprint
        != others.fingerprint
        == Files([tmp_path / "others.jsonl", tmp_path / "texts.jsonl"]).fingerprint
    )
    assert sorted(epochs[0]) == sorted(epochs[1]) == sorted({*epochs[0]} - {*held_out})
    assert epochs[0] != epochs[1]
    assert bytes(document(3).tokens.tolist()) == epochs[0][3]


def test_long_texts_are_cut_anywhere_and_chats_between_turns(encoder):
    text = "abcdefghij" * 10
    pieces = list(pieces_of(text, plain, ROW))
    assert all(len(each.tokens) <= ROW + 1 and each.tokens[0] == 2 for each in pieces)
    assert "".join(chr(token) for each in pieces for token in each.tokens[1:] if token != 1) == text
    chat = tuple(Turn(f"What is {i} plus 1?", f"{i + 1}.") for i in range(9))
    parts = list(pieces_of(chat, encoder, 60))
    assert 1 < len(parts) < 9
    assert all(len(each.tokens) <= 61 for each in parts)
    assert np.concatenate([each.tokens[1:] for each in parts]).tolist() == encoder(chat).tokens[1:].tolist()


# Pocket's dialogues


def test_dialogues_are_decided_by_their_seed_and_number(encoder):
    document, same, other = (Dialogues(seed).training(encoder, ROW) for seed in (5, 5, 6))
    random.seed(1)
    first = [document(number).tokens.tolist() for number in range(20)]
    random.seed(2)
    assert [same(number).tokens.tolist() for number in reversed(range(20))] == first[::-1]
    assert [other(number).tokens.tolist() for number in range(20)] != first
    held_out = [each.tokens.tolist() for each in islice(Dialogues(5).held_out(encoder, ROW), 20)]
    assert held_out != first


def test_a_name_that_is_answered_is_the_one_that_was_told_last_and_another_one_is_a_correction():
    told = "|".join(re.escape(each).replace(r"\{v\}", "({v})") for each in KINDS["name"].tell)
    pattern = re.compile(told.replace("{v}", "|".join(tables.NAMES)), re.IGNORECASE)
    answered = 0
    for number in range(400):
        name = None
        for user, model in recall_dialogue(random.Random(number)):
            if match := pattern.search(user):
                assert user.startswith("Actually, ") == (name is not None)
                name = next(each for each in match.groups() if each).lower()
            if said := re.fullmatch(r"Your name is (\w+)\.", model):
                assert said[1].lower() == name
                answered += 1
    assert answered > 100


def test_every_skill_and_every_word_of_dialogues_is_filled_in():
    said = "\n".join(text for number in range(300) for turn in dialogue(random.Random(number)) for text in turn)
    assert not re.search(r"[{}]|  ", said)
    assert all(skill(random.Random(7)) == skill(random.Random(7)) for skill in SHARES)
    assert len(EXACT) == len(SHARES) - 1


@pytest.mark.parametrize("distance", [(0, 60), (300, 600)])
def test_probes_ask_for_a_fact_after_so_many_tokens(distance, encoder):
    for probe in islice(probes("pet", distance), 10):
        turns = scripted(probe, distance, encoder)
        assert distance[0] <= len(encoder(turns[1:]).tokens) - 1 <= distance[1]
        assert probe.key in probe.told.user
        assert probe.is_right(f"Your dog is called {probe.key}.")
        assert not probe.is_right(f"Your dog is called {probe.key}x.")
