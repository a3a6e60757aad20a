"""The vocabulary of ID prefixes: prefix of any length -> one index for embedding tables.

Index 0 is padding, 1 stands for any prefix that is not in the vocabulary, prefixes follow from 2,
by length and then by code. Every prefix of a prefix in the vocabulary is in it, too.
"""

import os
import pathlib
from collections.abc import Iterable

import numpy as np

from gsid_jax.errors import UserError
from gsid_jax.id_files import path_string

PADDING, UNKNOWN, FIRST = 0, 1, 2
HEADER = "index\tprefix\tlevel\titems"
MERGE_ROWS = 1 << 20


def count_ids(code_batches: Iterable[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Distinct IDs, sorted, int32 [M, T], and their items, int64 [M]. Memory: the distinct IDs."""
    parts: list[tuple[np.ndarray, np.ndarray]] = []
    waiting = 0
    for codes in code_batches:
        parts.append(np.unique(codes, axis=0, return_counts=True))
        waiting += len(parts[-1][0])
        if waiting > MERGE_ROWS + len(parts[0][0]):
            parts, waiting = [_merged(parts)], 0
    return _merged(parts)


def _merged(parts: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    ids, counts = (np.concatenate(column) for column in zip(*parts))
    distinct, where = np.unique(ids, axis=0, return_inverse=True)
    return distinct, np.bincount(where.reshape(-1), counts, len(distinct)).astype(np.int64)


class PrefixVocabulary:
    """Indices of ID prefixes.

    Args:
      codes: the prefixes' codes, int [P, T], -1 behind the end of a short one; by length, then by
        code.
      items: int64 [P], items with that prefix when the vocabulary was made.
    """

    def __init__(self, codes: np.ndarray, items: np.ndarray):
        self.codes, self.items = codes.astype(np.int32), items.astype(np.int64)
        self.length = (self.codes >= 0).sum(axis=1)
        self.levels = codes.shape[1]
        self._width = int(self.codes.max(initial=0)) + 1
        self._keys, self._first = [], []
        for level in range(self.levels):
            rows = np.flatnonzero(self.length == level + 1)
            self._first.append(FIRST + (int(rows[0]) if len(rows) else 0))
            parents = (np.zeros(len(rows), np.int64) if level == 0 else
                       self.lookup(self.codes[rows, :level])[:, -1].astype(np.int64))
            self._keys.append(parents * self._width + self.codes[rows, level])

    @classmethod
    def build(cls, ids: np.ndarray, items: np.ndarray, min_items: int = 1) -> "PrefixVocabulary":
        """From distinct IDs int [M, T] with their items [M]; prefixes of fewer items are left out.
        """
        codes, counts = [], []
        for level in range(1, ids.shape[1] + 1):
            prefixes, where = np.unique(ids[:, :level], axis=0, return_inverse=True)
            count = np.bincount(where.reshape(-1), items, len(prefixes)).astype(np.int64)
            kept = count >= min_items
            padded = np.full((int(kept.sum()), ids.shape[1]), -1, np.int32)
            padded[:, :level] = prefixes[kept]
            codes.append(padded)
            counts.append(count[kept])
        return cls(np.concatenate(codes), np.concatenate(counts))

    def __len__(self) -> int:
        """Rows an embedding table needs, padding and unknown included."""
        return FIRST + len(self.codes)

    def lookup(self, codes: np.ndarray) -> np.ndarray:
        """Index of each prefix of IDs: int [n, C] -> int32 [n, C]; 1 where it is not known."""
        indices = np.full(codes.shape, UNKNOWN, np.int32)
        parent = np.zeros(len(codes), np.int64)
        known = np.ones(len(codes), bool)
        for level in range(codes.shape[1]):
            known &= (codes[:, level] >= 0) & (codes[:, level] < self._width)
            keys, wanted = self._keys[level], parent * self._width + codes[:, level]
            place = np.minimum(np.searchsorted(keys, wanted), max(len(keys) - 1, 0))
            known &= (keys[place] == wanted) if len(keys) else False
            indices[known, level] = self._first[level] + place[known]
            parent = indices[:, level].astype(np.int64)
        return indices

    def write(self, path: str | os.PathLike) -> None:
        """Writes index, prefix, level and items, tab-separated."""
        with open(path, "w", encoding="utf-8", newline="\n") as file:
            file.write(f"{HEADER}\n{PADDING}\t<padding>\t0\t0\n{UNKNOWN}\t<unknown>\t0\t0\n")
            for row, (codes, length, items) in enumerate(zip(self.codes, self.length, self.items)):
                prefix = path_string(codes[:length].tolist())
                file.write(f"{row + FIRST}\t{prefix}\t{length}\t{items}\n")

    @classmethod
    def read(cls, path: str | os.PathLike) -> "PrefixVocabulary":
        """Reads what ``write`` wrote. UserError that names the line that is not so."""
        path = pathlib.Path(path)
        if not path.is_file():
            raise UserError(f"vocabulary {path} is missing; expected vocabulary.tsv of an earlier "
                            "export: correct --vocabulary")
        prefixes, items = [], []
        with open(path, encoding="utf-8") as file:
            if file.readline().rstrip("\n") != HEADER:
                raise UserError(f"{path}, line 1: not a vocabulary of prefixes; expected "
                                f"{HEADER!r}: give vocabulary.tsv of an earlier export")
            for number, line in enumerate(file):
                try:
                    index, prefix, level, count = line.rstrip("\n").split("\t")
                    codes = [int(code) for code in prefix.split("-")] if number >= FIRST else []
                    if int(index) != number or int(level) != len(codes):
                        raise ValueError("index or level out of order")
                except ValueError as error:
                    raise UserError(f"{path}, line {number + 2}: got {line.rstrip()!r} ({error}); "
                                    "expected index, prefix, level and items in order: restore "
                                    "the file") from error
                if codes:
                    prefixes.append(codes)
                    items.append(int(count))
        if not prefixes:
            raise UserError(f"{path} has no prefixes; expected at least one: restore the file")
        codes = np.full((len(prefixes), max(map(len, prefixes))), -1, np.int32)
        for row, prefix in enumerate(prefixes):
            codes[row, :len(prefix)] = prefix
        return cls(codes, np.asarray(items))
