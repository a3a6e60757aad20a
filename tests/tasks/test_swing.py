"""Swing against its definition, its caps and windows, and the command."""

import itertools
import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from gsid_jax.errors import UserError
from tasks import raw_paths, swing, view_files
from tasks.raw_files import Rejects
from tests.tasks.raw_catalogue import write_lines
from tools import swing_i2i


def sequences(users: int = 60, items: int = 25, seed: int = 0) -> list[dict]:
    random = np.random.default_rng(seed)
    return [{"user_id": f"u{user}", "items": [f"i{item}" for item in (
        items * random.random(random.integers(1, 9)) ** 2).astype(int)]} for user in range(users)]


def brute_force(rows: list[dict], alpha: float, power: float) -> dict[tuple[str, str], float]:
    """s(i, j) by its definition."""
    viewed: dict[str, set[str]] = {}
    for row in rows:
        viewed.setdefault(row["user_id"], set()).update(row["items"])
    scores: dict[tuple[str, str], float] = {}
    for u, v in itertools.combinations(viewed, 2):
        shared = viewed[u] & viewed[v]
        if len(shared) < 2:
            continue
        term = (len(viewed[u]) * len(viewed[v])) ** -power / (alpha + len(shared))
        for pair in itertools.permutations(shared, 2):
            scores[pair] = scores.get(pair, 0.0) + term
    return scores


def run(tmp_path, rows, **settings):
    source = raw_paths.resolve(write_lines(tmp_path / "sequences.jsonl", rows), "sequences")
    return swing_i2i.swing_rows(source, swing.SwingSettings(**settings), Rejects())


@pytest.mark.parametrize("alpha, power", [(1.0, 0.5), (0.0, 0.0), (5.0, 1.0)])
def test_scores_are_those_of_the_definition(tmp_path, monkeypatch, alpha, power):
    monkeypatch.setattr(swing, "CHUNK_TERMS", 50)  # many chunks
    rows = sequences()
    expected = brute_force(rows, alpha, power)
    found = {(item, other): score for item, similar, scores in
             run(tmp_path, rows, alpha=alpha, power=power) for other, score in zip(similar, scores)}
    assert found.keys() == expected.keys() and len(found) > 200
    np.testing.assert_allclose([found[pair] for pair in expected], list(expected.values()),
                               rtol=1e-9)


def test_the_best_come_first_and_ties_by_id(tmp_path):
    rows = [{"user_id": user, "items": ["b", "a", "c", "z"]} for user in ("u", "v")]
    rows += [{"user_id": user, "items": ["a", "z"]} for user in ("x", "y")]
    found = run(tmp_path, rows, top=2, power=0)
    assert found[0] == ("a", ["z", "b"], pytest.approx([1 / 5 + 4 / 3 + 1 / 3, 1 / 5]))
    assert found[1][:2] == ("b", ["a", "c"])


def test_caps_keep_the_latest_items_and_some_users_of_each_item(tmp_path):
    rows = [{"user_id": "u", "items": ["old", "a", "b"]}, {"user_id": "v", "items": ["old", "a",
                                                                                    "b"]}]
    assert [row[0] for row in run(tmp_path, rows, max_user_items=2)] == ["a", "b"]
    rows = sequences(users=200, items=6)
    source = raw_paths.resolve(write_lines(tmp_path / "more.jsonl", rows), "sequences")
    settings = swing.SwingSettings(max_item_users=20)
    views = swing.capped(view_files.read_views(source, settings, Rejects()), settings)
    assert np.bincount(views.item).tolist() == [20] * 6
    kept = {(views.user_ids[user], views.item_ids[item])
            for user, item in zip(views.user, views.item)}
    for item in views.item_ids:
        users = sorted({row["user_id"] for row in rows if item in row["items"]},
                       key=lambda user: swing.hash_rank(user, item))
        assert {user for user, other in kept if other == item} == set(users[:20])


def test_a_window_needs_times_and_uses_them(tmp_path):
    rows = [{"user_id": user, "items": ["a", "b", "c"], "timestamps": [100, 200, 300]}
            for user in ("u", "v")]
    assert [row[0] for row in run(tmp_path, rows, since=150)] == ["b", "c"]
    assert [row[0] for row in run(tmp_path, rows, until=300)] == ["a", "b"]
    with pytest.raises(UserError, match="has no view between since=900"):
        run(tmp_path, rows, since=900)
    with pytest.raises(UserError, match="1 records of .* have no time; expected 'timestamps'"):
        run(tmp_path, [{"user_id": "u", "items": ["a", "b"]}], since=1)
    with pytest.raises(UserError, match="bad max_item_users: got 1, expected 2 or more"):
        swing.SwingSettings(max_item_users=1)


def test_the_command_writes_what_the_build_takes(tmp_path, capsys):
    write_lines(tmp_path / "s.jsonl", sequences() + [{"user_id": "x", "items": []}])
    options = [f"--sequences={tmp_path}/s.jsonl", f"--output={tmp_path}/similar.parquet",
               f"--test_output={tmp_path}/test.jsonl", "--test_top=2"]
    assert swing_i2i.main(options) == 1
    assert "s.jsonl, line 61: empty list" in capsys.readouterr().err
    assert swing_i2i.main([*options, "--skip_invalid"]) == 0
    captured = capsys.readouterr()
    assert "1 bad record set aside: 1 empty list" in captured.err and "pairs after" in captured.out
    table = pq.read_table(tmp_path / "similar.parquet").to_pylist()
    test = [json.loads(line) for line in (tmp_path / "test.jsonl").read_text().splitlines()]
    assert [row["item_id"] for row in test] == [row["item_id"] for row in table]
    assert test[0]["item_ids"] == table[0]["similar"][:2]


def test_events_with_users_serve_as_views(tmp_path, capsys):
    events = [{"query": "q", "item_id": item, "action": "click", "user_id": row["user_id"],
               "timestamp": 1000 + place} for row in sequences()
              for place, item in enumerate(row["items"])]
    write_lines(tmp_path / "e.jsonl", events)
    write_lines(tmp_path / "s.jsonl", sequences())
    for option, name in (("events", "e"), ("sequences", "s")):
        assert swing_i2i.main([f"--{option}={tmp_path}/{name}.jsonl",
                               f"--output={tmp_path}/{name}.parquet"]) == 0
    capsys.readouterr()
    assert pq.read_table(tmp_path / "e.parquet") == pq.read_table(tmp_path / "s.parquet")
    write_lines(tmp_path / "bad.jsonl", [{"query": "q", "item_id": "i", "click": 1}])
    assert swing_i2i.main([f"--events={tmp_path}/bad.jsonl", f"--output={tmp_path}/b.parquet"]) == 1
    assert "line 1: missing field: got no 'user_id'" in capsys.readouterr().err


def test_beam_gives_the_same(tmp_path, monkeypatch):
    pytest.importorskip("apache_beam")
    from tasks import beam_reading, beam_swing
    monkeypatch.setattr(beam_reading, "BLOCK_BYTES", 500)  # many blocks
    source = raw_paths.resolve(write_lines(tmp_path / "s.jsonl", sequences()), "sequences")
    settings = swing.SwingSettings(max_item_users=10, max_user_items=5, top=7)
    found = beam_swing.swing_rows(source, settings, Rejects(), "DirectRunner", "")
    assert found == swing_i2i.swing_rows(source, settings, Rejects()) and len(found) > 15
