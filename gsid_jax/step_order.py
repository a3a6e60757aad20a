"""The order of the next step's training records: same-prefix neighbours, in shuffled windows.

Progressive negatives (paper 2.2.3) need batches made of groups of items that share their prefix.
Sorting once, when the prefixes are known, lets the reader form groups from a plain sequential read
whose memory does not depend on the number of prefixes. The sort itself works on the codes alone;
the records, which carry texts, are moved by ``tasks.record_files.ShardSort``.
"""

import numpy as np

WINDOW_GROUPS = 4  # groups of same-prefix items per window; the reader knows this number too


def window_order(codes: np.ndarray, group_size: int, seed: int) -> np.ndarray:
    """Returns int64 [n]: which record comes first, second, ...

    Records are sorted by their codes (int [n, C]) and, inside a prefix, at random; the result is
    cut into windows of exactly ``WINDOW_GROUPS * group_size`` records and the windows are shuffled.
    A shorter window, if any, stays last. ``seed`` decides both.
    """
    random = np.random.default_rng(seed)
    ties = random.permutation(len(codes))
    order = np.lexsort((ties, *codes.T[::-1]))  # the last key is the primary one
    size = WINDOW_GROUPS * group_size
    full = len(order) // size * size
    windows = order[:full].reshape(-1, size)
    return np.concatenate([random.permutation(windows, axis=0).reshape(-1), order[full:]])
