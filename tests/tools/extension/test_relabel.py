import jax
import jax.numpy as jnp
import numpy as np

from gsid_jax import checkpoint_files, trained_model
from tests.gsid_jax import tiny_run
from tools.extension import relabel


def test_the_matching_keeps_as_many_codes_as_any_can():
    old = np.array([0, 0, 0, 1, 1, 2, 2, 2])
    new = np.array([2, 2, 1, 0, 0, 1, 1, 1])  # 2 -> 0, 0 -> 1, 1 -> 2; code 3 has no item
    number = relabel.best_matching(old, new, 4)
    np.testing.assert_array_equal(number, [1, 2, 0, 3])
    assert (number[new] == old).sum() == 7


def test_a_mere_renumbering_is_undone():
    random = np.random.default_rng(0)
    old, shuffled = random.integers(0, 16, 400), random.permutation(16)
    number = relabel.best_matching(old, shuffled[old], 16)
    np.testing.assert_array_equal(number[shuffled[old]], old)


def test_a_relabelled_model_gives_the_new_numbers_and_is_else_the_same(tiny_run_dir, tmp_path):
    number = np.array([3, 0, 1, 2, 7, 6, 5, 4])
    relabel.write_relabelled(tiny_run_dir / "step_2", tmp_path / "step_2", 2, number)
    before, after = (checkpoint_files.load_variables(str(path / "step_2"))
                     for path in (tiny_run_dir, tmp_path))
    jax.tree.map(np.testing.assert_array_equal, before["params"], after["params"])
    jax.tree.map(np.testing.assert_array_equal, before["codebook"]["level_1"],
                 after["codebook"]["level_1"])
    np.testing.assert_array_equal(after["codebook"]["level_2"]["embedding"][number],
                                  before["codebook"]["level_2"]["embedding"])
    model = trained_model.load_run(tiny_run_dir).model
    tokens = jnp.asarray([[5, 6, 7, 1], [9, 8, 1, 0]], jnp.int32)
    codes = [np.asarray(model.predict_batch_with_aux(
        variables["params"], {"encoder_input_tokens": tokens},
        flax_mutables={"codebook": variables["codebook"]})[0]) for variables in (before, after)]
    np.testing.assert_array_equal(codes[1][:, 0], codes[0][:, 0])
    np.testing.assert_array_equal(codes[1][:, 1], number[codes[0][:, 1]])
    tiny_run.forget()
