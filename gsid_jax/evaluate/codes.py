"""Code accuracy of held-out pairs and health of the codes (paper appendix A, method.md section 5).

All functions take plain arrays: codes are int [N, T], one row per item or query.
"""

import numpy as np

from gsid_jax.health import CollapseGuard, perplexity_floor

COLLAPSED = "COLLAPSED"  # few codes carry all items
LEAK = "LEAK"  # the code only repeats its prefix
LEAK_MIN_ITEMS = 4.0  # effective items per prefix below which a low branching is no leak


def prefix_labels(codes_NxT: np.ndarray) -> np.ndarray:
    """Numbers the distinct prefixes of each length; int64 [N, T], from 0 up in each column.

    Column j holds the same number where the first j + 1 codes are the same. Numbers follow the
    order of the codes, so column T - 1 sorts IDs as a tree is read.
    """
    labels = np.zeros(codes_NxT.shape, np.int64)
    prefix = np.zeros(len(codes_NxT), np.int64)
    width = int(np.max(codes_NxT, initial=0)) + 1
    for level in range(codes_NxT.shape[1]):
        prefix = np.unique(prefix * width + codes_NxT[:, level], return_inverse=True)[1]
        labels[:, level] = prefix
    return labels


def level_labels(codes_NxT: np.ndarray, nested: bool = True) -> np.ndarray:
    """Numbers the clusters of each level, int64 [N, T]: the prefixes of that length, or (not
    nested: every column a clustering of its own) the codes of that column alone."""
    if nested:
        return prefix_labels(codes_NxT)
    return np.stack([np.unique(column, return_inverse=True)[1] for column in codes_NxT.T], axis=1)


def _shares(labels: np.ndarray) -> np.ndarray:
    counts = np.bincount(labels)
    return counts[counts > 0] / len(labels)


def _entropy(labels: np.ndarray) -> float:
    shares = _shares(labels)
    return float(-np.sum(shares * np.log(shares)))


def chance_levels(pool_codes_NxT: np.ndarray, nested: bool = True) -> np.ndarray:
    """Agreement of two items drawn at random: sum p^2 over the joint prefixes; float64 [T]."""
    labels = level_labels(pool_codes_NxT, nested)
    return np.array([np.sum(_shares(column) ** 2) for column in labels.T])


def agreement(codes_a_PxT: np.ndarray, codes_b_PxT: np.ndarray, nested: bool = True) -> np.ndarray:
    """Tells for each pair and level j whether the first j codes are the same; bool [P, T]."""
    same = codes_a_PxT == codes_b_PxT
    return np.logical_and.accumulate(same, axis=1) if nested else same


def corrected(raw: float, chance: float) -> float:
    """(raw - chance) / (1 - chance); 0 if chance is 1, because one code tells nothing."""
    return (raw - chance) / (1 - chance) if chance < 1 else 0.0


def code_accuracy(codes_a_PxT: np.ndarray, codes_b_PxT: np.ndarray, pool_codes_NxT: np.ndarray,
                  nested: bool = True) -> dict[str, dict[str, float]]:
    """l_j_code_acc: share of pairs whose first j codes agree, with its chance level.

    Row p of both arrays holds the codes of the two sides of pair p (query and item), each decoded
    by itself. Returns ``{'l1': {'raw', 'chance', 'corrected'}, ...}``.
    """
    raw = agreement(codes_a_PxT, codes_b_PxT, nested).mean(axis=0)
    return {f"l{j + 1}": {"raw": float(raw[j]), "chance": float(chance),
                          "corrected": float(corrected(raw[j], chance))}
            for j, chance in enumerate(chance_levels(pool_codes_NxT, nested))}


def code_health(codes_NxT: np.ndarray, nested: bool = True) -> dict[str, dict[str, float]]:
    """How the codes of each level are used: ``{'l1': {...}, ...}``.

    used: distinct codes. perplexity: exp H(z_t). max_share: share of the most frequent code.
    conditional_perplexity: exp H(z_t | z_<t), the codes that a prefix effectively branches into.
    items_per_prefix: N / exp H(z_<t), what the branching could be at most. joint_perplexity:
    exp H(z_<=t), the clusters that a level effectively makes. For levels that are not nested,
    conditional_perplexity is the ratio of the joint ones.
    """
    joint = [0.0, *(_entropy(column) for column in level_labels(codes_NxT, nested).T)]
    health = {}
    for level, column in enumerate(codes_NxT.T):
        shares = _shares(column)
        health[f"l{level + 1}"] = {
            "used": len(shares),
            "perplexity": float(np.exp(-np.sum(shares * np.log(shares)))),
            "max_share": float(shares.max()),
            "conditional_perplexity": float(np.exp(joint[level + 1] - joint[level])),
            "joint_perplexity": float(np.exp(joint[level + 1])),
            "items_per_prefix": float(len(codes_NxT) / np.exp(joint[level])),
        }
    return health


def id_counts(codes_NxT: np.ndarray, nested: bool = True) -> dict[str, float]:
    """Distinct IDs and items per ID.

    shared: IDs that more than one item has; items_in_shared: the items that have such an ID.
    """
    items = np.bincount(level_labels(codes_NxT, nested)[:, -1])
    return {"distinct": len(items), "mean_items": float(items.mean()),
            "max_items": int(items.max()), "shared": int(np.sum(items > 1)),
            "items_in_shared": int(items[items > 1].sum())}


def finding(level: int, health: dict[str, float], codebook_size: int) -> str:
    """Names what is wrong with a level (from 1): COLLAPSED, LEAK or ''.

    The limits are those of the guard that watches training.
    """
    if (health["perplexity"] < perplexity_floor(codebook_size)
            or health["max_share"] > CollapseGuard.max_share):
        return COLLAPSED
    if (level > 1 and health["items_per_prefix"] >= LEAK_MIN_ITEMS and
            health["conditional_perplexity"] < CollapseGuard.min_conditional_perplexity):
        return LEAK
    return ""
