"""AMI against scikit-learn; purity, coverage and accuracy by hand."""

import fractions
import math
import time

import numpy as np
import pytest
from sklearn import metrics

from gsid_jax.evaluate import clustering

CASES = {
    "random": lambda d, n: (d.integers(0, 30, n), d.integers(0, 17, n)),
    "related": lambda d, n: (lambda a: (a, (a + (d.random(n) < .3)) % 40))(d.integers(0, 40, n)),
    "skewed": lambda d, n: (d.zipf(1.5, n) % 300, d.zipf(1.3, n) % 50),
    "one giant": lambda d, n: (np.maximum(d.integers(-9 * n, 40, n), 0), d.integers(0, 3, n)),
    "many": lambda d, n: (d.integers(0, n, n), d.integers(0, n // 4, n)),
    "coarse": lambda d, n: (d.integers(0, 2, n), d.integers(0, 3, n)),
    "gaps": lambda d, n: (d.integers(0, 5, n) * 1000, d.integers(0, 5, n) + 7),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("n", [50, 1000, 20000])
def test_ami_agrees_with_scikit_learn(name, n):
    a, b = CASES[name](np.random.default_rng(n), n)
    assert clustering.adjusted_mutual_information(a, b) == pytest.approx(
        metrics.adjusted_mutual_info_score(a, b), abs=1e-8)  # scikit-learn itself errs by 1e-9


@pytest.mark.parametrize("a, b", [
    ([0, 0, 1, 1], [0, 0, 1, 1]), ([0, 0, 1, 1], [1, 1, 0, 0]), ([0, 0, 0, 0], [0, 1, 2, 3]),
    ([0, 0, 0], [0, 0, 0]), ([0, 1, 2, 3], [0, 1, 2, 3]), ([0, 1, 2, 3], [0, 0, 1, 1]), ([], []),
    ([0, 1], [0, 0]), ([5], [6]),
])
def test_ami_limit_cases(a, b):
    a, b = np.array(a, np.int64), np.array(b, np.int64)
    assert clustering.adjusted_mutual_information(a, b) == pytest.approx(
        metrics.adjusted_mutual_info_score(a, b), abs=1e-12)


def test_expected_mutual_information_is_exact():
    draw = np.random.default_rng(0)
    n = 400
    a = np.bincount(np.minimum(draw.integers(0, 90, n), draw.integers(0, 90, n)))
    b = np.bincount(draw.integers(0, 7, n) // 2 * 3)
    a, b = a[a > 0].tolist(), b[b > 0].tolist()
    terms = [fractions.Fraction(math.comb(x, c) * math.comb(n - x, y - c), math.comb(n, y))
             * fractions.Fraction(c / n * math.log(c * n / (x * y)))
             for x in a for y in b for c in range(max(1, x + y - n), min(x, y) + 1)]
    assert clustering.expected_mutual_information(np.array(a), np.array(b)) == pytest.approx(
        float(sum(terms)), abs=1e-14)


def test_ami_matrix_leaves_unknown_categories_out():
    draw = np.random.default_rng(0)
    prefix = draw.integers(0, 9, (500, 2))
    category = np.stack([prefix[:, 0] // 2, np.full(500, -1)], axis=1)
    category[::7, 0] = -1
    matrix = clustering.ami_matrix(prefix, category)
    assert list(matrix) == ["prefix1", "prefix2"] and list(matrix["prefix1"]) == ["category1"]
    known = category[:, 0] >= 0
    assert matrix["prefix1"]["category1"] == pytest.approx(
        metrics.adjusted_mutual_info_score(prefix[known, 0], category[known, 0]), abs=1e-9)
    assert matrix["prefix2"]["category1"] == pytest.approx(0, abs=0.03)


def test_ami_of_thousands_of_clusters_is_fast():
    draw = np.random.default_rng(0)
    ids = np.concatenate([np.arange(5000), draw.zipf(1.2, 7000) % 5000])
    categories = draw.zipf(1.1, 12000) % 400
    start = time.monotonic()
    value = clustering.adjusted_mutual_information(ids, categories)
    assert time.monotonic() - start < 2
    assert value == pytest.approx(metrics.adjusted_mutual_info_score(ids, categories), abs=1e-9)


def test_purity_by_hand():
    cluster = np.array([0, 0, 0, 1, 1, 2, -1, 1])
    spu = np.array([5, 5, 6, 7, 8, 9, 5, -1])
    assert clustering.purity(cluster, spu) == pytest.approx((2 + 1 + 1) / 6)


def test_coverage_and_accuracy_by_hand():
    cluster = np.array([3] * 5 + [4] * 4 + [7] * 6 + [-1])
    large = clustering.large_clusters(cluster)
    assert large.tolist() == [3] * 5 + [-1] * 4 + [7] * 6 + [-1]
    assert clustering.coverage(large) == pytest.approx(11 / 16)
    spu = np.array([0, 0, 0, 1, 1] + [2] * 4 + [3] * 6 + [3])
    pairs = 10 + 15
    assert clustering.pair_accuracy(large, spu) == pytest.approx((3 + 1 + 15) / pairs)
    report = clustering.cluster_report(large, spu)
    assert report["clusters"] == 2 and report["purity"] == pytest.approx(9 / 11)


def test_accuracy_without_pairs_is_left_out():
    singles = np.array([0, 1, 2])
    assert clustering.pair_accuracy(singles, singles) is None
    assert clustering.cluster_report(singles, singles) == {
        "clusters": 3, "coverage": 1.0, "purity": 1.0}
    nothing = np.full(3, -1)
    assert clustering.cluster_report(nothing, singles) == {"clusters": 0, "coverage": 0.0}
