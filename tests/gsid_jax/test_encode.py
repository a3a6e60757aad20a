"""The encoder: order, buckets, forced codes and what comes back."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gsid_jax import encode
from gsid_jax.errors import UserError
from gsid_jax.partitioning import Partitioner


def letter_sums(texts, max_length=12):
    return np.array([1 + sum(3 + ord(letter) - ord("a") for letter in text[:max_length - 1])
                     for text in texts])


@pytest.fixture(scope="module")
def texts():
    random = np.random.default_rng(0)
    return ["".join(random.choice(list("abcdefgh"), random.integers(1, 15))) for _ in range(61)]


def test_order_is_kept_across_buckets_and_padding(letters, texts):
    encoded = letters.encoder().encode(texts)
    sums = letter_sums(texts)
    np.testing.assert_array_equal(encoded["codes"], (sums[:, None] + [0, 1]) % 8)
    np.testing.assert_array_equal(encoded["embedding"][:, 0], sums)
    lengths = np.minimum([len(text) + 1 for text in texts], 12)
    np.testing.assert_array_equal(encoded["embedding"][:, 1], lengths)


def test_one_compilation_per_bucket(letters, texts):
    encoder = letters.encoder()
    encoder.encode(texts)
    traces = encoder._model.traces
    encoder.encode(texts[::-1])
    assert encoder._model.traces == traces
    assert traces == 1 + 3  # the sizes, then lengths 4, 8 and 12


def test_bucket_lengths():
    assert encode.bucket_lengths((64, 16, 32), 48) == (16, 32, 48)
    assert encode.bucket_lengths((16, 32), 32) == (16, 32)
    assert encode.bucket_lengths((16,), 8) == (8,)


def test_long_texts_are_cut_before_the_eos_and_counted(letters):
    encoder = letters.encoder()
    assert encoder.tokenize("a" * 11) == [3] * 11 + [1]
    assert encoder.cut_texts == 0
    assert encoder.tokenize("a" * 12) == [3] * 11 + [1]
    assert encoder.cut_texts == 1
    assert encoder.tokenize("a" * 12, "query") == [3] * 11 + [1]
    assert letters.encoder(query_length=4).tokenize("a" * 12, "query") == [3, 3, 3, 1]


def test_soft_codes_are_the_likeliest_renormalised(letters, texts):
    encoded = letters.encoder(soft_size=3).encode(texts)
    assert encoded["soft"].dtype == np.float16 and encoded["soft_ids"].dtype == np.uint16
    np.testing.assert_array_equal(encoded["soft_ids"][..., 0], encoded["codes"])
    first = np.exp(2) / (np.exp(2) + 2)
    np.testing.assert_allclose(encoded["soft"][0, 0], [first, (1 - first) / 2, (1 - first) / 2],
                               atol=1e-3)


def test_soft_size_beyond_the_codebook_keeps_every_code(letters):
    encoded = letters.encoder(soft_size=100).encode(["a"])
    assert encoded["soft"].shape == (1, 2, 8)


def test_forced_codes_are_kept_and_the_own_path_recorded(letters, texts):
    encoder = letters.encoder()
    own = encoder.encode(texts)["codes"]
    forced = np.random.default_rng(1).integers(0, 8, (len(texts), 1))
    encoded = encoder.encode(texts, codes=forced)
    np.testing.assert_array_equal(encoded["codes"], np.concatenate([forced, own[:, 1:]], axis=1))
    np.testing.assert_array_equal(encoded["greedy_codes"], own)
    no_levels = encoder.encode(texts, codes=np.zeros((len(texts), 0), np.uint16))
    np.testing.assert_array_equal(no_levels["codes"], own)


def test_no_texts(letters):
    encoded = letters.encoder().encode([])
    assert encoded["codes"].shape == (0, 2) and encoded["embedding"].shape == (0, 2)


def test_values_that_are_not_finite_are_refused(letters):
    variables = letters.variables | {"params": {"scale": jnp.float32(np.nan)}}
    encoder = encode.Encoder(letters.Model(2), variables, letters.vocabulary, batch_size=8)
    with pytest.raises(UserError, match="not finite.*earlier checkpoint"):
        encoder.encode(["a"])


def test_a_model_without_codes_gives_embeddings_only(letters):
    class Dense(letters.Model):
        def predict_batch_with_aux(self, params, batch, rng=None, flax_mutables=None):
            aux = super().predict_batch_with_aux(params, batch, rng, flax_mutables)[1]
            return aux["embedding"], {"embedding": aux["embedding"]}

    encoder = encode.Encoder(Dense(2), letters.variables, letters.vocabulary, batch_size=8)
    encoded = encoder.encode(["ab", "a"])
    assert list(encoded) == ["embedding"]
    np.testing.assert_array_equal(encoded["embedding"][:, 0], letter_sums(["ab", "a"]))


def test_a_model_without_representations_is_refused(letters):
    class Tokens(letters.Model):
        def predict_batch_with_aux(self, params, batch, rng=None, flax_mutables=None):
            return batch["encoder_input_tokens"], {}

    with pytest.raises(UserError, match="Tokens gives no representations; expected a GSIDModel"):
        encode.Encoder(Tokens(2), letters.variables, letters.vocabulary).encode(["a"])


@pytest.mark.parametrize("options, text", [
    ({"max_length": 1}, "max_length is 1 and query_length 1; expected at least 2"),
    ({"batch_size": 0}, "batch_size is 0 .* at least 1")])
def test_impossible_settings(letters, options, text):
    with pytest.raises(UserError, match=text):
        letters.encoder(**options)


def test_one_code_row_per_text(letters):
    with pytest.raises(ValueError, match="codes have 2 rows for 1 texts"):
        letters.encoder().encode(["a"], codes=np.zeros((2, 1), np.int32))


def test_the_mesh_does_not_change_the_result(letters, texts):
    one = letters.encoder(partitioner=Partitioner(devices=jax.devices()[:1])).encode(texts)
    every = letters.encoder(partitioner=Partitioner()).encode(texts)
    for name, value in one.items():
        np.testing.assert_array_equal(value, every[name], err_msg=name)


def test_a_batch_that_the_mesh_does_not_divide_is_refused(letters):
    devices = len(jax.devices())
    if devices == 1:
        pytest.skip("needs several devices: every batch size fits one")
    with pytest.raises(UserError, match=f"batch_size is {devices + 1}, which cannot be split"):
        letters.encoder(batch_size=devices + 1)
