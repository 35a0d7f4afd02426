"""Packing: documents in rows of one length, several in a row. Positions count from 0 in each, segments tell them apart."""

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from .documents import Encoded

#: tokens, targets, pos, segments i32 and weights f32, all [B, T]; weights are those of the targets.
Batch = dict[str, np.ndarray]


def pack(documents: Iterable[Encoded], row_tokens: int) -> Batch:
    """One row [1, T] of documents, cut off at its end and filled up with a segment that counts nothing."""
    size = row_tokens + 1
    documents = list(documents)
    missing = max(0, size - sum(len(each.tokens) for each in documents))
    documents.append(Encoded(np.zeros(missing, np.int32), np.zeros(missing, np.float32)))
    lengths = [len(each.tokens) for each in documents]
    tokens = np.concatenate([each.tokens for each in documents])[:size]
    weights = np.concatenate([each.weights for each in documents])[:size]
    segments = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)[:row_tokens]
    pos = np.concatenate([np.arange(length, dtype=np.int32) for length in lengths])[:row_tokens]
    row = {"tokens": tokens[:-1], "targets": tokens[1:], "pos": pos, "segments": segments, "weights": weights[1:]}
    return {name: array[None] for name, array in row.items()}


def rows_of(documents: Iterator[Encoded], row_tokens: int) -> Iterator[Batch]:
    """Rows until there are no more documents; every row begins with a document of its own."""
    row: list[Encoded] = []
    filled = 0
    for document in documents:
        row.append(document)
        filled += len(document.tokens)
        if filled > row_tokens:
            yield pack(row, row_tokens)
            row, filled = [], 0
    if row:
        yield pack(row, row_tokens)


def together(rows: Iterable[Batch]) -> Batch:
    """Rows as one batch [B, T]."""
    rows = list(rows)
    return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}


class Stream:
    """Batches of an endless sequence of documents. `number`, of the next document, is all there is to be kept of it."""

    def __init__(self, document: Callable[[int], Encoded], row_tokens: int, number: int = 0) -> None:
        self.number = number
        self._document = document
        self._row_tokens = row_tokens

    def batch(self, rows: int) -> Batch:
        """The next rows."""
        source = rows_of(self._documents(), self._row_tokens)
        return together(next(source) for _ in range(rows))

    def _documents(self) -> Iterator[Encoded]:
        while True:
            self.number += 1
            yield self._document(self.number - 1)
