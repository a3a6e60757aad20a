"""One list of items per trigger (query or item), stored flat."""

import dataclasses
from collections.abc import Sequence

import numpy as np


@dataclasses.dataclass(frozen=True)
class Lists:
    """List r is ``values[offsets[r]:offsets[r + 1]]``, sorted and without repetitions.

    values: int64 [P], item indices. offsets: int64 [R + 1], from 0 to P.
    """

    values: np.ndarray
    offsets: np.ndarray

    @classmethod
    def from_pairs(cls, rows: np.ndarray, values: np.ndarray, num_rows: int) -> "Lists":
        """Builds lists from int [P] (row, value) pairs in any order; repeated pairs count once."""
        rows, values = np.asarray(rows, np.int64), np.asarray(values, np.int64)
        order = np.lexsort((values, rows))
        rows, values = rows[order], values[order]
        first = np.ones(len(rows), bool)
        first[1:] = (rows[1:] != rows[:-1]) | (values[1:] != values[:-1])
        offsets = np.zeros(num_rows + 1, np.int64)
        np.cumsum(np.bincount(rows[first], minlength=num_rows), out=offsets[1:])
        return cls(values[first], offsets)

    @classmethod
    def of(cls, lists: Sequence[Sequence[int]]) -> "Lists":
        """Builds lists from a sequence of sequences."""
        rows = np.repeat(np.arange(len(lists)), [len(each) for each in lists])
        values = [value for each in lists for value in each]
        return cls.from_pairs(rows, np.array(values, np.int64), len(lists))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def counts(self) -> np.ndarray:
        """Length of each list, int64 [R]."""
        return np.diff(self.offsets)

    @property
    def rows(self) -> np.ndarray:
        """The row of each value, int64 [P]."""
        return np.repeat(np.arange(len(self)), self.counts)

    def where(self, keep: np.ndarray) -> "Lists":
        """The same rows with the values for which ``keep`` (bool [P]) holds."""
        return Lists.from_pairs(self.rows[keep], self.values[keep], len(self))

    def without(self, other: "Lists") -> "Lists":
        """The same rows less the values that ``other`` has in that row."""
        return self.where(~other.contains(self.rows, self.values))

    def slice(self, start: int, stop: int) -> "Lists":
        """Rows ``start`` to ``stop - 1``."""
        offsets = self.offsets[start:stop + 1]
        return Lists(self.values[offsets[0]:offsets[-1]], offsets - offsets[0])

    def contains(self, rows: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Tells for int [P] (row, value) pairs which are in the lists; bool [P]."""
        width = 1 + max(self.values.max(initial=0), np.max(values, initial=0))
        return np.isin(np.asarray(rows) * width + values, self.rows * width + self.values)
