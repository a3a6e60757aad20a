import numpy as np
import pytest

from gsid_jax.errors import UserError
from tools.features.interest import interest_units


def test_recent_views_weigh_more_and_weights_are_shares():
    # Owner 0 saw units 7, 8, 7 (last); with a half-life of 1: 0.25 + 1 of 7, 0.5 of 8.
    units, weights = interest_units(np.array([0, 0, 0]), np.array([2, 1, 0]), np.array([7, 8, 7]),
                                    2, 3, 1.0)
    np.testing.assert_array_equal(units, [[7, 8, 0], [0, 0, 0]])
    np.testing.assert_allclose(weights, [[1.25 / 1.75, 0.5 / 1.75, 0], [0, 0, 0]], rtol=1e-6)


def test_cut_units_keep_their_share():
    _, weights = interest_units(np.array([0, 0]), np.array([1, 0]), np.array([4, 5]), 1, 1, 1.0)
    np.testing.assert_allclose(weights, [[2 / 3]], rtol=1e-6)


def test_padding_counts_nowhere_and_ties_go_by_index():
    units, weights = interest_units(np.array([1, 1, 1]), np.array([0, 0, 0]), np.array([9, 0, 3]),
                                    2, 2, 4.0)
    np.testing.assert_array_equal(units, [[0, 0], [3, 9]])
    np.testing.assert_allclose(weights[1], [0.5, 0.5])


def test_order_of_the_views_given_does_not_matter():
    random = np.random.default_rng(1)
    owner, age, unit = random.integers(0, 20, 300), random.integers(0, 9, 300), random.integers(
        1, 12, 300)
    mixed = random.permutation(300)
    first = interest_units(owner, age, unit, 20, 5, 3.0)
    second = interest_units(owner[mixed], age[mixed], unit[mixed], 20, 5, 3.0)
    np.testing.assert_array_equal(first[0], second[0])
    np.testing.assert_allclose(first[1], second[1], rtol=1e-6)


@pytest.mark.parametrize("top, half_life", [(0, 1.0), (1, 0.0)])
def test_settings_that_cannot_be(top, half_life):
    with pytest.raises(UserError, match="expected at least 1 unit and a positive number of views"):
        interest_units(np.array([0]), np.array([0]), np.array([1]), 1, top, half_life)
