"""The table of the ablations: means, deviations, gaps, and mistakes on the command line."""

import pytest

from tools import ablate


def metrics(perplexity, raw):
    return {"codes": {"l1": {"perplexity": perplexity}}, "q2i": {"recall@1": raw},
            "data": {"items": 5}}


def test_table_gives_mean_and_deviation_and_a_dash_for_what_is_missing():
    text = ablate.table({"default": [metrics(20.0, 0.10), metrics(24.0, 0.30)]})
    row = text.splitlines()[-1]
    assert row.startswith("| default | 22.0 ± 2.8 | - |") and "| 0.200 ± 0.141 |" in row


def test_report_states_command_seeds_and_data():
    text = ablate.report({"default": [metrics(20.0, 0.1)]}, "python -m tools.ablate", [0])
    assert "Made by `python -m tools.ablate`" in text and "seeds 0" in text and "items 5" in text
    assert "jax " in text and "CPU cores" in text


def test_every_variant_names_known_bindings():
    from gsid_jax import launch
    files = ["gin_configs/models/tiny.gin", "gin_configs/runs/gsid_step_1.gin"]
    for bindings in ablate.VARIANTS.values():
        stage = [b for b in bindings if not b.startswith("Pipeline.")]
        launch.parse_gin(files, ["RUN_DIR='r'", "TRAIN_STEPS=9", *stage])


def test_unknown_variant_is_named(capsys):
    assert ablate.main(["--variants=magic"]) == 1
    assert "--variants: got 'magic', expected some of" in capsys.readouterr().err


@pytest.mark.parametrize("name, expected", [("without balance (M6)", "without_balance__m6"),
                                            ("default", "default")])
def test_slug(name, expected):
    assert ablate.slug(name) == expected
