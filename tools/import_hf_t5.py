"""Imports a local Hugging Face T5 folder: weights, vocabulary and sizes, as a checkpoint of ours.

    python -m tools.import_hf_t5 --source=mengzi-t5-base --output=mengzi

reads config.json, model.safetensors or pytorch_model.bin (shards too; torch is not needed) and
spiece.model, and writes

    checkpoints/0          the weights, for INITIAL_CHECKPOINT_PATH
    model.gin              the sizes, as a model file
    pipeline.gin           starts the whole chain from these weights
    config.gin model.json  what infer and export read
    sentencepiece.model    the vocabulary
"""

import argparse
import dataclasses
import os
import pathlib
import shutil
import sys
from collections.abc import Mapping
from typing import Any

from gsid_jax import model_text
from gsid_jax.errors import UserError
from gsid_jax.manifest import file_hash, write_json
from gsid_jax.network import T5Config
from tools.hf_t5 import command
from tools.hf_t5 import config as hf_config
from tools.hf_t5 import gsid_file, parameters, weights

VOCABULARIES = ("spiece.model", "sentencepiece.model")
T5_EXTRA_IDS = 100
VOCABULARY_FILE = "sentencepiece.model"
PIPELINE = """# The whole chain, starting from the weights in this directory.
#
#   python -m gsid_jax.pipeline --gin_file=THIS --gin.RUN_DIR="'runs/mine'" \\
#     --gin.ITEMS="'items.jsonl'" --gin.INTERACTIONS="'interactions.jsonl'"

include 'gin_configs/runs/pipeline.gin'

NUM_LEVELS = {num_levels}
VOCABULARY_MODEL = '{output}/sentencepiece.model'

pipeline.Pipeline:
  model_gin = ['{output}/model.gin']
  extra_ids = {extra_ids}
  pretrain_bindings = ['TRAIN_STEPS = 20000', 'INITIAL_CHECKPOINT_PATH = "{output}"']
"""


def import_hf_t5(source: str | os.PathLike, output: str | os.PathLike, num_levels: int = 4,
                 codebook_size: int = 128, vocabulary: str | os.PathLike | None = None
                 ) -> list[str]:
    """Imports the folder `source` into the new directory `output`; returns lines for the user.

    Args:
      num_levels, codebook_size: T and K of the code embeddings; those of gsid.safetensors win.
      vocabulary: a SentencePiece model; None for the folder's own.

    Raises UserError for a folder that is no T5, weights that do not fit config.json, a vocabulary
    that does not fit the weights, and an output that exists.
    """
    source, output = pathlib.Path(source), pathlib.Path(os.path.abspath(output))
    if output.exists():
        raise UserError(f"{output} exists already; expected a new directory: choose another "
                        "--output, or remove it")
    config = hf_config.read(source)
    tensors = weights.read(source)
    extras = gsid_file.read(source)
    if extras is not None:
        num_levels, codebook_size = extras.num_levels, extras.codebook_size
    network = hf_config.to_network(
        config, tensors, num_levels=num_levels, codebook_size=codebook_size,
        pooled_output=extras.pooled_output if extras else 0.0)
    start = config.get("decoder_start_token_id", 0) or 0
    imported = parameters.to_ours(network, tensors, str(source), start, extras)
    network = dataclasses.replace(network, vocab_size=parameters.padded(network.vocab_size))
    spiece = _vocabulary(source, vocabulary)
    extra_ids, note = _extra_ids(spiece, network.vocab_size)
    partial = output.with_name(f"{output.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    info = {}
    if spiece is not None:
        shutil.copyfile(spiece, partial / VOCABULARY_FILE)
        info = {"vocabulary_sha256": file_hash(spiece), "extra_ids": extra_ids}
        (partial / "pipeline.gin").write_text(
            PIPELINE.format(output=output, num_levels=num_levels, extra_ids=extra_ids),
            encoding="utf-8")
    (partial / "model.gin").write_text(model_text.network(
        network, extra_ids, f"The sizes of {source.name}, written by tools.import_hf_t5."),
        encoding="utf-8")
    _write_checkpoint(partial, network, imported.params, extras, extra_ids,
                      f"{output}/{VOCABULARY_FILE}" if info else "", info)
    os.replace(partial, output)
    return [f"{output}: {imported.taken} tensors of {len(tensors)} taken from {source}",
            *imported.notes, note]


def _vocabulary(source: pathlib.Path, given: str | os.PathLike | None) -> pathlib.Path | None:
    if given is not None:
        return pathlib.Path(given)
    found = [source / name for name in VOCABULARIES if (source / name).is_file()]
    return found[0] if found else None


def _extra_ids(spiece: pathlib.Path | None, rows: int) -> tuple[int, str]:
    """Ids behind the model's pieces, up to the last row of the embedding, and a note on them."""
    if spiece is None:
        return T5_EXTRA_IDS, (f"no {' or '.join(VOCABULARIES)} there, so no vocabulary is imported; "
                              f"model.gin has EXTRA_IDS = {T5_EXTRA_IDS}, as T5's tokenizers")
    from tasks import vocabulary as vocabularies
    extra_ids = vocabularies.extra_ids_for(str(spiece), rows)
    last, first = rows - 1, rows - vocabularies.SPECIAL_TOKENS
    if not extra_ids:
        size = vocabularies.load(str(spiece), 0).vocab_size
        last, first = size - 1, size - vocabularies.SPECIAL_TOKENS
    return extra_ids, (f"vocabulary {spiece.name}, EXTRA_IDS = {extra_ids}: the special tokens of "
                       f"our tasks are the ids {first} to {last}")


def _write_checkpoint(partial: pathlib.Path, network: T5Config, params: Mapping[str, Any],
                      extras: gsid_file.Extras | None, extra_ids: int, spiece: str,
                      info: Mapping[str, Any]) -> None:
    """checkpoints/0, model.json and config.gin; `spiece` is where the vocabulary will lie."""
    import jax
    import jax.numpy as jnp

    from gsid_jax import checkpoint_files, checkpoints, train
    from gsid_jax.gsid_model import GSIDModel
    from gsid_jax.models import PretrainModel
    from gsid_jax.network import GSIDNetwork
    from gsid_jax.trainer import TrainState
    module, mutables = GSIDNetwork(network), {}
    model = PretrainModel(module)
    if extras is not None and extras.level:
        model = GSIDModel(module, level=extras.level, codebook=extras.codebook_config)
        mutables = {"codebook": extras.codebook}
    shapes = jax.eval_shape(model.get_initial_variables, jax.random.key(0))
    checkpoint_files.check_fit(gsid_file.FILE, {"params": params, **mutables}, {
        name: value for name, value in shapes.items() if not name.endswith("_axes")})
    saver = checkpoints.Checkpoints(str(partial))
    saver.save(TrainState(
        step=jnp.int32(0), params=params, opt_state=(), flax_mutables=mutables,
        rng=jax.random.key_data(jax.random.key(0))), {"stage": "import"})
    saver.close()
    (partial / "config.gin").write_text(
        model_text.model_and_run(model, {}, extra_ids, spiece), encoding="utf-8")
    write_json(partial / "model.json", train.describe(model, info))


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--source", required=True, help="Hugging Face T5 folder")
    parser.add_argument("--output", required=True, help="new directory for the checkpoint")
    parser.add_argument("--num_levels", type=int, default=4, help="T, codes of an ID")
    parser.add_argument("--codebook_size", type=int, default=128, help="K, codes of a level")
    parser.add_argument("--vocabulary", help="SentencePiece model, if the folder has none")
    return command.run(parser, import_hf_t5, argv)


if __name__ == "__main__":
    sys.exit(main())
