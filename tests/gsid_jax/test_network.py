"""Shapes, masks and options of the network."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gsid_jax.errors import UserError
from gsid_jax.network import GSIDNetwork, T5Config, relative_buckets

CONFIG = T5Config(vocab_size=50, emb_dim=16, num_heads=2, head_dim=8, mlp_dim=24,
                  num_encoder_layers=2, num_decoder_layers=2, num_levels=3, codebook_size=5)
TOKENS = jnp.array([[5, 6, 7, 1, 0, 0], [8, 9, 1, 0, 0, 0]])


def build(**changes):
    network = GSIDNetwork(dataclasses.replace(CONFIG, **changes))
    variables = network.init(jax.random.key(0), TOKENS, TOKENS, jnp.zeros((2, 2), jnp.int32))
    return network, {"params": variables["params"]}, variables


def test_padding_changes_nothing():
    network, params, _ = build()
    encoded = network.apply(params, TOKENS, method="encode")
    longer = jnp.pad(TOKENS, ((0, 0), (0, 5)))
    encoded_longer = network.apply(params, longer, method="encode")
    np.testing.assert_allclose(encoded[0, :4], encoded_longer[0, :4], atol=1e-5)
    codes = jnp.array([[1], [2]])
    d = network.apply(params, encoded, TOKENS > 0, codes, method="decode_codes")
    d_longer = network.apply(params, encoded_longer, longer > 0, codes, method="decode_codes")
    np.testing.assert_allclose(d, d_longer, atol=1e-5)


def test_decoder_is_causal_in_codes_and_tokens():
    network, params, _ = build()
    encoded = network.apply(params, TOKENS, method="encode")
    first = network.apply(params, encoded, TOKENS > 0, jnp.array([[1, 2], [3, 4]]),
                          method="decode_codes")
    second = network.apply(params, encoded, TOKENS > 0, jnp.array([[1, 4], [3, 0]]),
                           method="decode_codes")
    assert first.shape == (2, 3, 16)
    np.testing.assert_allclose(first[:, :2], second[:, :2], atol=1e-6)
    assert np.abs(first[:, 2] - second[:, 2]).max() > 1e-4
    logits = network.apply(params, encoded, TOKENS > 0, TOKENS, method="token_logits")
    changed = network.apply(params, encoded, TOKENS > 0, TOKENS.at[:, 3].set(9),
                            method="token_logits")
    np.testing.assert_allclose(logits[:, :3], changed[:, :3], atol=1e-6)


def test_position_zero_is_the_learned_bos_not_a_code_or_pad():
    network, params, _ = build()
    encoded = network.apply(params, TOKENS, method="encode")
    empty = jnp.zeros((2, 0), jnp.int32)
    d = network.apply(params, encoded, TOKENS > 0, empty, method="decode_codes")
    moved = {"params": {**params["params"], "bos": params["params"]["bos"] + 1.0}}
    assert np.abs(d - network.apply(moved, encoded, TOKENS > 0, empty,
                                    method="decode_codes")).max() > 1e-3
    zeroed = params["params"]["token_embedder"]["embedding"].at[0].set(100.0)
    other = {"params": {**params["params"], "token_embedder": {"embedding": zeroed}}}
    np.testing.assert_array_equal(
        d, network.apply(other, encoded, TOKENS > 0, empty, method="decode_codes"))


def test_pooled_output_adds_the_mean_of_the_encoder_states():
    network, params, _ = build()
    pooled, _, _ = build(pooled_output=3.0)
    encoded = network.apply(params, TOKENS, method="encode")
    codes = jnp.array([[1], [2]])
    without, with_it = (each.apply(params, encoded, TOKENS > 0, codes, method="decode_codes")
                        for each in (network, pooled))
    states = np.asarray(encoded)
    means = np.stack([states[0, :4].mean(axis=0), states[1, :3].mean(axis=0)])
    np.testing.assert_allclose(with_it, without + 3.0 * means[:, None], atol=1e-5)


@pytest.mark.parametrize("changes", [{"scan_layers": True}, {"remat_policy": "full"},
                                     {"scan_layers": True, "remat_policy": "dots"},
                                     {"dtype": "bfloat16"}, {"logits_via_embedding": True},
                                     {"mlp_activations": ("relu",)}])
def test_options_run_with_finite_gradients(changes):
    network, params, _ = build(**changes)

    def loss(params, key):
        encoded = network.apply(params, TOKENS, False, method="encode", rngs={"dropout": key})
        logits = network.apply(params, encoded, TOKENS > 0, TOKENS, False, method="token_logits",
                               rngs={"dropout": key})
        assert logits.dtype == jnp.float32
        return jnp.mean(jax.nn.logsumexp(logits, axis=-1))

    gradients = jax.grad(loss)(params, jax.random.key(1))
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(gradients))
    assert ("logits_dense" in params["params"]) == (not changes.get("logits_via_embedding"))


def test_scanned_layers_equal_unrolled_ones():
    network, params, _ = build(scan_layers=True)
    flat_network = GSIDNetwork(CONFIG)
    flat = {"params": dict(params["params"])}
    for stack in ("encoder", "decoder"):
        layers = params["params"][stack]["layers"]
        axis = [x.shape for x in jax.tree.leaves(layers)]
        assert all(2 in shape for shape in axis)
        rest = {k: v for k, v in params["params"][stack].items() if k != "layers"}
        flat["params"][stack] = rest | {
            f"layers_{i}": jax.tree.map(lambda x, i=i: x[i], layers) for i in range(2)}
    expected = flat_network.apply(flat, TOKENS, method="encode")
    np.testing.assert_allclose(network.apply(params, TOKENS, method="encode"), expected, atol=1e-5)


def test_relative_buckets_follow_t5():
    both = np.asarray(relative_buckets(4, 4, True, 32, 128))
    assert both[0, 0] == 0 and both[1, 0] == 1 and both[0, 1] == 17
    far = np.asarray(relative_buckets(300, 300, False, 32, 128))
    assert far[0, 299] == 0 and far[299, 0] == 31 and far[16, 0] == 16


def test_every_parameter_has_logical_axes():
    for scan in (False, True):
        _, _, variables = build(scan_layers=scan)
        axes = jax.tree.leaves(variables["params_axes"], is_leaf=lambda x: hasattr(x, "names"))
        assert len(axes) == len(jax.tree.leaves(variables["params"]))


def test_bad_sizes_are_named():
    with pytest.raises(UserError, match="T5Config.num_heads: got 0, expected at least 1"):
        dataclasses.replace(CONFIG, num_heads=0)
    with pytest.raises(UserError, match="T5Config.remat_policy: got 'some'"):
        dataclasses.replace(CONFIG, remat_policy="some")
