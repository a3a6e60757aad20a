"""Saving, damage, retention, starting from another run."""

import os

import jax
import numpy as np
import pytest

from gsid_jax import checkpoint_files, checkpoints, optimizers, trainer
from gsid_jax.checkpoints import Checkpoints, RestoreCheckpointConfig
from gsid_jax.errors import UserError
from gsid_jax.partitioning import Partitioner
from tests.gsid_jax.toy_model import OUT, WIDTH, ToyData, ToyModel


def toy(partitioner=None, **model):
    spec = ToyData().open(None).element_spec
    trains = trainer.Trainer(ToyModel(**model), partitioner or Partitioner(), spec)
    return trains, trains.new_state(7)


def save(directory, states, **options):
    saver = Checkpoints(str(directory), **options)
    for step, state in states:
        saver.save(state.replace(step=jax.numpy.int32(step)), {"stage": "s"},
                   lambda folder: open(os.path.join(folder, "position"), "w").close())
    saver.close()
    return os.path.join(directory, "checkpoints")


def restore(directory, trains, **options):
    reader = Checkpoints(str(directory))
    try:
        return reader.restore(trains.state_shapes, trains.state_shardings, **options)
    finally:
        reader.close()


def same_bits(a, b):
    a, b = jax.device_get((a, b))
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert np.asarray(x).dtype == np.asarray(y).dtype
        assert np.asarray(x).tobytes() == np.asarray(y).tobytes()


def damage(folder, change=lambda data: b""):
    """Changes the data files of the parameters; cuts them to nothing by default."""
    for where, _, names in os.walk(os.path.join(folder, "params")):
        for name in names:
            if os.path.basename(where) == "d":
                with open(os.path.join(where, name), "rb") as file:
                    data = file.read()
                with open(os.path.join(where, name), "wb") as file:
                    file.write(change(data))


def test_checksums_see_every_bit_and_no_sharding():
    part = Partitioner(2)
    values = {"a": np.arange(64, dtype=np.float32).reshape(8, 8), "b": np.ones(3, np.bool_),
              "c": np.arange(4, dtype=np.int32)}
    plain = checkpoint_files.checksums(values)
    placed = jax.device_put(values, {"a": part.batch_sharding, "b": part.replicated,
                                     "c": part.batch_sharding})
    assert checkpoint_files.checksums(placed) == plain
    values["a"].view(np.uint32)[3, 3] ^= 1
    assert checkpoint_files.checksums(values)["a"] != plain["a"]
    assert plain["b"] == 3 and plain["c"] == 6


def test_round_trip_onto_another_mesh(tmp_path):
    trains, state = toy(mutables=True)
    save(tmp_path, [(5, state)])
    other, _ = toy(Partitioner(2, fsdp=True), mutables=True)
    seen = []
    restored, loop = restore(tmp_path, other, restore_data=lambda folder: seen.append(
        os.listdir(folder)))
    same_bits(restored, state.replace(step=np.int32(5)))
    assert restored.params["kernel"].sharding.shard_shape((WIDTH, OUT)) == (WIDTH // 4, OUT // 2)
    assert loop["stage"] == "s" and "position" in seen[0]


def test_nothing_to_restore(tmp_path):
    trains, _ = toy()
    assert restore(tmp_path, trains) is None


def test_keeps_the_latest(tmp_path):
    _, state = toy()
    folder = save(tmp_path, [(step, state) for step in (1, 2, 3)], keep=2)
    assert sorted(os.listdir(folder)) == ["2", "3"]


def test_a_save_cut_off_is_not_seen(tmp_path):
    trains, state = toy()
    folder = save(tmp_path, [(1, state)])
    os.makedirs(os.path.join(folder, "2.orbax-checkpoint-tmp", "params"))
    assert restore(tmp_path, trains)[1]["step"] == 1
    assert os.listdir(folder) == ["1"]  # the half-written one is cleared away


@pytest.mark.parametrize("how", ["cut", "one_bit", "loop", "data", "missing"])
def test_a_damaged_checkpoint_is_left_out_with_a_warning(tmp_path, capsys, how):
    trains, state = toy(mutables=True)
    folder = save(tmp_path, [(1, state), (2, state)])
    newest = os.path.join(folder, "2")
    if how == "cut":
        damage(newest)
    elif how == "one_bit":  # Orbax alone may read that without a word
        damage(newest, lambda data: data[:70] + bytes([data[70] ^ 1]) + data[71:])
    elif how == "loop":
        open(os.path.join(newest, "loop", "metadata"), "w").close()
    elif how == "data":
        os.remove(os.path.join(newest, "data", "position"))
    else:
        os.rename(os.path.join(newest, "params"), os.path.join(tmp_path, "elsewhere"))

    def read(directory):
        open(os.path.join(directory, "position")).close()

    restored, loop = restore(tmp_path, trains, restore_data=read)
    assert loop["step"] == 1
    same_bits(restored.params, state.params)
    warning = capsys.readouterr().err
    assert f"warning: checkpoint {newest} is damaged (" in warning
    assert "going on from step 1" in warning
    assert sorted(os.listdir(folder)) == ["1", "2.damaged"]


def test_all_damaged_is_an_error(tmp_path):
    trains, state = toy()
    folder = save(tmp_path, [(1, state)])
    damage(os.path.join(folder, "1"))
    with pytest.raises(UserError, match="none of the 1 checkpoints in .* can be read; .*delete "
                       "the directory to start again"):
        restore(tmp_path, trains)
    assert os.listdir(folder) == ["1"]


def test_another_model_is_refused(tmp_path):
    _, state = toy()
    save(tmp_path, [(1, state)])
    trains, _ = toy(out=4)
    with pytest.raises(UserError, match=r"in params, kernel has shape \(16, 8\) there and "
                       r"\(16, 4\) in the model; scale .*use another MODEL_DIR"):
        restore(tmp_path, trains)
    trains, _ = toy(optimizer_def=optimizers.adamw(0.1, frozen=["scale"]))
    with pytest.raises(UserError, match="in opt_state, .* is missing there"):
        restore(tmp_path, trains)


def test_other_settings_are_refused(tmp_path):
    trains, state = toy()
    saver = Checkpoints(str(tmp_path))
    saver.save(state, {"settings": {"BATCH_SIZE": 16}})
    saver.close()
    assert restore(tmp_path, trains, settings={"BATCH_SIZE": 16})
    with pytest.raises(UserError, match="of a run with BATCH_SIZE=16, this one has BATCH_SIZE=32"):
        restore(tmp_path, trains, settings={"BATCH_SIZE": 32})


def test_load_variables(tmp_path, capsys):
    _, state = toy(mutables=True)
    moved = state.replace(params=jax.tree.map(lambda p: p + 1, state.params))
    folder = save(tmp_path, [(1, state), (2, moved)])
    for path in (tmp_path, folder, os.path.join(folder, "2")):
        variables = checkpoints.load_variables(str(path))
        assert isinstance(variables["params"]["kernel"], np.ndarray)
        same_bits(variables, {"params": moved.params, **state.flax_mutables})
    same_bits(checkpoints.load_variables(str(tmp_path), step=1)["params"], state.params)
    with pytest.raises(UserError, match=r"no checkpoint of step 9 at .* steps \[1, 2\]"):
        checkpoints.load_variables(str(tmp_path), step=9)
    damage(os.path.join(folder, "2"))
    same_bits(checkpoints.load_variables(str(tmp_path))["params"], state.params)
    assert "is damaged" in capsys.readouterr().err


def test_load_variables_of_nothing(tmp_path):
    with pytest.raises(UserError, match=rf"no checkpoint at {tmp_path}/x; expected a MODEL_DIR"):
        checkpoints.load_variables(str(tmp_path / "x"))


def initialised(trains, path, fresh=(), fresh_mutables=False):
    state = trains.new_state(1)
    return state, *checkpoints.initialise(state, trains.state_shardings,
                                          RestoreCheckpointConfig(str(path), fresh),
                                          fresh_mutables)


def test_initialise_takes_params_and_codebooks_only(tmp_path):
    trains, state = toy(mutables=True)
    for batch in [next(ToyData().open(None))] * 2:
        state, _ = trains.train_step(state, batch)
    save(tmp_path, [(2, state)])
    before, after, said = initialised(trains, tmp_path)
    same_bits((after.params, after.flax_mutables), (state.params, state.flax_mutables))
    same_bits((after.step, after.opt_state, after.rng),
              (before.step, before.opt_state, before.rng))
    assert said == f"2 parameters taken from {tmp_path}; 3 codebook arrays taken, 0 fresh"


def test_initialise_from_pretraining_has_fresh_codebooks(tmp_path):
    _, state = toy()
    save(tmp_path, [(1, state)])
    trains, _ = toy(mutables=True)
    before, after, said = initialised(trains, tmp_path, fresh_mutables=True)
    same_bits((after.params, after.flax_mutables), (state.params, before.flax_mutables))
    assert said.endswith("codebooks fresh")
    with pytest.raises(UserError, match="holds no codebooks, .* the MODEL_DIR of the step before"):
        initialised(trains, tmp_path)


def test_initialise_names_leaf_and_shapes(tmp_path):
    _, state = toy()
    save(tmp_path, [(1, state)])
    trains, _ = toy(out=4)
    with pytest.raises(UserError, match=r"params/kernel has shape \(16, 8\) there and \(16, 4\) in "
                       r"the model; params/scale has shape \(8,\) there .*INITIAL_CHECKPOINT_PATH"):
        initialised(trains, tmp_path)


def test_initialise_leaves_what_may_be_fresh(tmp_path):
    trains, state = toy()
    save(tmp_path, [(1, state.replace(params={"kernel": state.params["kernel"]}))])
    with pytest.raises(UserError, match=r"params/scale is missing there; the model has it with "
                       r"shape \(8,\)"):
        initialised(trains, tmp_path)
    before, after, said = initialised(trains, tmp_path, fresh=["params/sc.*"])
    same_bits(after.params["scale"], before.params["scale"])
    assert said.startswith("1 parameters taken") and said.endswith("1 fresh")


def test_config_errors():
    with pytest.raises(UserError, match="period is 0 and keep is 2; expected both at least 1"):
        checkpoints.SaveCheckpointConfig(period=0)
