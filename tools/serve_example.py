"""Runs a serving artefact of tools/export_serving.py; needs jax, numpy and sentencepiece only.

    python serve_example.py ARTEFACT 'iphone 12' 'wooden table'
"""

import hashlib
import json
import pathlib
import sys
import unicodedata

import jax
import jax.export
import numpy as np
import sentencepiece


def load(directory):
    """Returns run(queries) -> dict of arrays, items(number) -> item ids, and the manifest."""
    directory = pathlib.Path(directory)
    manifest = json.loads((directory / "manifest.json").read_text(encoding="utf-8"))
    for name, wanted in manifest["files"].items():
        if hashlib.sha256((directory / name).read_bytes()).hexdigest() != wanted["sha256"]:
            sys.exit(f"error: {directory / name} is damaged: its SHA-256 is not that of the "
                     "manifest; expected the file as it was exported: copy or export it again")
    lowest, highest = (jax.export.minimum_supported_calling_convention_version,
                       jax.export.maximum_supported_calling_convention_version)
    if not lowest <= manifest["calling_convention"] <= highest:
        sys.exit(f"error: the program has calling convention {manifest['calling_convention']} (jax "
                 f"{manifest['versions']['jax']}), jax {jax.__version__} reads {lowest} to "
                 f"{highest}: install a jax that reads it, or export again with this one")
    program = jax.export.deserialize(bytearray((directory / "program.bin").read_bytes()))
    if jax.default_backend().replace("gpu", "cuda") not in program.platforms:
        sys.exit(f"error: this is {jax.default_backend()}, the program is for "
                 f"{', '.join(program.platforms)}: export it again with --platforms")
    with np.load(directory / "arrays.npz") as file:
        arrays = [jax.device_put(file[name]) for name in sorted(file.files)]
    with np.load(directory / "items.npz") as file:
        first_item, offsets, data = (file[name] for name in (
            "first_item", "item_id_offsets", "item_id_bytes"))
    tokenizer = sentencepiece.SentencePieceProcessor(str(directory / "sentencepiece.model"))
    call = jax.jit(program.call)

    def run(queries):
        tokens = np.zeros((len(queries), manifest["length"]), np.int32)
        for row, query in enumerate(queries):
            text = " ".join(unicodedata.normalize("NFKC", query).split())
            ids = tokenizer.encode(text)[:manifest["length"] - 1] + [manifest["eos_id"]]
            tokens[row, :len(ids)] = ids
        return jax.device_get(call(arrays, tokens))

    def items(number):
        places = range(first_item[number], first_item[number + 1])
        return [data[offsets[place]:offsets[place + 1]].tobytes().decode() for place in places]

    return run, items, manifest


def main(directory, *queries):
    run, items, _ = load(directory)
    found = run(queries)
    for row, query in enumerate(queries):
        print(f"{query}: {found['outside'][row]:.1%} of the probability outside the valid IDs")
        for codes, number, log_prob in list(zip(*(found[name][row] for name in (
                "codes", "numbers", "log_prob"))))[:5]:
            if number >= 0:  # fewer valid IDs than beams
                listed = items(number)
                print(f"  {'-'.join(map(str, codes)):12} probability {np.exp(log_prob):.3f}, "
                      f"{len(listed)} items: {', '.join(listed[:3])}")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(f"usage: {sys.argv[0]} ARTEFACT QUERY...")
    main(*sys.argv[1:])
