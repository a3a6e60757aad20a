"""Entry point: semantic IDs and representations of any items or queries, to Parquet.

    python -m gsid_jax.infer --run_dir=RUN --input=new.jsonl --kind=item --output=ids.parquet

Input: JSONL (.gz) or Parquet (items: ``title`` and, if there, ``description`` and ``item_id``;
queries: ``query``), a .txt file with one text per line, or a SeqIO task (gsid_items, gsid_queries).
``--checkpoint=MODEL_DIR`` takes the place of ``--run_dir``, with the config.gin that lies there or
with ``--gin_file`` and ``--gin.NAME=value`` (gin_configs/runs/infer.gin).

The output has one row per input row, in order (columns: ``gsid_jax.id_files``). Started again
after a kill, the same command goes on. ``--shards=N --shard_index=0..N-1`` share the work of one
output between N processes; the last to finish joins the parts.
"""

import pathlib
from collections.abc import Sequence

import pyarrow.compute as pc
import pyarrow.parquet as pq
from absl import flags

from gsid_jax import launch
from gsid_jax.errors import UserError


def infer(*, input: str, output: str, kind: str = "item",  # pylint: disable=redefined-builtin
          run_dir: str | None = None, step: int | None = None, gin_files: Sequence[str] = (),
          bindings: Sequence[str] = (), search_paths: Sequence[str] = (),
          checkpoint: str | None = None, split: str = "train", embeddings: bool = False,
          batch_size: int = 256, part_rows: int = 10_000, shards: int = 1, shard_index: int = 0,
          skip_invalid: bool = False, overwrite: bool = False) -> str:
    """Does what the flags of the same names say; returns a summary of what was written.

    Raises UserError for a bad record (unless ``skip_invalid``), a missing checkpoint, a vocabulary
    or configuration that is not the checkpoint's, an output that exists already.
    """
    from gsid_jax import infer_input, trained_model
    from gsid_jax.id_files import IdFile, check_free, parts_directory
    from tasks import location

    path = pathlib.Path(output)
    if path.suffix != ".parquet":
        raise UserError(f"--output={output} does not end in .parquet; expected a Parquet file: "
                        "rename it")
    if not 0 <= shard_index < shards or part_rows < 1:
        raise UserError(f"--shard_index={shard_index} --shards={shards} --part_rows={part_rows}; "
                        "expected 0 <= shard_index < shards and at least 1 row per part")
    if (run_dir is None) == (checkpoint is None):
        raise UserError("give either --run_dir or --checkpoint (with --gin_file if need be); got "
                        f"--run_dir={run_dir} and --checkpoint={checkpoint}")
    if not overwrite and not parts_directory(path).exists():
        check_free(path)  # before the work of reading input and model
    path.parent.mkdir(parents=True, exist_ok=True)
    rejects = path.with_suffix(".rejects.jsonl") if skip_invalid else None
    source = None
    if infer_input.is_file(input):
        source = infer_input.open_file(input, kind, rejects)
    if run_dir is not None:
        model = trained_model.load_run(run_dir, step, bindings)
    else:
        model = trained_model.load(gin_files, checkpoint, bindings, search_paths)
    encoder = model.encoder(batch_size=batch_size)
    with location.use(**model.places):
        if source is None:
            length = model.feature_lengths["queries" if kind == "query" else "inputs"]
            source = infer_input.open_task(input, split, length)
        file = IdFile(path, {**source.fingerprint, "kind": kind, "embeddings": embeddings,
                             "model": model.hash, "lengths": dict(model.feature_lengths)},
                      source.rows, part_rows)
        if file.open(overwrite):
            file.fill(encoder, kind, source.read(), embeddings, shards, shard_index,
                      label=f"{kind} IDs")
    written = file.join()
    if written is None:
        return (f"{path}: shard {shard_index} of {shards} is done; the last shard to finish joins "
                "the parts")
    return _summary(path, written, source, rejects, encoder.cut_texts)


def _summary(path: pathlib.Path, rows: int, source, rejects: pathlib.Path | None,
             cut_texts: int) -> str:
    text = f"{path}: {rows:,} rows"
    if "path" in pq.read_schema(path).names:
        distinct = pc.count_distinct(pq.read_table(path, columns=["path"])["path"]).as_py()
        text += f", {distinct:,} distinct IDs"
    if cut_texts:
        text += f", {cut_texts:,} long texts cut in this process"
    if source.blank:
        text += f", {source.blank:,} blank lines passed over"
    if rejects is not None:
        text += f"; {source.rejects.summary()}"
        text += f", see {rejects}" if sum(source.rejects.counts.values()) else ""
    return text


def define_flags() -> None:
    """Defines the flags of the command line."""
    flags.DEFINE_string("run_dir", None, "Directory of a pipeline run.")
    flags.DEFINE_integer("step", None, "Step of the run; default: the last finished one.")
    flags.DEFINE_string("checkpoint", None, "MODEL_DIR, or a checkpoint in it.")
    flags.DEFINE_string("input", None, ".jsonl, .jsonl.gz, .parquet or .txt file, or a SeqIO task.")
    flags.DEFINE_string("split", "train", "Split of the SeqIO task.")
    flags.DEFINE_enum("kind", "item", ["item", "query"], "What the input holds.")
    flags.DEFINE_string("output", None, "The Parquet file to write.")
    flags.DEFINE_bool("embeddings", False, "Also writes the representations (float32[D]).")
    flags.DEFINE_integer("batch_size", 256, "Texts per call of the model, over all devices.")
    flags.DEFINE_integer("part_rows", 10_000, "Input rows per part: what a kill can cost at most.")
    flags.DEFINE_integer("shards", 1, "Number of processes that share this output.")
    flags.DEFINE_integer("shard_index", 0, "Which of them this one is, from 0.")
    flags.DEFINE_bool("skip_invalid", False, "Sets bad records aside in OUTPUT.rejects.jsonl.")
    flags.DEFINE_bool("overwrite", False, "Replaces an existing output or its parts.")


def main(argv: list[str]) -> None:
    """Runs what the command line says."""
    values = flags.FLAGS
    if len(argv) > 1:
        raise UserError(f"unexpected argument {argv[1]!r}; expected flags only, such as --input=F")
    for name in ("input", "output"):
        if not values[name].value:
            raise UserError(f"--{name} is missing; expected --run_dir=RUN --input=FILE_OR_TASK "
                            "--kind=item|query --output=OUT.parquet")
    names = ("input", "output", "kind", "run_dir", "step", "checkpoint", "split", "embeddings",
             "batch_size", "part_rows", "shards", "shard_index", "skip_invalid", "overwrite")
    print(infer(gin_files=values.gin_file, bindings=values.gin_bindings,
                search_paths=values.gin_search_paths,
                **{name: values[name].value for name in names}))


if __name__ == "__main__":
    define_flags()
    launch.run(main)
