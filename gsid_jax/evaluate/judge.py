"""The figures of one method on one catalogue, and what they are averages of."""

import dataclasses
from typing import Any

import numpy as np

from gsid_jax.evaluate import clustering, codes, retrieval
from gsid_jax.evaluate.catalogue import Catalogue, Triggers
from gsid_jax.evaluate.method import Method

DEPTH = 100  # length of the rankings
RECALL = (1, 10, 100)
PAPER_CATEGORIES = (1, 4)  # cate1_AMI and cate4_AMI of Table 3


@dataclasses.dataclass(frozen=True)
class Sample:
    """A figure as sum(values) / sum(weights) over triggers; float64 [R] each."""

    values: np.ndarray
    weights: np.ndarray


@dataclasses.dataclass(frozen=True)
class Judgement:
    """metrics: what metrics.json holds less ``time``. samples: by name ('q2i.recall@1')."""

    metrics: dict[str, Any]
    samples: dict[str, Sample]


def judge(catalogue: Catalogue, method: Method) -> Judgement:
    """Judges a method; parts it lacks (vectors, IDs of queries, ...) are left out."""
    metrics: dict[str, Any] = {}
    samples: dict[str, Sample] = {}
    _retrieval(catalogue, method, metrics, samples)
    if method.item_codes is not None:
        _codes(catalogue, method, metrics, samples)
    metrics["data"] = catalogue.counts()
    return Judgement(metrics, samples)


def rankings(catalogue: Catalogue, method: Method) -> dict[str, np.ndarray]:
    """The method's rankings of the whole pool, int64 [triggers, DEPTH] for 'q2i' and 'i2i'."""
    if method.rankings:
        return {task: ranked for task, ranked in method.rankings.items()
                if catalogue.triggers(task) is not None}
    if method.item_vectors is None or method.query_vectors is None:
        return {}
    made = {}
    for task, vectors in (("q2i", method.query_vectors), ("i2i", method.item_vectors)):
        triggers = catalogue.triggers(task)
        if triggers is not None:
            made[task], _ = retrieval.top_k(vectors[triggers.index], method.item_vectors, DEPTH,
                                            catalogue.tie_rank, triggers.excluded)
    return made


def _retrieval(catalogue: Catalogue, method: Method, metrics: dict[str, Any],
               samples: dict[str, Sample]) -> None:
    """Recall and MRR of q2i and i2i, whole and by kind of trigger and relevant item."""
    for name, ranked in rankings(catalogue, method).items():
        triggers = catalogue.triggers(name)
        metrics[name] = retrieval.summary(ranked, triggers.relevant, RECALL, DEPTH)
        samples.update(_retrieval_samples(name, ranked, triggers))
        kinds = {"seen": ~triggers.unseen, "unseen": triggers.unseen}
        if triggers.frequency is not None:
            kinds.update({kind: triggers.frequency == kind for kind in ("head", "torso", "tail")})
        rows, items = triggers.relevant.rows, triggers.relevant.values
        by_trigger = {kind: chosen[rows] for kind, chosen in kinds.items()}
        by_item = {"seen": catalogue.seen[items], "unseen": ~catalogue.seen[items]}
        key = "q2i_by_query" if name == "q2i" else "i2i_by_trigger"
        metrics[key] = _split(ranked, triggers, by_trigger)
        metrics[f"{name}_by_item"] = _split(ranked, triggers, by_item)


def _retrieval_samples(name: str, ranked: np.ndarray, triggers: Triggers) -> dict[str, Sample]:
    counts = triggers.relevant.counts
    counted = (counts > 0).astype(np.float64)
    hits = retrieval.hits(ranked, triggers.relevant)
    values = {f"recall@{k}": retrieval.recall_at(hits, np.maximum(counts, 1), k) for k in RECALL}
    values[f"mrr@{DEPTH}"] = retrieval.reciprocal_rank_at(hits, DEPTH)
    return {f"{name}.{metric}": Sample(each * counted, counted)
            for metric, each in values.items()}


def _split(ranked: np.ndarray, triggers: Triggers,
           pairs: dict[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """The summary over parts of the held-out pairs (bool [P] each); empty parts are left out."""
    parts = {}
    for kind, chosen in pairs.items():
        if chosen.any():
            relevant = triggers.relevant.where(chosen)
            parts[kind] = {"triggers": int(np.sum(relevant.counts > 0)),
                           **retrieval.summary(ranked, relevant)}
    return parts


def _codes(catalogue: Catalogue, method: Method, metrics: dict[str, Any],
           samples: dict[str, Sample]) -> None:
    """Code accuracy, AMI, clusters and health of a method's IDs."""
    item_codes, nested = method.item_codes, method.nested
    num_levels = item_codes.shape[1]
    for key, triggers, side in (("code_accuracy", catalogue.q2i, method.query_codes),
                                ("i2i_code_accuracy", catalogue.i2i, item_codes)):
        if triggers is None or side is None:
            continue
        asking, items = triggers.pairs
        metrics[key] = codes.code_accuracy(side[asking], item_codes[items], item_codes, nested)
        agree = codes.agreement(side[asking], item_codes[items], nested)
        samples.update(_agreement_samples(key, metrics[key], agree, triggers))
        if key == "code_accuracy":
            metrics |= _agreement_splits(catalogue, agree, metrics[key])
    labels = codes.level_labels(item_codes, nested)
    metrics["ami"] = clustering.ami_matrix(labels, catalogue.category)
    metrics["ami_headline"] = headline(metrics["ami"])
    if catalogue.spu is not None:
        large = clustering.large_clusters(labels[:, -1])
        metrics["clusters"] = {
            "id": clustering.cluster_report(large, catalogue.spu),
            "cpv": clustering.cluster_report(catalogue.cpv, catalogue.spu)}
        metrics["spu_purity"] = {
            f"prefix{t + 1}": clustering.purity(labels[:, t], catalogue.spu)
            for t in range(num_levels)}
    size = method.codebook_size or int(item_codes.max()) + 1
    metrics["codes"] = codes.code_health(item_codes, nested)
    for level in range(1, num_levels + 1):
        health = metrics["codes"][f"l{level}"]
        health.update(method.level_stats.get(level, {}))
        # A clustering of its own has as many codes as it uses; a tree's levels may branch less
        # than K by design only where the method says so with its own sizes.
        full = size if method.level_sizes is None else method.level_sizes[level - 1]
        found = codes.finding(level, health, full)
        health.update(collapsed=int(found == codes.COLLAPSED), leak=int(found == codes.LEAK))
    metrics["ids"] = {**codes.id_counts(item_codes, nested), "levels": num_levels,
                      "codebook_size": size}


def _agreement_samples(key: str, accuracy: dict[str, dict[str, float]], agree: np.ndarray,
                       triggers: Triggers) -> dict[str, Sample]:
    """Corrected agreement of each trigger's pairs; their number is the weight."""
    counts = triggers.relevant.counts.astype(np.float64)
    made = {}
    for level, (name, value) in enumerate(accuracy.items()):
        hit = np.bincount(triggers.relevant.rows, agree[:, level], len(triggers.index))
        if value["chance"] < 1:
            hit = (hit - value["chance"] * counts) / (1 - value["chance"])
        else:
            hit = np.zeros_like(counts)
        made[f"{key}.{name}"] = Sample(hit, counts)
    return made


def _agreement_splits(catalogue: Catalogue, agree: np.ndarray,
                      accuracy: dict[str, dict[str, float]]) -> dict[str, Any]:
    """Corrected code accuracy by frequency of the query and by seen and unseen sides."""
    triggers = catalogue.q2i
    rows, items = triggers.relevant.rows, triggers.relevant.values
    kinds = {"seen query": ~triggers.unseen[rows], "unseen query": triggers.unseen[rows],
             "seen item": catalogue.seen[items], "unseen item": ~catalogue.seen[items]}
    if triggers.frequency is not None:
        kinds.update({kind: triggers.frequency[rows] == kind for kind in ("head", "torso", "tail")})
    split = {}
    for kind, chosen in kinds.items():
        if chosen.any():
            raw = agree[chosen].mean(axis=0)
            split[kind] = {"pairs": int(chosen.sum())} | {
                name: float(codes.corrected(raw[level], value["chance"]))
                for level, (name, value) in enumerate(accuracy.items())}
    return {"code_accuracy_by": split}


def headline(ami: dict[str, dict[str, float]]) -> dict[str, float]:
    """cate1_AMI and cate4_AMI of Table 3 with the prefix length that each is taken at.

    Category level j is judged by the prefix of length j, or the whole ID where that is shorter;
    a catalogue of fewer levels gives its deepest instead of the fourth.
    """
    values = {}
    depth = max((len(row) for row in ami.values()), default=0)
    for level in {min(level, depth) for level in PAPER_CATEGORIES} - {0}:
        prefix = min(level, len(ami))
        values[f"cate{level}_AMI"] = ami[f"prefix{prefix}"][f"category{level}"]
        values[f"cate{level}_prefix"] = prefix
    return values
