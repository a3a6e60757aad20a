"""The quantizer against hand-computed updates."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gsid_jax.codebook import Codebook, CodebookConfig, kmeans, prefix_bucket, table_health
from gsid_jax.errors import UserError


def make(level=1, size=2, width=2, **options):
    book = Codebook(CodebookConfig(**{"start_samples": 8, "prefix_buckets": 16, **options}),
                    level, size, width)
    shape = (1, level - 1)
    variables = book.init(jax.random.key(0), jnp.zeros((1, width)), jnp.zeros(shape, jnp.int32),
                          method="logits")
    return book, {"codebook": variables["codebook"]}


def update(book, variables, d, codes, prefix=None, start_at=0):
    prefix = jnp.zeros((len(d), 0), jnp.int32) if prefix is None else prefix
    return book.apply(variables, d, prefix, codes, start_at, method="update",
                      mutable=["codebook"])[1]


def test_ema_update_by_hand():
    book, v = make(lookup="dot", start="normal", ema_decay=0.5, smoothing=0.0, revive_below=0.0)
    v["codebook"] |= {"count": jnp.array([2.0, 2.0]), "steps": jnp.int32(5),
                      "sum": jnp.array([[2.0, 0.0], [0.0, 2.0]])}
    d = jnp.array([[3.0, 0.0], [1.0, 0.0], [0.0, 4.0]])
    after = update(book, v, d, jnp.array([0, 0, 1]))["codebook"]
    np.testing.assert_allclose(after["count"], [2.0, 1.5])
    np.testing.assert_allclose(after["sum"], [[3.0, 0.0], [0.0, 3.0]])
    np.testing.assert_allclose(after["embedding"], [[1.5, 0.0], [0.0, 2.0]])
    assert after["steps"] == 6


def test_cosine_lookup_ignores_length_dot_product_does_not():
    for lookup, expected in (("cosine", 0), ("dot", 1)):
        book, v = make(lookup=lookup)
        v["codebook"]["embedding"] = jnp.array([[1.0, 0.0], [9.0, 9.0]])
        logits = book.apply(v, jnp.array([[1.0, 0.1]]), jnp.zeros((1, 0), jnp.int32),
                            method="logits")
        assert jnp.argmax(logits) == expected


def test_lookup_passes_no_gradient_to_the_codebook_but_to_the_output():
    book, v = make()

    def f(variables, d):
        return book.apply(variables, d, jnp.zeros((1, 0), jnp.int32), method="logits")[0, 0]

    d = jnp.array([[1.0, 0.3]])
    assert np.abs(jax.grad(f, argnums=1)(v, d)).sum() > 0
    gradient = jax.grad(lambda e: f({"codebook": {**v["codebook"], "embedding": e}}, d))(
        v["codebook"]["embedding"])
    np.testing.assert_array_equal(gradient, 0.0)


def test_dead_code_is_revived_with_count_sum_and_embedding_together():
    book, v = make(size=3, lookup="dot", start="normal", revive_below=0.1, smoothing=0.0)
    v["codebook"] |= {"count": jnp.array([5.0, 5.0, 0.0]), "steps": jnp.int32(3),
                      "sum": jnp.array([[5.0, 0.0], [0.0, 5.0], [0.0, 0.0]])}
    d = jnp.array([[1.0, 0.0], [0.0, 1.0]])
    after = update(book, v, d, jnp.array([0, 1]))["codebook"]
    assert after["count"][2] > 0
    np.testing.assert_allclose(after["embedding"][2], after["sum"][2] / after["count"][2],
                               rtol=1e-5)
    assert any(np.allclose(after["embedding"][2], row) for row in np.asarray(d))


def test_centring_takes_the_prefix_mean_away():
    """M8 with alpha 1: what all items of one prefix share does not reach the lookup."""
    book, v = make(level=2, width=3, centring=1.0, ema_decay=0.0)
    shared = jnp.array([[1.0, 0.0, 0.0]] * 4 + [[0.0, 0.0, 1.0]] * 4)
    detail = jnp.array([[0.0, 0.5, 0.0], [0.0, -0.5, 0.0]] * 4)
    d = (shared + detail) / jnp.linalg.norm(shared + detail, axis=-1, keepdims=True)
    prefix = jnp.array([[0]] * 4 + [[1]] * 4)
    v = update(book, v, d, jnp.zeros((8,), jnp.int32), prefix)
    c = book.apply(v, d, prefix, method="centre")
    np.testing.assert_allclose(c, jnp.sign(detail), atol=1e-4)
    plain, v0 = make(level=2, width=3, centring=0.0)
    np.testing.assert_allclose(plain.apply(v0, d, prefix, method="centre"), d, atol=1e-6)


def test_second_prefix_mean_is_of_what_the_first_leaves():
    book, v = make(level=3, width=2, centring=1.0, ema_decay=0.0, lookup="dot")
    d = jnp.array([[4.0, 0.0], [2.0, 0.0], [1.0, 1.0], [1.0, 3.0]])
    prefix = jnp.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    v = update(book, v, d, jnp.zeros((4,), jnp.int32), prefix)
    means = book.apply(v, method="prefix_means")
    np.testing.assert_allclose(means[0], [[3.0, 0.0], [1.0, 2.0]], atol=1e-5)
    np.testing.assert_allclose(means[1], [[0.5, -0.5], [-0.5, 0.5]], atol=1e-5)


@pytest.mark.parametrize("start", ["batch", "kmeans"])
def test_codebook_starts_from_item_outputs_when_the_first_phase_ends(start):
    book, v = make(size=2, start=start, start_samples=16)
    before = v["codebook"]["embedding"]
    d = jnp.array([[1.0, 0.0], [0.0, 1.0]] * 4)
    codes = jnp.zeros((8,), jnp.int32)
    v = update(book, v, d, codes, start_at=2)
    np.testing.assert_array_equal(v["codebook"]["embedding"], before)  # still collecting
    v = update(book, v, d, codes, start_at=2)
    rows = {tuple(np.round(r, 3)) for r in np.asarray(v["codebook"]["embedding"])}
    assert rows <= {(1.0, 0.0), (0.0, 1.0)}
    np.testing.assert_allclose(v["codebook"]["count"], [4.0, 4.0])


def test_kmeans_finds_separate_clusters_and_ignores_rows_without_weight():
    key = jax.random.key(1)
    centres = jnp.eye(4)
    x = jnp.repeat(centres, 32, axis=0) + 0.01 * jax.random.normal(key, (128, 4))
    x = jnp.concatenate([x, jnp.full((10, 4), 9.0)])
    weights = jnp.array([1.0] * 128 + [0.0] * 10)
    found = kmeans(x, weights, 8, key)
    assert (jnp.max(found @ centres.T, axis=0) > 0.95).all()
    assert (found < 2.0).all()


def test_table_health_by_hand():
    leak = table_health(jnp.array([[4.0, 0.0], [0.0, 4.0]]))
    assert leak["perplexity"] == pytest.approx(2.0, rel=1e-4)
    assert leak["conditional_perplexity"] == pytest.approx(1.0, rel=1e-4)
    assert leak["max_share"] == pytest.approx(0.5)
    assert table_health(jnp.ones((2, 2)))["conditional_perplexity"] == pytest.approx(2.0, rel=1e-4)
    assert table_health(jnp.array([[9.0, 0.0]]))["perplexity"] == pytest.approx(1.0, rel=1e-4)


def test_prefix_bucket_tells_prefixes_apart():
    prefixes = jnp.array([[i, j] for i in range(8) for j in range(8)])
    assert len(np.unique(prefix_bucket(prefixes, 4096))) == 64


@pytest.mark.parametrize("options, text", [
    ({"lookup": "l2"}, "CodebookConfig.lookup: got 'l2', expected one of"),
    ({"start": "zeros"}, "CodebookConfig.start: got 'zeros'"),
    ({"temperature": 0.0}, "CodebookConfig.temperature: got 0.0, expected > 0"),
    ({"ema_decay": 1.0}, r"CodebookConfig.ema_decay: got 1.0"),
])
def test_bad_options(options, text):
    with pytest.raises(UserError, match=text):
        CodebookConfig(**options)
