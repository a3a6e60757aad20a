"""Trains the SentencePiece vocabulary of a catalogue, or takes over a given one.

    python -m tools.train_vocab --data_dir=DATA_DIR --output=DIR --vocab_size=8000
    python -m tools.train_vocab --model=mengzi.model --output=DIR

writes DIR/sentencepiece.model (pad 0, eos 1, unk 2, as T5 has them) and DIR/vocab.json with its
size, hash and source. Training reads item texts and training queries, never held-out queries.
"""

import argparse
import hashlib
import io
import json
import os
import pathlib
import re
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import sentencepiece

from gsid_jax import quiet
from gsid_jax.errors import UserError
from gsid_jax.manifest import write_json

MODEL_FILE, RECORD_FILE = "sentencepiece.model", "vocab.json"
SPECIAL_IDS = {"pad": 0, "eos": 1, "unk": 2}
MAX_CHARACTERS = 1000  # of one text; SentencePiece would pass over longer ones
BATCH_ROWS = 8192
# NFKC and case folding: buyers type in lower case what sellers capitalise.
NORMALISATION = "nmt_nfkc_cf"
THREADS = 2  # fixed: sums are taken per thread, so another number may give another model


def train_vocab(data_dir: str | os.PathLike, output: str | os.PathLike, vocab_size: int = 8000,
                character_coverage: float = 0.9995, max_sentences: int = 500_000,
                seed: int = 0) -> dict[str, Any]:
    """Trains a unigram model on item texts and training queries.

    Args:
      data_dir: a directory that ``tools.build_dataset`` filled.
      output: directory that receives the model; made if missing.
      vocab_size: pieces, with pad, eos and unk, without the extra ids added at loading. If the
        data holds fewer, the vocabulary is smaller and a line on stderr says so.
      character_coverage: share of the characters in the texts that get a piece.
      max_sentences: texts used; more are sampled, which bounds memory (about 1 KB each) and time.
      seed: decides the sample.

    Returns what vocab.json holds. The same data and arguments give the same bytes, and return at
    once if the output is there. Raises UserError for a missing dataset, a size that cannot hold
    the characters, and an output made differently.
    """
    data_dir = pathlib.Path(data_dir)
    done = data_dir / "dataset.json"
    if not done.exists():
        raise UserError(f"{done} is missing; expected a finished dataset in --data_dir: run python "
                        "-m tools.build_dataset first")
    if vocab_size < 32 or max_sentences < 1 or not 0.9 <= character_coverage <= 1:
        raise UserError(
            f"bad argument: got vocab_size={vocab_size}, max_sentences={max_sentences}, "
            f"character_coverage={character_coverage}, expected at least 32, at least 1, and 0.9 "
            "to 1: correct it")
    source = {"kind": "trained", "asked_size": vocab_size,
              "character_coverage": character_coverage, "max_sentences": max_sentences, "normalisation": NORMALISATION,
              "seed": seed, "sentencepiece": sentencepiece.__version__,
              "dataset": json.loads(done.read_text(encoding="utf-8"))["fingerprint"]}
    output = pathlib.Path(output)
    found = _existing(output, source)
    if found is not None:
        return found
    texts = list(_sample(data_dir, max_sentences, seed))
    model = _train(texts, vocab_size, character_coverage)
    record = _write(output, model, source)
    if record["size"] < vocab_size:
        print(f"vocabulary of {record['size']:,} pieces: the data holds no more, although "
              f"--vocab_size={vocab_size} was asked for ({len(texts):,} texts)", file=sys.stderr)
    return record


def use_vocab(model: str | os.PathLike, output: str | os.PathLike) -> dict[str, Any]:
    """Takes over a SentencePiece model file (T5's and Mengzi's will do).

    Copies it to ``output`` and returns what vocab.json holds. Raises UserError if it is missing,
    unreadable, has other special ids than T5, or if the output was made differently.
    """
    model = pathlib.Path(model)
    if not model.is_file():
        raise UserError(f"vocabulary file {model} does not exist; expected a SentencePiece .model "
                        "file: correct --model")
    data = model.read_bytes()
    _check(data, str(model))
    source = {"kind": "given", "file": model.name, "sha256": hashlib.sha256(data).hexdigest()}
    found = _existing(pathlib.Path(output), source)
    return found or _write(pathlib.Path(output), data, source)


def _existing(output: pathlib.Path, source: Mapping[str, Any]) -> dict[str, Any] | None:
    """The record of a finished vocabulary made from ``source``; UserError if from another."""
    done = output / RECORD_FILE
    if not done.exists():
        return None
    found = json.loads(done.read_text(encoding="utf-8"))
    old = found["source"]
    names = [name for name in sorted({*old, *source}) if old.get(name) != source.get(name)]
    if names:
        differences = ", ".join(f"{name} was {old.get(name)!r} and is now {source.get(name)!r}"
                                for name in names)
        raise UserError(f"{output} holds a vocabulary made differently: {differences}; expected "
                        "the same: choose another --output, or remove that one")
    data = (output / MODEL_FILE).read_bytes() if (output / MODEL_FILE).exists() else b""
    if hashlib.sha256(data).hexdigest() != found["sha256"]:
        raise UserError(f"{output / MODEL_FILE} does not match {done}: sha256 "
                        f"{hashlib.sha256(data).hexdigest()[:12]}, expected "
                        f"{found['sha256'][:12]}: remove {output} and make the vocabulary again")
    return found


def _sample(data_dir: pathlib.Path, limit: int, seed: int) -> Iterator[str]:
    """At most ``limit`` texts, items and queries by their numbers, in the order of the tables."""
    items = pq.ParquetFile(data_dir / "items.parquet")
    queries = pq.ParquetFile(data_dir / "queries.parquet")
    split = queries.read(columns=["split"])["split"]
    rows = np.concatenate([
        np.arange(items.metadata.num_rows),
        items.metadata.num_rows + np.flatnonzero(pc.equal(split, "train").to_numpy())])
    if len(rows) > limit:
        rows = np.sort(np.random.default_rng(seed).choice(rows, limit, replace=False))
    start = 0
    for file, column in ((items, "text"), (queries, "query")):
        for batch in file.iter_batches(BATCH_ROWS, columns=[column]):
            first, last = np.searchsorted(rows, (start, start + len(batch)))
            for text in batch.column(0).take(rows[first:last] - start).to_pylist():
                yield text[:MAX_CHARACTERS]
            start += len(batch)


def _train(texts: list[str], vocab_size: int, character_coverage: float) -> bytes:
    model = io.BytesIO()
    ids = {f"{name}_id": number for name, number in SPECIAL_IDS.items()}
    try:
        with quiet.silenced_stderr():
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=iter(texts), model_writer=model, model_type="unigram",
                vocab_size=vocab_size, hard_vocab_limit=False, bos_id=-1, **ids,
                character_coverage=character_coverage, num_threads=THREADS,
                max_sentence_length=8 * MAX_CHARACTERS, shuffle_input_sentence=False,
                normalization_rule_name=NORMALISATION,
                minloglevel=2)
    except RuntimeError as error:
        found = re.search(r"smaller than required_chars\D*\d+ vs (\d+)", str(error))
        if found is None:
            raise UserError(f"SentencePiece cannot train on {len(texts):,} texts ({error}); "
                            "expected texts of a natural language: check the items file") from error
        raise UserError(f"bad vocab_size: got {vocab_size}, expected at least {found[1]} for "
                        f"the distinct characters of {len(texts):,} texts: raise --vocab_size, or "
                        "lower --character_coverage") from error
    return model.getvalue()


def _check(data: bytes, name: str) -> int:
    """Returns the number of pieces; UserError for broken models and other special ids."""
    tokenizer = sentencepiece.SentencePieceProcessor()
    try:
        with quiet.silenced_stderr():
            tokenizer.LoadFromSerializedProto(data)
        size = tokenizer.get_piece_size()
    except RuntimeError as error:
        raise UserError(f"vocabulary file {name} is not a SentencePiece model ({error}); expected "
                        "a .model file: correct --model") from error
    found = {"pad": tokenizer.pad_id(), "eos": tokenizer.eos_id(), "unk": tokenizer.unk_id()}
    if found != SPECIAL_IDS:
        raise UserError(f"vocabulary file {name} has special ids {found}; expected {SPECIAL_IDS}, "
                        "as T5 and Mengzi have: give another --model, or train one")
    return size


def _write(output: pathlib.Path, model: bytes, source: Mapping[str, Any]) -> dict[str, Any]:
    record = {"size": _check(model, "just trained"), "sha256": hashlib.sha256(model).hexdigest(),
              "source": dict(source)}
    output.mkdir(parents=True, exist_ok=True)
    partial = output / f"{MODEL_FILE}.tmp-{os.getpid()}"
    partial.write_bytes(model)
    os.replace(partial, output / MODEL_FILE)
    write_json(output / RECORD_FILE, record)
    return record


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--data_dir", help="dataset to train on")
    source.add_argument("--model", help="SentencePiece model to take over")
    parser.add_argument("--output", required=True, help="directory for the model")
    parser.add_argument("--vocab_size", type=int, default=8000)
    parser.add_argument("--character_coverage", type=float, default=0.9995)
    parser.add_argument("--max_sentences", type=int, default=500_000)
    parser.add_argument("--seed", type=int, default=0)
    args = vars(parser.parse_args(argv))
    model, started = args.pop("model"), time.time()
    try:
        record = use_vocab(model, args["output"]) if model else train_vocab(**args)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{os.path.join(args['output'], MODEL_FILE)}: {record['size']:,} pieces, sha256 "
          f"{record['sha256'][:12]}, after {time.time() - started:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
