"""Feature export from a tiny run, through its command line."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gsid_jax import quiet
from tests.gsid_jax.tiny_run import write_jsonl
from tools import export_features

tf = quiet.tensorflow()


def export(run_dir, output, *flags):
    return export_features.main([f"--run_dir={run_dir}", f"--output_dir={output}", *flags])


@pytest.fixture(scope="module")
def exported(published_run_dir, tmp_path_factory):
    output = tmp_path_factory.mktemp("features") / "out"
    assert export(published_run_dir, output, "--top_units=3", "--half_life=2") == 0
    return output


def test_items_have_the_index_of_each_prefix(exported, published_run_dir):
    vocabulary = dict(line.split("\t")[:2][::-1] for line in
                      (exported / "vocabulary.tsv").read_text().splitlines()[1:])
    ids = pq.read_table(published_run_dir / "ids" / "items.parquet")
    items = pq.read_table(exported / "items.parquet")
    assert items["item_id"].to_pylist() == ids["item_id"].to_pylist()
    for path, prefixes in zip(ids["path"].to_pylist(), items["prefix_ids"].to_pylist()):
        assert prefixes == [int(vocabulary[path.split("-")[0]]), int(vocabulary[path])]


def test_users_have_their_recent_units_first(exported, published_run_dir):
    item_prefixes = pq.read_table(exported / "items.parquet")["prefix_ids"].to_pylist()
    views = pq.read_table(published_run_dir / "data" / "sequences.parquet").to_pylist()
    users = pq.read_table(exported / "users.parquet").to_pylist()
    for view, user in zip(views, users):
        assert user["user_id"] == view["user_id"]
        assert user["views"] == user["known_views"] == len(view["item_indices"])
        weights = {}
        for age, item in enumerate(reversed(view["item_indices"])):
            unit = item_prefixes[item][1]
            weights[unit] = weights.get(unit, 0) + 0.5 ** (age / 2)
        total = sum(weights.values())
        ranked = sorted(((-round(w / total, 9), unit) for unit, w in weights.items()))[:3]
        ranked += [(0, 0)] * (3 - len(ranked))
        assert user["units_l2"] == [unit for _, unit in ranked]
        np.testing.assert_allclose(user["weights_l2"], [-w for w, _ in ranked], atol=1e-6)


def test_tfrecords_hold_the_same_as_parquet(exported):
    for name in ("items", "users"):
        rows = pq.read_table(exported / f"{name}.parquet").to_pylist()
        records = list(tf.data.TFRecordDataset(str(exported / f"{name}.tfrecord")))
        assert len(rows) == len(records)
        spec = {key: tf.io.FixedLenFeature(
            [len(value)] if isinstance(value, list) else [],
            tf.string if isinstance(value, str) else
            tf.float32 if key.startswith("weights") else tf.int64)
            for key, value in rows[0].items()}
        for row, record in list(zip(rows, records))[::7]:
            parsed = tf.io.parse_single_example(record, spec)
            for key, value in row.items():
                got = parsed[key].numpy()
                assert (got.decode() if isinstance(value, str) else got.tolist()) == value


def test_the_record_tells_inputs_versions_and_model(exported):
    record = json.loads((exported / "features.json").read_text())
    assert len(record["model"]) == 64 and record["versions"]["numpy"]
    assert record["settings"] == {"top_units": 3, "half_life_views": 2.0, "min_items": 1,
                                  "tfrecord": True}
    assert record["counts"]["items"] == 150 and record["counts"]["users"] == 60


def test_the_same_inputs_give_the_same_bytes(exported, published_run_dir, tmp_path):
    assert export(published_run_dir, tmp_path / "again", "--top_units=3", "--half_life=2") == 0
    for path in exported.iterdir():
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes(), path.name


def test_later_items_and_raw_sequences_keep_the_indices(exported, published_run_dir, tmp_path):
    ids = pq.read_table(published_run_dir / "ids" / "items.parquet")
    codes = pa.array([[7, 7], [7, 6], *ids["codes"].to_pylist()[:3]], pa.list_(pa.int32()))
    new = pa.table({"item_id": ["a", "b", "c", "d", "e"], "codes": codes})
    pq.write_table(new.replace_schema_metadata(ids.schema.metadata), tmp_path / "new.parquet")
    write_jsonl(tmp_path / "seen.jsonl", [{"user_id": "u", "items": ["c", "long gone", "d"]}])
    flags = [f"--ids={tmp_path / 'new.parquet'}", f"--sequences={tmp_path / 'seen.jsonl'}",
             f"--vocabulary={exported / 'vocabulary.tsv'}", "--no-tfrecord"]
    assert export(published_run_dir, tmp_path / "out", *flags) == 0
    old = pq.read_table(exported / "items.parquet")["prefix_ids"].to_pylist()
    assert pq.read_table(tmp_path / "out" / "items.parquet")["prefix_ids"].to_pylist()[2:] == old[:3]
    (user,) = pq.read_table(tmp_path / "out" / "users.parquet").to_pylist()
    assert (user["views"], user["known_views"]) == (3, 2)
    assert not (tmp_path / "out" / "items.tfrecord").exists()


def test_ids_of_another_model_are_refused(published_run_dir, tmp_path, capsys):
    ids = pq.read_table(published_run_dir / "ids" / "items.parquet")
    other = ids.replace_schema_metadata({"gsid.fingerprint": json.dumps({"model": "f" * 64})})
    pq.write_table(other, tmp_path / "other.parquet")
    assert export(published_run_dir, tmp_path / "out", f"--ids={tmp_path / 'other.parquet'}") == 1
    assert "holds IDs of another model: got ffffffffffff..." in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_output_in_use_is_refused(exported, published_run_dir, capsys):
    assert export(published_run_dir, exported) == 1
    assert "output_dir is in use" in capsys.readouterr().err
