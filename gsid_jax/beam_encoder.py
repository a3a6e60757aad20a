"""Texts in, beams of valid semantic IDs out: the encoder of ``retrieve``."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from gsid_jax import decoding, losses
from gsid_jax.encode import EncodedSizes, Encoder
from gsid_jax.trie import Trie


class BeamEncoder(Encoder):
    """An ``Encoder`` that gives the ``beam`` likeliest IDs of a trie instead of one greedy ID.

    Batching, buckets and ``options`` are Encoder's. ``encode`` and ``encode_tokens`` return, for n
    texts, W beams and width D (``decoding.Beams``):

    - ``numbers`` int32 [n, W]: numbers of the IDs in the trie, -1 beyond the last.
    - ``log_prob`` float32 [n, W]: natural log-probability of each ID, -1e9 beyond the last.
    - ``embedding`` float32 [n, W, D]: L2-normalised d_T of the text after each ID's first codes:
      the text read as if it were one of that ID's, to compare with the items of that ID.
    - ``outside`` float32 [n]: probability seen to leave the trie.
    """

    def __init__(self, model: Any, variables: Mapping[str, Any], vocabulary: Any, *, trie: Trie,
                 beam: int, **options: Any):
        super().__init__(model, variables, vocabulary, **options)
        self._beam = beam
        placed = jax.device_put(trie, self._partitioner.replicated)
        self._variables = {**self._variables, "trie": placed}

    @property
    def sizes(self) -> EncodedSizes:
        """Sizes of the model's IDs and representations."""
        config = self._model.module.config
        return EncodedSizes(T=self._model.level, K=config.codebook_size, D=config.emb_dim, m=0)

    def _predict_fn(self, variables, batch) -> dict[str, jax.Array]:
        mutables = {name: value for name, value in variables.items()
                    if name not in ("params", "trie")}
        beams = decoding.beam_search(self._model, variables["params"], mutables,
                                     batch["encoder_input_tokens"], self._beam, variables["trie"])
        return {"numbers": beams.numbers, "log_prob": beams.log_prob, "outside": beams.outside,
                "embedding": losses.normalise(beams.d)}

    def _empty(self, n: int) -> dict[str, np.ndarray]:
        return {"numbers": np.empty((n, self._beam), np.int32),
                "log_prob": np.empty((n, self._beam), np.float32),
                "embedding": np.empty((n, self._beam, self.sizes.D), np.float32),
                "outside": np.empty((n,), np.float32)}
