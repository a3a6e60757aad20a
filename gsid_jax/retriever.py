"""Query -> ranked items: beam search over the trie, then ranking inside the IDs (paper section 5).
"""

import dataclasses
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gsid_jax import code_index, index_files, leaf_marginals
from gsid_jax.beam_encoder import BeamEncoder
from gsid_jax.click_log import ClickLog
from gsid_jax.code_index import CodeIndex
from gsid_jax.errors import UserError
from gsid_jax.gsid_model import GSIDModel
from gsid_jax.id_files import path_string
from gsid_jax.leaf_model import LeafModel, with_leaves
from gsid_jax.ranking import NO_BEAM, Candidates, Ranker, Ranking
from gsid_jax.trained_model import TrainedModel

LOOKUPS = ("run", "plain", "marginals")
CHUNK_FLOATS = 2**26  # of the representations that one chunk of queries brings: 256 MB
LEAVES = "leaves.npz"


@dataclasses.dataclass(frozen=True)
class Found:
    """The items of one query, best first, n of them; arrays as in ``Candidates``."""

    query: str
    candidates: Candidates
    scores: np.ndarray  # float32 [n]
    outside: float  # probability seen to leave the trie


class Retriever:
    """Retrieval for one run and one index."""

    def __init__(self, trained: TrainedModel, index: CodeIndex, ranking: Ranking, *, beam: int = 50,
                 batch_size: int = 0, lexical: "Lexical | None" = None,
                 click_log: ClickLog | None = None):
        """``trained``: the model, its lookup chosen (``choose_lookup``). ``batch_size``: queries a
        call, rounded up to the devices; 0: 64, less for wide beams. ``lexical``: for a lexical weight."""
        devices = trained.partitioner.mesh.shape["data"]
        batch_size = batch_size or max(1, min(64, 6400 // beam))
        batch_size = -(-batch_size // devices) * devices
        self.index, self._ranking, self._beam = index, ranking, beam
        self._encoder = BeamEncoder(
            trained.model, trained.variables, trained.vocabulary, trie=index.trie, beam=beam,
            batch_size=batch_size, partitioner=trained.partitioner,
            max_length=trained.feature_lengths["inputs"],
            query_length=trained.feature_lengths.get("queries"))
        self.chunk = max(batch_size, CHUNK_FLOATS // (beam * self._encoder.sizes.D))
        self._ranker = Ranker(index, ranking)
        self._lexical, self._click_log = lexical, click_log
        self._id_weight = ranking.weight_of_id(click_log is not None)
        self._paths = index.trie.ids()
        self._item_ids = index.item_ids()

    def expect(self, queries: int) -> None:
        """See ``Encoder.expect``."""
        self._encoder.expect(queries)

    def candidates(self, queries: Sequence[str]) -> Iterator[tuple[Candidates, float]]:
        """Candidates of each query, and the probability seen to leave the trie.

        Raises UserError for an empty query.
        """
        for number, query in enumerate(queries):
            if not query.strip():
                raise UserError(f"query {number} is empty: got {query!r}, expected some text")
        for start in range(0, len(queries), self.chunk):
            part = queries[start:start + self.chunk]
            encoded = self._encoder.encode(part, "query")
            for i, query in enumerate(part):
                numbers, log_prob = encoded["numbers"][i], encoded["log_prob"][i]
                if self._click_log is not None:
                    log_prob = self._click_log.reweighted(query, numbers, log_prob)
                lexical = None
                if self._lexical is not None:
                    lexical = self._lexical.scores(query)
                yield (self._ranker.candidates(numbers, log_prob, encoded["embedding"][i], lexical),
                       float(encoded["outside"][i]))

    def rank(self, query: str, candidates: Candidates, outside: float,
             barred: np.ndarray | None = None, lexical_weight: float | None = None) -> Found:
        """The best candidates, without the row numbers ``barred``."""
        if barred is not None and len(barred):
            candidates = candidates.take(np.flatnonzero(
                ~np.isin(self.index.rows[candidates.places], barred)))
        weight = self._ranking.lexical_weight if lexical_weight is None else lexical_weight
        if not weight:
            candidates = candidates.take(np.flatnonzero(candidates.beams != NO_BEAM))
        scores = candidates.scores(self._id_weight, weight)
        best = self._ranker.best(candidates, scores, self._ranking.top_k)
        return Found(query, candidates.take(best), scores[best], outside)

    def retrieve(self, queries: Sequence[str]) -> Iterator[Found]:
        """Ranked items of each query, in order. Raises UserError for an empty query."""
        for query, found in zip(queries, self.candidates(queries)):
            yield self.rank(query, *found)

    def records(self, found: Found) -> list[dict[str, Any]]:
        """One record an item: rank, item_id, path, id_probability (None if only BM25 found it),
        in_id_score, lexical_score (None without BM25), score."""
        numbers = np.searchsorted(self.index.first_item, found.candidates.places, side="right") - 1
        items = self._item_ids.take(found.candidates.places).to_pylist()
        c, lexical = found.candidates, self._lexical is not None
        return [{
            "rank": i + 1, "item_id": items[i], "path": path_string(self._paths[number].tolist()),
            "id_probability": None if c.beams[i] == NO_BEAM else float(np.exp(c.log_prob[i])),
            "in_id_score": float(c.in_id[i]),
            "lexical_score": float(c.lexical[i]) if lexical else None,
            "score": float(found.scores[i])} for i, number in enumerate(numbers.tolist())]


class Lexical:
    """BM25 of the items of an index, by their texts in a dataset; 0 for items without a text."""

    def __init__(self, index: CodeIndex, items: str | os.PathLike):
        """``items``: Parquet with item_id and text, such as RUN/data/items.parquet."""
        from gsid_jax.evaluate import bm25, columns

        table = columns.read_table(pathlib.Path(items), ["item_id", "text"], "the dataset builder")
        keys = table["item_id"].combine_chunks().cast(index.item_ids().type)
        self._row = pc.index_in(index.item_ids(), value_set=keys).fill_null(
            len(table)).to_numpy(zero_copy_only=False)
        self._scorer = bm25.Index(table["text"].to_pylist())

    def scores(self, query: str) -> np.ndarray:
        """BM25 of every place of the index, float32 [N]."""
        return np.append(self._scorer.scores(query), np.float32(0))[self._row]


def open_index(run_dir: str | os.PathLike, trained: TrainedModel,
               directory: str | os.PathLike | None = None) -> CodeIndex:
    """Opens an index, checksums verified, for a model; RUN/index is built if it is not there.

    Raises UserError for a damaged index and for one of another model.
    """
    place = pathlib.Path(directory) if directory else pathlib.Path(run_dir) / "index"
    if directory is None and not index_files.exists(place):
        code_index.build_for_run(run_dir, trained, place)
    index = CodeIndex(place, verify=True)
    config = trained.model.module.config
    index.check_model(trained.hash, config.codebook_size, trained.model.level)
    return index


def choose_lookup(trained: TrainedModel, lookup: str, index: CodeIndex, run_dir: str | os.PathLike,
                  batch_size: int = 256) -> TrainedModel:
    """The model with the lookup asked for: 'run' as the run has it, 'plain' by codebooks (the
    paper's), 'marginals' by leaf marginals (M10 b) over the items of RUN/ids.

    The prototypes for 'marginals' are those of the run or, if it has none, made from the items and
    kept beside the index.
    """
    if lookup not in LOOKUPS:
        raise UserError(f"--lookup={lookup}; expected one of {', '.join(LOOKUPS)}")
    has_leaves = isinstance(trained.model, LeafModel)
    if lookup == "run" or (lookup == "marginals") == has_leaves:
        return trained
    if lookup == "plain":
        fields = {f.name: getattr(trained.model, f.name) for f in dataclasses.fields(GSIDModel)}
        variables = {name: value for name, value in trained.variables.items() if name != "leaves"}
        return dataclasses.replace(trained, model=GSIDModel(**fields), variables=variables)
    path = index.directory / f"{trained.hash[:12]}-{LEAVES}"
    if not path.exists():
        from gsid_jax import item_ids
        from gsid_jax.evaluate import columns
        ids = pathlib.Path(run_dir) / "ids" / "items.parquet"
        codes = columns.code_matrix(pq.read_table(ids, columns=["codes"]), ids)
        encoder = trained.encoder(batch_size=batch_size, outputs=True)
        item_ids.grow_leaves(encoder, pathlib.Path(run_dir) / "data", codes).save(path)
    model = with_leaves(trained.model, str(path), leaf_marginals.TAU)
    return dataclasses.replace(trained, model=model, variables=model.variables(trained.variables))
