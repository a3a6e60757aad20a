"""Texts in, semantic IDs and representations out: the one encoder behind infer and assign.

Texts are tokenised, sorted by length within a chunk and cut into batches of one fixed size whose
length is the smallest of a few buckets, so that XLA compiles once per bucket and little is spent
on padding. Results come back in the order of the texts.
"""

import collections
import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gsid_jax.errors import UserError
from gsid_jax.partitioning import Partitioner
from gsid_jax.progress import Progress

IN_FLIGHT = 2  # batches on the device while the host prepares the next one
BUCKETS = (16, 24, 32, 48, 64, 96)  # tokens: above the first at most a third is padding
FEW_ROWS = 50_000  # up to here a compilation costs more than the padding it would save


@dataclasses.dataclass(frozen=True)
class EncodedSizes:
    """Sizes of what an encoder returns."""
    T: int  # levels of the ID
    K: int  # codes per level
    D: int  # width of the representation
    m: int  # codes kept of each soft distribution


def bucket_lengths(buckets: Sequence[int], max_length: int) -> tuple[int, ...]:
    """Returns the ascending bucket lengths up to ``max_length``, which is always the last one."""
    return tuple(sorted({length for length in buckets if length < max_length})) + (max_length,)


class Encoder:
    """Runs a trained GSID model over texts, on every device of the mesh.

    ``variables`` is ``{'params': ..., 'codebook': ...}`` as ``checkpoints.load_variables`` returns
    it. ``partitioner`` places it and spreads each batch over the devices; None: all devices, data
    parallel. ``batch_size`` is the number of texts per call, over all devices, which must divide
    it. ``max_length`` and ``query_length`` (None: the same) count the EOS; a longer text is cut.
    ``buckets`` are the lengths that batches may have beside the longest. ``soft_size`` is the
    number of codes m kept of every soft code distribution, renormalised. ``outputs`` asks for the
    decoder's output at every level too. ``cut_texts`` counts the texts that were cut so far.
    """

    def __init__(self, model: Any, variables: Mapping[str, Any], vocabulary: Any, *,
                 partitioner: Partitioner | None = None, batch_size: int = 256,
                 max_length: int = 64, query_length: int | None = None,
                 buckets: Sequence[int] = BUCKETS, soft_size: int = 8,
                 outputs: bool = False):
        query_length = query_length or max_length
        if min(max_length, query_length) < 2:
            raise UserError(f"max_length is {max_length} and query_length {query_length}; expected "
                            "at least 2, one token and the EOS: raise the smaller one")
        if batch_size < 1 or soft_size < 1:
            raise UserError(f"batch_size is {batch_size} and soft_size is {soft_size}; both must "
                            "be at least 1: raise the smaller one")
        self._model = model
        self._vocabulary = vocabulary
        self._batch_size = batch_size
        self._max_lengths = {"item": max_length, "query": query_length}
        self._all_lengths = bucket_lengths(buckets, max(max_length, query_length))
        self._lengths = self._all_lengths
        self._soft_size = soft_size
        self._outputs = outputs
        self.cut_texts = 0
        self._partitioner = partitioner or Partitioner()
        self._partitioner.data_layout(batch_size, binding="batch_size")  # UserError if it has none
        self._variables = jax.device_put(dict(variables), self._shardings(variables))
        self._predict = jax.jit(self._predict_fn, out_shardings=self._partitioner.replicated)

    def _shardings(self, variables: Mapping[str, Any]) -> dict[str, Any]:
        axes = jax.eval_shape(self._model.get_initial_variables, jax.random.key(0))
        return {name: self._partitioner.shardings(value, axes.get(f"{name}_axes"))
                for name, value in variables.items()}

    def expect(self, rows: int) -> None:
        """Prepares for a pass over ``rows`` texts: a short pass uses the shortest and the longest
        bucket only, because compiling for the others takes longer than they save.

        The buckets depend on the number alone, so that a resumed pass computes what an
        uninterrupted one does, to the last bit.
        """
        self._lengths = self._all_lengths if rows > FEW_ROWS else (
            tuple(dict.fromkeys((self._all_lengths[0], self._all_lengths[-1]))))

    @functools.cached_property
    def sizes(self) -> EncodedSizes:
        """Sizes of the results, found without running the model; T = K = m = 0 without codes."""
        tokens = jax.ShapeDtypeStruct((self._batch_size, self._all_lengths[0]), jnp.int32)
        batch = {"encoder_input_tokens": tokens}
        with self._partitioner.context():
            _, aux = jax.eval_shape(self._model_fn, self._variables, batch)
        if "embedding" not in aux:
            raise UserError(f"{type(self._model).__name__} gives no representations; expected a "
                            "GSIDModel or a DualEncoderModel: choose the checkpoint of a step")
        D = aux["embedding"].shape[-1]
        if "soft" not in aux:
            return EncodedSizes(T=0, K=0, D=D, m=0)
        _, T, K = aux["soft"].shape
        return EncodedSizes(T=T, K=K, D=D, m=min(self._soft_size, K))

    def _model_fn(self, variables, batch):
        mutables = {name: value for name, value in variables.items() if name != "params"}
        return self._model.predict_batch_with_aux(
            variables["params"], batch, flax_mutables=mutables or None)

    def _predict_fn(self, variables, batch) -> dict[str, jax.Array]:
        codes_BxT, aux = self._model_fn(variables, batch)
        if "soft" not in aux:
            return {"embedding": aux["embedding"]}
        soft_BxTxm, ids_BxTxm = jax.lax.top_k(aux["soft"], self.sizes.m)
        soft_BxTxm = soft_BxTxm / jnp.sum(soft_BxTxm, axis=-1, keepdims=True)
        results = {
            "codes": codes_BxT,
            "greedy_codes": aux["greedy_codes"],
            "log_prob": aux["log_prob"],
            "soft": soft_BxTxm,
            "soft_ids": ids_BxTxm,
            "embedding": aux["embedding"],
        }
        return results | ({"outputs": aux["outputs"]} if self._outputs else {})

    def tokenize(self, text: str, kind: str = "item") -> list[int]:
        """Returns the token ids of an 'item' or a 'query', cut to its length less 1, then EOS."""
        ids = list(self._vocabulary.encode(text))
        length = self._max_lengths[kind] - 1
        self.cut_texts += len(ids) > length
        return ids[:length] + [self._vocabulary.eos_id]

    def encode(self, texts: Sequence[str], kind: str = "item", codes: np.ndarray | None = None,
               progress: Progress | None = None) -> dict[str, np.ndarray]:
        """Encodes items or queries that fit in memory; see ``encode_tokens``."""
        return self.encode_tokens([self.tokenize(text, kind) for text in texts], codes, progress)

    def encode_tokens(self, tokens: Sequence[Sequence[int]], codes: np.ndarray | None = None,
                      progress: Progress | None = None) -> dict[str, np.ndarray]:
        """Encodes token id lists (EOS included), results in the given order (paper 2.1).

        ``codes`` int [n, C] forces the first C codes of each ID. ``progress`` is told of each
        finished batch. Returns, n being the number of lists:

        - ``codes`` int32 [n, T]: forced codes, then greedy ones.
        - ``greedy_codes`` int32 [n, T]: the model's own path; equals ``codes`` if none is forced.
        - ``log_prob`` float32 [n, T]: natural log-probability of each level's code.
        - ``soft`` float16 [n, T, m], ``soft_ids`` uint16 [n, T, m]: the m likeliest codes of each
          level, likeliest first, their probabilities renormalised to sum to 1.
        - ``embedding`` float32 [n, D]: L2-normalised final representation.
        - ``outputs`` float32 [n, T, D], if asked for: L2-normalised outputs of all levels, each
          decoded after the codes before it.

        A model without codes (DualEncoderModel) gives the embedding only.

        Raises UserError if the model gives numbers that are not finite.
        """
        if codes is not None and codes.shape[0] != len(tokens):
            raise ValueError(f"codes have {codes.shape[0]} rows for {len(tokens)} texts")
        results = self._empty(len(tokens))
        order = np.argsort([len(ids) for ids in tokens], kind="stable")
        pending = collections.deque()
        for start in range(0, len(order), self._batch_size):
            rows = order[start:start + self._batch_size]
            pending.append((rows, self._dispatch([tokens[row] for row in rows],
                                                 None if codes is None else codes[rows])))
            if len(pending) > IN_FLIGHT:
                _store(results, *pending.popleft(), progress)
        while pending:
            _store(results, *pending.popleft(), progress)
        if not all(np.isfinite(results[name]).all()
                   for name in ("log_prob", "embedding") if name in results):
            raise UserError("the model gives values that are not finite (NaN or infinity); "
                            "expected finite log-probabilities and representations: use an "
                            "earlier checkpoint, or train again with a lower learning rate")
        return results

    def _dispatch(self, lists: list[Sequence[int]], codes: np.ndarray | None
                  ) -> dict[str, jax.Array]:
        longest = max(len(ids) for ids in lists)
        length = next(length for length in self._lengths if length >= longest)
        tokens = np.zeros((self._batch_size, length), np.int32)
        tokens[:, 0] = self._vocabulary.eos_id  # a padding row has one real token, so no NaN
        for row, ids in enumerate(lists):
            tokens[row, :len(ids)] = ids
        batch = {"encoder_input_tokens": tokens}
        if codes is not None and codes.shape[1]:
            forced = np.zeros((self._batch_size, codes.shape[1]), np.int32)
            forced[:len(lists)] = codes
            batch["codes"] = forced
        with self._partitioner.context():
            return self._predict(self._variables, self._partitioner.shard_batch(batch))

    def _empty(self, n: int) -> dict[str, np.ndarray]:
        T, D, m = self.sizes.T, self.sizes.D, self.sizes.m
        embedding = {"embedding": np.empty((n, D), np.float32)}
        if self._outputs:
            embedding["outputs"] = np.empty((n, T, D), np.float32)
        return embedding if not T else embedding | {
            "codes": np.empty((n, T), np.int32),
            "greedy_codes": np.empty((n, T), np.int32),
            "log_prob": np.empty((n, T), np.float32),
            "soft": np.empty((n, T, m), np.float16),
            "soft_ids": np.empty((n, T, m), np.uint16),
        }


def _store(results: dict[str, np.ndarray], rows: np.ndarray, out: dict[str, jax.Array],
           progress: Progress | None) -> None:
    for name, value in jax.device_get(out).items():
        results[name][rows] = value[:len(rows)]
    if progress is not None:
        progress.update(len(rows))
