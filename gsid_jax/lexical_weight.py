"""The weight of BM25 beside the representations, chosen on the validation split of a dataset."""

import os
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from gsid_jax.errors import UserError
from gsid_jax.evaluate import columns, retrieval
from gsid_jax.evaluate.lists import Lists
from gsid_jax.manifest import read_json, write_json
from gsid_jax.progress import Progress
from gsid_jax.retriever import Retriever

FILE = "lexical_weight.json"
WEIGHTS = (0.0, 0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.5)
DEPTH = 100
MAX_QUERIES = 2000
AIMS = ("recall@1", "recall@10", "recall@100")  # the best weight has the highest mean of them


def validation_queries(data_dir: pathlib.Path) -> tuple[list[str], Lists, Lists]:
    """Queries that led to items of the validation split: texts, those items, and the items that
    training paired with them. At most MAX_QUERIES, evenly chosen. UserError if there are none."""
    items_path, pairs_path = data_dir / "items.parquet", data_dir / "train_pairs.parquet"
    items = columns.read_table(items_path, ["validation"], "the dataset builder")
    pairs = columns.read_table(pairs_path, ["query_index", "item_index"], "the dataset builder")
    queries = columns.read_table(data_dir / "queries.parquet", ["query"], "the dataset builder")
    held_out = items["validation"].to_numpy().astype(bool)
    query = columns.integers(pairs, "query_index", pairs_path, len(queries))
    item = columns.integers(pairs, "item_index", pairs_path, len(items))
    chosen = np.unique(query[held_out[item]])
    if not len(chosen):
        raise UserError(f"{items_path} has no validation items with queries; expected some: build "
                        "the dataset with --validation_fraction above 0, or give --lexical_weight "
                        "as a number")
    if len(chosen) > MAX_QUERIES:
        chosen = chosen[np.linspace(0, len(chosen) - 1, MAX_QUERIES).astype(int)]
    row = np.full(len(queries), -1)
    row[chosen] = np.arange(len(chosen))
    relevant = held_out[item] & (row[query] >= 0)
    barred = ~held_out[item] & (row[query] >= 0)
    return (queries["query"].take(chosen).to_pylist(),
            Lists.from_pairs(row[query[relevant]], item[relevant], len(chosen)),
            Lists.from_pairs(row[query[barred]], item[barred], len(chosen)))


def tune(retriever: Retriever, data_dir: str | os.PathLike,
         weights: Sequence[float] = WEIGHTS) -> dict[str, Any]:
    """Ranks the validation queries under each weight.

    ``retriever`` must have a lexical side and give 100 items. Returns {'best': the weight with the
    highest mean of recall@1, @10 and @100 (the smaller of equals), 'queries': how many, 'weights':
    weight -> figures}.
    """
    queries, relevant, barred = validation_queries(pathlib.Path(data_dir))
    ranked = np.full((len(weights), len(queries), DEPTH), retrieval.NONE, np.int64)
    progress = Progress("tuning the lexical weight", len(queries))
    retriever.expect(len(queries))
    for i, (query, found) in enumerate(zip(queries, retriever.candidates(queries))):
        hidden = barred.values[barred.offsets[i]:barred.offsets[i + 1]]
        for j, weight in enumerate(weights):
            best = retriever.rank(query, *found, barred=hidden, lexical_weight=weight).candidates
            ranked[j, i, :len(best.places)] = retriever.index.rows[best.places]
        progress.update(1)
    progress.finish()
    figures = {weight: retrieval.summary(ranked[j], relevant) for j, weight in enumerate(weights)}
    best = max(weights, key=lambda weight: (
        round(sum(figures[weight][aim] for aim in AIMS), 9), -weight))
    return {"best": best, "queries": len(queries),
            "weights": {str(weight): values for weight, values in figures.items()}}


def save(directory: str | os.PathLike, result: dict[str, Any], model: str) -> pathlib.Path:
    """Keeps the choice beside an index."""
    path = pathlib.Path(directory) / FILE
    write_json(path, {"model": model, **result})
    return path


def load(directory: str | os.PathLike, model: str) -> float:
    """The weight chosen for this model. UserError if none was chosen."""
    path = pathlib.Path(directory) / FILE
    content = read_json(path, "tune again with --tune_lexical_weight")
    if content.get("model") != model:
        raise UserError(f"--lexical_weight=tuned: {path} "
                        f"{'is of another model' if content else 'does not exist'}; expected the "
                        "weight chosen for this one: run once with --tune_lexical_weight")
    return float(content["best"])


def table(result: dict[str, Any]) -> str:
    """The figures of every weight, for reading."""
    lines = [f"lexical weight on {result['queries']:,} validation queries (%)",
             "  weight    R@1   R@10  R@100"]
    for weight, values in result["weights"].items():
        mark = "  <- best" if float(weight) == result["best"] else ""
        cells = "".join(f"{100 * values[aim]:7.1f}" for aim in AIMS)
        lines.append(f"  {float(weight):6g}{cells}{mark}")
    return "\n".join(lines)
