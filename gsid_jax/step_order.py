"""The order of the next step's training records: same-prefix neighbours, in shuffled windows.

Progressive negatives (paper 2.2.3) need batches made of groups of items that share their prefix.
Sorting once, when the prefixes are known, lets the reader form groups from a plain sequential read
whose memory does not depend on the number of prefixes. The sort itself works on the codes alone;
the records, which carry texts, are moved through bucket files.
"""

import contextlib
import pathlib
import pickle
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

WINDOW_GROUPS = 4  # groups of same-prefix items per window; the reader knows this number too
MAX_BUCKETS = 256  # open files while records are distributed


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


def reorder(records: Iterable[tuple[int, Any]], count: int, directory: pathlib.Path,
            bucket_records: int = 65536) -> Iterator[Any]:
    """Yields the records of ``(rank, record)`` pairs by rank, 0 to ``count - 1``, each once.

    Pairs may come in any order. They are distributed over files in ``directory``, each holding a
    range of ranks, so memory holds about ``bucket_records`` records (more only beyond ``MAX_BUCKETS
    * bucket_records``). Raises ValueError if a rank is missing or appears twice.
    """
    bucket_records = max(bucket_records, -(-count // MAX_BUCKETS))
    directory.mkdir(parents=True, exist_ok=True)
    buckets = -(-count // bucket_records)
    paths = [directory / f"bucket-{bucket:04d}.pickle" for bucket in range(buckets)]
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(open(path, "wb")) for path in paths]
        for rank, record in records:
            pickle.dump((rank, record), files[rank // bucket_records], pickle.HIGHEST_PROTOCOL)
    rank = 0
    for path in paths:
        for found, record in sorted(_read_pickles(path), key=lambda pair: pair[0]):
            if found != rank:
                raise ValueError(f"record of rank {rank} is missing or repeated: found {found}")
            yield record
            rank += 1
        path.unlink()
    if rank != count:
        raise ValueError(f"got {rank} records, expected {count}")


def _read_pickles(path: pathlib.Path) -> Iterator[Any]:
    with open(path, "rb") as file:
        while True:
            try:
                yield pickle.load(file)
            except EOFError:
                return
