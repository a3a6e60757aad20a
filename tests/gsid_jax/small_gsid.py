"""A GSID model small enough to score every ID one by one, for tests of search."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from gsid_jax.codebook import CodebookConfig
from gsid_jax.gsid_model import GSIDModel
from gsid_jax.network import GSIDNetwork, T5Config

LEVELS, SIZE = 3, 5
TOKENS = np.array([[5, 6, 7, 1, 0, 0], [8, 9, 1, 0, 0, 0], [4, 1, 0, 0, 0, 0]], np.int32)


@functools.cache
def build(scan_layers: bool = False, dtype: str = "float32", pooled_output: float = 0.0,
          **codebook):
    """(model, {'params', 'codebook'}); codebook options as in CodebookConfig. The means of M8 are
    filled, so that centring matters."""
    config = T5Config(
        vocab_size=20, emb_dim=16, num_heads=2, head_dim=8, mlp_dim=16, num_encoder_layers=1,
        num_decoder_layers=2 if scan_layers else 1, num_levels=LEVELS, codebook_size=SIZE,
        code_embedding_scale=1.0, pooled_output=pooled_output, scan_layers=scan_layers, dtype=dtype)
    model = GSIDModel(GSIDNetwork(config), level=LEVELS, codebook=CodebookConfig(
        start_samples=4, prefix_buckets=4, **codebook))
    variables = jax.jit(model.get_initial_variables)(jax.random.key(0))
    books = {}
    for name, book in variables["codebook"].items():
        key = jax.random.key(int(name[-1]))
        books[name] = {**book, "prefix_count": jnp.ones_like(book["prefix_count"]),
                       "prefix_sum": jax.random.normal(key, book["prefix_sum"].shape)}
    return model, {"params": variables["params"], "codebook": books}


@functools.cache
def scores(**options):
    """log P(ID | text) of all K^T IDs by `score_batch`: float32 [texts, K, ..., K]."""
    model, variables = build(**options)
    ids = np.stack(np.meshgrid(*[np.arange(SIZE)] * LEVELS, indexing="ij"), -1).reshape(-1, LEVELS)
    score = jax.jit(lambda tokens, codes: model.score_batch(
        variables["params"], {"encoder_input_tokens": tokens, "codes": codes},
        flax_mutables={"codebook": variables["codebook"]}))
    found = [score(np.repeat(row[None], len(ids), axis=0), ids) for row in TOKENS]
    return np.stack(found).reshape(len(TOKENS), *[SIZE] * LEVELS)
