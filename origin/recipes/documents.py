"""Documents: what a model is trained on, and the seam where they come from."""

from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol

import numpy as np


class Turn(NamedTuple):
    """What the user said, and what the model shall say."""

    user: str
    model: str


#: A text, or the turns of a chat.
Document = str | tuple[Turn, ...]


class Encoded(NamedTuple):
    """A document's tokens, and how much each of them counts as something to be predicted."""

    tokens: np.ndarray  # i32 [T]
    weights: np.ndarray  # f32 [T]


#: Encodes a document.
Encode = Callable[[Document], Encoded]


class Source(Protocol):
    """Where documents come from. Everything is decided by numbers: a run that goes on finds the documents it would have."""

    #: Differs where the documents do.
    fingerprint: str

    def sample(self) -> Iterator[Document]:
        """Documents for the training of a tokenizer."""

    def training(self, encode: Encode, row_tokens: int) -> Callable[[int], Encoded]:
        """The documents of an endless sequence by their number; what is longer than a row is cut at its end."""

    def held_out(self, encode: Encode, row_tokens: int) -> Iterator[Encoded]:
        """Documents that training never sees; there may be any number of them."""


def texts(documents: Iterator[Document]) -> Iterator[str]:
    """Every text in documents."""
    for document in documents:
        if isinstance(document, str):
            yield document
        else:
            yield from (text for turn in document for text in turn)
