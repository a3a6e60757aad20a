"""The same search with Hugging Face: T5 whose decoder tokens are codes, constrained by a function.

Decoder token 0 is BOS; code k of level t (from 0) is token 1 + t K + k. The head is the codebook,
and logits of other levels are set to -inf, so that the softmax runs over the K codes of a level as
in GSID. Needs torch and transformers.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import transformers

from gsid_jax.network import T5Config
from tools.hf_t5 import names


class LevelT5(transformers.T5ForConditionalGeneration):
    """T5 whose position t gives logits to the codes of level t only."""

    codebook_size = 0

    def forward(self, *args, **kwargs):  # pylint: disable=missing-docstring
        cache = kwargs.get("cache", kwargs.get("past_key_values"))  # the newer, the older name
        level = 0 if cache is None else cache.get_seq_length()
        out = super().forward(*args, **kwargs)
        first = 1 + level * self.codebook_size
        out.logits[..., :first] = -torch.inf
        out.logits[..., first + self.codebook_size:] = -torch.inf
        return out


def equivalent_t5(config: T5Config, params: Mapping[str, Any], heads: Sequence[np.ndarray],
                  unused_tokens: int = 0) -> LevelT5:
    """A T5 that generates what GSID decodes.

    Args:
      config: without scanned layers.
      params: of GSIDNetwork.
      heads: for each level [K, D], so that d heads[t]^T are the level's logits.
      unused_tokens: rows of the decoder's vocabulary that no ID uses, as when codes are added to
        a vocabulary of words.
    """
    levels, size = len(heads), config.codebook_size
    hf = LevelT5(transformers.T5Config(
        vocab_size=config.vocab_size, d_model=config.emb_dim, d_kv=config.head_dim,
        d_ff=config.mlp_dim, num_layers=config.num_encoder_layers,
        num_decoder_layers=config.num_decoder_layers, num_heads=config.num_heads,
        relative_attention_num_buckets=config.relative_buckets,
        relative_attention_max_distance=config.relative_max_distance, dropout_rate=0.0,
        feed_forward_proj="gated-gelu", tie_word_embeddings=False, pad_token_id=0,
        eos_token_id=None, decoder_start_token_id=0))
    flat = {"/".join(path): np.asarray(leaf) for path, leaf in _leaves(params)}
    state = dict(hf.state_dict())
    for theirs, ours in names.pairs(config).items():
        if theirs != names.HEAD:
            state[theirs] = torch.tensor(names.across(ours, flat[ours]))
    state["encoder.embed_tokens.weight"] = state[names.EMBEDDING]
    tables = [flat[f"code_embedders_{t}/embedding"] for t in range(levels - 1)]
    tokens = np.concatenate([flat["bos"][None], *tables, np.zeros_like(heads[-1])])
    unused = np.zeros((unused_tokens, config.emb_dim), np.float32)
    rows = len(tokens) + unused_tokens
    hf.decoder.embed_tokens = torch.nn.Embedding(rows, config.emb_dim)
    hf.lm_head = torch.nn.Linear(config.emb_dim, rows, bias=False)
    state["decoder.embed_tokens.weight"] = torch.tensor(np.concatenate([tokens, unused]))
    state["lm_head.weight"] = torch.tensor(
        np.concatenate([np.zeros((1, config.emb_dim), np.float32), *heads, unused]))
    hf.load_state_dict(state)
    hf.config.vocab_size = rows
    hf.codebook_size = size
    return hf.eval()


def _leaves(tree: Mapping[str, Any], path: tuple[str, ...] = ()):
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, (*path, name))
        else:
            yield (*path, name), value


def allowed_tokens(ids_NxT: np.ndarray, size: int):
    """prefix_allowed_tokens_fn for these IDs: a dictionary from prefix to tokens."""
    tokens = 1 + ids_NxT + size * np.arange(ids_NxT.shape[1])
    children: dict[tuple[int, ...], dict[int, None]] = {}
    for row in tokens.tolist():
        for level, token in enumerate(row):
            children.setdefault(tuple(row[:level]), {})[token] = None
    lists = {prefix: list(found) for prefix, found in children.items()}

    def allowed(_, sentence):
        return lists.get(tuple(sentence[1:].tolist()), [0])  # a dead beam: BOS, of probability 0
    return allowed


@torch.no_grad()
def generate(hf: LevelT5, tokens_BxL: np.ndarray, allowed, beam: int, levels: int
             ) -> tuple[np.ndarray, np.ndarray]:
    """IDs int [B, beam, T] and their log-probabilities float [B, beam], best first."""
    tokens = torch.tensor(tokens_BxL, dtype=torch.long)
    out = hf.generate(
        input_ids=tokens, attention_mask=(tokens > 0).long(), num_beams=beam,
        num_return_sequences=beam, max_new_tokens=levels, min_new_tokens=levels, do_sample=False,
        length_penalty=0.0, prefix_allowed_tokens_fn=allowed, return_dict_in_generate=True,
        output_scores=True)
    codes = out.sequences[:, 1:].numpy() - 1 - hf.codebook_size * np.arange(levels)
    return (codes.reshape(len(tokens_BxL), beam, levels),
            out.sequences_scores.numpy().reshape(len(tokens_BxL), beam))
