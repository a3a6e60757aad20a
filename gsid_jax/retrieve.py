"""Entry point: queries in, ranked items out, through semantic IDs (paper section 5).

    python -m gsid_jax.retrieve --run_dir=RUN --query='apple laptop' --top_k=10
    python -m gsid_jax.retrieve --run_dir=RUN --queries=queries.jsonl --output=OUT.parquet
    python -m gsid_jax.retrieve --run_dir=RUN        (a query a line from the terminal or a pipe)

Queries: JSONL (.gz) or Parquet with ``query``, or .txt, one a line. The output (.parquet or .jsonl)
has a record per query and item; started again after a kill, the same command goes on. RUN/index is
built when it is not there. docs/retrieval.md explains ranking, BM25 and click statistics.
"""

import json
import os
import pathlib
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from absl import flags
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gsid_jax import launch
from gsid_jax.errors import UserError
from gsid_jax.ranking import RANKS, Ranking

TUNED = "tuned"
SCHEMA = pa.schema([
    ("row", pa.int64()), ("query", pa.string()), ("rank", pa.int32()), ("item_id", pa.string()),
    ("path", pa.string()), ("id_probability", pa.float32()), ("in_id_score", pa.float32()),
    ("lexical_score", pa.float32()), ("score", pa.float32())])
RANKING_FLAGS = ("rank", "top_k", "id_weight", "conversion_weight", "conversions", "items_per_id",
                 "lexical_candidates")


class Session:
    """A run opened for retrieval by the settings of the command line.

    ``settings`` decide the results, JSON values: model, index, and all options.
    """

    def __init__(self, run_dir: str, ranking: Ranking, *, index: str | None = None, beam: int = 50,
                 batch_size: int = 0, lookup: str = "run", lexical_weight: str = "0",
                 click_log: str | None = None, click_smoothing: float = 10.0, tune: bool = False):
        import dataclasses

        from gsid_jax import lexical_weight as weights
        from gsid_jax import retriever, trained_model
        from gsid_jax.click_log import read_click_log
        from gsid_jax.manifest import file_hash

        self.run_dir = pathlib.Path(run_dir)
        trained = trained_model.load_run(run_dir)
        if not hasattr(trained.model, "level_log_probs"):
            raise UserError(f"run {run_dir} has no codes; expected one of the pipeline with steps")
        opened = retriever.open_index(run_dir, trained, index)
        model_hash = trained.hash
        trained = retriever.choose_lookup(trained, lookup, opened, run_dir)
        if lexical_weight == TUNED and not tune:
            lexical_weight = weights.load(opened.directory, model_hash)
        ranking = dataclasses.replace(ranking, lexical_weight=0.0 if tune else float(lexical_weight),
                                      top_k=weights.DEPTH if tune else ranking.top_k)
        lexical = None
        if ranking.lexical_weight or tune:
            lexical = retriever.Lexical(opened, self.run_dir / "data" / "items.parquet")
        clicks = read_click_log(click_log, opened, click_smoothing) if click_log else None
        if clicks is not None and clicks.unknown_items:
            print(f"click log: {clicks.unknown_items:,} records of items that the index does not "
                  "have passed over", file=sys.stderr)
        self.retriever = retriever.Retriever(trained, opened, ranking, beam=beam,
                                             batch_size=batch_size, lexical=lexical,
                                             click_log=clicks)
        self.model_hash = model_hash
        self.settings = {
            "model": model_hash, "index": opened.info, "beam": beam, "lookup": lookup,
            **dataclasses.asdict(ranking), "click_smoothing": click_smoothing,
            "click_log": file_hash(click_log) if click_log else None}

    def tune(self) -> str:
        """Chooses the lexical weight on the validation split and keeps it; returns a table."""
        from gsid_jax import lexical_weight as weights
        result = weights.tune(self.retriever, self.run_dir / "data")
        path = weights.save(self.retriever.index.directory, result, self.model_hash)
        return f"{weights.table(result)}\n{path}: use it with --lexical_weight={TUNED}"


def retrieve_file(session: Session, queries: str | os.PathLike, output: str | os.PathLike, *,
                  part_rows: int = 1000, overwrite: bool = False) -> str:
    """Retrieves for every query of a file; returns a summary. Goes on where a kill stopped it.

    Raises UserError for a bad query (file and line), an output of another type, and one that
    exists or whose parts were made differently.
    """
    from gsid_jax import infer_input
    from gsid_jax.id_files import IdFile, InputRow, check_free
    from gsid_jax.progress import Progress

    path = pathlib.Path(output)
    source = infer_input.open_file(queries, "query", None)
    made = path.with_name(path.name + ".parquet") if path.suffix == ".jsonl" else path
    if not overwrite and made != path:
        check_free(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    file = IdFile(made, {**source.fingerprint, **session.settings}, source.rows, part_rows)
    session.retriever.expect(source.rows)

    def table(rows: list[InputRow], progress: Progress) -> pa.Table:
        records = []
        for row, found in zip(rows, session.retriever.retrieve([row.text for row in rows])):
            records += [{"row": row.row, "query": row.key, **record}
                        for record in session.retriever.records(found)]
            progress.update(1)
        return pa.Table.from_pylist(records, SCHEMA)

    if not (made != path and file.complete()) and file.open(overwrite):
        file.fill_parts(source.read(), table, label="queries")
        file.join()
    rows = pq.read_metadata(made).num_rows
    if made != path:
        _write_lines(made, path)
        made.unlink()
    return f"{path}: {rows:,} items for {source.rows - source.blank:,} queries"


def _write_lines(source: pathlib.Path, path: pathlib.Path) -> None:
    partial = path.with_name(f"{path.name}.tmp-{os.getpid()}")
    with open(partial, "w", encoding="utf-8") as file:
        for batch in pq.ParquetFile(source).iter_batches():
            for record in batch.to_pylist():
                file.write(json.dumps(record, ensure_ascii=False) + "\n")
    os.replace(partial, path)


def page(session: Session, query: str, titles: "Titles") -> str:
    """What is shown for one query."""
    from tasks.raw_records import normalise_query

    query = normalise_query(query)
    if not query:
        raise UserError("the query is empty; expected some text, such as --query='apple laptop'")
    found = next(iter(session.retriever.retrieve([query])))
    records = session.retriever.records(found)
    lines = [f"{query!r}: {found.outside:.0%} of the probability leaves the valid IDs",
             "rank   score  in-ID    P(ID)  ID             item           title"]
    for record in records:
        probability = record["id_probability"]
        shown = "  (BM25)" if probability is None else f"{probability:8.4f}"
        lines.append(f"{record['rank']:4d}  {record['score']:6.3f} {record['in_id_score']:6.3f} "
                     f"{shown}  {record['path']:<14} {record['item_id']:<14} "
                     f"{titles.of(record['item_id'])}")
    return "\n".join(lines)


class Titles:
    """Titles of a run's items, where the run has them."""

    def __init__(self, run_dir: str | os.PathLike):
        path = pathlib.Path(run_dir) / "data" / "items.parquet"
        self._table = pq.read_table(path, columns=["item_id", "title"]) if path.exists() else None

    def of(self, item_id: str) -> str:
        """The title, cut to a line; '' for an unknown item."""
        if self._table is None:
            return ""
        row = pc.index(self._table["item_id"], item_id).as_py()
        return "" if row < 0 else self._table["title"][row].as_py()[:70]


def converse(session: Session, lines: Iterable[str], titles: Titles) -> None:
    """Answers a query a line; an empty one is said to be so, and the next is read."""
    for line in lines:
        try:
            print(page(session, line, titles), flush=True)
        except UserError as error:
            print(f"error: {error}", file=sys.stderr, flush=True)


def _typed_lines() -> Iterable[str]:
    while True:
        try:
            yield input("query> ")
        except EOFError:
            return


def define_flags() -> None:
    """Defines the flags of the command line."""
    flags.DEFINE_string("run_dir", None, "Directory of a pipeline run.")
    flags.DEFINE_string("index", None, "Directory of the code index; default: RUN/index.")
    flags.DEFINE_string("query", None, "One query, answered on the terminal.")
    flags.DEFINE_string("queries", None, "File of queries: .jsonl, .jsonl.gz, .parquet or .txt.")
    flags.DEFINE_string("output", None, "With --queries: the .parquet or .jsonl file to write.")
    flags.DEFINE_integer("top_k", 10, "Items per query.")
    flags.DEFINE_integer("beam", 50, "IDs per query.")
    flags.DEFINE_enum("lookup", "run", ["run", "plain", "marginals"],
                      "Code lookup: as the run's, by codebooks, or by leaf marginals (M10).")
    flags.DEFINE_enum("rank", "dot", list(RANKS), "Score inside an ID.")
    flags.DEFINE_float("conversion_weight", 0.1, "Weight of conversion in --rank=mix.")
    flags.DEFINE_string("conversions", "conversions", "Statistic that counts as conversions.")
    flags.DEFINE_integer("items_per_id", 0, "Keeps the best converting so many of an ID; 0: all.")
    flags.DEFINE_float("id_weight", None, "Weight of log P(ID) in the final score.")
    flags.DEFINE_string("lexical_weight", "0", "Weight of BM25 in the final score, or 'tuned'.")
    flags.DEFINE_integer("lexical_candidates", 100, "BM25's best so many are candidates too.")
    flags.DEFINE_bool("tune_lexical_weight", False, "Chooses it on the validation split.")
    flags.DEFINE_string("click_log", None, "Interactions that re-weight the candidate IDs.")
    flags.DEFINE_float("click_smoothing", 10.0, "Clicks that weigh as much as the model.")
    flags.DEFINE_integer("batch_size", 0, "Queries per call; 0: by the beam.")
    flags.DEFINE_integer("part_rows", 1000, "Queries per part: what a kill can cost at most.")
    flags.DEFINE_bool("overwrite", False, "Replaces an existing output or its parts.")


def main(argv: Sequence[str]) -> None:
    """Runs what the command line says."""
    values = flags.FLAGS
    if len(argv) > 1:
        raise UserError(f"unexpected argument {argv[1]!r}; expected flags only, such as --query=Q")
    _check(values)
    ranking = Ranking(**{name: values[name].value for name in RANKING_FLAGS})
    session = Session(
        values.run_dir, ranking, index=values.index, beam=values.beam,
        batch_size=values.batch_size if values.queries or values.tune_lexical_weight else 1,
        lookup=values.lookup, lexical_weight=values.lexical_weight, click_log=values.click_log,
        click_smoothing=values.click_smoothing, tune=values.tune_lexical_weight)
    if values.tune_lexical_weight:
        print(session.tune())
    elif values.queries:
        print(retrieve_file(session, values.queries, values.output, part_rows=values.part_rows,
                            overwrite=values.overwrite))
    elif values.query is not None:
        print(page(session, values.query, Titles(values.run_dir)))
    else:
        lines = _typed_lines() if sys.stdin.isatty() else sys.stdin
        converse(session, lines, Titles(values.run_dir))


def _check(values: Any) -> None:
    """Refuses what can be refused before the model is loaded."""
    from gsid_jax.id_files import check_free, parts_directory

    if not values.run_dir:
        raise UserError("--run_dir is missing; expected --run_dir=RUN with --query=TEXT, "
                        "--queries=FILE --output=OUT.parquet, or queries on the standard input")
    if values.query is not None and not values.query.strip():
        raise UserError("--query is empty; expected some text, such as --query='apple laptop'")
    if bool(values.queries) != bool(values.output):
        raise UserError(f"--queries={values.queries} --output={values.output}; expected both, such "
                        "as --queries=queries.jsonl --output=results.parquet")
    if values.lexical_weight != TUNED:
        try:
            float(values.lexical_weight)
        except ValueError:
            raise UserError(f"--lexical_weight={values.lexical_weight}; expected a number or "
                            f"'{TUNED}'") from None
    if values.output:
        path = pathlib.Path(values.output)
        if path.suffix not in (".parquet", ".jsonl"):
            raise UserError(f"--output={path} does not end in .parquet or .jsonl; expected one of "
                            "them: rename it")
        if not values.overwrite and not parts_directory(path).exists():
            check_free(path)


if __name__ == "__main__":
    define_flags()
    launch.run(main)
