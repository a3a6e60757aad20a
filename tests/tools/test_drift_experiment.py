"""The parts of the drift experiment; its training is not repeated here."""

import json

import numpy as np
import pytest

from gsid_jax.errors import UserError
from gsid_jax.evaluate import drift as statistics
from gsid_jax.published_ids import PublishedIds
from tools import drift_experiment
from tools.drift_experiment import LANGUAGE, MIXED, NEW, SAME, Batch


def items(directory, part):
    stem = part.replace(" ", "_")
    return {json.loads(line)["item_id"] for line in
            (directory / f"{stem}_items.jsonl").read_text().splitlines()}


def test_the_parts_share_no_item_and_interactions_stay_with_theirs(tmp_path):
    category = drift_experiment.split(tmp_path, 4000, 0, "en", "")
    truth = {record["item_id"]: record["category"][0] for record in map(
        json.loads, (tmp_path / "raw_en" / "truth" / "items.jsonl").read_text().splitlines())}
    parts = {part: items(tmp_path, part) for part in ("training", SAME, NEW)}
    assert sum(map(len, parts.values())) == len(set().union(*parts.values())) == len(truth)
    assert {truth[item] for item in parts[NEW]} == {category}
    assert category not in {truth[item] for item in parts["training"] | parts[SAME]}
    for part, known in parts.items():
        lines = (tmp_path / f"{part.replace(' ', '_')}_interactions.jsonl").read_text().splitlines()
        assert {json.loads(line)["item_id"] for line in lines} <= known
    assert drift_experiment.split(tmp_path, 4000, 0, "en", "") == category
    with pytest.raises(UserError, match="--category=Nothing: top-level categories and their items"):
        (tmp_path / "split.json").unlink()
        drift_experiment.split(tmp_path, 4000, 0, "en", "Nothing")


def batch(random, count, sure):
    ids = PublishedIds(None, random.integers(0, 8, (count, 2)),
                       random.beta(sure, 1, (count, 2)).astype(np.float32), "m")
    item = np.repeat(np.arange(count), 2)
    return Batch(ids, statistics.Pairs(random.random((2 * count, 2)) < sure / 10, item))


def test_verdicts_are_counted_by_part_and_size():
    random = np.random.default_rng(0)
    known = batch(random, 1500, 8)
    reference = drift_experiment.drift.Reference(np.arange(1500) < 1200, known.ids, known.pairs, "")
    batches = {SAME: batch(random, 300, 8), NEW: batch(random, 300, 1),
               LANGUAGE: batch(random, 300, 1)}
    table = drift_experiment.verdicts(reference, batches, [60], 10, statistics.Limits(
        resamples=100))
    rows = {line.split(" | ")[0].strip("| "): line for line in table.splitlines()[2:]}
    assert "| 0% | 0% | 100% | - |" in rows[SAME]
    assert "| 100% | 0% | 0% | " in rows[NEW] and "low probability 100%" in rows[LANGUAGE]
    assert MIXED in rows
