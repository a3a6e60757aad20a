"""The command lines of the runs over seeds."""

from tools import train_seeds


def test_a_run_directory_and_a_seed_each(monkeypatch):
    commands = []

    class Finished:
        returncode = 0

    monkeypatch.setattr(train_seeds.subprocess, "run",
                        lambda command, check: commands.append(command) or Finished())
    assert train_seeds.main(["--output=runs/m", "--seeds=0,2", "--gin=NUM_ITEMS=9"]) == 0
    assert [command[4:] for command in commands] == [
        ["--gin.RUN_DIR='runs/m_seed0'", "--gin.RANDOM_SEED=0", "--gin.NUM_ITEMS=9"],
        ["--gin.RUN_DIR='runs/m_seed2'", "--gin.RANDOM_SEED=2", "--gin.NUM_ITEMS=9"]]
    assert train_seeds.main(["--output=runs/n", "--seeds=3", "--new_data"]) == 0
    assert commands.pop()[4:] == ["--gin.RUN_DIR='runs/n_seed3'", "--gin.RANDOM_SEED=3",
                                  "--gin.DATA_SEED=3"]
    Finished.returncode = 3
    assert train_seeds.main(["--seeds=0,1"]) == 3 and len(commands) == 3


def test_seeds_must_be_numbers(capsys):
    assert train_seeds.main(["--seeds=a"]) == 1
    assert "--seeds: got 'a', expected numbers such as 0,1,2" in capsys.readouterr().err
