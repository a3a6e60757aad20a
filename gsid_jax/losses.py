"""The losses of GSID, one equation each (M-numbers: docs/method.md). Pure, float32, per example."""

import jax
import jax.numpy as jnp


def normalise(x: jax.Array) -> jax.Array:
    """L2-normalises the last axis; a zero vector stays zero and keeps a finite gradient."""
    return x * jax.lax.rsqrt(jnp.sum(x * x, axis=-1, keepdims=True) + 1e-12)


def token_cross_entropy(logits_BxMxV: jax.Array, targets_BxM: jax.Array) -> jax.Array:
    """M1: -log P(y_j | y_<j, X), [B, M]."""
    log_z = jax.nn.logsumexp(logits_BxMxV, axis=-1)
    picked = jnp.take_along_axis(logits_BxMxV, targets_BxM[..., None], axis=-1)[..., 0]
    return log_z - picked


def positives(query_ids_N: jax.Array, item_query_ids_BxP: jax.Array, query_item_ids_N: jax.Array,
              item_ids_B: jax.Array) -> jax.Array:
    """Which items of the batch are known positives of which query, bool [N, B].

    An item is a positive of a query that was seen leading to it (its id is among the item's
    known query ids), or that was drawn for another record of the same item.

    Args:
      query_ids_N: int32 ids of the batch's queries; 0 is padding.
      item_query_ids_BxP: int32 known query ids of every item; 0 is padding.
      query_item_ids_N: int32 id of the item that each query was drawn for.
      item_ids_B: int32 ids of the batch's items.
    """
    same_item = query_item_ids_N[:, None] == item_ids_B[None, :]

    def known(p, found):
        return found | (query_ids_N[:, None] == item_query_ids_BxP[:, p][None, :])

    known_NxB = jax.lax.fori_loop(0, item_query_ids_BxP.shape[1], known,
                                  jnp.zeros(same_item.shape, bool))
    return same_item | (known_NxB & (query_ids_N > 0)[:, None])


def contrastive(queries_NxD: jax.Array, items_BxD: jax.Array, own_N: jax.Array,
                positive_NxB: jax.Array, tau: float) -> jax.Array:
    """M2, [N]: cross-entropy of each query's own item against the negatives of the global batch.

    Args:
      queries_NxD, items_BxD: representations; cosine similarity is taken here.
      own_N: int32 row of each query's own item.
      positive_NxB: known positives, left out of the denominator but for the own item.
      tau: temperature.
    """
    sim_NxB = normalise(queries_NxD) @ normalise(items_BxD).T / tau
    own_NxB = own_N[:, None] == jnp.arange(items_BxD.shape[0])[None, :]
    sim_NxB = jnp.where(positive_NxB & ~own_NxB, -1e9, sim_NxB)
    own_sim = jnp.take_along_axis(sim_NxB, own_N[:, None], axis=1)[:, 0]
    return jax.nn.logsumexp(sim_NxB, axis=-1) - own_sim


def kl(log_p: jax.Array, log_q: jax.Array) -> jax.Array:
    """KL(p || q) over the last axis."""
    return jnp.sum(jnp.exp(log_p) * (log_p - log_q), axis=-1)


ALIGNMENTS = ("symmetric", "p||q", "q||p", "hard")


def alignment(query_log_probs: jax.Array, item_log_probs: jax.Array, direction: str,
              stop_gradient: bool) -> jax.Array:
    """M3: divergence of the code distributions of a query and its item, over the last axis.

    direction: 'p||q' is KL(item || query), 'q||p' KL(query || item), 'symmetric' their mean,
    'hard' the cross-entropy to the item's argmax code (GenRet's choice, for comparison).
    stop_gradient: the first argument of each KL (the target) gets no gradient.
    """
    hold = jax.lax.stop_gradient if stop_gradient else lambda x: x
    if direction == "hard":
        code = jnp.argmax(item_log_probs, axis=-1)
        return -jnp.take_along_axis(query_log_probs, code[..., None], axis=-1)[..., 0]
    p_q = kl(hold(item_log_probs), query_log_probs)
    q_p = kl(hold(query_log_probs), item_log_probs)
    return {"p||q": p_q, "q||p": q_p, "symmetric": 0.5 * (p_q + q_p)}[direction]


def code_cross_entropy(log_probs: jax.Array, codes: jax.Array) -> jax.Array:
    """M4 and M7: -log P(z), [..., K] and int [...] -> [...]."""
    return -jnp.take_along_axis(log_probs, codes[..., None].astype(jnp.int32), axis=-1)[..., 0]


def distillation(stored_probs: jax.Array, log_probs: jax.Array) -> jax.Array:
    """M9: KL(stored || now) over the last axis; stored probabilities may hold zeros."""
    stored = stored_probs / jnp.maximum(jnp.sum(stored_probs, axis=-1, keepdims=True), 1e-9)
    log_stored = jnp.log(jnp.maximum(stored, 1e-9))
    return jnp.sum(stored * (log_stored - log_probs), axis=-1)


def entropy_balance(probs_BxK: jax.Array) -> jax.Array:
    """M6 'entropy': log K minus the entropy of the mean distribution, scalar >= 0."""
    mean_K = jnp.mean(probs_BxK, axis=0)
    entropy = -jnp.sum(mean_K * jnp.log(jnp.maximum(mean_K, 1e-9)))
    return jnp.log(jnp.float32(probs_BxK.shape[-1])) - entropy


def conditional_entropy_balance(probs_BxK: jax.Array, prefix_BxC: jax.Array) -> jax.Array:
    """M6 'conditional_entropy': the same inside each group of items with one prefix, scalar.

    A group of n items can spread over n codes at most: its shortfall counts from log min(n, K).
    """
    same_BxB = jnp.all(prefix_BxC[:, None, :] == prefix_BxC[None, :, :], axis=-1)
    same_BxB = same_BxB.astype(jnp.float32)
    size_B = jnp.sum(same_BxB, axis=-1)
    mean_BxK = (same_BxB @ probs_BxK) / size_B[:, None]
    entropy_B = -jnp.sum(mean_BxK * jnp.log(jnp.maximum(mean_BxK, 1e-9)), axis=-1)
    best_B = jnp.log(jnp.minimum(size_B, jnp.float32(probs_BxK.shape[-1])))
    return jnp.mean(jnp.maximum(best_B - entropy_B, 0.0))


def sinkhorn(logits_BxK: jax.Array, iterations: int = 20) -> jax.Array:
    """M6 'sinkhorn': log of the balanced assignment: rows sum to 1, columns to B / K.

    Logits are already divided by the code temperature. No gradient.
    """
    b, k = logits_BxK.shape
    log_q = jax.lax.stop_gradient(logits_BxK)

    def step(_, log_q):
        log_q = log_q - jax.nn.logsumexp(log_q, axis=0, keepdims=True) + jnp.log(b / k)
        return log_q - jax.nn.logsumexp(log_q, axis=1, keepdims=True)

    return jax.lax.fori_loop(0, iterations, step, log_q)
