"""The click model, and the worked example through its command line."""

import numpy as np
import pytest
from sklearn import metrics

from tools import ctr_example
from tools.ctr import network


def test_auc_and_log_loss_are_scikit_learns():
    random = np.random.default_rng(0)
    click = (random.random(300) < 0.3).astype(np.float32)
    scores = np.round(random.normal(size=300) + click, 1)  # with ties
    assert ctr_example.auc(scores, click) == pytest.approx(metrics.roc_auc_score(click, scores))
    assert network.log_loss(scores, click) == pytest.approx(
        metrics.log_loss(click, 1 / (1 + np.exp(-scores))), rel=1e-5)


def rows(random, count=3000):
    """Clicks that depend on whether the item's unit is the user's."""
    candidate = random.integers(2, 8, (count, 1)).astype(np.int32)
    units = random.integers(2, 8, (count, 1, 1)).astype(np.int32)
    click = (candidate[:, 0] == units[:, 0, 0]).astype(np.float32)
    return network.Rows(candidate, np.arange(count), click, units,
                        np.ones((count, 1, 1), np.float32), np.zeros((count, 1), np.float32))


def test_the_network_learns_from_a_matching_unit():
    random = np.random.default_rng(0)
    logits = network.train([8], rows(random, 8000), rows(random), seed=0, epochs=12)
    test = rows(random, 1000)
    assert ctr_example.auc(logits(test), test.click) > 0.95


def test_unknown_units_match_nothing():
    model = network.ClickModel((8,))
    batch = {"candidate": np.array([[1]]), "units": np.array([[[1]]]),
             "weights": np.ones((1, 1, 1), np.float32), "dense": np.zeros((1, 1), np.float32)}
    params = model.init(network.jax.random.key(0), batch)["params"]
    # The last input of the first layer is the match: its weight must not matter.
    kernel = params["Dense_0"]["kernel"]
    other = {**params, "Dense_0": {**params["Dense_0"], "kernel": kernel.at[-1].add(5.0)}}
    np.testing.assert_array_equal(model.apply({"params": params}, batch),
                                  model.apply({"params": other}, batch))


def test_the_report_holds_every_variant_and_why(published_run_dir, tmp_path):
    page = tmp_path / "ctr.md"
    assert ctr_example.main([
        f"--run_dir={published_run_dir}", "--seeds=0", "--epochs=1", "--negatives=1",
        "--variants=no units,GSID", f"--report={page}", "--near_level=0"]) == 0
    text = page.read_text()
    assert "| no units |" in text and "| GSID |" in text and "| GSID | 2 |" in text
    assert "seeds 0" in text and "jax" in text and "negatives" in text


def test_an_unknown_variant_is_refused(published_run_dir, capsys):
    assert ctr_example.main([f"--run_dir={published_run_dir}", "--variants=nothing"]) == 1
    assert "--variants: got 'nothing', expected some of ['no units', 'GSID']" in (
        capsys.readouterr().err)


def test_a_run_without_sequences_is_refused(tiny_run_dir, capsys):
    assert ctr_example.main([f"--run_dir={tiny_run_dir}"]) == 1
    assert "sequences.parquet is missing; expected the views of users" in capsys.readouterr().err
