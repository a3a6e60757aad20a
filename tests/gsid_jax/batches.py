"""Random batches and small models for the model tests."""

import jax.numpy as jnp
import numpy as np

from gsid_jax.codebook import CodebookConfig
from gsid_jax.gsid_model import GSIDModel
from gsid_jax.network import GSIDNetwork, T5Config

K, T, VOCAB = 8, 3, 60


def network(**changes) -> GSIDNetwork:
    return GSIDNetwork(T5Config(**{**dict(
        vocab_size=VOCAB, emb_dim=16, num_heads=2, head_dim=8, mlp_dim=32, num_encoder_layers=1,
        num_decoder_layers=1, dropout_rate=0.0, num_levels=T, codebook_size=K), **changes}))


def gsid_model(level=1, codebook=None, **options) -> GSIDModel:
    book = CodebookConfig(**{**dict(start_samples=32, prefix_buckets=64), **(codebook or {})})
    return GSIDModel(network(), level=level, codebook=book,
                     **{**dict(contrastive_only_steps=0), **options})


def gsid_batch(level=1, items=16, queries=2, seed=0) -> dict:
    """Items whose queries repeat their tokens, so that there is something to learn."""
    rng = np.random.default_rng(seed)
    item_tokens = rng.integers(2, VOCAB, (items, 6))
    query_tokens = np.stack([item_tokens[:, :4]] * queries, axis=1)
    query_ids = np.arange(1, items * queries + 1).reshape(items, queries)
    batch = dict(item_tokens=item_tokens, item_ids=np.arange(1, items + 1),
                 query_tokens=query_tokens, query_ids=query_ids,
                 item_query_ids=np.pad(query_ids, ((0, 0), (0, 2))))
    if level > 1:
        c = level - 1
        batch |= dict(item_codes=rng.integers(0, K, (items, c)),
                      query_codes=rng.integers(0, K, (items, queries, c)))
    batch = {k: jnp.asarray(v, jnp.int32) for k, v in batch.items()}
    batch["query_weights"] = jnp.ones((items, queries), jnp.float32)
    if level > 1:
        soft = lambda *shape: jnp.asarray(rng.dirichlet(np.ones(K), shape), jnp.float32)
        batch |= dict(item_soft=soft(items, c), query_soft=soft(items, queries, c))
    return batch
