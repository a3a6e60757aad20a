"""The trie of valid semantic IDs as a few arrays, for the host and for the device alike.

Nodes of level t (1..T) are the distinct prefixes of t codes, numbered in the order of their codes;
node 0 of level 0 is the root. The children of a node are neighbours in the level below, so one
offset a node says where they are, and the number of a node of level T is the number of its ID.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np


@dataclasses.dataclass(frozen=True)
class Trie:
    """A trie over IDs of T codes; a JAX pytree, so that a jitted function takes it as argument.

    Args:
      codes: T arrays, integer [N_t]: the last code of each node of level t = 1..T.
      children: T arrays, int32 [N_t + 1]: node n of level t = 0..T-1 has the children
        children[t][n] to children[t][n + 1] - 1 of level t + 1.
      fanout: most children of a node of level 0..T-1; static.
    """

    codes: Sequence[Any]
    children: Sequence[Any]
    fanout: tuple[int, ...]

    @property
    def num_levels(self) -> int:
        """T."""
        return len(self.codes)

    @property
    def num_ids(self) -> int:
        """Number of valid IDs, N_T."""
        return self.codes[-1].shape[0]

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return sum(int(array.nbytes) for array in (*self.codes, *self.children))

    def on_device(self) -> "Trie":
        """The same trie with its arrays on the default device (uint16 [N_t], int32 [N_t + 1])."""
        return jax.tree_util.tree_map(jax.device_put, self)

    def ids(self) -> np.ndarray:
        """All valid IDs in order, int32 [N_T, T]."""
        columns, leaves = [], np.ones(self.num_ids, np.int64)
        for level in reversed(range(self.num_levels)):
            columns.append(np.repeat(np.asarray(self.codes[level], np.int32), leaves))
            leaves = np.add.reduceat(leaves, np.asarray(self.children[level][:-1]))
        return np.stack(columns[::-1], axis=1)

    def find(self, ids: np.ndarray) -> np.ndarray:
        """Numbers of IDs, int [n, T] -> int64 [n]; -1 for an ID that is not in the trie."""
        ids = np.asarray(ids, np.int64)
        node = np.zeros(len(ids), np.int64)
        valid = np.ones(len(ids), bool)
        for level in range(self.num_levels):
            codes = np.asarray(self.codes[level], np.int64)
            parents = np.repeat(np.arange(len(self.children[level]) - 1),
                                np.diff(self.children[level]))
            width = 1 + max(codes.max(initial=0), ids[:, level].max(initial=0))
            wanted = node * width + ids[:, level]
            keys = parents * width + codes  # ascending, as nodes are ordered by their codes
            node = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
            valid &= keys[node] == wanted
        return np.where(valid, node, -1)


jax.tree_util.register_dataclass(Trie, data_fields=["codes", "children"], meta_fields=["fanout"])


def build_trie(codes_NxT: np.ndarray) -> tuple[Trie, np.ndarray]:
    """Builds the trie over rows that are sorted (repetitions allowed), N at least 1.

    Returns it and int32 [N_T + 1], where the rows of each ID begin.
    """
    num_rows, num_levels = codes_NxT.shape
    if not num_rows or num_rows >= 2**31:
        raise ValueError(f"got {num_rows} rows, expected 1 to 2**31 - 1")
    first = np.zeros(num_rows, bool)  # the row's prefix is another than that of the row before
    first[0] = True
    parents = np.zeros(1, np.int64)  # first rows of the nodes of the level above
    codes, children = [], []
    for level in range(num_levels):
        column = codes_NxT[:, level]
        first[1:] |= column[1:] != column[:-1]
        rows = np.flatnonzero(first)
        codes.append(column[rows].astype(np.uint16))
        offsets = np.searchsorted(rows, parents)
        children.append(np.append(offsets, len(rows)).astype(np.int32))
        parents = rows
    fanout = tuple(int(np.diff(offsets).max()) for offsets in children)
    return Trie(tuple(codes), tuple(children), fanout), np.append(parents, num_rows).astype(np.int32)
