"""When a stop string ends a reply: tokens become text as src/engine/spelling.ts spells them, and src/engine/stop.ts decides.

The text itself is the edge's business; here it is only looked at. Truth: tokenizer.json, read as src/model/tokenizer.ts does.
"""

import codecs
import json
from collections.abc import Sequence
from pathlib import Path

# Control tokens whatever the file says of them: Gemma's own files do not always mark them special.
TURN_TOKENS = ("<start_of_turn>", "<end_of_turn>")


class Spelling:
    """UTF-8 of every token of one checkpoint; nothing for control tokens and ids without a token."""

    def __init__(self, tokenizer: dict) -> None:
        added = tokenizer.get("added_tokens", [])
        ids = tokenizer["model"]["vocab"] | {token["content"]: token["id"] for token in added}
        control = {token["id"] for token in added if token.get("special")} | {ids[c] for c in TURN_TOKENS if c in ids}
        byte_tokens = {f"<0x{byte:02X}>": bytes([byte]) for byte in range(256)}
        replacements = _replacements(tokenizer["decoder"])
        self._bytes: dict[int, bytes] = {}
        for content, token in ids.items():
            if token not in control:
                self._bytes[token] = byte_tokens.get(content) or _replaced(content, replacements)

    @staticmethod
    def load(file: Path) -> "Spelling":
        return Spelling(json.loads(file.read_text("utf-8")))

    def bytes_of(self, token: int) -> bytes:
        return self._bytes.get(token, b"")


def _replacements(decoder: dict) -> list[tuple[str, str]]:
    steps = decoder["decoders"] if decoder["type"] == "Sequence" else [decoder]
    return [(step["pattern"]["String"], step["content"]) for step in steps if step["type"] == "Replace"]


def _replaced(content: str, replacements: Sequence[tuple[str, str]]) -> bytes:
    for old, new in replacements:
        content = content.replace(old, new)
    return content.encode("utf-8", "replace")


class StopMatcher:
    """Watches the text of one reply for the first of `stops` to be complete."""

    def __init__(self, spelling: Spelling, stops: Sequence[str]) -> None:
        self._spelling = spelling
        self._stops = stops
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._longest = max(map(len, stops))
        self._tail = ""  # text in which a stop string may have begun

    def push(self, token: int) -> str | None:
        """The stop string that this token completes; of two that end together, the one that begins earlier."""
        text = self._tail + self._decoder.decode(self._spelling.bytes_of(token))
        found = [(text.index(stop) + len(stop), text.index(stop), stop) for stop in self._stops if stop in text]
        self._tail = text[-(self._longest - 1) :] if self._longest > 1 else ""
        return min(found)[2] if found else None
