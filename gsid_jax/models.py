"""The models behind the T5X contract: pre-training, GSID and the dense baseline.

Each has loss_fn, eval_fn, predict_batch, predict_batch_with_aux, score_batch,
get_initial_variables and FEATURE_CONVERTER_CLS, shaped as T5X's BaseModel wants them, without
importing T5X. Dims: B items, Q queries an item, L input length, C codes of the prefix, T levels,
K codes a level, D width.
"""

from typing import Any, Mapping

from flax import linen as nn
import jax
import jax.numpy as jnp

from gsid_jax import losses
from gsid_jax.metrics import Mean
from gsid_jax.network import GSIDNetwork, constrain, mean_pool

Batch = Mapping[str, jax.Array]
PyTree = Any


class BaseModel:
    """What the three models share."""

    def __init__(self, module: nn.Module, optimizer_def: Any = None):
        self.module = module
        self.optimizer_def = optimizer_def

    @property
    def FEATURE_CONVERTER_CLS(self):
        """The SeqIO feature converter; imported when asked for, so that steps need no SeqIO."""
        from gsid_jax import feature_converters
        return getattr(feature_converters, self._converter)

    def get_initial_variables(self, rng, input_shapes=None, input_types=None) -> PyTree:
        """Fresh params and params_axes. Shapes do not depend on the batch: `input_shapes` is
        accepted for the contract's sake."""
        del input_shapes, input_types
        tokens = jnp.ones((1, 4), jnp.int32)
        codes = jnp.zeros((1, self.module.config.num_levels - 1), jnp.int32)
        return self.module.init({"params": rng}, tokens, tokens, codes)

    def eval_fn(self, params, batch, flax_mutables=None):
        """Loss and metrics without dropout; nothing is updated."""
        if flax_mutables is None:
            return self.loss_fn(params, batch, None)
        loss, (metrics, _) = self.loss_fn(params, batch, None, flax_mutables)
        return loss, metrics

    def predict_batch(self, params, batch, rng=None, flax_mutables=None):
        return self.predict_batch_with_aux(params, batch, rng, flax_mutables)[0]

    def _apply(self, params, dropout_rng, method, *args):
        rngs = {} if dropout_rng is None else {"dropout": dropout_rng}
        return self.module.apply({"params": params}, *args, dropout_rng is None, rngs=rngs,
                                 method=method)


class PretrainModel(BaseModel):
    """Domain-adaptive pre-training (M1, paper 2.2.1)."""

    _converter = "PretrainFeatureConverter"

    def __init__(self, module: nn.Module, optimizer_def: Any = None,
                 label_smoothing: float = 0.0, z_loss: float = 0.0):
        super().__init__(module, optimizer_def)
        self.label_smoothing = label_smoothing
        self.z_loss = z_loss

    def _logits(self, params, batch, dropout_rng):
        tokens = batch["encoder_input_tokens"]
        if dropout_rng is not None:
            encoder_rng, decoder_rng = jax.random.split(dropout_rng)
        else:
            encoder_rng = decoder_rng = None
        encoded = self._apply(params, encoder_rng, GSIDNetwork.encode, tokens)
        return self._apply(params, decoder_rng, GSIDNetwork.token_logits, encoded, tokens > 0,
                           batch["decoder_input_tokens"])

    def loss_fn(self, params: PyTree, batch: Batch, dropout_rng=None):
        """Mean cross-entropy a target token, and metrics.

        batch: encoder_input_tokens int32 [B, L], decoder_input_tokens and decoder_target_tokens
        int32 [B, M], decoder_loss_weights [B, M].
        """
        logits = self._logits(params, batch, dropout_rng)
        targets = batch["decoder_target_tokens"]
        weights = batch["decoder_loss_weights"].astype(jnp.float32)
        per_token = nll = losses.token_cross_entropy(logits, targets)
        if self.label_smoothing or self.z_loss:  # each is a pass over [B, M, V]
            log_z = jax.nn.logsumexp(logits, axis=-1)
            smooth = log_z - jnp.mean(logits, axis=-1)
            per_token = ((1 - self.label_smoothing) * nll + self.label_smoothing * smooth
                         + self.z_loss * log_z**2)
        # The target is the best token where it reaches the maximum: cheaper than an argmax.
        target_logits = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
        correct = (target_logits >= jnp.max(logits, axis=-1)).astype(jnp.float32)
        metrics = {"loss": Mean.over(per_token, weights),
                   "cross_entropy": Mean.over(nll, weights),
                   "token_accuracy": Mean.over(correct, weights)}
        return metrics["loss"].compute(), metrics

    def predict_batch_with_aux(self, params, batch, rng=None, flax_mutables=None):
        """Greedy text: int32 [B, M] tokens (0 after EOS), M that of decoder_input_tokens."""
        del rng, flax_mutables
        tokens = batch["encoder_input_tokens"]
        encoded = self._apply(params, None, GSIDNetwork.encode, tokens)
        b, m = batch["decoder_input_tokens"].shape

        def step(i, state):
            out, done = state
            shifted = jnp.concatenate([jnp.zeros((b, 1), jnp.int32), out[:, :-1]], axis=1)
            logits = self._apply(params, None, GSIDNetwork.token_logits, encoded, tokens > 0,
                                 shifted)
            token = jnp.where(done, 0, jnp.argmax(logits[:, i], axis=-1)).astype(jnp.int32)
            return out.at[:, i].set(token), done | (token == 1)

        out, _ = jax.lax.fori_loop(0, m, step, (jnp.zeros((b, m), jnp.int32),
                                                jnp.zeros((b,), bool)))
        return out, {}

    def score_batch(self, params, batch, return_intermediates=False, flax_mutables=None):
        """log P(target | input), float32 [B]."""
        del return_intermediates, flax_mutables
        nll = losses.token_cross_entropy(self._logits(params, batch, None),
                                         batch["decoder_target_tokens"])
        return -jnp.sum(nll * batch["decoder_loss_weights"].astype(jnp.float32), axis=-1)


def flatten_queries(batch: Batch) -> dict[str, jax.Array]:
    """The batch's queries as N = B * Q rows, with the row and id of the item of each."""
    b, q = batch["query_ids"].shape
    tokens = batch["query_tokens"]
    return {
        "tokens": tokens if isinstance(tokens, tuple) else tokens.reshape(b * q, -1),
        "ids": batch["query_ids"].reshape(b * q),
        "weights": batch["query_weights"].reshape(b * q).astype(jnp.float32),
        "own": jnp.repeat(jnp.arange(b), q),
        "item_ids": jnp.repeat(batch["item_ids"], q),
    }


def in_groups(fn, rng, tokens, codes_NxC: jax.Array, order_N: jax.Array | None) -> jax.Array:
    """`fn(rng, tokens, codes)` of rows that may come in groups of several lengths.

    Args:
      tokens: int32 [N, L]; or, with `order_N`, a tuple of int32 [n, L_i] with those rows of the
        batch that `order_N` lists (`gsid_jax.length_groups`).
      codes_NxC: of every row, in the batch's order.

    Returns rows in the batch's order.
    """
    if order_N is None:
        return fn(rng, tokens, codes_NxC)
    outputs, start = [], 0
    for number, part in enumerate(tokens):
        rows = jax.lax.dynamic_slice_in_dim(order_N, start, part.shape[0])
        own = None if rng is None else jax.random.fold_in(rng, number)
        outputs.append(fn(own, part, jnp.take(codes_NxC, rows, axis=0)))
        start += part.shape[0]
    outputs = jnp.concatenate(outputs)
    return jnp.zeros_like(outputs).at[order_N].set(outputs, unique_indices=True)


def weighted_mean(values: jax.Array, weights: jax.Array) -> jax.Array:
    return jnp.sum(values * weights) / jnp.maximum(jnp.sum(weights), 1.0)


def batch_contrastive(queries_NxD, items_BxD, q, batch, tau, block: int | None = None):
    """M2 over the global batch: per-query loss [N] and whether the own item ranks first [N].

    With `block`, that many queries (or the next divisor of N below) are compared with the items
    at a time and their similarities are made again for the gradient: memory block x B instead of
    N x B, the same numbers.
    """

    def compare(rows):
        queries, ids, item_ids, own = rows
        positive = losses.positives(ids, batch["item_query_ids"], item_ids, batch["item_ids"])
        loss = losses.contrastive(queries, items_BxD, own, positive, tau)
        own_item = own[:, None] == jnp.arange(items_BxD.shape[0])[None, :]
        sim = losses.normalise(queries) @ losses.normalise(items_BxD).T
        sim = jnp.where(positive & ~own_item, -2.0, sim)
        return loss, (jnp.argmax(sim, axis=-1) == own).astype(jnp.float32)

    rows = (queries_NxD, q["ids"], q["item_ids"], q["own"])
    n = queries_NxD.shape[0]
    blocks = 1 if block is None else next(k for k in range(-(-n // block), n + 1) if n % k == 0)
    if blocks == 1:
        return compare(rows)

    def split(x):  # neighbours go to different blocks, so that a block has rows on every device
        x = jnp.swapaxes(x.reshape(n // blocks, blocks, *x.shape[1:]), 0, 1)
        return constrain(x, (None, "batch") + (None,) * (x.ndim - 2))

    loss, first = jax.lax.map(jax.checkpoint(compare), jax.tree.map(split, rows))
    return loss.T.reshape(n), first.T.reshape(n)


class DualEncoderModel(BaseModel):
    """Mean-pooled T5 encoder under contrastive loss: the in-domain dense baseline (paper 3.2)."""

    _converter = "GSIDFeatureConverter"

    def __init__(self, module: nn.Module, optimizer_def: Any = None, tau: float = 0.05,
                 similarity_block: int | None = None):
        super().__init__(module, optimizer_def)
        self.tau = tau
        self.similarity_block = similarity_block

    def _embed(self, params, tokens, dropout_rng):
        x_BxLxD = self._apply(params, dropout_rng, GSIDNetwork.encode, tokens)
        return mean_pool(x_BxLxD, tokens > 0)

    def represent(self, params: PyTree, batch: Batch, dropout_rng=None) -> dict[str, jax.Array]:
        """Embeddings of items [B, D] and queries [B, Q, D]; see GSIDModel.represent."""
        rngs = (None, None) if dropout_rng is None else jax.random.split(dropout_rng)
        q = flatten_queries(batch)

        def embed(rng, tokens, codes):
            del codes
            return self._embed(params, tokens, rng)

        items = in_groups(embed, rngs[0], batch["item_tokens"],
                          jnp.zeros((*batch["item_ids"].shape, 0), jnp.int32),
                          batch.get("item_order"))
        queries = in_groups(embed, rngs[1], q["tokens"],
                            jnp.zeros((*q["ids"].shape, 0), jnp.int32), batch.get("query_order"))
        return {"items": items, "queries": queries.reshape(*batch["query_ids"].shape, -1)}

    def loss_fn(self, params: PyTree, batch: Batch, dropout_rng=None):
        """Contrastive loss on GSID's batches (GSIDModel.loss_fn lists the features)."""
        return self.loss_of(self.represent(params, batch, dropout_rng), batch)

    def loss_of(self, outputs: dict[str, jax.Array], batch: Batch):
        """`loss_fn` from what `represent` gives; reads no parameters."""
        q = flatten_queries(batch)
        items_BxD, queries_NxD = outputs["items"], outputs["queries"].reshape(q["ids"].size, -1)
        loss_N, first_N = batch_contrastive(queries_NxD, items_BxD, q, batch, self.tau,
                                            self.similarity_block)
        loss = weighted_mean(loss_N, q["weights"])
        return loss, {"loss": Mean.of(loss), "contrastive": Mean.over(loss_N, q["weights"]),
                      "query_accuracy": Mean.over(first_N, q["weights"])}

    def predict_batch_with_aux(self, params, batch, rng=None, flax_mutables=None):
        """L2-normalised embedding float32 [B, D], of encoder_input_tokens int32 [B, L]."""
        del rng, flax_mutables
        embedding = losses.normalise(self._embed(params, batch["encoder_input_tokens"], None))
        return embedding, {"embedding": embedding}

    def score_batch(self, params, batch, return_intermediates=False, flax_mutables=None):
        """Cosine of every item with its first query, float32 [B]."""
        del return_intermediates, flax_mutables
        items = losses.normalise(self._embed(params, batch["item_tokens"], None))
        queries = losses.normalise(self._embed(params, batch["query_tokens"][:, 0], None))
        return jnp.sum(items * queries, axis=-1)
