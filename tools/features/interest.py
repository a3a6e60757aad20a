"""A user's interest units: the ID prefixes looked at, the recent ones weighing more (paper 5).

The same function makes the exported features and, from the past of every event alone, those of
the worked example.
"""

import numpy as np

from gsid_jax.errors import UserError


def interest_units(owner: np.ndarray, age: np.ndarray, unit: np.ndarray, owners: int, top: int,
                   half_life: float) -> tuple[np.ndarray, np.ndarray]:
    """The heaviest units of each owner (a user, or a user at some moment).

    A view of age a (0: the last one) weighs 0.5 ** (a / half_life); weights of one unit add up, and
    an owner's weights are shares of the sum over all of its views. Units of equal weight are in
    order of their index.

    Args:
      owner: int [V], whose view it is, 0 to ``owners - 1``.
      age: int [V], views after it.
      unit: int [V], index of the unit; views with 0 or less (padding) count nowhere.
      owners: number of rows of the result.
      top: units kept.
      half_life: in views.

    Returns units int32 [owners, top], 0 where there are fewer, and weights float32 [owners, top].
    """
    if top < 1 or not half_life > 0:
        raise UserError(f"top_units is {top} and half_life {half_life}; expected at least 1 unit "
                        "and a positive number of views")
    units, weights = np.zeros((owners, top), np.int32), np.zeros((owners, top), np.float32)
    real = unit > 0
    owner, age, unit = owner[real], age[real], unit[real].astype(np.int64)
    if not len(owner):
        return units, weights
    weight = np.exp2(-age / half_life)
    total = np.bincount(owner, weight, owners)
    order = np.lexsort((unit, owner))
    owner, unit, weight = owner[order], unit[order], weight[order]
    first = np.flatnonzero(np.r_[True, (owner[1:] != owner[:-1]) | (unit[1:] != unit[:-1])])
    share = np.add.reduceat(weight, first) / total[owner[first]]
    owner, unit = owner[first], unit[first]
    # Rounded, so that the order of equal weights does not hang on the last bit of a sum.
    order = np.lexsort((unit, -np.round(share, 9), owner))
    owner, unit, share = owner[order], unit[order], share[order]
    rank = np.arange(len(owner)) - np.searchsorted(owner, owner)
    kept = rank < top
    units[owner[kept], rank[kept]] = unit[kept]
    weights[owner[kept], rank[kept]] = share[kept]
    return units, weights
