"""A model small enough to compute by hand, for tests of inference and assignment."""

import types

import jax
import jax.numpy as jnp
import pytest

from gsid_jax.encode import Encoder
from tests.gsid_jax import tiny_run


class LetterVocabulary:
    """One token per character; 'a' has id 3, 'b' 4."""

    eos_id = 1

    def encode(self, text: str) -> list[int]:
        return [3 + (ord(letter) - ord("a")) % 50 for letter in text.replace(" ", "")]


class LetterSumModel:
    """Code i of an ID is (sum of token ids + level * drift + i) modulo K, whatever the padding."""

    def __init__(self, level: int, codebook_size: int = 8, drift: int = 0):
        self.level, self.codebook_size, self.drift = level, codebook_size, drift
        self.traces = 0  # how often JAX compiled the model

    def get_initial_variables(self, rng, input_shapes=None, input_types=None):
        return {}

    def predict_batch_with_aux(self, params, batch, rng=None, flax_mutables=None):
        self.traces += 1
        tokens = batch["encoder_input_tokens"]
        total = jnp.sum(tokens, axis=1) + self.level * self.drift + flax_mutables["codebook"]["b"]
        greedy = (total[:, None] + jnp.arange(self.level)[None, :]) % self.codebook_size
        codes = greedy
        if "codes" in batch:
            codes = codes.at[:, :batch["codes"].shape[1]].set(batch["codes"])
        logits = 2.0 * jax.nn.one_hot(greedy, self.codebook_size) * params["scale"]
        soft = jax.nn.softmax(logits)
        length = jnp.sum(tokens > 0, axis=1)
        return codes, {
            "soft": soft,
            "log_prob": jnp.log(jnp.take_along_axis(soft, codes[..., None], axis=-1)[..., 0]),
            "greedy_codes": greedy,
            "embedding": jnp.stack([total, length], axis=1).astype(jnp.float32),
        }


@pytest.fixture(scope="session")
def letters():
    """Parts to build an Encoder by hand: Model, variables, vocabulary and encoder(level, ...)."""
    variables = {"params": {"scale": jnp.float32(1.0)}, "codebook": {"b": jnp.int32(0)}}

    def encoder(level=2, codebook_size=8, drift=0, **options):
        model = LetterSumModel(level, codebook_size, drift)
        settings = {"batch_size": 8, "max_length": 12, "buckets": (4, 8), "soft_size": 3}
        return Encoder(model, variables, LetterVocabulary(), **(settings | options))

    return types.SimpleNamespace(Model=LetterSumModel, variables=variables, encoder=encoder,
                                 vocabulary=LetterVocabulary())


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory):
    """The dataset of the tiny run, without the run."""
    return tiny_run.write_data(tmp_path_factory.mktemp("tiny_data"))
