"""The table of the ablations: means, deviations, gaps, flags, and mistakes on the command line."""

import json

import pytest

from tools import ablate


def metrics(perplexity, recall, collapsed=0):
    return {"codes": {"l1": {"perplexity": perplexity, "collapsed": collapsed}},
            "q2i": {"recall@1": recall}, "data": {"items": 5}}


def test_table_gives_mean_and_deviation_and_a_dash_for_what_is_missing():
    text = ablate.table({"default": {0: metrics(20.0, 0.10), 1: metrics(24.0, 0.30)}})
    row = text.splitlines()[-1]
    assert row.startswith("| default | 2 | 22.0 ± 2.8 | - |") and "| 20.0 ± 14.1 |" in row


def test_a_collapsed_variant_is_marked():
    text = ablate.table({"default": {0: metrics(1.0, 0.1, collapsed=1)}})
    assert "| default **COLLAPSED** | 1 |" in text


def test_report_states_command_data_and_what_is_missing():
    text = ablate.report({"default": {0: metrics(20.0, 0.1)}}, "python -m tools.ablate", [0, 1],
                         "a.gin")
    assert "Made by `python -m tools.ablate`" in text and "`a.gin`" in text and "items 5" in text
    assert "jax " in text and "CPU cores" in text
    assert "Not run yet" in text and "default (seed 1)" in text and "K = 64 (seed 0, 1)" in text


def test_every_variant_names_known_bindings():
    from gsid_jax import launch
    from tests.gsid_jax import tiny_run
    bindings = {b for variant in ablate.VARIANTS.values() for b in variant}
    parameters = sorted(b for b in bindings if "." in b.partition("=")[0])
    stages = [["gin_configs/models/tiny.gin", f"gin_configs/runs/{stage}.gin"]
              for stage in ("gsid_step_1", "pretrain")]
    try:
        launch.names_used(stages[0], parameters)  # raises for an unknown one
        known = set().union(*map(launch.names_used, [["gin_configs/runs/pipeline.gin"], *stages]))
        assert {b.partition("=")[0] for b in bindings - set(parameters)} <= known
    finally:
        tiny_run.forget()


def test_runs_of_earlier_calls_are_collected_and_give_stages(tmp_path):
    for name, seed in (("default", 0), ("K = 64", 1)):
        directory = ablate.run_directory(tmp_path, name, seed)
        (directory / "evaluation").mkdir(parents=True)
        (directory / "manifest.json").write_text("{}")
        (directory / "evaluation" / "metrics.json").write_text(json.dumps(metrics(3.0, 0.2)))
    assert {name: set(runs) for name, runs in ablate.collect(tmp_path).items()} == {
        "default": {0}, "K = 64": {1}}
    assert ablate.donors_of(tmp_path, list(ablate.VARIANTS), 1) == [tmp_path / "k_64_1"]
    page = tmp_path / "docs" / "page.md"
    assert ablate.main([f"--output_dir={tmp_path}", "--variants=none", f"--report={page}"]) == 0
    assert "| K = 64 | 1 |" in page.read_text()


@pytest.mark.parametrize("argument, text", [
    ("--variants=magic", "--variants: got 'magic', expected some of"),
    ("--variants=99", "--variants: got '99', expected some of"),
    ("--seeds=a", "--seeds: got 'a', expected numbers such as 0,1,2"),
])
def test_mistakes_are_named(argument, text, tmp_path, capsys):
    assert ablate.main([argument, f"--output_dir={tmp_path}"]) == 1
    assert text in capsys.readouterr().err


def test_variants_by_name_and_number_in_the_order_of_the_table():
    assert ablate.chosen("T = 3, 0") == ["default", "T = 3"]
    assert ablate.chosen("") == list(ablate.VARIANTS) and ablate.chosen("none") == []


@pytest.mark.parametrize("name, expected", [("without balance (M6)", "without_balance_m6"),
                                            ("paper's literal recipe", "papers_literal_recipe")])
def test_slug(name, expected):
    assert ablate.slug(name) == expected


def test_slugs_tell_all_variants_apart():
    slugs = [ablate.slug(name) for name in ablate.VARIANTS]
    assert len(set(slugs)) == len(slugs)
    assert not any(a != b and a.startswith(f"{b}_") and a.removeprefix(f"{b}_").isdigit()
                   for a in slugs for b in slugs)
