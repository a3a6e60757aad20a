"""The final stage of a run under M10: what is saved so that new texts are looked up the same way.

RUN_DIR/tree/ holds the IDs of a new tree as training records for the fit, RUN_DIR/lookup/ the IDs'
prototypes (leaves.npz) and, in lookup.json, which model they belong to.
"""

import dataclasses
import os
import pathlib
import shutil
from collections.abc import Sequence

import numpy as np

from gsid_jax import item_ids, step_records
from gsid_jax.encode import Encoder
from gsid_jax.leaf_model import with_leaves
from gsid_jax.manifest import read_json, write_json
from gsid_jax.trained_model import TrainedModel, load

DESCRIPTION = "lookup/lookup.json"
LEAVES = "leaves.npz"
AGAIN = "remove it and run the pipeline again, which makes it anew"


def write_tree(encoder: Encoder, *, data_dir: pathlib.Path, output_dir: pathlib.Path, leaves: int,
               query_weight: float, group_size: int, seed: int) -> dict[str, int]:
    """Grows a new tree (M10 c) and writes what the fit trains on; returns its counts.

    `encoder` must give outputs.
    """
    codes, query_codes = item_ids.tree_codes(encoder, data_dir, leaves, query_weight, seed)
    return save_tree(encoder, codes, query_codes, data_dir=data_dir, output_dir=output_dir,
                     group_size=group_size, seed=seed)


def save_tree(encoder: Encoder, codes: np.ndarray, query_codes: np.ndarray, *,
              data_dir: pathlib.Path, output_dir: pathlib.Path, group_size: int, seed: int
              ) -> dict[str, int]:
    """Writes given IDs, int [N, T] of items and of queries, as `write_tree` does.

    Writes item_codes.npy int32 [N, T], leaves.npz (the prototypes to start from), the dataset
    gsid_step and stats.json, under a temporary name until all is there.
    """
    partial = output_dir.with_name(output_dir.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    np.save(partial / "item_codes.npy", codes)
    item_ids.grow_leaves(encoder, data_dir, codes).save(partial / LEAVES)
    step_records.write_step_records(partial, data_dir, _stored(codes), _stored(query_codes),
                                    encoder.sizes.K, group_size, seed)
    counts = {"items": len(codes), "leaves": len(np.unique(codes, axis=0)),
              "group_size": group_size}
    write_json(partial / "stats.json", counts)
    shutil.rmtree(output_dir, ignore_errors=True)
    os.replace(partial, output_dir)
    return counts


def _stored(codes_NxT: np.ndarray) -> step_records.StoredCodes:
    """Codes as an assignment stores them, each certain."""
    codes = codes_NxT.astype(np.uint16)
    return step_records.StoredCodes(codes, np.ones((*codes.shape, 1), np.float16), codes[..., None])


def write_lookup(model: TrainedModel, *, assignment: str, run_dir: pathlib.Path, model_name: str,
                 tau: float, query_share: float, batch_size: int) -> int:
    """Writes RUN_DIR/lookup for `model`, the directory RUN_DIR/`model_name`; returns the IDs."""
    encoder = model.encoder(batch_size=batch_size, outputs=True,
                            soft_size=model.model.module.config.codebook_size)
    data_dir, directory = run_dir / "data", run_dir / "lookup"
    if assignment == "retree":
        codes = np.load(run_dir / "tree" / "item_codes.npy")
    else:
        share = query_share if assignment == "query_aware" else 0.0
        codes = item_ids.query_aware_codes(encoder, data_dir, share)
    directory.mkdir(exist_ok=True)
    leaves = item_ids.grow_leaves(encoder, data_dir, codes)
    leaves.save(directory / LEAVES)
    write_json(run_dir / DESCRIPTION, {"assignment": assignment, "model": model_name, "tau": tau})
    return len(leaves.codes)


def load_model(run_dir: pathlib.Path, name: str, bindings: Sequence[str] = ()) -> TrainedModel:
    """The model that RUN_DIR/`name` ('step_3', 'fit', 'dual_encoder') holds, as it was trained."""
    here = (*bindings, f"RUN_DIR = {str(run_dir)!r}")  # a fit reads tree/ where the run lies now
    return load((), run_dir / name, here, vocabulary=run_dir / "vocab" / "sentencepiece.model",
                data_dir=run_dir / "data")


def load_final(run_dir: str | os.PathLike, bindings: Sequence[str] = ()) -> TrainedModel | None:
    """The model that gave a run its final IDs, with M10's lookup; None where the run has none."""
    run_dir = pathlib.Path(run_dir)
    described = read_json(run_dir / DESCRIPTION, AGAIN)
    if not described:
        return None
    trained = load_model(run_dir, described["model"], bindings)
    model = with_leaves(trained.model, str(run_dir / "lookup" / LEAVES), described["tau"])
    variables = {name: trained.variables[name] for name in ("params", "codebook")}
    return dataclasses.replace(trained, model=model, variables=model.variables(variables))
