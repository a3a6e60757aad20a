"""Flags, gin files and their errors."""

import os
import subprocess
import sys

import gin
import pytest

from gsid_jax import launch
from gsid_jax.errors import UserError

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


@pytest.fixture(autouse=True)
def clean_gin():
    yield
    with gin.unlock_config():
        gin.clear_config()


@pytest.fixture
def write(tmp_path):
    def write(text, name="a.gin"):
        (tmp_path / name).write_text(text)
        return str(tmp_path / name)
    return write


def test_files_then_bindings_the_later_wins(write):
    first = write("RATE = 1.0\noptimizers.schedule.learning_rate = %RATE\n"
                  "optimizers.schedule.decay = 'rsqrt'\n")
    second = write("RATE = 2.0\n", "b.gin")
    launch.parse_gin([first, second], ["optimizers.schedule.warmup_steps = 3"])
    assert gin.query_parameter("optimizers.schedule.warmup_steps") == 3
    rate = gin.get_configurable("optimizers.schedule")()
    assert float(rate(2)) == 2.0
    launch.parse_gin([first])  # replaces, does not add
    with pytest.raises(ValueError):
        gin.query_parameter("optimizers.schedule.warmup_steps")


def test_search_paths_and_includes(write, tmp_path):
    write("T5Config.emb_dim = 8\n", "inner.gin")
    write("include 'inner.gin'\n", "outer.gin")
    launch.parse_gin(["outer.gin"], search_paths=[str(tmp_path)])
    assert gin.query_parameter("T5Config.emb_dim") == 8


@pytest.mark.parametrize("text,bindings,message", [
    ("T5Config.emb_dmi = 8\n", [], r"unknown gin name T5Config.emb_dmi in .*a.gin, line 1 "
     r"\(T5Config.emb_dmi = 8\); T5Config has the parameters vocab_size, emb_dim, .*: did you mean "
     "emb_dim"),
    ("\nT5Confg.emb_dim = 8\n", [], r"unknown gin name 'T5Confg' in .*a.gin, line 2 .*did you "
     "mean T5Config"),
    ("T5Config.emb_dim = @network.T5Konfig()\n", [], "unknown gin name 'network.T5Konfig'.*did you "
     "mean network.T5Config"),
    ("", ["T5Config.emb_dmi = 8"], r"unknown gin name T5Config.emb_dmi in --gin.T5Config.emb_dmi"),
    ("", ["Trainr.num_microbatches = 8"], r"unknown gin name 'Trainr' in --gin.Trainr.num_micro"),
    ("STEPS = 1\ntrain.total_steps = %STEPS\n", ["STEP = 2"], "unknown gin name in --gin.STEP: no "
     "gin file uses the value STEP; expected one of STEPS: did you mean STEPS"),
    ("STEPS = %gin.REQUIRED\nDIR = %gin.REQUIRED\ntrain.total_steps = %STEPS\n", [],
     r"required but not set: DIR, STEPS; .*add --gin.DIR=VALUE --gin.STEPS=VALUE"),
    ("train.total_steps = %STEPS\n", [], "required but not set: STEPS; expected a value in a gin "
     "file"),
    ("train.total_steps = = 1\n", [], "cannot be read in .*a.gin, line 1"),
    ("include 'none.gin'\n", [], r"gin file 'none.gin' does not exist in .*a.gin, line 1 .*"
     "--gin_search_paths"),
    ("import gsid_jax.no_such_module\n", [], "cannot be read in .*a.gin, line 1.*no_such_module"),
])
def test_errors_name_the_place_and_what_was_meant(write, text, bindings, message):
    with pytest.raises(UserError, match=message):
        launch.parse_gin([write(text)], bindings)


def test_missing_file():
    with pytest.raises(UserError, match="gin file 'nowhere/x.gin' does not exist; looked in .*: "
                       "correct --gin_file"):
        launch.parse_gin(["nowhere/x.gin"])


def test_gin_flags_are_rewritten():
    assert launch.rewrite_gin_args(["p", "--gin.A=1", "--gin.b/c.d='x=y'", "--x"]) == [
        "p", "--gin_bindings=A = 1", "--gin_bindings=b/c.d = 'x=y'", "--x"]
    with pytest.raises(UserError, match="flag '--gin.A' has no value; expected --gin.NAME=value"):
        launch.rewrite_gin_args(["--gin.A"])


def fails(main, capsys):
    assert launch.call(main, ["program"]) == 1
    return capsys.readouterr().err


def test_user_errors_become_one_line(capsys):
    def main(argv):
        raise UserError("nothing there")
    assert fails(main, capsys) == "error: nothing there\n"


def test_user_errors_under_gin_are_not_augmented(capsys):
    @gin.configurable
    def picky(x=0):
        raise UserError(f"x is {x}")
    assert fails(lambda argv: picky(), capsys) == "error: x is 0\n"


def test_what_gin_leaves_open_is_named(capsys):
    launch.parse_gin([], ["GSIDNetwork.name = 'x'"])
    err = fails(lambda argv: gin.get_configurable("GSIDNetwork")(), capsys)
    assert err.startswith("error: the gin configuration gives GSIDNetwork no value for 'config'")


def test_other_errors_keep_their_traceback():
    def main(argv):
        raise KeyError("a bug")
    with pytest.raises(KeyError):
        launch.call(main, ["program"])


@pytest.mark.parametrize("arguments,message", [
    ([], "error: no configuration given; expected at least --gin_file=FILE"),
    (["--gin_file=x.gin"], "error: gin file 'x.gin' does not exist; looked in"),
    (["--gin_fil=x.gin"], "error: Unknown command line flag 'gin_fil'. Did you mean: gin_file ?"),
    (["x.gin", "--gin.A=1"], "error: unexpected argument 'x.gin'; expected flags only"),
])
def test_command_line_errors(arguments, message):
    done = subprocess.run([sys.executable, "-m", "gsid_jax.train", *arguments], cwd=ROOT,
                          capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith(message)
    assert "Traceback" not in done.stderr
