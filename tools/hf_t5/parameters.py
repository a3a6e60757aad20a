"""A folder's tensors as parameters of `gsid_jax.network`, and back, with every one accounted for."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from gsid_jax.checkpoint_files import by_name, listed
from gsid_jax.errors import UserError
from gsid_jax.network import T5Config
from tools.hf_t5 import names
from tools.hf_t5.gsid_file import Extras

ROWS = 128  # the vocabulary is padded to a multiple of it


@dataclasses.dataclass(frozen=True)
class Imported:
    """Parameters, and what became of each tensor, as lines for the user."""

    params: dict[str, Any]
    taken: int
    notes: list[str]


def shapes(config: T5Config) -> dict[str, tuple[int, ...]]:
    """{Hugging Face name: shape} that a T5 of these sizes has."""
    joined, c = config.num_heads * config.head_dim, config
    by_last = {"query": (joined, c.emb_dim), "key": (joined, c.emb_dim),
               "value": (joined, c.emb_dim), "out": (c.emb_dim, joined),
               "wo": (c.emb_dim, c.mlp_dim), "token_embedder": (c.vocab_size, c.emb_dim),
               "logits_dense": (c.vocab_size, c.emb_dim),
               "relpos_bias": (c.relative_buckets, c.num_heads)}

    def shape(ours: str) -> tuple[int, ...]:
        part = ours.split("/")[-2]
        if ours.endswith("scale"):
            return (c.emb_dim,)
        return (c.mlp_dim, c.emb_dim) if part.startswith("wi") else by_last[part]

    return {theirs: shape(ours) for theirs, ours in names.pairs(config).items()}


def checked(config: T5Config, tensors: Mapping[str, np.ndarray], source: str
            ) -> tuple[dict[str, np.ndarray], list[str]]:
    """The tensors that count, and notes on those that do not.

    Raises UserError that names tensors which are missing, too many or of another shape.
    """
    wanted, notes = shapes(config), []
    rest = {name: tuple(array.shape) for name, array in tensors.items()}
    for alias in names.ALIASES:
        if alias in rest and names.EMBEDDING in tensors:
            if not np.array_equal(tensors[alias], tensors[names.EMBEDDING]):
                raise UserError(f"{source}: {alias} of shape {rest[alias]} differs from "
                                f"{names.EMBEDDING} of shape {rest[names.EMBEDDING]}; expected one "
                                "embedding for encoder and decoder, as every T5 has")
            notes.append(f"{alias} is {names.EMBEDDING} again")
            del rest[alias]
    if names.HEAD in rest and names.HEAD not in wanted:
        notes.append(f"{names.HEAD} is {names.EMBEDDING} again: the head is tied")
        del rest[names.HEAD]
    for name in names.LEFTOVERS:
        if name in rest:
            notes.append(f"{name} {list(rest.pop(name))} is left out: no version of T5 reads it")
    problems = {}
    for name, shape in wanted.items():
        if name not in rest:
            problems[name] = f"{name} is missing; config.json asks for shape {shape}"
        elif rest[name] != shape:
            problems[name] = f"{name} has shape {rest[name]}, config.json asks for {shape}"
    problems |= {name: f"{name} of shape {shape} is there, but a T5 of this config.json has none"
                 for name, shape in rest.items() if name not in wanted}
    if problems:
        raise UserError(f"the weights of {source} are not those of its config.json: "
                        f"{listed(problems, 4)}; expected each tensor of a T5 and no other: fetch "
                        "the folder again, or correct config.json")
    return {name: tensors[name] for name in wanted}, notes


def to_ours(config: T5Config, tensors: Mapping[str, np.ndarray], source: str,
            start_token: int = 0, extras: Extras | None = None, seed: int = 0) -> Imported:
    """All parameters of the network from a folder's tensors, float32.

    `config` has the vocabulary of the folder; rows are added up to a multiple of 128. BOS is the
    embedding of the token that T5's decoder starts with, so that the decoders agree. Without
    `extras` the code embeddings are drawn from `seed`.
    """
    kept, notes = checked(config, tensors, source)
    pairs = names.pairs(config)
    flat = {pairs[name]: names.across(pairs[name], np.asarray(array, np.float32))
            for name, array in kept.items()}
    rng = np.random.default_rng(seed)
    embedding = flat["token_embedder/embedding"].copy()
    flat["bos"] = embedding[start_token].copy()
    if extras is None:
        notes.append(f"bos [{config.emb_dim}] is row {start_token} of {names.EMBEDDING}, which "
                     "T5's decoder starts with")
        if config.num_levels > 1:
            notes.append(f"fresh, normal with deviation {config.code_embedding_scale}, seed {seed}"
                         f": code_embedders_0 to {config.num_levels - 2}, embedding "
                         f"[{config.codebook_size}, {config.emb_dim}] each")
        for i in range(config.num_levels - 1):
            table = rng.standard_normal((config.codebook_size, config.emb_dim), np.float32)
            flat[f"code_embedders_{i}/embedding"] = table * np.float32(config.code_embedding_scale)
    else:
        flat["bos"] = extras.bos
        if extras.pad_embedding is not None:
            embedding[0] = extras.pad_embedding
        flat |= {f"code_embedders_{i}/embedding": table
                 for i, table in enumerate(extras.code_embeddings)}
        notes.append(f"bos, {len(extras.code_embeddings)} tables of code embeddings and "
                     f"{len(extras.codebook)} codebooks from gsid.safetensors")
    flat["token_embedder/embedding"] = embedding
    notes += _pad_rows(flat, padded(config.vocab_size), rng)
    return Imported(names.nested(flat), len(kept), notes)


def padded(rows: int) -> int:
    """Rows of the embedding for a vocabulary: the next multiple of 128."""
    return -(-rows // ROWS) * ROWS


def _pad_rows(flat: dict[str, np.ndarray], rows: int, rng: np.random.Generator) -> list[str]:
    notes = []
    for name, axis in (("token_embedder/embedding", 0), ("logits_dense/kernel", 1)):
        if name not in flat or flat[name].shape[axis] == rows:
            continue
        array, have = flat[name], flat[name].shape[axis]
        shape = [rows - have if i == axis else size for i, size in enumerate(array.shape)]
        new = rng.standard_normal(shape, np.float32) * array.std()
        flat[name] = np.concatenate([array, new], axis)
        notes.append(f"fresh, normal with the deviation of the others: {name} of the ids "
                     f"{have} to {rows - 1}, which pad the vocabulary to {rows}")
    return notes


def to_theirs(config: T5Config, params: Mapping[str, Any]) -> tuple[dict[str, np.ndarray],
                                                                    np.ndarray | None]:
    """The tensors of a Hugging Face T5, float32, and the pad embedding that BOS displaced.

    T5's decoder starts with the pad token, ours with BOS, so row 0 of the embedding becomes BOS.
    No other use of the row is left: padding is masked in the encoder. Only as the class of a tied
    head it stays in the softmax. None if the row was the BOS already.
    """
    flat = {name: np.asarray(value, np.float32) for name, value in
            by_name(unstacked(params, config)).items()}
    tensors = {theirs: names.across(ours, flat.pop(ours))
               for theirs, ours in names.pairs(config).items()}
    left = [name for name in flat if name != "bos" and not name.startswith("code_embedders_")]
    if left:
        raise UserError(f"the model has parameters that a Hugging Face T5 has not: "
                        f"{', '.join(left[:4])}; expected those of network.GSIDNetwork")
    embedding = tensors[names.EMBEDDING]
    if np.array_equal(embedding[0], flat["bos"]):
        return tensors, None
    pad = embedding[0].copy()
    tensors[names.EMBEDDING] = embedding = embedding.copy()
    embedding[0] = flat["bos"]
    return tensors, pad


def unstacked(params: Mapping[str, Any], config: T5Config) -> dict[str, Any]:
    """The parameters with one tree a layer, where SCAN_LAYERS stacked them."""
    tree = dict(params)
    for stack, layers in (("encoder", config.num_encoder_layers),
                          ("decoder", config.num_decoder_layers)):
        if "layers" in tree[stack]:
            part = dict(tree[stack])
            stacked = by_name(part.pop("layers"))
            tree[stack] = part | {f"layers_{i}": names.nested(
                {name: value[i] for name, value in stacked.items()}) for i in range(layers)}
    return tree
