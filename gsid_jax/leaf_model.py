"""GSID models that look codes up through the valid IDs (M10): for inference and for the short fit.

The collection "leaves" holds the valid IDs and their prototypes (`gsid_jax.leaf_marginals`), gets
no gradient and is replicated.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp

from gsid_jax import leaf_marginals, losses
from gsid_jax.gsid_model import GSIDModel
from gsid_jax.metrics import Mean
from gsid_jax.models import PyTree, batch_contrastive, flatten_queries, weighted_mean

EMPTY = -1e9  # the score of a code without valid IDs below it


def code_scores(logits: jax.Array, below: jax.Array, leaf_codes_M: jax.Array, size: int
                ) -> jax.Array:
    """logsumexp of the logits [..., M] of each code's leaves where `below` holds, [..., K]."""
    logits = jnp.where(below, logits, EMPTY)
    top = jnp.max(logits, axis=-1, keepdims=True)
    weights = jnp.exp(logits - jax.lax.stop_gradient(top))
    total = weights @ jax.nn.one_hot(leaf_codes_M, size, dtype=jnp.float32)
    return jnp.where(total > 0, jnp.log(jnp.maximum(total, 1e-30)), EMPTY)


def leaf_log_probs(logits_BxtxM: jax.Array, leaf_codes_MxT: jax.Array, codes_BxC: jax.Array,
                   size: int) -> jax.Array:
    """log P(z_i | z_<i, x) by leaf marginals, i = 1..t: float32 [B, t, K].

    logits: <d_i, leaf_i> / tau. codes: int [B, C >= t-1], the prefixes z_<i.
    """
    below_BxM = jnp.ones((logits_BxtxM.shape[0], leaf_codes_MxT.shape[0]), bool)
    levels = []
    for i in range(logits_BxtxM.shape[1]):
        if i:
            below_BxM &= codes_BxC[:, i - 1, None] == leaf_codes_MxT[None, :, i - 1]
        levels.append(code_scores(logits_BxtxM[:, i], below_BxM, leaf_codes_MxT[:, i], size))
    return jax.nn.log_softmax(jnp.stack(levels, axis=1), axis=-1)


@dataclasses.dataclass
class LeafModel(GSIDModel):
    """GSIDModel with M10's lookup in place of the codebooks'.

    `leaves` names the file of the valid IDs and prototypes, whose shapes the variables take.
    """

    leaf_tau: float = leaf_marginals.TAU
    leaves: str = ""  # what leaf_marginals.Leaves.save wrote

    @functools.cached_property
    def loaded_leaves(self) -> leaf_marginals.Leaves:
        return leaf_marginals.load(self.leaves)

    def get_initial_variables(self, rng, input_shapes=None, input_types=None) -> PyTree:
        """GSIDModel's, and the leaves as they were saved."""
        variables = super().get_initial_variables(rng, input_shapes, input_types)
        values = self.loaded_leaves.variables()
        return {**variables, "leaves": {name: jnp.asarray(x) for name, x in values.items()}}

    def log_probs(self, mutables, d_BxTxD: jax.Array, codes_BxC: jax.Array) -> jax.Array:
        leaves = mutables["leaves"]
        prototypes = leaves["prototypes"][:, :d_BxTxD.shape[1]]
        logits = jnp.einsum("btd,mtd->btm", losses.normalise(d_BxTxD), prototypes) / self.leaf_tau
        return leaf_log_probs(logits, leaves["codes"], codes_BxC, self.module.config.codebook_size)

    def level_log_probs(self, mutables, level: int, d: jax.Array, codes: jax.Array) -> jax.Array:
        leaves = mutables["leaves"]
        logits = losses.normalise(d) @ leaves["prototypes"][:, level - 1].T / self.leaf_tau
        below = jnp.ones(logits.shape, bool)
        for j in range(level - 1):
            below &= codes[..., j, None] == jnp.broadcast_to(leaves["codes"][:, j], below.shape)
        return jax.nn.log_softmax(code_scores(logits, below, leaves["codes"][:, level - 1],
                                              self.module.config.codebook_size), axis=-1)

    def variables(self, trained: PyTree) -> PyTree:
        """The variables of a trained GSIDModel with the leaves added."""
        return {**trained, "leaves": dict(self.loaded_leaves.variables())}


@dataclasses.dataclass
class FitModel(LeafModel):
    """The short fit after re-treeing (M10 c): M4 over all T levels and M2 on d_T.

    The item's whole ID, all T codes, comes with the batch; items and queries decode after it.
    With query_prefix 'own' queries are compared (M2) as they decode after their own codes.
    Prototypes follow by exponential moving average, like codebooks (M5).
    """

    leaf_tau: float = 0.1
    leaf_decay: float = 0.95

    def arithmetic(self, input_spec, layout) -> list[str]:
        """What the trainer prints at the start."""
        queries = input_spec["query_ids"].shape[1]
        return [f"{len(self.loaded_leaves.codes):,} IDs of {self.level} codes; "
                f"{layout.batch_size * queries:,} queries against {layout.batch_size:,} items"]

    def get_initial_variables(self, rng, input_shapes=None, input_types=None) -> PyTree:
        """GSIDModel's; the prototypes with the running sums that they are the means of."""
        variables = super().get_initial_variables(rng, input_shapes, input_types)
        leaves = variables["leaves"]
        return {**variables, "leaves": {**leaves, "sums": leaves["prototypes"]}}

    def loss_fn(self, params: PyTree, batch, dropout_rng=None, flax_mutables=None):
        """M2 + M4 over all levels; batch as in GSIDModel.loss_fn, with item_codes int32 [B, T]."""
        codes_BxT = batch["item_codes"]
        q = flatten_queries(batch)
        own_NxT = jnp.take(codes_BxT, q["own"], axis=0)
        rngs = (None, None) if dropout_rng is None else jax.random.split(dropout_rng)
        d_BxTxD = self._decode(params, rngs[0], batch["item_tokens"], codes_BxT[:, :-1])
        prefixes = [own_NxT[:, :-1]]
        if self.query_prefix == "own":
            prefixes.append(batch["query_codes"].reshape(own_NxT.shape)[:, :-1])
        d_NxTxD, *others = self._decode_each(params, rngs[1], q["tokens"], prefixes)
        compared_NxD = (others[0] if others else d_NxTxD)[:, -1]
        item_logp = self.log_probs(flax_mutables, d_BxTxD, codes_BxT)
        query_logp = self.log_probs(flax_mutables, d_NxTxD, own_NxT)
        loss_N, first_N = batch_contrastive(compared_NxD, d_BxTxD[:, -1], q, batch, self.tau)
        contrastive = weighted_mean(loss_N, q["weights"])
        ones_B = jnp.ones(codes_BxT.shape[:1], jnp.float32)
        commitment = (
            weighted_mean(losses.code_cross_entropy(item_logp, codes_BxT).sum(axis=-1), ones_B)
            + weighted_mean(losses.code_cross_entropy(query_logp, own_NxT).sum(axis=-1),
                            q["weights"]))
        loss = self.contrastive_weight * contrastive + self.commitment_weight * commitment
        right_NxT = jnp.cumprod(jnp.argmax(query_logp, axis=-1) == own_NxT, axis=-1)
        metrics = {"loss": Mean.of(loss), "contrastive": Mean.of(contrastive),
                   "commitment": Mean.of(commitment),
                   "query_accuracy": Mean.over(first_N, q["weights"]),
                   "codes_agree": Mean.over(right_NxT[:, -1].astype(jnp.float32), q["weights"])}
        leaves = self._update_leaves(flax_mutables["leaves"], d_BxTxD, codes_BxT)
        return loss, (metrics, {**flax_mutables, "leaves": leaves})

    def _update_leaves(self, leaves, d_BxTxD, codes_BxT):
        """Prototypes of the batch's IDs move towards its outputs; the others stay."""
        d_BxTxD = jax.lax.stop_gradient(losses.normalise(d_BxTxD))
        own_BxM = jnp.all(codes_BxT[:, None, :] == leaves["codes"][None], axis=-1)
        count_M = jnp.sum(own_BxM.astype(jnp.float32), axis=0)
        mean = jnp.einsum("bm,btd->mtd", own_BxM.astype(jnp.float32), d_BxTxD)
        mean = mean / jnp.maximum(count_M, 1.0)[:, None, None]
        keep = jnp.where(count_M > 0, self.leaf_decay ** count_M, 1.0)[:, None, None]
        sums = keep * leaves["sums"] + (1 - keep) * mean
        return {**leaves, "sums": sums, "prototypes": losses.normalise(sums)}


def with_leaves(model: GSIDModel, leaves: str, leaf_tau: float) -> LeafModel:
    """The same model with the lookup of M10."""
    fields = {f.name: getattr(model, f.name) for f in dataclasses.fields(GSIDModel)}
    return LeafModel(**fields, leaves=leaves, leaf_tau=leaf_tau)
