"""T5X's checkpoints are found and read without T5X: today's layout and the one before."""

import os

from flax import serialization
import numpy as np
import orbax.checkpoint as ocp
import pytest
import tensorstore

from gsid_jax import checkpoint_files, t5x_checkpoints
from gsid_jax.errors import UserError

PARAMS = {"token_embedder": {"embedding": np.arange(12, dtype=np.float32).reshape(4, 3)},
          "decoder": {"logits_dense": {"kernel": np.ones((3, 4), np.float32)},
                      "decoder_norm": {"scale": np.full(3, 2.0, np.float32)}}}
CODEBOOK = {"codebook": {"level_1": {"count": np.ones(5, np.float32)}}}


def write_orbax(model_dir, step, params=PARAMS, mutables=CODEBOOK):
    path = model_dir / f"checkpoint_{step}" / "state"
    path.parent.mkdir(parents=True)
    state = {"target": params, "state": {"step": np.int32(step), "param_states": {
        "x": np.zeros(3, np.float32)}}} | ({"flax_mutables": mutables} if mutables else {})
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as saver:
        saver.save(path, args=ocp.args.PyTreeSave(state))
    return path.parent


def write_legacy(model_dir, step, params=PARAMS):
    """A file of small arrays, and TensorStore folders for large ones."""
    path = model_dir / f"checkpoint_{step}"
    path.mkdir(parents=True)
    table = params["token_embedder"]["embedding"]
    spec = {"driver": "zarr", "kvstore": {"driver": "file", "path":
                                          str(path / "target.token_embedder.embedding")}}
    tensorstore.open(spec, create=True, dtype=table.dtype, shape=table.shape).result().write(
        table).result()
    # As on the disk it came from: the path there says nothing about the place here.
    spec["kvstore"] = {"driver": "gfile", "path": "gs/elsewhere/target.token_embedder.embedding/"}
    tree = {"version": 3, "optimizer": {
        "target": params | {"token_embedder": {"embedding": spec}},
        "state": {"step": np.int32(step)}}}
    (path / "checkpoint").write_bytes(serialization.msgpack_serialize(tree))
    return path


@pytest.mark.parametrize("write", [write_orbax, write_legacy])
def test_parameters_come_under_our_names(tmp_path, write):
    write(tmp_path, 3)
    write(tmp_path, 20)
    found = checkpoint_files.load_variables(str(tmp_path))
    mutables = {name: value for name, value in found.items() if name != "params"}
    assert set(mutables) == ({"codebook"} if write is write_orbax else set())
    params = found["params"]
    np.testing.assert_array_equal(params["token_embedder"]["embedding"],
                                  PARAMS["token_embedder"]["embedding"])
    # A native T5: the head lies in the decoder, which starts with the pad token's embedding.
    np.testing.assert_array_equal(params["bos"], [0, 1, 2])
    assert params["logits_dense"]["kernel"].shape == (3, 4)
    assert list(params["decoder"]) == ["decoder_norm"]
    newest = str(tmp_path / "checkpoint_20")
    assert checkpoint_files.find(str(tmp_path)) == [newest, str(tmp_path / "checkpoint_3")]
    assert checkpoint_files.find(str(tmp_path), 3) == [str(tmp_path / "checkpoint_3")]
    assert checkpoint_files.find(newest) == [newest]
    assert checkpoint_files.model_dir_of(newest) == str(tmp_path)
    assert checkpoint_files.step_of(str(tmp_path)) == 20
    with pytest.raises(UserError, match=r"no checkpoint of step 4 at .* of steps \[3, 20\]"):
        checkpoint_files.find(str(tmp_path), 4)


def test_ours_under_t5x_stay_as_they_are(tmp_path):
    params = {"bos": np.ones(3, np.float32), "decoder": {"x": np.zeros(1, np.float32)}}
    write_orbax(tmp_path, 1, params)
    found = checkpoint_files.load_variables(str(tmp_path / "checkpoint_1"))
    np.testing.assert_array_equal(found["params"]["bos"], params["bos"])
    assert found["codebook"]["level_1"]["count"].shape == (5,)


def test_a_damaged_one_is_passed_over(tmp_path, capsys):
    write_orbax(tmp_path, 1)
    newest = write_orbax(tmp_path, 2)
    os.remove(newest / "state" / "manifest.ocdbt")
    assert checkpoint_files.load_variables(str(tmp_path))["params"]
    assert "checkpoint_2" in capsys.readouterr().err
    assert t5x_checkpoints.steps(str(tmp_path / "nowhere")) == {}
