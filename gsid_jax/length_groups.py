"""Batches without padding waste: rows sorted by length into groups, each of its own length.

Titles are short with a long tail, so a batch padded to its longest row is mostly padding. Here
the rows of a batch are sorted by length and cut into groups of one size; each group is padded to
the next of a few lengths only. The number of compiled programs stays small, one for each
combination of lengths that occurs. Losses see the batch in its own order: nothing else changes.
"""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from gsid_jax.errors import UserError

FEATURES = {"item_tokens": "item_order", "query_tokens": "query_order"}
STEP = 4  # lengths of groups: a half, a quarter, ... of the longest, rounded up to this


def lengths(longest: int) -> tuple[int, ...]:
    """The lengths a group may have, ascending, up to `longest`.

    Between two powers of two there is one more, so that at most a third is padding.
    """
    found, size = {longest}, longest
    while size > 2 * STEP:
        found |= {-(-3 * size // 4 // STEP) * STEP, -(-size // 2 // STEP) * STEP}
        size = -(-size // 2)
    return tuple(sorted(length for length in found if length <= longest))


class LengthGroups:
    """Arranges the batches of one host.

    Args:
      count: groups of items, and of queries.
      shards: data shards of the mesh, which divide every group.
    """

    def __init__(self, count: int, shards: int):
        if jax.process_count() > 1:
            raise UserError(f"trainer.Trainer.length_groups is {count} on {jax.process_count()} "
                            "hosts, whose batches differ in their lengths; expected 1 on several "
                            "hosts: set LENGTH_GROUPS = 1")
        self._count = count
        self._shards = shards

    @staticmethod
    def check_model(model: Any) -> None:
        """Raises UserError if the model cannot take rows in groups."""
        if not hasattr(model, "represent"):
            raise UserError(f"trainer.Trainer.length_groups is set for {type(model).__name__}; "
                            "expected GSIDModel or DualEncoderModel: set LENGTH_GROUPS = 1")

    def arrange(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """item_tokens [B, L] and query_tokens [B, Q, Lq] as tuples of [rows, length] by length;
        item_order [B] and query_order [B * Q] int32 say which row each of theirs is."""
        arranged = dict(batch)
        for name, order_name in FEATURES.items():
            tokens = np.asarray(batch[name])
            tokens = tokens.reshape(-1, tokens.shape[-1])
            arranged[name], arranged[order_name] = self._groups(tokens)
        return arranged

    def _groups(self, tokens_NxL: np.ndarray) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
        rows, longest = tokens_NxL.shape
        if rows % (self._count * self._shards):
            raise UserError(f"{rows} rows cannot be cut into trainer.Trainer.length_groups="
                            f"{self._count} groups over {self._shards} data shards; expected a "
                            "multiple of their product: change BATCH_SIZE or LENGTH_GROUPS")
        used_N = longest - np.argmax(tokens_NxL[:, ::-1] != 0, axis=1)
        used_N = np.where(np.any(tokens_NxL != 0, axis=1), used_N, 1)
        order_N = np.argsort(used_N, kind="stable").astype(np.int32)
        size, allowed = rows // self._count, lengths(longest)
        groups = []
        for start in range(0, rows, size):
            part = order_N[start:start + size]
            length = next(n for n in allowed if n >= used_N[part[-1]])
            groups.append(np.ascontiguousarray(tokens_NxL[part, :length]))
        return tuple(groups), order_N
