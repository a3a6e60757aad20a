"""Exports a checkpoint of ours as a Hugging Face T5 folder, GSID's own parts beside it.

    python -m tools.export_hf_t5 --source=runs/mine/step_3 --output=mine-hf

`--source` is a MODEL_DIR (a stage of a pipeline run, an imported T5) or one checkpoint; one that
T5X wrote needs its gin files (--gin_file). Written are config.json, generation_config.json,
model.safetensors and spiece.model for `transformers`, and gsid.safetensors (bos, code embeddings,
codebooks; layout in tools/hf_t5/gsid_file.py), from which tools/hf_t5/semantic_ids.py makes IDs.
"""

import argparse
import os
import pathlib
import shutil
import sys
from collections.abc import Sequence

import numpy as np

from gsid_jax.codebook import CodebookConfig
from gsid_jax.errors import UserError
from gsid_jax.manifest import write_json
from tools.hf_t5 import command
from tools.hf_t5 import config as hf_config
from tools.hf_t5 import gsid_file, parameters, weights


def export_hf_t5(source: str | os.PathLike, output: str | os.PathLike,
                 gin_files: Sequence[str] = (), bindings: Sequence[str] = ()) -> list[str]:
    """Exports the checkpoint at `source` into the new directory `output`; returns lines to print.

    `gin_files` and `bindings` are those the model was trained with; without, the config.gin beside
    the checkpoint. Raises UserError for a checkpoint that cannot be loaded and an output that
    exists.
    """
    from gsid_jax import trained_model
    output = pathlib.Path(os.path.abspath(output))
    if output.exists():
        raise UserError(f"{output} exists already; expected a new directory: choose another "
                        "--output, or remove it")
    given = pathlib.Path(source).resolve().parent / "vocab" / "sentencepiece.model"
    loaded = trained_model.load(gin_files, source, bindings,
                                vocabulary=given if given.exists() else None)
    network, params = loaded.model.module.config, loaded.variables["params"]
    tensors, pad = parameters.to_theirs(network, params)
    codebook = loaded.variables.get("codebook", {})
    extras = gsid_file.Extras(
        bos=np.asarray(params["bos"], np.float32),
        code_embeddings=[np.asarray(params[f"code_embedders_{i}"]["embedding"], np.float32)
                         for i in range(network.num_levels - 1)],
        codebook=codebook, pad_embedding=pad, codebook_size=network.codebook_size,
        pooled_output=network.pooled_output,
        codebook_config=getattr(loaded.model, "codebook", CodebookConfig()),
        level=getattr(loaded.model, "level", 0))
    config = hf_config.from_network(network)
    partial = output.with_name(f"{output.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    weights.safetensors_numpy().save_file(tensors, partial / weights.FILES[0], {"format": "pt"})
    gsid_file.write(partial / gsid_file.FILE, extras)
    write_json(partial / hf_config.FILE, config)
    write_json(partial / "generation_config.json", {
        name: config[name] for name in ("decoder_start_token_id", "eos_token_id", "pad_token_id")})
    shutil.copyfile(loaded.vocabulary.sentencepiece_model_file, partial / "spiece.model")
    write_json(partial / "tokenizer_config.json", {
        "tokenizer_class": "T5Tokenizer", "extra_ids": int(loaded.vocabulary.extra_ids),
        "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>", "legacy": True})
    os.replace(partial, output)
    lines = [f"{output}: {len(tensors)} tensors of {loaded.source}, and {gsid_file.FILE} with "
             f"{len(codebook)} codebooks, {len(extras.code_embeddings)} tables of code embeddings "
             "and bos"]
    if pad is not None:
        lines.append("row 0 of the embedding is bos, which T5's decoder reads there; the row "
                     f"itself is pad_embedding of {gsid_file.FILE}")
        if network.logits_via_embedding:
            lines.append("the head is tied: the logit of the pad token is that of bos")
    return lines


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--source", required=True, help="MODEL_DIR or checkpoint")
    parser.add_argument("--output", required=True, help="new directory for the folder")
    parser.add_argument("--gin_file", dest="gin_files", action="append", default=[],
                        help="gin file the model was trained with; may be repeated")
    parser.add_argument("--gin_binding", dest="bindings", action="append", default=[],
                        help="NAME = value; may be repeated")
    return command.run(parser, export_hf_t5, argv)


if __name__ == "__main__":
    sys.exit(main())
