"""Encoder states, logits and loss are those of `transformers`."""

import dataclasses
import importlib.util

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gsid_jax.models import PretrainModel
from gsid_jax.network import GSIDNetwork, relative_buckets
from tests.tools.hf_t5 import folders, parity
from tools.hf_t5 import config as hf_config
from tools.hf_t5 import parameters

LIVE = importlib.util.find_spec("torch") and importlib.util.find_spec("transformers")


def ours(config: dict, tensors: dict, data: dict, **options) -> dict[str, np.ndarray]:
    """Encoder states, logits and loss by the network, the rows that pad the vocabulary cut off."""
    network = hf_config.to_network(config, tensors, num_levels=2, codebook_size=4, **options)
    params = parameters.to_ours(network, tensors, "folder").params
    module, rows = GSIDNetwork(network), network.vocab_size
    params = jax.tree.map(lambda x: x, params)
    for name, axis in (("token_embedder/embedding", 0), ("logits_dense/kernel", 1)):
        outer, leaf = name.split("/")
        if outer in params:
            params[outer][leaf] = np.take(params[outer][leaf], range(rows), axis)
    tokens, targets = jnp.asarray(data["tokens"]), jnp.asarray(data["targets"])
    shifted = jnp.concatenate([jnp.zeros((2, 1), targets.dtype), targets[:, :-1]], axis=1)
    batch = {"encoder_input_tokens": tokens, "decoder_input_tokens": shifted,
             "decoder_target_tokens": targets, "decoder_loss_weights": targets > 0}

    @jax.jit
    def run(params):
        encoded = module.apply({"params": params}, tokens, method="encode")
        logits = module.apply({"params": params}, encoded, tokens > 0, shifted,
                              method="token_logits")
        return encoded, logits, PretrainModel(module).eval_fn(params, batch)[0]

    return dict(zip(("encoded", "logits", "loss"), jax.device_get(run(params))))


def assert_same(found: dict, expected: dict, every: int = 1) -> None:
    mask = parity.inputs()["tokens"][:, ::every] > 0  # what padding reads is nobody's concern
    for got, want in ((found["encoded"][:, ::every][mask], expected["encoded"][mask]),
                      (found["logits"][:, ::every], expected["logits"])):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4 * np.abs(want).max())
    np.testing.assert_allclose(found["loss"], expected["loss"], rtol=1e-5)


def test_the_inputs_cross_every_bucket():
    data = parity.inputs()
    for length, both, used in ((data["tokens"].shape[1], True, range(32)),
                               (data["targets"].shape[1], False, range(32))):
        found = np.unique(relative_buckets(length, length, both, 32, 128))
        # Bucket 16, distance 0 in the upper half, does not exist in both directions.
        assert set(used) - set(found.tolist()) <= ({16} if both else set())


@pytest.mark.parametrize("family", folders.FAMILIES)
def test_what_transformers_computed_is_what_we_compute(family):
    with np.load(parity.FIXTURE) as file:
        kept = {name.removeprefix(f"{family}/"): file[name] for name in file.files
                if name.startswith(f"{family}/")}
    tensors = {name[2:]: value.astype(np.float32) for name, value in kept.items()
               if name.startswith("w/")}
    found = ours(folders.config_of(family), tensors, parity.inputs())
    assert_same(found, kept, parity.EVERY)
    half = ours(folders.config_of(family), tensors, parity.inputs(), dtype="bfloat16")
    assert np.abs(half["logits"][:, ::parity.EVERY] - kept["logits"]).max() < 0.2
    assert abs(half["loss"] - kept["loss"]) < 0.02


@pytest.mark.skipif(not LIVE, reason="torch and transformers are not installed")
@pytest.mark.parametrize("family", folders.FAMILIES)
def test_transformers_live(family, tmp_path):
    tensors = folders.tensors_of(family, seed=5)
    folder = folders.write(tmp_path / "hf", folders.config_of(family), tensors)
    assert_same(ours(folders.config_of(family), tensors, parity.inputs()),
                parity.expected(folder, parity.inputs()))


def test_dropout_is_the_folders_and_off_without_a_key():
    tensors = folders.tensors_of("t5_1_1")
    data = {name: jnp.asarray(value[:, :12]) for name, value in parity.inputs().items()}
    batch = {"encoder_input_tokens": data["tokens"], "decoder_input_tokens": data["targets"],
             "decoder_target_tokens": data["targets"],
             "decoder_loss_weights": jnp.ones_like(data["targets"])}
    losses = {}
    for rate in (0.0, 0.3):
        config = folders.config_of("t5_1_1", dropout_rate=rate)
        network = hf_config.to_network(config, tensors, num_levels=2, codebook_size=4)
        assert network.dropout_rate == rate
        rows = parameters.padded(network.vocab_size)
        model = PretrainModel(GSIDNetwork(dataclasses.replace(network, vocab_size=rows)))
        params = parameters.to_ours(network, tensors, "folder").params
        losses[rate] = [float(model.loss_fn(params, batch, key)[0])
                        for key in (None, jax.random.key(0), jax.random.key(1))]
    assert losses[0.0][0] == losses[0.0][1] == losses[0.3][0]
    assert len(set(losses[0.3])) == 3
