"""A tiny run with published IDs and user sequences, for tests of what comes after the IDs."""

import pathlib
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gsid_jax import trained_model
from gsid_jax.final_ids import write_ids
from gsid_jax.manifest import write_json
from gsid_jax.published_ids import read_ids
from tests.gsid_jax import tiny_run

GROUP_SIZE, SOFT_CODES = 4, 4
USERS = 60


def write(tiny_run_dir: pathlib.Path, run_dir: pathlib.Path) -> pathlib.Path:
    """Copies the tiny run, publishes the IDs of its last step and adds sequences."""
    shutil.copytree(tiny_run_dir, run_dir)
    write_sequences(run_dir / "data")
    model = trained_model.load_run(run_dir)
    encoder = model.encoder(batch_size=64, soft_size=SOFT_CODES)
    write_ids(encoder, data_dir=run_dir / "data", output_dir=run_dir / "ids", model_hash=model.hash)
    tiny_run.forget()
    assignment = run_dir / "step_2" / "assignment"
    for kind, name in (("item", "items"), ("query", "queries")):
        codes = read_ids(run_dir / "ids" / f"{name}.parquet", kind).codes.astype(np.uint16)
        soft = np.zeros((*codes.shape, SOFT_CODES), np.uint16)
        for array, values in (("codes", codes), ("soft_ids", soft),
                              ("soft", soft.astype(np.float16))):
            np.save(assignment / f"{kind}_{array}.npy", values)
    write_json(assignment / "stats.json", {"group_size": GROUP_SIZE, "codebook_size": 8})
    return run_dir


def write_sequences(data_dir: pathlib.Path) -> None:
    """Users who look at things of one kind, most of the time."""
    random = np.random.default_rng(0)
    views = [[int(6 * random.integers(25) + user % 6) if random.random() < 0.8 else
              int(random.integers(tiny_run.ITEMS)) for _ in range(3 + user % 5)]
             for user in range(USERS)]
    pq.write_table(pa.table({"user_id": [f"u{user}" for user in range(USERS)],
                             "item_indices": pa.array(views, pa.list_(pa.int64()))}),
                   data_dir / "sequences.parquet")
