"""Beam search over semantic IDs, constrained to a trie of valid IDs (paper section 5).

T positions, unrolled: one program from token ids to IDs for a batch of queries. The encoder runs
once; the decoder once for each beam and level (``incremental_decoder``). What the trie allows is
looked up in its arrays on the device. As wide as a level has nodes, a beam drops nothing there, so
a beam as wide as the trie scores every valid ID: the search is exhaustive then.

Dims: B queries, W beams, T levels, K codes a level, D width, F most children of a node.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gsid_jax.errors import UserError
from gsid_jax.incremental_decoder import IncrementalDecoder
from gsid_jax.network import GSIDNetwork
from gsid_jax.trie import Trie

NEVER = -1e9  # log-probability of what cannot be, finite in float32
MAX_BEAM = 100_000


class Beams(NamedTuple):
    """The best IDs of each query, best first; of equal ones that of the smaller codes first.

    codes: int32 [B, W, T]. numbers: int32 [B, W], number of the ID in the trie. log_prob: float32
    [B, W], log P(ID | query). Where there are fewer IDs than beams the rest have codes -1, number
    -1 and log_prob -1e9. d: float32 [B, W, D], d_T after each ID's first T - 1 codes, not
    normalised. outside: float32 [B], probability that leaves the trie at a prefix that was kept;
    0 without a trie. What is neither outside nor in the beams was pruned: 1 - outside - sum exp.
    """

    codes: jax.Array
    numbers: jax.Array
    log_prob: jax.Array
    d: jax.Array
    outside: jax.Array


def beam_search(model: Any, params: Any, mutables: Mapping[str, Any], tokens_BxL: jax.Array,
                beam: int, trie: Trie | None = None) -> Beams:
    """The ``beam`` likeliest IDs of each text; traceable, ``model`` and ``beam`` static.

    Args:
      model: a GSIDModel whose level is T; its ``level_log_probs`` is the lookup.
      params, mutables: its variables.
      tokens_BxL: int32, 0 is padding.
      beam: W, at least 1; beam 1 without a trie is greedy decoding.
      trie: the valid IDs, T levels; None: every ID is valid, numbers are -1.

    Raises UserError for a beam or a trie that cannot be.
    """
    config, levels = model.module.config, model.level
    if not 1 <= beam <= MAX_BEAM:
        raise UserError(f"beam {beam}; expected 1 to {MAX_BEAM:,}")
    if trie is not None and trie.num_levels != levels:
        raise UserError(f"the trie has {trie.num_levels} levels, the model {levels}; expected the "
                        "index of this model's IDs")
    batch = tokens_BxL.shape[0]
    encoded = model.module.apply({"params": params}, tokens_BxL, method=GSIDNetwork.encode)
    decoder = IncrementalDecoder(config, params)
    state = decoder.start(encoded, tokens_BxL > 0)
    inputs = decoder.first_input(batch)
    codes = jnp.zeros((batch, 1, 0), jnp.int32)
    nodes = jnp.zeros((batch, 1), jnp.int32)
    log_prob = jnp.zeros((batch, 1), jnp.float32)
    outside = jnp.zeros((batch,), jnp.float32)
    for level in range(1, levels + 1):
        d, state = decoder.step(inputs, state)
        logp_BxWxK = model.level_log_probs(mutables, level, d, codes)
        child_codes, child_nodes, valid = _children(trie, level, nodes, config.codebook_size)
        step_BxWxF = (logp_BxWxK if trie is None else
                      jnp.take_along_axis(logp_BxWxK, child_codes, axis=-1))
        alive_BxW = log_prob > NEVER / 2
        valid &= alive_BxW[..., None]
        if trie is not None:
            kept = jnp.sum(jnp.where(valid, jnp.exp(step_BxWxF), 0.0), axis=-1)
            lost = jnp.exp(log_prob) * jnp.maximum(1.0 - kept, 0.0)
            outside += jnp.sum(jnp.where(alive_BxW, lost, 0.0), axis=-1)
        joint = jnp.where(valid, log_prob[..., None] + step_BxWxF, NEVER)
        fanout = joint.shape[-1]
        width = min(beam, joint.shape[1] * fanout)
        log_prob, place_BxW = jax.lax.top_k(joint.reshape(batch, -1), width)
        parents = place_BxW // fanout
        code = _pick(child_codes, place_BxW)
        nodes = _pick(child_nodes, place_BxW)
        codes = jnp.concatenate([_follow(codes, parents), code[..., None]], axis=-1)
        if level < levels:
            state = state.follow(parents)
            inputs = decoder.code_input(level, code)
    d = _follow(d, parents)
    found = (log_prob > NEVER / 2)
    codes = jnp.where(found[..., None], codes, -1)
    numbers = jnp.where(found, nodes, -1) if trie is not None else jnp.full_like(nodes, -1)
    missing = ((0, 0), (0, beam - log_prob.shape[1]))
    return Beams(
        codes=jnp.pad(codes, (*missing, (0, 0)), constant_values=-1),
        numbers=jnp.pad(numbers, missing, constant_values=-1),
        log_prob=jnp.pad(log_prob, missing, constant_values=NEVER),
        d=jnp.pad(d, (*missing, (0, 0))), outside=outside)


def _children(trie: Trie | None, level: int, nodes_BxW: jax.Array, size: int):
    """Codes, numbers and validity of the children of level-1 nodes: int32, int32, bool [B, W, F].
    """
    if trie is None:
        shape = (*nodes_BxW.shape, size)
        codes = jnp.broadcast_to(jnp.arange(size, dtype=jnp.int32), shape)
        return codes, jnp.zeros(shape, jnp.int32), jnp.ones(shape, bool)
    offsets = trie.children[level - 1]
    first = jnp.take(offsets, nodes_BxW)[..., None]
    end = jnp.take(offsets, nodes_BxW + 1)[..., None]
    shape = (*nodes_BxW.shape, trie.fanout[level - 1])
    child = jnp.broadcast_to(first, shape) + jnp.broadcast_to(
        jnp.arange(shape[-1], dtype=jnp.int32), shape)
    valid = child < jnp.broadcast_to(end, shape)
    child = jnp.where(valid, child, 0)
    return jnp.take(trie.codes[level - 1], child).astype(jnp.int32), child, valid


def _pick(x_BxWxF: jax.Array, place_BxW: jax.Array) -> jax.Array:
    return jnp.take_along_axis(x_BxWxF.reshape(x_BxWxF.shape[0], -1), place_BxW, axis=1)


def _follow(x_BxVxn: jax.Array, parents_BxW: jax.Array) -> jax.Array:
    return jnp.take_along_axis(x_BxVxn, parents_BxW[..., None], axis=1)
