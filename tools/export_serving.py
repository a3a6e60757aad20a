"""Writes a self-contained serving artefact: query tokens in, valid semantic IDs out (paper 5).

    python -m tools.export_serving --run_dir=RUN --output_dir=OUT --beam=50

writes into OUT, which appears complete or not at all:

  program.bin          encoder and trie-constrained beam search as StableHLO, by jax.export, for any
                       batch size and for --platforms (those that it can be lowered for)
  arrays.npz           the weights and the trie, the program's arguments in the order of the manifest
  items.npz            the items of every ID: first_item, item_id_offsets, item_id_bytes
  sentencepiece.model  the tokenizer
  manifest.json        sizes, versions, argument names, size and SHA-256 of every file

`tools/serve_example.py` runs it with jax, numpy and sentencepiece alone. After an index has changed
(`code_index append`), export again.
"""

import argparse
import pathlib
import shutil
import sys
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gsid_jax import decoding
from gsid_jax.code_index import CodeIndex
from gsid_jax.errors import UserError
from gsid_jax.manifest import file_hash, versions, write_json
from gsid_jax.partitioning import leaf_name
from gsid_jax.trie import Trie
from tools.marketplace.writer import staged_directory

FORMAT, VERSION = "gsid serving", 1
PLATFORMS = ("cpu", "cuda", "tpu")
OUTPUTS = ("codes", "numbers", "log_prob", "outside")


class Program:
    """Beam search as a function of named arrays and tokens, with the arrays it really uses."""

    def __init__(self, model: Any, variables: Any, trie: Trie, beam: int):
        self._model, self._beam = model, beam
        self._tree = {"variables": dict(variables), "trie": trie}
        leaves, self._structure = jax.tree_util.tree_flatten_with_path(self._tree)
        self.names = [leaf_name(path) for path, _ in leaves]
        self.arrays = [np.asarray(leaf) for _, leaf in leaves]
        self.used = list(range(len(leaves)))

    def __call__(self, arrays: Sequence[jax.Array], tokens_BxL: jax.Array) -> dict[str, jax.Array]:
        """Arrays of ``used`` in order, int32 [B, L] -> what ``decoding.Beams`` holds, less d."""
        given = dict(zip(self.used, arrays))
        leaves = [given[i] if i in given else jnp.zeros(array.shape, array.dtype)
                  for i, array in enumerate(self.arrays)]
        tree = jax.tree_util.tree_unflatten(self._structure, leaves)
        variables = tree["variables"]
        mutables = {name: value for name, value in variables.items() if name != "params"}
        beams = decoding.beam_search(self._model, variables["params"], mutables, tokens_BxL,
                                     self._beam, tree["trie"])
        return {name: getattr(beams, name) for name in OUTPUTS}

    def export(self, length: int, platforms: Sequence[str]) -> jax.export.Exported:
        """Lowered for any batch; ``used`` is narrowed to the arrays that the result depends on."""
        (batch,) = jax.export.symbolic_shape("b")
        tokens = jax.ShapeDtypeStruct((batch, length), jnp.int32)
        jaxpr = jax.make_jaxpr(self.__call__)(self._specs(), jnp.zeros((1, length), jnp.int32))
        read = {id(value) for equation in jaxpr.eqns for value in equation.invars}
        self.used = [i for i, value in zip(self.used, jaxpr.jaxpr.invars) if id(value) in read]
        return jax.export.export(jax.jit(self.__call__), platforms=platforms)(self._specs(), tokens)

    def _specs(self) -> list[jax.ShapeDtypeStruct]:
        return [jax.ShapeDtypeStruct(self.arrays[i].shape, self.arrays[i].dtype)
                for i in self.used]


def export_serving(run_dir: str | pathlib.Path, output_dir: str | pathlib.Path, *,
                   index: str = "", beam: int = 50, platforms: Sequence[str] = PLATFORMS,
                   length: int = 0) -> dict[str, Any]:
    """Does what the module says; returns the manifest.

    Raises UserError for an index of another model, a platform that is not known or for none that
    the program can be lowered for, and an output_dir that is in use.
    """
    from gsid_jax import trained_model
    run_dir = pathlib.Path(run_dir)
    unknown = [name for name in platforms if name not in PLATFORMS]
    if unknown or not platforms:
        raise UserError(f"--platforms={','.join(platforms)}; expected some of "
                        f"{', '.join(PLATFORMS)}")
    if not 1 <= beam <= decoding.MAX_BEAM:
        raise UserError(f"--beam={beam}; expected 1 to {decoding.MAX_BEAM:,}")
    model = trained_model.load_run(run_dir)
    length = length or model.feature_lengths["queries"]
    if length < 2:
        raise UserError(f"--length={length}; expected at least 2 tokens, one and the EOS")
    config = model.model.module.config
    opened = CodeIndex(index or run_dir / "index", verify=True)
    opened.check_model(model.hash, config.codebook_size, model.model.level)
    trie = jax.tree_util.tree_map(np.asarray, opened.trie)
    program = Program(model.model, model.variables, trie, beam)
    exported, lowered, left_out = _lowered(program, length, platforms)
    with staged_directory(str(output_dir)) as staging:
        staging = pathlib.Path(staging)
        (staging / "program.bin").write_bytes(exported.serialize())
        names = [f"{place:04d}" for place in range(len(program.used))]
        np.savez(staging / "arrays.npz", **dict(zip(names, (
            program.arrays[i] for i in program.used))))
        offsets, data = opened.item_ids().buffers()[1:]
        np.savez(staging / "items.npz", first_item=opened.first_item,
                 item_id_offsets=np.frombuffer(offsets, np.int64, len(opened) + 1),
                 item_id_bytes=np.frombuffer(data, np.uint8))
        shutil.copyfile(model.vocabulary.sentencepiece_model_file, staging / "sentencepiece.model")
        files = {path.name: {"bytes": path.stat().st_size, "sha256": file_hash(path)}
                 for path in sorted(staging.iterdir())}
        manifest = {
            "format": FORMAT, "version": VERSION, "model": model.hash, "versions": versions(),
            "calling_convention": exported.calling_convention_version, "platforms": lowered,
            "not_lowered": left_out, "beam": beam, "length": length,
            "eos_id": int(model.vocabulary.eos_id), "levels": opened.trie.num_levels,
            "codebook_size": config.codebook_size, "ids": opened.trie.num_ids,
            "items": len(opened), "outputs": list(OUTPUTS),
            "arguments": [program.names[i] for i in program.used], "files": files}
        write_json(staging / "manifest.json", manifest)
    return manifest


def _lowered(program: Program, length: int, platforms: Sequence[str]
             ) -> tuple[jax.export.Exported, list[str], dict[str, str]]:
    """The program for all platforms at once or, where that fails, for those that work."""
    try:
        return program.export(length, platforms), list(platforms), {}
    except Exception as error:  # whatever a platform's lowering rules raise
        failure = error
    works, reasons = [], {}
    for platform in platforms:
        try:
            program.export(length, [platform])
            works.append(platform)
        except Exception as error:
            reasons[platform] = f"{type(error).__name__}: {str(error).splitlines()[0][:200]}"
    if not works:
        raise UserError(f"the program can be lowered for none of {', '.join(platforms)} ("
                        f"{reasons[platforms[0]]}); expected at least one: choose other "
                        "--platforms") from failure
    return program.export(length, works), works, reasons


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run_dir", required=True, help="directory of a pipeline run")
    parser.add_argument("--output_dir", required=True, help="a new or empty directory")
    parser.add_argument("--index", default="", help="code index; default: RUN/index")
    parser.add_argument("--beam", type=int, default=50, help="IDs per query")
    parser.add_argument("--length", type=int, default=0,
                        help="tokens per query, EOS included; default: that of the training")
    parser.add_argument("--platforms", default=",".join(PLATFORMS))
    args = parser.parse_args(argv)
    try:
        manifest = export_serving(
            args.run_dir, args.output_dir, index=args.index, beam=args.beam, length=args.length,
            platforms=[name.strip() for name in args.platforms.split(",") if name.strip()])
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    size = sum(file["bytes"] for file in manifest["files"].values())
    print(f"wrote {args.output_dir}: beam {manifest['beam']}, any batch of {manifest['length']} "
          f"tokens, {manifest['ids']:,} IDs of {manifest['items']:,} items, for "
          f"{', '.join(manifest['platforms'])}; {size / 2**20:.1f} MiB")
    for platform, reason in manifest["not_lowered"].items():
        print(f"warning: not for {platform}: {reason}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
