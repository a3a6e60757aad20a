"""A synthetic run directory whose IDs, vectors and truth are known."""

import dataclasses
import json
import pathlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

LEVELS = 3
BRANCHES = 8  # categories per level, and codes that items use
SPU_PER_LEAF = 2


def write(file: pathlib.Path, **columns) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), file)


@dataclasses.dataclass
class Run:
    """A written run and what it was made from."""

    path: pathlib.Path
    leaf: np.ndarray  # [N, 3] true path of each item as numbers
    item_codes: np.ndarray
    query_codes: np.ndarray
    queries_of: list[list[int]]  # relevant items of each held-out query

    def rewrite(self, name: str, **columns) -> None:
        """Replaces columns of a Parquet file of the run; a value None drops the column."""
        table = pq.read_table(self.path / name)
        for column, values in columns.items():
            table = table.drop_columns([column])
            if values is not None:
                table = table.append_column(column, values if isinstance(values, pa.Array)
                                            else pa.array(values))
        pq.write_table(table, self.path / name)


def make_run(path: pathlib.Path, items: int = 1200, queries: int = 240, codes: str = "true",
             width: int = 16, size: int = 16, branches: int = BRANCHES, triggers: int = 50,
             seed: int = 0) -> Run:
    """Writes a run directory of random items in a category tree of 3 levels.

    codes: 'true' (the category path), 'random', or 'collapsed' (all the same).
    """
    draw = np.random.default_rng(seed)
    leaf = draw.integers(0, branches, (items, LEVELS))
    spu = draw.integers(0, SPU_PER_LEAF, items)
    topic = draw.integers(0, items, queries)  # the item that each query asks for
    data = path / "data"
    names = [[f"c{a}", f"c{a}.{b}", f"c{a}.{b}.{c}"] for a, b, c in leaf.tolist()]
    ids = [f"item{i:06d}" for i in range(items)]
    seen = draw.random(items) < 0.9
    write(data / "items.parquet",
          item_index=np.arange(items), item_id=ids,
          text=[f"{n[2]} thing {i}" for i, n in enumerate(names)],
          title=[f"{n[2]} thing {i}" for i, n in enumerate(names)],
          category=names,
          attributes=[json.dumps({"brand": f"b{s}"}) if i % 4 == 0 else None
                      for i, s in enumerate(spu)],
          seen=seen, conversions=np.ones(items, np.int64))
    texts = [f"query {q} for {names[t][2]}" for q, t in enumerate(topic)]
    write(data / "queries.parquet", query_index=np.arange(queries), query=texts,
          weight=np.ones(queries, np.float32),
          split=["test" if q % 5 == 0 else "train" for q in range(queries)])
    held_out = np.arange(0, queries, 2)
    relevant = [sorted({int(topic[q]), int(draw.integers(0, items))}) for q in held_out]
    write(data / "q2i_test.parquet", query_index=held_out, item_indices=relevant,
          unseen_query=[q % 5 == 0 for q in held_out],
          head=[("head", "torso", "tail")[q % 3] for q in held_out])
    write(data / "i2i_test.parquet", item_index=np.arange(triggers),
          item_indices=[[i + 1, i + 2] for i in range(triggers)],
          unseen_item=~seen[:triggers])
    trained = np.arange(1, queries, 2)
    write(data / "train_pairs.parquet", query_index=trained, item_index=topic[trained],
          weight=np.ones(len(trained), np.float32))
    write(data / "truth.parquet", item_index=np.arange(items), category=names,
          spu=[f"{n[2]}/{s}" for n, s in zip(names, spu)])
    item_codes, query_codes = {
        "true": (leaf, leaf[topic]),
        "random": (draw.integers(0, size, (items, LEVELS)),
                   draw.integers(0, size, (queries, LEVELS))),
        "collapsed": (np.full((items, LEVELS), 5), np.full((queries, LEVELS), 5)),
    }[codes]
    for name, key, keys, matrix in (("items", "item_id", ids, item_codes),
                                    ("queries", "query", texts, query_codes)):
        write(path / "ids" / f"{name}.parquet", **{key: keys},
              codes=pa.array(matrix.tolist(), pa.list_(pa.int32())),
              path=["-".join(map(str, row)) for row in matrix.tolist()],
              log_prob=np.zeros(len(matrix), np.float32),
              level_probs=np.ones(matrix.shape).tolist())
    vectors = draw.normal(size=(items, width)).astype(np.float32)
    asked = vectors[topic] + 0.3 * draw.normal(size=(queries, width)).astype(np.float32)
    np.save(path / "ids" / "items.npy", vectors)
    np.save(path / "ids" / "queries.npy", asked.astype(np.float32))
    for t in range(1, LEVELS + 1):
        stats = path / f"step_{t}" / "assignment" / "stats.json"
        stats.parent.mkdir(parents=True)
        stats.write_text(json.dumps({"keep": 1 - t / 100 if t > 1 else None,
                                     "agreement": 0.9 if t > 1 else None, "codebook_size": size}))
    (path / "manifest.json").write_text(json.dumps(
        {"stages": {"pretrain": {"seconds": 12.5}, "step_1": {"seconds": 3}, "step_2": {}}}))
    return Run(path, leaf, item_codes, query_codes, relevant)


@pytest.fixture
def run(tmp_path) -> Run:
    return make_run(tmp_path / "run")
