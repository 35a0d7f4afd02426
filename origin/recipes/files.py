"""A Source of files of one's own: texts (.txt, .md) and chats (.jsonl).

A text is a file, or a line {"text": …} of a .jsonl. A chat is a line {"messages": [{"role", "content"}, …]} with roles
system, user and assistant (or model), as chat APIs have them. What is longer than a row is cut into pieces: texts after
any token, chats between turns.
"""

import hashlib
import json
import random
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from .documents import Document, Encode, Encoded, Turn

#: One of about so many pieces is held out.
HELD_OUT_EVERY = 50
TEXT_SUFFIXES = (".txt", ".md")


class Files:
    """Documents of files; an epoch is all of their pieces in an order that its number decides."""

    def __init__(self, paths: Sequence[Path], seed: int = 0) -> None:
        """Reads the files. Raises ValueError, naming the file and line that is not as it should be."""
        self._documents = [document for path in paths for document in read_file(path)]
        self._seed = seed
        described = json.dumps([self._documents, seed])
        self.fingerprint = hashlib.sha256(described.encode()).hexdigest()

    def sample(self) -> Iterator[Document]:
        """In an order of its own: a few documents of each file are among the first."""
        return iter(random.Random(f"{self._seed}/sample").sample(self._documents, len(self._documents)))

    def training(self, encode: Encode, row_tokens: int) -> Callable[[int], Encoded]:
        pieces = [piece for piece in self._pieces(encode, row_tokens) if not _is_held_out(piece)]
        if not pieces:
            raise ValueError("There is nothing to train on.")
        orders: dict[int, list[int]] = {}

        def document(number: int) -> Encoded:
            epoch, index = divmod(number, len(pieces))
            if epoch not in orders:
                orders.clear()
                orders[epoch] = random.Random(f"{self._seed}/{epoch}").sample(range(len(pieces)), len(pieces))
            return pieces[orders[epoch][index]]

        return document

    def held_out(self, encode: Encode, row_tokens: int) -> Iterator[Encoded]:
        """Of all files, in no order: whoever takes the first ones has some of each."""
        return iter(sorted(filter(_is_held_out, self._pieces(encode, row_tokens)), key=_digest))

    def _pieces(self, encode: Encode, row_tokens: int) -> Iterator[Encoded]:
        return (piece for each in self._documents for piece in pieces_of(each, encode, row_tokens))


def _is_held_out(piece: Encoded) -> bool:
    """By what it says: the same piece is held out wherever it stands, and so is its double."""
    return int.from_bytes(_digest(piece)[:8]) % HELD_OUT_EVERY == 0


def _digest(piece: Encoded) -> bytes:
    return hashlib.sha256(piece.tokens.tobytes()).digest()


def pieces_of(document: Document, encode: Encode, row_tokens: int) -> Iterator[Encoded]:
    """The document, in pieces that have room in a row where it has not. Every piece begins with <bos>."""
    encoded = encode(document)
    size = row_tokens + 1
    if len(encoded.tokens) <= size:
        yield encoded
    elif isinstance(document, str):
        bos, tokens, weights = encoded.tokens[:1], encoded.tokens[1:], encoded.weights[1:]
        for start in range(0, len(tokens), row_tokens):
            piece = slice(start, start + row_tokens)
            yield Encoded(np.concatenate([bos, tokens[piece]]), np.concatenate([encoded.weights[:1], weights[piece]]))
    else:
        first = 0
        for end in range(1, len(document) + 1):
            is_last = end == len(document)
            if is_last or len(encode(document[first : end + 1]).tokens) > size:
                yield encode(document[first:end])
                first = end


def read_file(path: Path) -> Iterator[Document]:
    """The documents of a file."""
    if path.suffix not in (*TEXT_SUFFIXES, ".jsonl"):
        raise ValueError(f"{path} must be {', '.join(TEXT_SUFFIXES)} or .jsonl.")
    try:
        if path.suffix in TEXT_SUFFIXES:
            yield path.read_text(encoding="utf-8")
            return
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield _read_line(line, f"{path}:{number}")
    except UnicodeDecodeError as cause:
        raise ValueError(f"{path} is not UTF-8: {cause.reason} at byte {cause.start}.") from cause


def _read_line(line: str, where: str) -> Document:
    try:
        value = json.loads(line)
    except ValueError as cause:
        raise ValueError(f"{where} is not JSON: {cause}") from cause
    if re.search("[\ud800-\udfff]", json.dumps(value, ensure_ascii=False)):
        raise ValueError(f"{where} has half of a surrogate pair, which is no text.")
    if isinstance(value, dict) and isinstance(value.get("text"), str):
        return value["text"]
    messages = value.get("messages") if isinstance(value, dict) else None
    if not isinstance(messages, list) or not all(_is_message(each) for each in messages):
        raise ValueError(f'{where} must have "text", or "messages" with a role and a text as content each.')
    return _turns(messages, where)


def _is_message(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(value.get(key), str) for key in ("role", "content"))


def _turns(messages: list[dict[str, str]], where: str) -> tuple[Turn, ...]:
    """A system's text stands in front of the user's that follows it, as the edge puts it."""
    asked: list[str] = []
    is_asked = False
    turns: list[Turn] = []
    for message in messages:
        role, content = message["role"], message["content"]
        if role in ("assistant", "model") and is_asked:
            turns.append(Turn("\n\n".join(asked), content))
            asked, is_asked = [], False
        elif role in ("system", "developer", "user") and not is_asked:
            asked.append(content)
            is_asked = role == "user"
        else:
            raise ValueError(
                f"{where}: a {role} message where {'an assistant' if is_asked else 'a user'} should speak."
            )
    if not turns or asked:
        raise ValueError(f"{where} must end with what the assistant says.")
    return tuple(turns)
