"""Leaf marginals (M10 b): codes looked up through the valid IDs below a prefix, over plain arrays.

The score of code k at level j is logsumexp over the valid IDs below (prefix, k) of
<d_j, leaf_j> / tau, where leaf_j is the mean output of that ID's items at level j. A dense method
without levels has the same vector at every level: pass [N, D] instead of [N, T, D].
Dims: N rows, M leaves (distinct IDs), T levels, K codes a level, D width.
"""

import dataclasses
import os
from collections.abc import Mapping

import numpy as np

from gsid_jax.errors import UserError

TAU = 0.1  # of the scores; that of the codebooks
CHUNK_ROWS = 1024


@dataclasses.dataclass(frozen=True)
class Leaves:
    """The valid IDs, in the order of their codes, with a prototype per level.

    codes: int32 [M, T]. prototypes: float32 [M, T, D], or [M, 1, D] for vectors without levels;
    unit length.
    """

    codes: np.ndarray
    prototypes: np.ndarray

    def save(self, path: str | os.PathLike) -> None:
        """Writes one .npz, whole or not at all."""
        partial = f"{os.fspath(path)}.tmp.npz"
        np.savez(partial, codes=self.codes, prototypes=self.prototypes)
        os.replace(partial, path)

    def at_level(self, level: int) -> np.ndarray:
        """Prototypes of a level (from 0), float32 [M, D]."""
        return self.prototypes[:, min(level, self.prototypes.shape[1] - 1)]

    def variables(self) -> Mapping[str, np.ndarray]:
        """The Flax collection "leaves" of `gsid_jax.leaf_model`."""
        return {"codes": self.codes, "prototypes": self.prototypes}


def load(path: str | os.PathLike) -> Leaves:
    """Reads what `Leaves.save` wrote; UserError if it is missing or broken."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return Leaves(file["codes"], file["prototypes"])
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise UserError(f"{path}: the prototypes of the IDs cannot be read ({error}); expected what "
                        "the final stage of the pipeline writes: remove ids/ and run it again"
                        ) from error


def unit(x: np.ndarray) -> np.ndarray:
    """L2-normalises the last axis, float32; a zero vector stays zero."""
    x = np.asarray(x, np.float32)
    return x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-9)


class Grower:
    """Sums up the outputs of every leaf, chunk by chunk; memory is that of the prototypes.

    codes_NxT: the IDs of all rows that will be added.
    """

    def __init__(self, codes_NxT: np.ndarray):
        self.codes, leaf = np.unique(np.asarray(codes_NxT, np.int32), axis=0, return_inverse=True)
        self._leaf_N = leaf.ravel()
        self._sums: np.ndarray | None = None

    def add(self, rows: slice, outputs: np.ndarray) -> None:
        """Adds rows: float [n, T, D], each decoded after the row's own codes, or [n, D]."""
        outputs = unit(outputs if outputs.ndim == 3 else outputs[:, None])
        if self._sums is None:
            self._sums = np.zeros((len(self.codes), *outputs.shape[1:]), np.float32)
        leaf = self._leaf_N[rows]
        order = np.argsort(leaf, kind="stable")
        leaves, starts = np.unique(leaf[order], return_index=True)
        self._sums[leaves] += np.add.reduceat(outputs[order], starts, axis=0)

    def leaves(self) -> Leaves:
        """The leaves, each prototype the mean of what was added to it."""
        return Leaves(self.codes, unit(self._sums))


def grow(codes_NxT: np.ndarray, outputs: np.ndarray) -> Leaves:
    """One leaf for each distinct ID: its prototype is the mean of its rows' outputs.

    outputs: float [N, T, D], decoded after the row's own codes, or [N, D] for vectors that serve
    all levels.
    """
    grower = Grower(codes_NxT)
    grower.add(slice(0, len(codes_NxT)), outputs)
    return grower.leaves()


def level_scores(vectors_NxD: np.ndarray, prefix_NxC: np.ndarray, leaves: Leaves, size: int,
                 tau: float = TAU) -> np.ndarray:
    """log P(z_{C+1} = k | prefix) by leaf marginals, float32 [N, K]; -inf where no ID is valid.

    vectors: outputs at level C + 1 after the prefix. A prefix must be that of some leaf.
    """
    level = prefix_NxC.shape[1]
    logits_NxM = unit(vectors_NxD) @ leaves.at_level(level).T / tau
    below_NxM = np.ones(logits_NxM.shape, bool)
    for j in range(level):
        below_NxM &= leaves.codes[None, :, j] == prefix_NxC[:, j, None]
    logits_NxM[~below_NxM] = -np.inf
    top_N = logits_NxM.max(axis=1, keepdims=True)
    belongs_MxK = (leaves.codes[:, level, None] == np.arange(size)).astype(np.float32)
    with np.errstate(divide="ignore"):
        scores_NxK = np.log(np.exp(logits_NxM - top_N) @ belongs_MxK)
        return scores_NxK - np.log(np.exp(scores_NxK).sum(axis=1, keepdims=True))


def lookup(vectors_NxD: np.ndarray, leaves: Leaves, size: int, tau: float = TAU
           ) -> tuple[np.ndarray, np.ndarray]:
    """IDs of dense vectors, code by code: int32 [N, T] and log-probabilities float32 [N, T].

    The same vector serves all levels; a GSID model decodes a new output after each code instead
    (`gsid_jax.leaf_model`).
    """
    num_levels = leaves.codes.shape[1]
    codes = np.zeros((len(vectors_NxD), num_levels), np.int32)
    log_probs = np.zeros(codes.shape, np.float32)
    for start in range(0, len(codes), CHUNK_ROWS):
        rows = slice(start, start + CHUNK_ROWS)
        for level in range(num_levels):
            scores = level_scores(vectors_NxD[rows], codes[rows, :level], leaves, size, tau)
            codes[rows, level] = scores.argmax(axis=1)
            log_probs[rows, level] = scores.max(axis=1)
    return codes, log_probs
