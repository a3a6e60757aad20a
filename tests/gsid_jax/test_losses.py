"""Losses against hand-computed values, their gradients and their masks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gsid_jax import losses


def test_normalise_gives_unit_rows_and_a_finite_gradient_at_zero():
    np.testing.assert_allclose(losses.normalise(jnp.array([[3.0, 4.0]])), [[0.6, 0.8]], rtol=1e-6)
    gradient = jax.grad(lambda x: jnp.sum(losses.normalise(x)))(jnp.zeros((2, 3)))
    assert np.isfinite(gradient).all()


def test_token_cross_entropy_by_hand():
    logits = jnp.log(jnp.array([[[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]]]))
    nll = losses.token_cross_entropy(logits, jnp.array([[0, 2]]))
    np.testing.assert_allclose(nll, [[np.log(2), -np.log(0.8)]], rtol=1e-6)


@pytest.fixture
def pairs():
    return dict(query_ids_N=jnp.array([7, 8, 0, 7]), query_item_ids_N=jnp.array([1, 2, 3, 3]),
                item_ids_B=jnp.array([1, 2, 3]),
                item_query_ids_BxP=jnp.array([[7, 0], [8, 7], [9, 0]]))


def test_positives_are_masked_by_id(pairs):
    expected = [[1, 1, 0],  # query 7 of item 1: item 2 is known to answer query 7 too
                [0, 1, 0],
                [0, 0, 1],  # padding: its own item alone, never through id 0
                [1, 1, 1]]  # query 7 drawn for item 3
    np.testing.assert_array_equal(losses.positives(**pairs), np.array(expected, bool))


def test_contrastive_leaves_known_positives_out_of_the_denominator():
    queries, items = jnp.eye(3)[:2], jnp.eye(3)
    positive = jnp.array([[True, True, False], [False, True, False]])
    loss = losses.contrastive(queries, items, jnp.array([0, 1]), positive, tau=1.0)
    e = np.e
    np.testing.assert_allclose(loss, [np.log((e + 1) / e), np.log((e + 2) / e)], rtol=1e-5)
    gradient = jax.grad(lambda x: losses.contrastive(queries, x, jnp.array([0, 1]), positive,
                                                     1.0)[0])(items)
    np.testing.assert_array_equal(gradient[1], 0.0)  # the masked item feels nothing
    assert np.abs(gradient[2]).sum() > 0


@pytest.mark.parametrize("direction", losses.ALIGNMENTS)
def test_alignment_is_zero_for_equal_distributions_only(direction):
    p = jnp.log(jnp.array([[0.7, 0.2, 0.1]]))
    q = jnp.log(jnp.array([[0.2, 0.3, 0.5]]))
    if direction == "hard":
        np.testing.assert_allclose(losses.alignment(q, p, "hard", False), [-np.log(0.2)],
                                   rtol=1e-6)
        return
    np.testing.assert_allclose(losses.alignment(p, p, direction, False), [0.0], atol=1e-7)
    assert losses.alignment(q, p, direction, False)[0] > 0.1


def test_alignment_directions_by_hand_and_stop_gradient():
    item, query = jnp.array([0.5, 0.5]), jnp.array([0.25, 0.75])
    item_query = float(np.sum(item * np.log(item / query)))
    query_item = float(np.sum(query * np.log(query / item)))
    log_q, log_p = jnp.log(query)[None], jnp.log(item)[None]
    for direction, expected in (("p||q", item_query), ("q||p", query_item),
                                ("symmetric", 0.5 * (item_query + query_item))):
        np.testing.assert_allclose(losses.alignment(log_q, log_p, direction, False), [expected],
                                   rtol=1e-5)
    to_item = jax.grad(lambda p: losses.alignment(log_q, p, "p||q", True)[0])(log_p)
    np.testing.assert_array_equal(to_item, 0.0)


def test_code_cross_entropy_and_distillation_by_hand():
    log_probs = jnp.log(jnp.array([[0.9, 0.1], [0.5, 0.5]]))
    np.testing.assert_allclose(losses.code_cross_entropy(log_probs, jnp.array([0, 1])),
                               -np.log([0.9, 0.5]), rtol=1e-5)
    stored = jnp.array([[0.9, 0.1], [1.0, 0.0]])
    np.testing.assert_allclose(losses.distillation(stored, log_probs), [0.0, np.log(2)],
                               atol=1e-5)


def test_entropy_balance_is_zero_when_codes_are_even():
    assert losses.entropy_balance(jnp.eye(4)) == pytest.approx(0.0, abs=1e-6)
    one_code = jnp.tile(jnp.eye(4)[:1], (5, 1))
    assert losses.entropy_balance(one_code) == pytest.approx(np.log(4), abs=1e-5)


def test_conditional_entropy_balance_looks_inside_each_prefix():
    prefix = jnp.array([[0], [0], [1], [1]])
    leak = jnp.array([[1.0, 0], [1, 0], [0, 1], [0, 1]])  # the code follows from the prefix
    assert losses.entropy_balance(leak) == pytest.approx(0.0, abs=1e-6)
    assert losses.conditional_entropy_balance(leak, prefix) == pytest.approx(np.log(2), abs=1e-5)
    spread = jnp.array([[1.0, 0], [0, 1], [1, 0], [0, 1]])
    assert losses.conditional_entropy_balance(spread, prefix) == pytest.approx(0.0, abs=1e-6)


def test_sinkhorn_balances_rows_and_columns():
    logits = 3.0 * jax.random.normal(jax.random.key(0), (64, 8)) + 4.0 * jnp.eye(8)[:1]
    plan = jnp.exp(losses.sinkhorn(logits, 100))
    np.testing.assert_allclose(jnp.sum(plan, axis=1), 1.0, rtol=1e-4)
    np.testing.assert_allclose(jnp.sum(plan, axis=0), 8.0, rtol=1e-2)
