"""IDs against categories and products: AMI, SPU purity, coverage and accuracy (paper Tables 1, 3).

Labels are int [N]; equal numbers mean the same cluster and -1 an item that is not clustered or
whose category or SPU is unknown. Such items are left out of a comparison.
"""

import numpy as np

UNKNOWN = -1
MIN_CLUSTER = 5  # items that make a cluster one of Table 1


def _contingency(labels_a: np.ndarray, labels_b: np.ndarray) -> tuple[np.ndarray, ...]:
    """(row, column, count) of the non-empty cells, and the row and column sums."""
    a = np.unique(labels_a, return_inverse=True)[1]
    b, columns = np.unique(labels_b, return_inverse=True)[1], len(np.unique(labels_b))
    cells, counts = np.unique(a * columns + b, return_counts=True)
    return cells // columns, cells % columns, counts, np.bincount(a), np.bincount(b)


def _entropy(sizes: np.ndarray) -> float:
    shares = sizes / sizes.sum()
    return float(-np.sum(shares * np.log(shares)))


def adjusted_mutual_information(labels_a: np.ndarray, labels_b: np.ndarray) -> float:
    """AMI with the arithmetic mean of the entropies (Vinh et al. 2009; paper appendix A).

    0 is what random labels reach, 1 a perfect match. Labels are int [N] without -1. Agrees with
    scikit-learn's ``adjusted_mutual_info_score``, its limit cases included; the cost grows with
    the number of distinct cluster sizes, not of clusters.
    """
    row, column, count, sizes_a, sizes_b = _contingency(labels_a, labels_b)
    if len(sizes_a) == len(sizes_b) <= 1:
        return 1.0
    if len(sizes_a) == 1 or len(sizes_b) == 1:
        return 0.0
    n = len(labels_a)
    mutual = float(np.sum(count / n * (np.log(count) + np.log(n) - np.log(sizes_a[row])
                                       - np.log(sizes_b[column]))))
    expected = expected_mutual_information(sizes_a, sizes_b)
    eps = np.finfo(np.float64).eps
    above = max(mutual, 0.0) - expected
    below = (_entropy(sizes_a) + _entropy(sizes_b)) / 2 - expected
    return float(np.copysign(max(abs(above), eps), above)
                 / np.copysign(max(abs(below), eps), below))


def expected_mutual_information(sizes_a: np.ndarray, sizes_b: np.ndarray) -> float:
    """Expected mutual information (nats) of random clusterings with these cluster sizes.

    A term depends on two sizes only, so it is computed once for each pair of distinct sizes. The
    cell probabilities (hypergeometric) come from the ratios of neighbours and are made to sum to
    1, which keeps about three digits more than log-gamma functions of n. Cells of probability below
    exp(-45), by Bernstein's inequality, are left out: less than float64 resolves.
    """
    n = int(np.sum(sizes_a))
    a_sizes, a_times = np.unique(sizes_a, return_counts=True)
    b_sizes, b_times = np.unique(sizes_b, return_counts=True)
    total = 0.0
    for a, times in zip(a_sizes.tolist(), a_times.tolist()):
        mean = a * b_sizes / n
        low = np.maximum(np.maximum(0, a + b_sizes - n), np.floor(mean - np.sqrt(90 * mean)))
        high = np.minimum(np.minimum(a, b_sizes), np.ceil(mean + 15 + np.sqrt(225 + 90 * mean)))
        length = (high - low + 1).astype(np.int64)
        first = np.cumsum(length) - length
        pair = np.repeat(np.arange(len(b_sizes)), length)
        cell = np.arange(len(pair)) - (first - low)[pair]
        b = b_sizes[pair]
        step = np.zeros(len(pair))  # log of P(cell) / P(cell - 1), 0 at the start of a pair
        inner = np.arange(len(pair)) != first[pair]
        c = cell[inner]
        step[inner] = np.log((a - c + 1) * (b[inner] - c + 1) / (c * (n - a - b[inner] + c)))
        weight = np.cumsum(step)
        weight = np.exp(weight - np.maximum.reduceat(weight, first)[pair])
        information = cell / n * np.log(np.maximum(cell, 1) * n / (a * b))
        expected = np.add.reduceat(weight * information, first) / np.add.reduceat(weight, first)
        total += times * float(np.sum(b_times * expected))
    return total


def ami_matrix(prefix_NxT: np.ndarray,
               category_NxL: np.ndarray) -> dict[str, dict[str, float]]:
    """AMI of each ID prefix length with each category level: ``{'prefix1': {'category1': ...}}``.

    Column j of both arrays labels the first j + 1 levels together. A level that no item has is
    left out.
    """
    matrix = {}
    for t, prefix in enumerate(prefix_NxT.T):
        row = {}
        for level, category in enumerate(category_NxL.T):
            known = category != UNKNOWN
            if known.any():
                row[f"category{level + 1}"] = adjusted_mutual_information(
                    prefix[known], category[known])
        matrix[f"prefix{t + 1}"] = row
    return matrix


def purity(cluster_N: np.ndarray, truth_N: np.ndarray) -> float:
    """Share of items that belong to the most frequent SPU of their cluster.

    Clusters of one item are pure by nature: read it beside the number of clusters.
    """
    known = (cluster_N != UNKNOWN) & (truth_N != UNKNOWN)
    row, _, count, sizes, _ = _contingency(cluster_N[known], truth_N[known])
    largest = np.zeros(len(sizes), np.int64)
    np.maximum.at(largest, row, count)
    return float(largest.sum() / sizes.sum())


def large_clusters(cluster_N: np.ndarray, min_items: int = MIN_CLUSTER) -> np.ndarray:
    """The same labels, with -1 where the cluster has fewer than ``min_items`` items."""
    labels, sizes = np.unique(cluster_N, return_counts=True)
    kept = labels[(sizes >= min_items) & (labels != UNKNOWN)]
    return np.where(np.isin(cluster_N, kept), cluster_N, UNKNOWN)


def coverage(cluster_N: np.ndarray) -> float:
    """Share of all items that are in a cluster."""
    return float(np.mean(cluster_N != UNKNOWN))


def pair_accuracy(cluster_N: np.ndarray, truth_N: np.ndarray) -> float | None:
    """Share of the item pairs inside a cluster that are the same SPU; None without any pair."""
    known = (cluster_N != UNKNOWN) & (truth_N != UNKNOWN)
    _, _, count, sizes, _ = _contingency(cluster_N[known], truth_N[known])
    pairs = np.sum(sizes * (sizes - 1.0))
    return float(np.sum(count * (count - 1.0)) / pairs) if pairs else None


def cluster_report(cluster_N: np.ndarray, truth_N: np.ndarray) -> dict[str, float]:
    """Coverage, accuracy and purity of the clusters as given, for one line of Table 1.

    An accuracy or purity that no item or pair defines is left out.
    """
    report = {"clusters": len(np.unique(cluster_N[cluster_N != UNKNOWN])),
              "coverage": coverage(cluster_N)}
    accuracy = pair_accuracy(cluster_N, truth_N)
    if accuracy is not None:
        report["accuracy"] = accuracy
    if np.any((cluster_N != UNKNOWN) & (truth_N != UNKNOWN)):
        report["purity"] = purity(cluster_N, truth_N)
    return report
