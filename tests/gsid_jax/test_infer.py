"""Offline inference from end to end, on an untrained run."""

import json
import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest

from gsid_jax import infer, trained_model
from gsid_jax.encode import Encoder
from gsid_jax.errors import UserError
from tests.gsid_jax import tiny_run


@pytest.fixture(autouse=True)
def clean():
    yield
    tiny_run.forget()


@pytest.fixture
def run(tiny_run_dir, tmp_path):
    """infer() from the tiny run into tmp_path."""
    def call(source, output="ids.parquet", **options):
        settings = {"run_dir": str(tiny_run_dir), "batch_size": 32}
        return infer.infer(input=str(source), output=str(tmp_path / output),
                           **(settings | options))
    return call


@pytest.fixture
def new_items(tmp_path):
    titles = tiny_run.titles(100)[60:]
    return tiny_run.write_jsonl(tmp_path / "new.jsonl", [{"title": title} for title in titles])


def test_one_row_per_line_as_the_encoder_gives_it(run, new_items, tiny_run_dir, tmp_path):
    assert run(new_items, embeddings=True).startswith(f"{tmp_path / 'ids.parquet'}: 40 rows, ")
    table = pq.read_table(tmp_path / "ids.parquet")
    encoder = trained_model.load_run(tiny_run_dir).encoder(batch_size=32)
    encoder.expect(40)
    encoded = encoder.encode(tiny_run.titles(100)[60:])
    assert table["row"].to_pylist() == list(range(40))
    assert table["item_id"].to_pylist() == [str(row) for row in range(40)]
    assert table["codes"].to_pylist() == encoded["codes"].tolist()
    np.testing.assert_allclose(table["embedding"].to_pylist(), encoded["embedding"], atol=1e-6)


def test_a_kill_and_a_restart_give_the_same_file(run, new_items, tmp_path, monkeypatch):
    run(new_items, "whole.parquet", part_rows=16)
    encode, calls = Encoder.encode_tokens, []

    def dies(self, tokens, *args, **kwargs):
        calls.append(len(tokens))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return encode(self, tokens, *args, **kwargs)

    monkeypatch.setattr(Encoder, "encode_tokens", dies)
    with pytest.raises(KeyboardInterrupt):
        run(new_items, part_rows=16)
    with pytest.raises(UserError, match="embeddings: was False, now True.*same settings"):
        run(new_items, part_rows=16, embeddings=True)
    run(new_items, part_rows=16)
    assert calls == [16, 16, 16, 8]  # the first part was not made again
    assert (tmp_path / "ids.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()
    assert not (tmp_path / "ids.parquet.parts").exists()


def test_every_line_is_accounted_for(run, tmp_path):
    path = tmp_path / "new.jsonl"
    path.write_bytes(b'{"title": "apple phone"}\n\n{"title": ""}\nno json\n{"title": "lamp"}\n')
    with pytest.raises(UserError, match="new.jsonl, line 3: empty text"):
        run(path)
    said = run(path, skip_invalid=True)
    assert pq.read_table(tmp_path / "ids.parquet")["row"].to_pylist() == [0, 4]
    assert "2 rows" in said and "1 blank lines passed over" in said
    assert "2 bad records set aside: 1 empty text, 1 malformed JSON" in said
    rejected = (tmp_path / "ids.rejects.jsonl").read_text().splitlines()
    assert [json.loads(line)["line"] for line in rejected] == [3, 4]


def test_shards_join_to_the_same_file(run, new_items, tmp_path):
    run(new_items, "whole.parquet", part_rows=16)
    assert "shard 1 of 2 is done" in run(new_items, part_rows=16, shards=2, shard_index=1)
    assert "40 rows" in run(new_items, part_rows=16, shards=2, shard_index=0)
    assert (tmp_path / "ids.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()


def test_seqio_tasks_give_what_their_texts_give(run, tiny_run_dir, tmp_path):
    run("gsid_queries", kind="query")
    queries = pq.read_table(tiny_run_dir / "data" / "queries.parquet")["query"].to_pylist()
    run(tiny_run.write_jsonl(tmp_path / "q.jsonl", [{"query": query} for query in queries]),
        "file.parquet", kind="query")
    task, file = (pq.read_table(tmp_path / name) for name in ("ids.parquet", "file.parquet"))
    assert task["query"].to_pylist() == queries
    assert task.equals(file)


@pytest.mark.parametrize("options, message", [
    ({"output": "ids.csv"}, "does not end in .parquet"),
    ({"shards": 2, "shard_index": 2}, "--shard_index=2 --shards=2.*expected 0 <= shard_index"),
    ({"run_dir": None}, "give either --run_dir or --checkpoint"),
    ({"run_dir": None, "checkpoint": "nowhere"}, "no checkpoint at .*nowhere"),
    ({"batch_size": 30}, "batch_size is 30, which cannot be split over the mesh"),
])
def test_mistakes_are_named(run, new_items, options, message):
    with pytest.raises(UserError, match=message):
        run(new_items, **options)


def test_an_existing_output_is_refused_before_the_work(run, new_items, tmp_path, monkeypatch):
    (tmp_path / "ids.parquet").touch()
    monkeypatch.setattr(trained_model, "load_run", None)
    with pytest.raises(UserError, match="exists already; expected a new file"):
        run(new_items)


def test_the_command_line(new_items, tiny_run_dir, tmp_path):
    def command(*arguments):
        return subprocess.run([sys.executable, "-m", "gsid_jax.infer", *arguments],
                              capture_output=True, text=True, check=False)

    done = command(f"--checkpoint={tiny_run_dir / 'step_1'}", f"--input={new_items}",
                   "--kind=item", f"--output={tmp_path / 'ids.parquet'}", "--batch_size=32",
                   f"--gin.VOCABULARY='{tiny_run_dir / 'vocab' / 'sentencepiece.model'}'")
    assert done.returncode == 0, done.stderr
    assert "40 rows" in done.stdout and "item IDs: 40 done in" in done.stderr
    assert len(pq.read_table(tmp_path / "ids.parquet")["codes"][0]) == 1
    failed = command("--input=x.jsonl")
    assert failed.returncode == 1
    assert failed.stderr.startswith("error: --output is missing; expected --run_dir=RUN")
