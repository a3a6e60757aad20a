"""evaluate_run on a synthetic run: schema, known values, splits and errors."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn import metrics as sklearn_metrics

from gsid_jax.errors import UserError
from gsid_jax.evaluate import retrieval
from gsid_jax.evaluate.catalogue import load_catalogue
from gsid_jax.evaluate.method import load_run
from gsid_jax.evaluate.judge import headline, judge
from gsid_jax.evaluate.run import evaluate_run, stage_seconds
from tests.gsid_jax.evaluate.conftest import LEVELS, make_run

RETRIEVAL = {"recall@1", "recall@10", "recall@100", "mrr@100"}


def numbers(value):
    if isinstance(value, dict):
        return all(isinstance(key, str) and numbers(each) for key, each in value.items())
    return type(value) in (int, float) and np.isfinite(value)


def test_metrics_json_has_the_documented_keys_and_plain_numbers(run):
    metrics = evaluate_run(run.path)
    written = json.loads((run.path / "evaluation" / "metrics.json").read_text(encoding="utf-8"))
    assert written == metrics and numbers(metrics)
    assert set(metrics["q2i"]) == set(metrics["i2i"]) == RETRIEVAL
    levels = {f"l{t}" for t in range(1, LEVELS + 1)}
    assert set(metrics["code_accuracy"]) == set(metrics["codes"]) == levels
    for level in levels:
        assert set(metrics["code_accuracy"][level]) == {"raw", "chance", "corrected"}
        assert {"used", "perplexity", "max_share", "conditional_perplexity"} <= set(
            metrics["codes"][level])
        assert ("keep" in metrics["codes"][level]) == (level != "l1")
    assert {prefix: set(row) for prefix, row in metrics["ami"].items()} == {
        f"prefix{t}": {"category1", "category2", "category3"} for t in (1, 2, 3)}
    assert {"distinct", "mean_items", "max_items"} <= set(metrics["ids"])
    assert metrics["time"].keys() == {"pretrain", "step_1", "evaluate"}
    assert metrics["data"]["candidates"] == 1200 and metrics["data"]["category_is_truth"] == 1
    assert metrics["codes"]["l2"]["keep"] == 0.98 and metrics["ids"]["codebook_size"] == 16
    assert sorted(os.listdir(run.path / "evaluation")) == ["metrics.json", "tree.txt"]


def test_values_agree_with_a_direct_computation(run):
    metrics = evaluate_run(run.path)
    joint = run.leaf[:, 0] * 8 + run.leaf[:, 1]
    assert metrics["ami"]["prefix1"]["category2"] == pytest.approx(
        sklearn_metrics.adjusted_mutual_info_score(run.leaf[:, 0], joint), abs=1e-8)
    assert metrics["ami_headline"] == pytest.approx({
        "cate1_AMI": 1, "cate1_prefix": 1, "cate3_AMI": 1, "cate3_prefix": 3})
    agree = [run.query_codes[2 * row][0] == run.item_codes[item][0]
             for row, items in enumerate(run.queries_of) for item in items]
    assert metrics["code_accuracy"]["l1"]["raw"] == pytest.approx(np.mean(agree))
    vectors, asked = (np.load(run.path / "ids" / f"{name}.npy") for name in ("items", "queries"))
    recalls = []
    for row, items in enumerate(run.queries_of):
        best = np.argsort(-(vectors @ asked[2 * row]))[:10]
        recalls.append(np.isin(items, best).mean())
    assert metrics["q2i"]["recall@10"] == pytest.approx(np.mean(recalls))
    assert metrics["clusters"]["cpv"]["coverage"] == pytest.approx(0.25)
    assert metrics["clusters"]["cpv"]["accuracy"] == 1.0


def test_splits_cover_all_pairs_and_average_to_the_whole(run):
    metrics = evaluate_run(run.path)
    whole = metrics["q2i"]["recall@10"] * metrics["data"]["q2i_triggers"]
    for kinds in (("seen", "unseen"), ("head", "torso", "tail")):
        parts = [metrics["q2i_by_query"][kind] for kind in kinds]
        assert sum(part["triggers"] for part in parts) == metrics["data"]["q2i_triggers"]
        assert sum(part["triggers"] * part["recall@10"] for part in parts) == pytest.approx(whole)
    assert set(metrics["q2i_by_item"]) == set(metrics["i2i_by_trigger"]) == {"seen", "unseen"}


def test_training_pairs_and_the_trigger_itself_are_not_retrieved(run):
    pairs = pq.read_table(run.path / "data" / "train_pairs.parquet")
    asked = pq.read_table(run.path / "data" / "q2i_test.parquet")["query_index"].to_numpy()
    vectors = np.load(run.path / "ids" / "items.npy")
    nearest = (np.load(run.path / "ids" / "queries.npy")[asked[0]] @ vectors.T).argmax()
    run.rewrite("data/train_pairs.parquet",
                query_index=np.append(pairs["query_index"].to_numpy()[1:], asked[0]),
                item_index=np.append(pairs["item_index"].to_numpy()[1:], nearest))
    run.rewrite("data/q2i_test.parquet",
                item_indices=[[int(nearest), (int(nearest) + 1) % 1200]] + run.queries_of[1:])
    run.rewrite("data/i2i_test.parquet", item_indices=[[i, i + 1] for i in range(50)])
    catalogue = load_catalogue(run.path / "data")
    assert catalogue.q2i.excluded.values.tolist() == [nearest]
    assert catalogue.q2i.relevant.slice(0, 1).values.tolist() == [(nearest + 1) % 1200]
    assert catalogue.counts()["q2i_pairs_in_training"] == 1
    assert catalogue.i2i.relevant.values.tolist() == list(range(1, 51))
    method = load_run(run.path, catalogue)
    ranked, _ = retrieval.top_k(method.item_vectors[:50], method.item_vectors, 1,
                                catalogue.tie_rank, catalogue.i2i.excluded)
    assert not np.any(ranked[:, 0] == np.arange(50))


def test_ties_are_broken_by_item_id_not_by_row(run):
    ids = [f"item{999999 - i:06d}" for i in range(1200)]
    run.rewrite("data/items.parquet", item_id=ids)
    run.rewrite("ids/items.parquet", item_id=ids)
    np.save(run.path / "ids" / "items.npy", np.ones((1200, 16), np.float32))
    run.rewrite("data/q2i_test.parquet", item_indices=[[1199]] * 120)
    assert evaluate_run(run.path)["q2i"]["recall@1"] == 1.0


def test_random_ids_score_nothing_and_are_not_flagged(tmp_path):
    metrics = evaluate_run(make_run(tmp_path / "run", items=4000, queries=2000, codes="random",
                                    branches=6).path)
    assert abs(metrics["code_accuracy"]["l1"]["corrected"]) < 0.03
    assert abs(metrics["code_accuracy"]["l3"]["corrected"]) < 0.01
    assert all(abs(value) < 0.02 for row in metrics["ami"].values() for value in row.values())
    assert not any(health["collapsed"] or health["leak"] for health in metrics["codes"].values())


def test_collapsed_ids_score_nothing_and_are_flagged(tmp_path):
    metrics = evaluate_run(make_run(tmp_path / "run", codes="collapsed").path)
    assert metrics["code_accuracy"]["l1"] == {"raw": 1.0, "chance": 1.0, "corrected": 0.0}
    assert metrics["codes"]["l1"]["collapsed"] == 1
    assert metrics["ami"]["prefix3"]["category1"] == 0.0


def test_a_method_may_lack_vectors_or_ids(run):
    catalogue = load_catalogue(run.path / "data")
    method = load_run(run.path, catalogue)
    for lacking in ({"item_vectors": None}, {"item_codes": None, "query_codes": None}):
        part = judge(catalogue, type(method)(**{**method.__dict__, **lacking})).metrics
        assert ("q2i" in part) == ("item_codes" in lacking)
        assert ("codes" in part) == ("item_vectors" in lacking)


def test_seller_categories_stand_in_for_missing_truth(run):
    (run.path / "data" / "truth.parquet").unlink()
    names = pq.read_table(run.path / "data" / "items.parquet")["category"].to_pylist()
    run.rewrite("data/items.parquet", category=[None if i % 3 else name
                                                for i, name in enumerate(names)])
    metrics = evaluate_run(run.path)
    assert metrics["data"]["category_is_truth"] == 0
    assert metrics["data"]["items_with_category"] == 400
    assert metrics["ami"]["prefix1"]["category1"] == pytest.approx(1)
    assert "clusters" not in metrics and "spu_purity" not in metrics


def test_a_catalogue_of_two_files_without_categories_i2i_and_stats(run):
    data = run.path / "data"
    (data / "truth.parquet").unlink()
    (data / "i2i_test.parquet").unlink()
    run.rewrite("data/items.parquet", category=pa.nulls(1200), attributes=pa.nulls(1200))
    for t in range(1, LEVELS + 1):
        shutil.rmtree(run.path / f"step_{t}")
    (run.path / "manifest.json").unlink()
    metrics = evaluate_run(run.path)
    assert metrics["ami"] == {"prefix1": {}, "prefix2": {}, "prefix3": {}}
    assert metrics["ami_headline"] == {} and "i2i" not in metrics
    assert metrics["ids"]["codebook_size"] == 8 and "keep" not in metrics["codes"]["l1"]
    assert list(metrics["time"]) == ["evaluate"]


def test_headline_names_levels_and_prefixes():
    row = {f"category{level}": level / 10 for level in range(1, 5)}
    assert headline({f"prefix{t}": row for t in (1, 2, 3)}) == {
        "cate1_AMI": 0.1, "cate1_prefix": 1, "cate4_AMI": 0.4, "cate4_prefix": 3}


def test_stage_seconds_reads_finished_stages(tmp_path):
    manifest = tmp_path / "manifest.json"
    assert stage_seconds(manifest) == {}
    manifest.write_text(json.dumps({"stages": {
        "data": {"status": "done", "seconds": 2}, "evaluate": {"status": "begun", "seconds": 0.0},
        "step_1": {"status": "done"}}}))
    assert stage_seconds(manifest) == {"data": 2.0}
    manifest.write_text("{")
    assert stage_seconds(manifest) == {}


def _drop(name):
    return lambda run: (run.path / name).unlink()


def _save(name, shape, value=1.0):
    return lambda run: np.save(run.path / "ids" / name, np.full(shape, value, np.float32))


def _rewrite(name, **values):
    return lambda run: run.rewrite(name, **values)


def _nan(run):
    vectors = np.load(run.path / "ids" / "queries.npy")
    vectors[17, 3] = np.nan
    np.save(run.path / "ids" / "queries.npy", vectors)


def _empty(run):
    path = run.path / "data" / "q2i_test.parquet"
    pq.write_table(pq.read_table(path).slice(0, 0), path)


def _shorter(run):
    path = run.path / "ids" / "items.parquet"
    pq.write_table(pq.read_table(path).slice(0, 1100), path)


def _broken(run):
    (run.path / "ids" / "items.parquet").write_bytes(b"PAR1 nothing")


def _twice(run):
    path = run.path / "data" / "i2i_test.parquet"
    table = pq.read_table(path)
    pq.write_table(pa.concat_tables([table, table.slice(0, 2)]), path)


CODES = pa.list_(pa.int32())
UNEQUAL = pa.array([[1, 2, 3]] * 5 + [[1, 2]] + [[1, 2, 3]] * 1194, CODES)

ERRORS = {
    "missing sidecar": (_drop("data/train_pairs.parquet"),
                        r"train_pairs.parquet is missing; expected .* dataset builder"),
    "missing ids": (_drop("ids/queries.parquet"), r"queries.parquet is missing"),
    "missing vectors": (_drop("ids/items.npy"), r"items.npy is missing"),
    "missing column": (_rewrite("data/items.parquet", seen=None),
                       r"items.parquet: column seen is missing, got item_index"),
    "unknown item": (_rewrite("data/q2i_test.parquet", item_indices=[[7, 1200]] + [[1]] * 119),
                     r"q2i_test.parquet: column item_indices has 1 unknown ids, the first is 1200; "
                     r"expected 0 to 1199"),
    "unknown query": (_rewrite("data/q2i_test.parquet", query_index=list(range(200, 320))),
                      r"q2i_test.parquet: column query_index has 80 unknown ids, the first is 240; "
                      r"expected 0 to 239"),
    "unknown trigger": (_rewrite("data/i2i_test.parquet", item_index=list(range(-1, 49))),
                        r"i2i_test.parquet: column item_index has 1 unknown ids, the first is -1"),
    "empty split": (_empty, r"q2i_test.parquet: the test split is empty, 0 queries"),
    "empty lists": (_rewrite("data/q2i_test.parquet",
                             item_indices=pa.array([[]] * 120, pa.list_(pa.int64()))),
                    r"q2i_test.parquet: none of 120 triggers has a relevant item \(0 pairs given"),
    "repeated triggers": (_twice, r"i2i_test.parquet: column item_index has 2 repeated triggers"),
    "repeated ids": (_rewrite("data/items.parquet", item_id=["a"] * 1200),
                     r"items.parquet: item_id has repeated values among 1200 rows"),
    "order": (_rewrite("data/items.parquet", item_index=list(range(1, 1201))),
              r"items.parquet: column item_index is not 0 to 1199 in order"),
    "count of ids": (_shorter, r"ids/items.parquet has 1100 rows; expected 1200"),
    "other ids": (_rewrite("ids/queries.parquet", query=["something else"] * 240),
                  r"ids/queries.parquet: row 0 holds query 'something else'; expected 'query 0 "),
    "count of vectors": (_save("items.npy", (1199, 16)),
                         r"items.npy has 1199 rows; expected 1200, one per row"),
    "width of vectors": (_save("queries.npy", (240, 12)),
                         r"queries.npy has vectors of width 12; expected 16"),
    "rank of vectors": (_save("items.npy", (1200,)), r"items.npy holds float32\[1200\]; expected"),
    "NaN": (_nan, r"queries.npy: row 17 holds NaN or infinity"),
    "levels": (_rewrite("ids/items.parquet", codes=UNEQUAL),
               r"items.parquet: row 5 of column codes has 2 codes, row 0 has 3"),
    "other levels": (_rewrite("ids/queries.parquet", codes=pa.array([[1, 2]] * 240, CODES)),
                     r"queries.parquet has codes of 2 levels; expected 3"),
    "code beyond K": (_rewrite("ids/queries.parquet", codes=pa.array([[1, 2, 16]] * 240, CODES)),
                      r"holds code 16; expected 0 to 15, the codebook size"),
    "broken file": (_broken, r"items.parquet cannot be read as Parquet"),
    "truth without products": (_rewrite("data/truth.parquet", spu=pa.nulls(1200, pa.string())),
                               r"truth.parquet names no product \(column spu\) for 1200 items"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_bad_input_is_named(run, name):
    spoil, message = ERRORS[name]
    spoil(run)
    with pytest.raises(UserError, match=message):
        evaluate_run(run.path)
    assert not (run.path / "evaluation" / "metrics.json").exists()


def test_missing_run_directory(tmp_path):
    with pytest.raises(UserError, match="run directory .*nowhere is missing"):
        evaluate_run(tmp_path / "nowhere")


def test_quickstart_size_is_evaluated_in_seconds(tmp_path):
    run = make_run(tmp_path / "run", items=12000, queries=3000, branches=18, width=128, size=32,
                   triggers=1000)
    start = time.monotonic()
    metrics = evaluate_run(run.path)
    assert time.monotonic() - start < 10
    assert metrics["data"]["q2i_triggers"] == 1500 and metrics["ids"]["distinct"] > 5000


def test_entry_point_prints_tables_or_one_error_line(run):
    def call(*arguments):
        return subprocess.run([sys.executable, "-m", "gsid_jax.evaluate", *arguments], text=True,
                              capture_output=True, cwd=pathlib.Path(__file__).parents[3])
    done = call(f"--run_dir={run.path}", "--tree")
    assert done.returncode == 0, done.stderr
    assert "Health of the codes" in done.stdout and "ID tree (1,200 items" in done.stdout
    (run.path / "ids" / "items.npy").unlink()
    assert "expected --run_dir=RUN" in call().stderr
    failed = call(f"--run_dir={run.path}")
    assert failed.returncode == 1 and "Traceback" not in failed.stderr
    assert failed.stderr.startswith("error: ") and "items.npy is missing" in failed.stderr
