"""The serving artefact: exported from a tiny run, run without the package, equal to retrieve's."""

import json
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest

from gsid_jax import trained_model
from gsid_jax.beam_encoder import BeamEncoder
from gsid_jax.code_index import build_for_run
from tests.gsid_jax import tiny_run
from tools import export_serving, serve_example

BEAM = 5
QUERIES = ["apple phone", "ikea table  lamp", "ＳＯＮＹ camera", "cheap", "nike running shoes " * 9]


@pytest.fixture(scope="module")
def served(published_run_dir, tmp_path_factory):
    """The artefact, the trained model and its index."""
    place = tmp_path_factory.mktemp("serving")
    trained = trained_model.load_run(published_run_dir)
    index = build_for_run(published_run_dir, trained, place / "index")
    tiny_run.forget()
    manifest = export_serving.export_serving(published_run_dir, place / "artefact",
                                             index=str(place / "index"), beam=BEAM)
    tiny_run.forget()
    return place / "artefact", manifest, trained, index


def test_it_is_lowered_for_every_platform_with_the_arrays_it_needs(served):
    directory, manifest, _, index = served
    assert manifest["platforms"] == ["cpu", "cuda", "tpu"] and not manifest["not_lowered"]
    assert sorted(manifest["files"]) == ["arrays.npz", "items.npz", "program.bin",
                                         "sentencepiece.model"]
    assert manifest["ids"] == index.trie.num_ids and manifest["items"] == 150
    names = manifest["arguments"]
    assert any("token_embedder" in name for name in names)
    assert not any("logits_dense" in name or "recent" in name for name in names)
    with np.load(directory / "arrays.npz") as arrays:
        assert len(arrays.files) == len(names)


def test_any_batch_gives_what_retrieve_searches(served):
    directory, _, trained, index = served
    encoder = BeamEncoder(trained.model, trained.variables, trained.vocabulary, trie=index.trie,
                          beam=BEAM, batch_size=8, partitioner=trained.partitioner,
                          max_length=trained.feature_lengths["inputs"],
                          query_length=trained.feature_lengths["queries"])
    from tasks.raw_records import normalise_query
    wanted = encoder.encode([normalise_query(query) for query in QUERIES], "query")
    run, items, _ = serve_example.load(directory)
    ids = index.trie.ids()
    for count in (1, 3, len(QUERIES)):
        found = run(QUERIES[:count])
        np.testing.assert_array_equal(found["numbers"], wanted["numbers"][:count])
        np.testing.assert_array_equal(found["codes"], ids[wanted["numbers"][:count]])
        np.testing.assert_allclose(found["log_prob"], wanted["log_prob"][:count], atol=1e-5)
        np.testing.assert_allclose(found["outside"], wanted["outside"][:count], atol=1e-5)
    names = index.item_ids().to_pylist()
    assert items(2) == names[index.items_of(2)]


def run_alone(directory, tmp_path, *queries):
    """The example in a process of its own, where this repository is not to be found."""
    script = shutil.copy(serve_example.__file__, tmp_path / "serve.py")
    code = (f"import runpy, sys; sys.argv = ['serve.py', *{[str(directory), *queries]!r}]; "
            f"runpy.run_path({str(script)!r}, run_name='__main__'); "
            "assert not {'gsid_jax', 'tensorflow', 'flax', 'tasks'} & set(sys.modules)")
    return subprocess.run([sys.executable, "-I", "-c", code], cwd=tmp_path, capture_output=True,
                          text=True, check=False)


def test_it_runs_in_a_process_without_this_package(served, tmp_path):
    done = run_alone(served[0], tmp_path, "apple phone", "cheap")
    assert done.returncode == 0, done.stderr
    assert "apple phone: " in done.stdout and "of the probability outside" in done.stdout
    assert "items: i" in done.stdout


@pytest.mark.parametrize("name", ["program.bin", "arrays.npz"])
def test_a_damaged_file_is_named(served, tmp_path, name):
    damaged = shutil.copytree(served[0], tmp_path / "artefact")
    content = bytearray((damaged / name).read_bytes())
    content[len(content) // 2] ^= 1
    (damaged / name).write_bytes(content)
    with pytest.raises(SystemExit, match=f"{name} is damaged: its SHA-256 is not that of the"):
        serve_example.load(damaged)


def test_a_program_of_another_jax_is_named(served, tmp_path):
    other = shutil.copytree(served[0], tmp_path / "artefact")
    manifest = json.loads((other / "manifest.json").read_text())
    manifest |= {"calling_convention": 999}
    (other / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(SystemExit, match="calling convention 999 .* install a jax that reads it"):
        serve_example.load(other)


def export(run_dir, output, *flags):
    try:
        return export_serving.main([f"--run_dir={run_dir}", f"--output_dir={output}", *flags])
    finally:
        tiny_run.forget()


@pytest.mark.parametrize("flag, message", [
    ("--platforms=cpu,abacus", "--platforms=cpu,abacus; expected some of cpu, cuda, tpu"),
    ("--beam=0", "--beam=0; expected 1 to"),
    ("--length=1", "--length=1; expected at least 2 tokens")])
def test_flags_that_cannot_be(published_run_dir, tmp_path, capsys, flag, message):
    assert export(published_run_dir, tmp_path / "out", flag) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_index_of_another_model_is_refused(served, tiny_run_dir, tmp_path, capsys):
    index = pathlib.Path(shutil.copytree(served[3].directory, tmp_path / "index"))
    from gsid_jax import index_files
    from gsid_jax.manifest import write_json
    info = index_files.read_info(index) | {"model": "f" * 64}
    write_json(index / "index.json", info | {"checksum": index_files._checksum(info)})
    assert export(tiny_run_dir, tmp_path / "out", f"--index={index}") == 1
    assert "holds IDs of another model: got model ffffffffffff..." in capsys.readouterr().err
