"""Ranking of the items behind a beam of IDs (paper section 5), on the host, query by query."""

import dataclasses

import numpy as np

from gsid_jax.code_index import CodeIndex
from gsid_jax.errors import UserError

RANKS = ("dot", "conversion", "mix")
NO_BEAM = -1  # of a candidate that the lexical side brought


@dataclasses.dataclass(frozen=True)
class Ranking:
    """How candidates are scored. The final score is

        in-ID score + id_weight * log P(ID | query) + lexical_weight * BM25

    rank: the in-ID score. 'dot': dot product of query and item representation (both of unit
    length). 'conversion': log(1 + conversions), over that of the best item of the index. 'mix':
    dot + conversion_weight * conversion.
    id_weight: None: 1 for 'conversion', else 0, or 0.02 with a click log.
    items_per_id: only so many items of each ID, those that convert best; 0: all.
    lexical_candidates: BM25's best so many are candidates too, if lexical_weight is not 0.
    conversions: which statistic of the index counts as conversions.
    """

    rank: str = "dot"
    top_k: int = 10
    id_weight: float | None = None
    conversion_weight: float = 0.1
    conversions: str = "conversions"
    items_per_id: int = 0
    lexical_weight: float = 0.0
    lexical_candidates: int = 100

    def __post_init__(self):
        if self.rank not in RANKS:
            raise UserError(f"--rank={self.rank}; expected one of {', '.join(RANKS)}")
        for name, least in (("top_k", 1), ("items_per_id", 0), ("lexical_candidates", 0)):
            if getattr(self, name) < least:
                raise UserError(f"--{name}={getattr(self, name)}; expected at least {least}")
        for name in ("conversion_weight", "lexical_weight", "id_weight"):
            if getattr(self, name) is not None and not np.isfinite(getattr(self, name)):
                raise UserError(f"--{name}={getattr(self, name)}; expected a finite number")

    def weight_of_id(self, click_log: bool) -> float:
        """What id_weight None stands for."""
        if self.id_weight is not None:
            return self.id_weight
        return 1.0 if self.rank == "conversion" else 0.02 if click_log else 0.0


@dataclasses.dataclass(frozen=True)
class Candidates:
    """The candidates of one query, n of them, each once.

    places: int64 [n], places in the index. beams: int64 [n], which beam has the item's ID;
    NO_BEAM: none, the lexical side brought it. log_prob: float32 [n], of the ID; for NO_BEAM that
    of the last beam, which bounds it. in_id, lexical: float32 [n].
    """

    places: np.ndarray
    beams: np.ndarray
    log_prob: np.ndarray
    in_id: np.ndarray
    lexical: np.ndarray

    def scores(self, id_weight: float, lexical_weight: float) -> np.ndarray:
        """Final scores, float32 [n]."""
        scores = self.in_id
        if id_weight:
            scores = scores + np.float32(id_weight) * self.log_prob
        if lexical_weight:
            scores = scores + np.float32(lexical_weight) * self.lexical
        return scores

    def take(self, chosen: np.ndarray) -> "Candidates":
        """Some of them, in that order."""
        return Candidates(*(getattr(self, field.name)[chosen]
                            for field in dataclasses.fields(self)))


class Ranker:
    """Finds and scores candidates in an index."""

    def __init__(self, index: CodeIndex, ranking: Ranking):
        self._index, self._ranking = index, ranking
        rank, column = ranking.rank, ranking.conversions
        if rank != "conversion" and index.vectors is None:
            raise UserError(f"index {index.directory} has no representations, which --rank={rank} "
                            "needs; expected an index of a run, or of IDs with embeddings: build it "
                            "again, or pass --rank=conversion")
        needed = rank != "dot" or ranking.items_per_id
        if needed and column not in index.statistics:
            raise UserError(f"index {index.directory} has no statistic {column!r} (it has "
                            f"{', '.join(index.statistics) or 'none'}); expected it for "
                            "--rank=conversion, --rank=mix and --items_per_id: build the index with "
                            "--statistics, or name another one with --conversions")
        self._conversion = None
        if needed:
            values = np.log1p(np.maximum(index.statistics[column], 0))
            self._conversion = (values / max(float(values.max()), 1e-9)).astype(np.float32)
        self._kept = self._best_of_each_id() if ranking.items_per_id else None

    def _best_of_each_id(self) -> np.ndarray:
        """Places that items_per_id leaves, bool [N]."""
        numbers = self._index.id_of_place()
        order = np.lexsort((self._index.rows, -self._conversion, numbers))
        kept = np.zeros(len(self._index), bool)
        place_in_id = np.arange(len(order)) - self._index.first_item[numbers]
        kept[order[place_in_id < self._ranking.items_per_id]] = True
        return kept

    def candidates(self, numbers_W: np.ndarray, log_prob_W: np.ndarray, query_WxD: np.ndarray,
                   lexical_N: np.ndarray | None = None) -> Candidates:
        """The items of the IDs ``numbers_W`` (-1: none), and BM25's best.

        query_WxD: the query's representation for each ID. lexical_N: BM25 of every place, or None.
        """
        beams = np.flatnonzero(numbers_W >= 0)
        first = self._index.first_item[numbers_W[beams]].astype(np.int64)
        counts = self._index.first_item[numbers_W[beams] + 1] - first
        places = np.arange(counts.sum()) + np.repeat(first - np.cumsum(counts) + counts, counts)
        beams = np.repeat(beams, counts)
        if self._kept is not None:
            beams, places = beams[self._kept[places]], places[self._kept[places]]
        if lexical_N is not None:
            best = _best(lexical_N, self._ranking.lexical_candidates)
            best = best[(lexical_N[best] > 0) & ~np.isin(best, places)]
            places = np.concatenate([places, best])
            beams = np.concatenate([beams, np.full(len(best), NO_BEAM)])
        last = log_prob_W[numbers_W >= 0].min(initial=0.0)
        log_prob = np.where(beams == NO_BEAM, last, log_prob_W[beams]).astype(np.float32)
        in_id = np.zeros(len(places), np.float32)
        if self._ranking.rank != "conversion":  # NO_BEAM reads the query as the likeliest ID's
            in_id += np.einsum("nd,nd->n", self._index.vectors[places],
                               query_WxD[np.maximum(beams, 0)])
        if self._ranking.rank == "conversion":
            in_id += self._conversion[places]
        elif self._ranking.rank == "mix":
            in_id += np.float32(self._ranking.conversion_weight) * self._conversion[places]
        lexical = np.zeros(len(places), np.float32) if lexical_N is None else lexical_N[places]
        return Candidates(places, beams, log_prob, in_id, lexical)

    def best(self, candidates: Candidates, scores: np.ndarray, top_k: int) -> np.ndarray:
        """Which candidates are the best, best first; of equal scores the smaller row number."""
        if len(scores) > 4 * top_k:
            floor = np.partition(scores, -top_k)[-top_k]
            above = np.flatnonzero(scores >= floor)
        else:
            above = np.arange(len(scores))
        rows = self._index.rows[candidates.places[above]]
        return above[np.lexsort((rows, -scores[above]))[:top_k]]


def _best(values: np.ndarray, count: int) -> np.ndarray:
    if not count:
        return np.zeros(0, np.int64)
    if count >= len(values):
        return np.arange(len(values))
    return np.argpartition(values, -count)[-count:]

