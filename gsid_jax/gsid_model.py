"""GSIDModel: one step of the progressive training (paper 2.2.2; equations M2-M9)."""

import dataclasses
from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp

from gsid_jax import losses
from gsid_jax.codebook import Codebook, CodebookConfig
from gsid_jax.errors import UserError
from gsid_jax.metrics import Mean
from gsid_jax.models import (BaseModel, Batch, PyTree, batch_contrastive, flatten_queries,
                             in_groups, weighted_mean)
from gsid_jax.network import GSIDNetwork

BALANCES = ("entropy", "conditional_entropy", "sinkhorn", "none")
PREFIXES = ("item", "own")


class CodebookHead(nn.Module):
    """The T codebooks as one Flax module; its only collection is "codebook"."""

    config: CodebookConfig
    num_levels: int
    size: int
    width: int

    def setup(self):
        self.levels = [Codebook(self.config, t + 1, self.size, self.width, name=f"level_{t + 1}")
                       for t in range(self.num_levels)]

    def __call__(self, d_BxTxD, codes_BxT):
        return self.log_probs(d_BxTxD, codes_BxT)

    def log_probs(self, d_BxTxD: jax.Array, codes_BxC: jax.Array) -> jax.Array:
        """log P(z_i | z_<i, x) for i = 1..t: [..., t, D], int [..., C >= t-1] -> [..., t, K]."""
        logits = [self.levels[i].logits(d_BxTxD[..., i, :], codes_BxC[..., :i])
                  for i in range(d_BxTxD.shape[-2])]
        return jax.nn.log_softmax(jnp.stack(logits, axis=-2), axis=-1)

    def level_log_probs(self, level: int, d: jax.Array, prefix: jax.Array) -> jax.Array:
        """log P(z_level | prefix, x) of one level (1-based): [..., D], int [..., C] -> [..., K]."""
        return jax.nn.log_softmax(self.levels[level - 1].logits(d, prefix), axis=-1)

    def update(self, level: int, d_BxD, prefix_BxC, codes_B, start_at: int):
        self.levels[level - 1].update(d_BxD, prefix_BxC, codes_B, start_at)

    def health(self, level: int):
        return self.levels[level - 1].health()

    def steps(self, level: int):
        return self.levels[level - 1].steps.value


@dataclasses.dataclass
class GSIDModel(BaseModel):
    """Trains level `level` of the semantic IDs; earlier codebooks stay as they are.

    The defaults are the recipe of method.md section 6; gin_configs/experiments/paper_literal.gin
    sets the paper's own.
    """

    module: nn.Module
    optimizer_def: Any = None
    level: int = 1  # t, 1-based: the codebook in training
    codebook: CodebookConfig = CodebookConfig()
    tau: float = 0.05  # temperature of M2
    contrastive_weight: float = 1.0
    alignment_weight: float = 1.0  # M3
    alignment_direction: str = "symmetric"
    alignment_stop_gradient: bool = False
    commitment_weight: float = 1.0  # M4
    distillation_weight: float = 4.0  # M9
    balance: str = "entropy"  # M6
    balance_weight: float = 3.0  # what level 1 needs; the gin files of later steps say 1
    argmax_ce_weight: float = 0.3  # M7
    contrastive_only_steps: int = 100  # n of the first phase
    retain_in_first_phase: bool = True  # M4 and M9 stay on in it (t > 1); False is the paper
    query_prefix: str = "item"  # decode queries after the item's codes or after their 'own'
    ema_queries: bool = False  # M5 counts queries too
    similarity_block: int | None = None  # queries compared at a time (M2); None: all at once

    _converter = "GSIDFeatureConverter"

    def __post_init__(self):
        c = self.module.config
        for name, value, allowed in (
                ("balance", self.balance, BALANCES), ("query_prefix", self.query_prefix, PREFIXES),
                ("alignment_direction", self.alignment_direction, losses.ALIGNMENTS),
                ("level", self.level, tuple(range(1, c.num_levels + 1)))):
            if value not in allowed:
                raise UserError(f"GSIDModel.{name}: got {value!r}, expected one of {allowed}")
        self.head = CodebookHead(self.codebook, c.num_levels, c.codebook_size, c.emb_dim)

    def get_initial_variables(self, rng, input_shapes=None, input_types=None) -> PyTree:
        """params and codebook (with their axes), the codebooks of all T levels among them."""
        c = self.module.config
        variables = dict(super().get_initial_variables(rng))
        d = jnp.zeros((1, c.num_levels, c.emb_dim))
        variables.update(self.head.init(rng, d, jnp.zeros((1, c.num_levels), jnp.int32)))
        return variables

    def arithmetic(self, input_spec, layout) -> list[str]:
        """What the trainer prints at the start: negatives, codes, phases."""
        items = layout.batch_size // layout.num_microbatches
        queries = input_spec["query_ids"].shape[1]
        c = self.module.config
        return [f"level {self.level} of {c.num_levels}, {c.codebook_size} codes each; "
                f"{items * queries:,} queries against {items:,} items, {items - 1:,} negatives a "
                "query at most (known positives left out; microbatches add none)",
                f"the first {self.contrastive_only_steps:,} steps are contrastive only"]

    def _head(self, mutables, method, *args, **kwargs):
        return self.head.apply({"codebook": mutables["codebook"]}, *args, method=method, **kwargs)

    def log_probs(self, mutables, d_BxTxD: jax.Array, codes_BxC: jax.Array) -> jax.Array:
        """log P(z_i | z_<i, x) for i = 1..t: outputs [B, t, D], int [B, C >= t-1] -> [B, t, K]."""
        return self._head(mutables, CodebookHead.log_probs, d_BxTxD, codes_BxC)

    def level_log_probs(self, mutables, level: int, d: jax.Array, codes: jax.Array) -> jax.Array:
        """log P(z_level | z_<level, x): outputs of that level [..., D], int [..., level - 1] ->
        [..., K]."""
        return self._head(mutables, CodebookHead.level_log_probs, level, d, codes)

    def _decode(self, params, rng, tokens, codes):
        return self._decode_each(params, rng, tokens, [codes])[0]

    def _decode_each(self, params, rng, tokens, prefixes):
        """d_1.. of the texts after each of the prefixes; the encoder runs once."""
        rngs = (None, None) if rng is None else jax.random.split(rng)
        encoded = self._apply(params, rngs[0], GSIDNetwork.encode, tokens)
        return [self._apply(params, rngs[1], GSIDNetwork.decode_codes, encoded, tokens > 0, codes)
                for codes in prefixes]

    def represent(self, params: PyTree, batch: Batch, dropout_rng=None) -> dict[str, jax.Array]:
        """The outputs d_1..d_t that the losses read: items [B, t, D], queries [B, Q, t, D].

        All that depends on the parameters, and of each row on this row alone: a trainer may make
        it in parts (`trainer.Trainer.num_chunks`).
        """
        q = flatten_queries(batch)
        item_codes, query_codes = self._stored_codes(batch, q)
        prefix_NxC = self._query_prefix(item_codes, query_codes, q)
        rngs = (None, None) if dropout_rng is None else jax.random.split(dropout_rng)

        def decode(rng, tokens, codes):
            return self._decode(params, rng, tokens, codes)

        d_NxTxD = in_groups(decode, rngs[1], q["tokens"], prefix_NxC, batch.get("query_order"))
        return {"items": in_groups(decode, rngs[0], batch["item_tokens"], item_codes,
                                   batch.get("item_order")),
                "queries": d_NxTxD.reshape(*batch["query_ids"].shape, *d_NxTxD.shape[1:])}

    def _query_prefix(self, item_codes, query_codes, q):
        return (jnp.take(item_codes, q["own"], axis=0) if self.query_prefix == "item"
                else query_codes)

    def loss_fn(self, params: PyTree, batch: Batch, dropout_rng=None, flax_mutables=None):
        """Loss of step t over the global batch -> (loss, (metrics, flax_mutables)).

        batch: item_tokens int32 [B, L], item_ids int32 [B], query_tokens int32 [B, Q, Lq],
        query_ids int32 [B, Q] (0 is padding), query_weights [B, Q], item_query_ids int32 [B, P];
        for t > 1 also item_codes int32 [B, t-1], query_codes int32 [B, Q, t-1], item_soft
        float32 [B, t-1, K], query_soft float32 [B, Q, t-1, K].
        """
        return self.loss_of(self.represent(params, batch, dropout_rng), batch, flax_mutables)

    def loss_of(self, outputs: dict[str, jax.Array], batch: Batch, flax_mutables=None):
        """`loss_fn` from what `represent` gives; reads no parameters."""
        t, b = self.level, batch["item_ids"].shape[0]
        q = flatten_queries(batch)
        item_codes, query_codes = self._stored_codes(batch, q)
        prefix_NxC = self._query_prefix(item_codes, query_codes, q)
        d_BxTxD, d_NxTxD = outputs["items"], outputs["queries"]
        d_NxTxD = d_NxTxD.reshape(-1, *d_NxTxD.shape[2:])
        item_logp = self._head(flax_mutables, CodebookHead.log_probs, d_BxTxD, item_codes)
        query_logp = self._head(flax_mutables, CodebookHead.log_probs, d_NxTxD, prefix_NxC)

        loss_N, first_N = batch_contrastive(d_NxTxD[:, -1], d_BxTxD[:, -1], q, batch, self.tau,
                                            self.similarity_block)
        own_logp = jnp.take(item_logp[:, -1], q["own"], axis=0)
        align_N = losses.alignment(query_logp[:, -1], own_logp, self.alignment_direction,
                                   self.alignment_stop_gradient)
        codes_B, hard_N, hard_B = self._targets(item_logp[:, -1], query_logp[:, -1], q)
        w, w_B = q["weights"], jnp.ones((b,), jnp.float32)
        retention = self._retention(batch, q, item_codes, query_codes, prefix_NxC, item_logp,
                                    query_logp)
        terms = {
            "contrastive": weighted_mean(loss_N, w),
            "alignment": weighted_mean(align_N, w),
            "balance": self._balance(item_logp[:, -1], item_codes),
            "argmax_ce": weighted_mean(hard_N, w) + weighted_mean(hard_B, w_B),
            **retention,
        }
        steps = self._head(flax_mutables, CodebookHead.steps, t)
        full = (steps >= self.contrastive_only_steps).astype(jnp.float32)
        retain = jnp.float32(1.0) if self.retain_in_first_phase else full
        loss = (self.contrastive_weight * terms["contrastive"]
                + full * (self.alignment_weight * terms["alignment"]
                          + self.balance_weight * terms["balance"]
                          + self.argmax_ce_weight * terms["argmax_ce"])
                + retain * (self.commitment_weight * terms["commitment"]
                            + self.distillation_weight * terms["distillation"]))

        mutables = self._update(flax_mutables, d_BxTxD[:, -1], item_codes, codes_B,
                                d_NxTxD[:, -1], prefix_NxC, query_logp[:, -1], w)
        query_code_N = jnp.argmax(query_logp[:, -1], axis=-1)
        item_code_N = jnp.take(jnp.argmax(item_logp[:, -1], axis=-1), q["own"])
        metrics = {name: Mean.of(value) for name, value in terms.items()}
        health = self._head(mutables, CodebookHead.health, t)
        metrics |= {name: Mean.of(value) for name, value in health.items()}
        metrics |= {
            "loss": Mean.of(loss), "contrastive_only": Mean.of(1.0 - full),
            "query_accuracy": Mean.over(first_N, w),
            "codes_agree": Mean.over((query_code_N == item_code_N).astype(jnp.float32), w)}
        return loss, (metrics, mutables)

    def _stored_codes(self, batch, q):
        """Item codes [B, t-1] and own codes of the queries [N, t-1]; empty at t = 1."""
        if self.level == 1:
            return (jnp.zeros((batch["item_ids"].shape[0], 0), jnp.int32),
                    jnp.zeros((q["ids"].shape[0], 0), jnp.int32))
        return batch["item_codes"], batch["query_codes"].reshape(q["ids"].shape[0], -1)

    def _targets(self, item_logp, query_logp, q):
        """Codes of the items [B] for M5, and M7 of queries [N] and items [B]."""
        balanced = losses.sinkhorn(item_logp) if self.balance == "sinkhorn" else item_logp
        codes_B = jax.lax.stop_gradient(jnp.argmax(balanced, axis=-1))
        return (codes_B, losses.code_cross_entropy(query_logp, jnp.take(codes_B, q["own"])),
                losses.code_cross_entropy(item_logp, codes_B))

    def _balance(self, item_logp, item_codes):
        if self.balance == "entropy":
            return losses.entropy_balance(jnp.exp(item_logp))
        if self.balance == "conditional_entropy":
            return losses.conditional_entropy_balance(jnp.exp(item_logp), item_codes)
        return jnp.float32(0.0)  # 'sinkhorn' balances the targets, 'none' nothing

    def _retention(self, batch, q, item_codes, query_codes, prefix, item_logp, query_logp):
        """M4 and M9, scalars: sums over the levels before t, means over items and queries.

        A query's distribution at level i is comparable with the item's codes (M4) or its own
        stored distribution (M9) only where its decoder read the same prefix; elsewhere the
        level does not count.
        """
        commitment = distillation = jnp.float32(0.0)
        if self.level == 1:
            return {"commitment": commitment, "distillation": distillation}
        n, w, k = q["ids"].shape[0], q["weights"], item_logp.shape[-1]
        own_item_codes = jnp.take(item_codes, q["own"], axis=0)
        query_soft = batch["query_soft"].reshape(n, self.level - 1, k)
        ones_B = jnp.ones(item_codes.shape[:1], jnp.float32)

        def same_prefix(a, i):
            return w * jnp.all(a[:, :i] == prefix[:, :i], axis=-1).astype(jnp.float32)

        for i in range(self.level - 1):
            commitment += weighted_mean(
                losses.code_cross_entropy(item_logp[:, i], item_codes[:, i]), ones_B)
            commitment += weighted_mean(
                losses.code_cross_entropy(query_logp[:, i], own_item_codes[:, i]),
                same_prefix(own_item_codes, i))
            distillation += weighted_mean(
                losses.distillation(batch["item_soft"][:, i], item_logp[:, i]), ones_B)
            distillation += weighted_mean(
                losses.distillation(query_soft[:, i], query_logp[:, i]),
                same_prefix(query_codes, i))
        return {"commitment": commitment, "distillation": distillation}

    def _update(self, mutables, d_BxD, item_codes, codes_B, d_NxD, prefix_NxC, query_logp, w):
        """M5 of level t; every other level's variables pass through untouched."""
        if self.ema_queries:
            d_BxD = jnp.concatenate([d_BxD, d_NxD])
            item_codes = jnp.concatenate([item_codes, prefix_NxC])
            nowhere = query_logp.shape[-1]  # a padding query's code: outside, so it never counts
            codes_N = jnp.where(w > 0, jnp.argmax(query_logp, axis=-1), nowhere)
            codes_B = jnp.concatenate([codes_B, codes_N])
        _, changed = self.head.apply(
            {"codebook": mutables["codebook"]}, self.level, d_BxD, item_codes, codes_B,
            self.contrastive_only_steps, method=CodebookHead.update, mutable=["codebook"])
        name = f"level_{self.level}"
        codebook = dict(mutables["codebook"])
        codebook[name] = changed["codebook"][name]
        updated = {**mutables, "codebook": codebook}
        # In the mapping type that came in: T5X carries frozen dictionaries.
        return jax.tree.unflatten(jax.tree.structure(mutables), jax.tree.leaves(updated))

    def predict_batch_with_aux(self, params, batch, rng=None, flax_mutables=None):
        """Greedy semantic IDs of encoder_input_tokens int32 [B, L]: codes int32 [B, t].

        With batch['codes'] int32 [B, C] the first C codes are forced. aux: log_prob [B, t] of
        the codes, soft [B, t, K], outputs [B, t, D] (L2-normalised d_1..d_t), embedding [B, D] (the
        last of them), greedy_codes [B, t] (the model's own path, codes or not). The encoder runs
        once.
        """
        del rng
        tokens = batch["encoder_input_tokens"]
        encoded = self._apply(params, None, GSIDNetwork.encode, tokens)

        def decode(forced):
            codes = jnp.zeros((tokens.shape[0], 0), jnp.int32)
            for i in range(self.level):
                d = self._apply(params, None, GSIDNetwork.decode_codes, encoded, tokens > 0, codes)
                logp = self.log_probs(flax_mutables, d, codes)
                code = (forced[:, i] if i < forced.shape[1]
                        else jnp.argmax(logp[:, i], axis=-1)).astype(jnp.int32)
                codes = jnp.concatenate([codes, code[:, None]], axis=1)
            return codes, d, logp

        free = jnp.zeros((tokens.shape[0], 0), jnp.int32)
        greedy_codes, d, logp = decode(free)
        codes = greedy_codes
        if "codes" in batch:
            codes, d, logp = decode(batch["codes"])
        log_prob = jnp.take_along_axis(logp, codes[..., None], axis=-1)[..., 0]
        outputs = losses.normalise(d)
        return codes, {"log_prob": log_prob, "soft": jnp.exp(logp), "outputs": outputs,
                       "embedding": outputs[:, -1], "greedy_codes": greedy_codes}

    def score_batch(self, params, batch, return_intermediates=False, flax_mutables=None):
        """log P(codes | encoder_input_tokens) of batch['codes'] int32 [B, t], float32 [B]."""
        del return_intermediates
        codes = batch["codes"]
        d = self._decode(params, None, batch["encoder_input_tokens"], codes[:, :-1])
        logp = self.log_probs(flax_mutables, d, codes[:, :-1])
        return -jnp.sum(losses.code_cross_entropy(logp, codes), axis=-1)
