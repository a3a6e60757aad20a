"""The IDs of a catalogue's items under M10's modes, and the prototypes that follow from them.

Where `gsid_jax.assign` gives each item the code that its own text decodes to, these modes also ask
the item's training queries, or grow a new tree. Everything is a function of the model, the dataset
and a seed.
"""

import os
import pathlib

import numpy as np
import pyarrow.parquet as pq

from gsid_jax import leaf_marginals, query_aware, retree
from gsid_jax.encode import Encoder
from gsid_jax.evaluate.codes import code_health
from gsid_jax.progress import Progress

CHUNK_ROWS = 8192
SIDES = {"item": ("items.parquet", "text"), "query": ("queries.parquet", "query")}


def read_texts(data_dir: str | os.PathLike, kind: str) -> list[str]:
    """Texts of all items or queries, by index."""
    table, column = SIDES[kind]
    return pq.read_table(pathlib.Path(data_dir) / table, columns=[column])[column].to_pylist()


def read_weights(data_dir: str | os.PathLike, num_items: int) -> query_aware.QueryWeights:
    """The training pairs of a dataset."""
    pairs = pq.read_table(pathlib.Path(data_dir) / "train_pairs.parquet")
    query, item, weight = (pairs[name].to_numpy() for name in
                           ("query_index", "item_index", "weight"))
    return query_aware.query_weights(query, item, weight, num_items)


class _Paths:
    """Code distributions of texts along prefixes that are decided level by level.

    A text is decoded again only where its prefix is not the path that it last went.
    """

    def __init__(self, encoder: Encoder, texts: list[str], rows: np.ndarray, kind: str):
        self._encoder, self._kind = encoder, kind
        self._texts, self._rows = texts, rows
        unique, where = np.unique(rows, return_inverse=True)
        encoded = encoder.encode([texts[row] for row in unique], kind)
        self._path = encoded["codes"][where]
        self._soft = _dense(encoded, encoder.sizes.K)[where]

    def probs(self, prefix_NxC: np.ndarray) -> np.ndarray:
        """P(z_{C+1} | prefix) of each row, float32 [N, K]."""
        level = prefix_NxC.shape[1]
        other = np.flatnonzero((self._path[:, :level] != prefix_NxC).any(axis=1))
        if len(other):
            keys = np.concatenate([self._rows[other, None], prefix_NxC[other]], axis=1)
            keys, where = np.unique(keys, axis=0, return_inverse=True)
            encoded = self._encoder.encode([self._texts[row] for row in keys[:, 0]], self._kind,
                                           keys[:, 1:].astype(np.int32))
            self._path[other] = encoded["codes"][where.ravel()]
            self._soft[other] = _dense(encoded, self._encoder.sizes.K)[where.ravel()]
        return self._soft[:, level].astype(np.float32)


def _dense(encoded: dict[str, np.ndarray], size: int) -> np.ndarray:
    """The kept code distributions over all K codes, float16 [n, T, K]."""
    dense = np.zeros((*encoded["soft"].shape[:2], size), np.float16)
    np.put_along_axis(dense, encoded["soft_ids"].astype(np.int64), encoded["soft"], axis=-1)
    return dense


def query_aware_codes(encoder: Encoder, data_dir: str | os.PathLike, query_share: float = 0.5
                      ) -> np.ndarray:
    """M10 (a): IDs of all items, int32 [N, T], each level the argmax of the blended distribution.

    `encoder` should keep the whole distributions (soft_size = K). Memory: the texts and the
    distributions of one chunk of items with their queries.
    """
    items, queries = read_texts(data_dir, "item"), read_texts(data_dir, "query")
    weights = read_weights(data_dir, len(items))
    by_item = np.argsort(weights.item, kind="stable")
    bounds = np.searchsorted(weights.item[by_item], np.arange(0, len(items) + CHUNK_ROWS,
                                                              CHUNK_ROWS))
    codes = np.zeros((len(items), encoder.sizes.T), np.int32)
    encoder.expect(len(items))
    progress = Progress("query-aware codes of items", len(items))
    for chunk, start in enumerate(range(0, len(items), CHUNK_ROWS)):
        rows = np.arange(start, min(start + CHUNK_ROWS, len(items)))
        pairs = by_item[bounds[chunk]:bounds[chunk + 1]]
        part = query_aware.QueryWeights(weights.query[pairs], weights.item[pairs] - start,
                                        weights.share[pairs])
        own = _Paths(encoder, items, rows, "item")
        theirs = _Paths(encoder, queries, part.query, "query")
        for level in range(codes.shape[1]):
            prefix = codes[rows, :level]
            blended = query_aware.blend_probs(own.probs(prefix), theirs.probs(prefix[part.item]),
                                              part, query_share)
            codes[rows, level] = blended.argmax(axis=1)
        progress.update(len(rows))
    progress.finish()
    return codes


def tree_codes(encoder: Encoder, data_dir: str | os.PathLike, leaves: int = 0,
               query_weight: float = 1.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """M10 (c): IDs of all items from a new tree over the model's representations.

    Args:
      leaves: number of IDs; 0 gives each level as many nodes as the greedy IDs' effective number
        of prefixes (joint perplexity), so that branching stays what the steps made it.
      query_weight: of the mean of an item's training queries beside the item's own vector.

    Returns IDs of the items int32 [N, T], and of the queries (by their vectors, for the records).
    """
    own, blended, query_vectors = blended_vectors(encoder, data_dir, query_weight)
    sizes = encoder.sizes
    nodes = (retree.level_sizes(leaves, sizes.T, sizes.K) if leaves
             else matched_sizes(own, sizes.K))
    codes = retree.grow_tree(blended, nodes, sizes.K, seed)
    return codes, vector_codes(query_vectors, codes, blended, sizes.K)


def vector_codes(vectors: np.ndarray, codes_NxT: np.ndarray, item_vectors_NxD: np.ndarray,
                 size: int) -> np.ndarray:
    """Codes of vectors [Q, D] by the marginals of a tree of items, int32 [Q, T]."""
    return leaf_marginals.lookup(vectors, leaf_marginals.grow(codes_NxT, item_vectors_NxD), size)[0]


def blended_vectors(encoder: Encoder, data_dir: str | os.PathLike, query_weight: float = 1.0
                    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What a tree is grown from.

    Returns the items' own codes int32 [N, T], their unit vectors float32 [N, D] with `query_weight`
    times the mean of their training queries, and the queries' vectors float32 [Q, D].
    """
    encoded = represented(encoder, data_dir, "item")
    query_vectors = represented(encoder, data_dir, "query")["embedding"]
    weights = read_weights(data_dir, len(encoded["codes"]))
    return encoded["codes"], query_aware.blend_vectors(
        encoded["embedding"], query_vectors, weights, query_weight), query_vectors


def represented(encoder: Encoder, data_dir: str | os.PathLike, kind: str
                 ) -> dict[str, np.ndarray]:
    """Codes int32 [N, T] and representations float32 [N, D] of all items or queries."""
    texts, sizes = read_texts(data_dir, kind), encoder.sizes
    encoder.expect(len(texts))
    progress = Progress(f"representations of {kind} texts", len(texts))
    kept = {"codes": np.empty((len(texts), sizes.T), np.int32),
            "embedding": np.empty((len(texts), sizes.D), np.float32)}
    for start in range(0, len(texts), CHUNK_ROWS):
        encoded = encoder.encode(texts[start:start + CHUNK_ROWS], kind, progress=progress)
        for name, array in kept.items():
            array[start:start + CHUNK_ROWS] = encoded[name]
    progress.finish()
    return kept


def matched_sizes(codes_NxT: np.ndarray, size: int) -> list[int]:
    """Nodes per level for a tree that branches like these IDs: their joint perplexities."""
    joint, nodes = 1.0, []
    for level, health in code_health(codes_NxT).items():
        del level
        joint *= health["conditional_perplexity"]
        nodes.append(max(1, min(round(joint), (nodes[-1] if nodes else 1) * size)))
    return nodes


def grow_leaves(encoder: Encoder, data_dir: str | os.PathLike, codes_NxT: np.ndarray
                ) -> leaf_marginals.Leaves:
    """M10 (b): the prototypes of these IDs, means of the outputs decoded after each item's codes.

    `encoder` must give outputs. IDs may have more levels than the model: the last output stands in.
    """
    grower = leaf_marginals.Grower(codes_NxT)
    texts = read_texts(data_dir, "item")
    encoder.expect(len(texts))
    progress = Progress("prototypes of the IDs", len(texts))
    levels = np.arange(codes_NxT.shape[1])
    for start in range(0, len(texts), CHUNK_ROWS):
        rows = slice(start, start + CHUNK_ROWS)
        outputs = encoder.encode(texts[rows], "item", np.asarray(
            codes_NxT[rows, :encoder.sizes.T], np.int32), progress)["outputs"]
        grower.add(rows, outputs[:, np.minimum(levels, encoder.sizes.T - 1)])
    progress.finish()
    return grower.leaves()
