"""Checks every T5 family against `transformers` and writes the table of docs/results/t5_families.md.

    python -m tools.t5_families --report=docs/results/t5_families.md

For each family: a folder with random weights that transformers saves, and a small SentencePiece
model of the family's kind, trained on simulated listings; import, export, and the largest
differences of encoder states, logits and loss. Needs torch and transformers (extra `hf`); two
minutes on two cores.
"""

import argparse
import datetime
import importlib.metadata
import importlib.util
import io
import json
import pathlib
import sys
import tempfile
from typing import Any

import numpy as np

from gsid_jax import quiet
from gsid_jax.errors import UserError
from gsid_jax.manifest import hardware

SIZES = {"vocab_size": 4096, "d_model": 128, "d_kv": 32, "d_ff": 256, "num_layers": 4,
         "num_decoder_layers": 3, "num_heads": 4, "decoder_start_token_id": 0}
GATED = {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}
# name: config class, its options, pieces, language of the texts, whether extra ids are pieces
FAMILIES = {
    "T5 1.0": ("T5", {"feed_forward_proj": "relu"}, 3000, "en", False),
    "T5 1.1": ("T5", GATED, 3000, "en", False),
    "mT5": ("MT5", GATED, 3900, "both", True),
    "Mengzi-T5": ("T5", GATED, 3996, "zh", False),
}
LISTINGS = 2000  # simulated; every third is used
LENGTHS = (300, 180)  # of inputs and targets: beyond the last bucket, 128


def texts(folder: pathlib.Path) -> dict[str, list[str]]:
    """Titles and descriptions of simulated marketplaces, by language."""
    from tools import simulate
    found = {}
    for language in ("en", "zh"):
        simulate.simulate(str(folder / language), num_items=LISTINGS, language=language, seed=0)
        with open(folder / language / "items.jsonl", encoding="utf-8") as file:
            rows = [json.loads(line) for line in file][::3]
        found[language] = [f"{row['title']} {row.get('description', '')}".strip() for row in rows]
    return found | {"both": found["en"] + found["zh"]}


def vocabulary(lines: list[str], size: int, own_extra_ids: bool) -> bytes:
    """A SentencePiece model with T5's special ids, mT5's with its extra ids as last pieces."""
    import sentencepiece
    from sentencepiece import sentencepiece_model_pb2
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=model, model_type="unigram", vocab_size=size,
        pad_id=0, eos_id=1, unk_id=2, bos_id=-1, hard_vocab_limit=False, minloglevel=2,
        character_coverage=1.0, num_threads=2)
    proto = sentencepiece_model_pb2.ModelProto.FromString(model.getvalue())
    for k in reversed(range(100 if own_extra_ids else 0)):
        proto.pieces.add(piece=f"\u2581<extra_id_{k}>", score=0.0,
                         type=sentencepiece_model_pb2.ModelProto.SentencePiece.USER_DEFINED)
    return proto.SerializeToString()


def saved(folder: pathlib.Path, kind: str, options: dict[str, Any]) -> Any:
    """A model with random weights saved by transformers."""
    import torch
    import transformers
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(**SIZES, **options)
    model = getattr(transformers, f"{kind}ForConditionalGeneration")(config).eval()
    if options.get("tie_word_embeddings") is False:
        model.lm_head.weight = torch.nn.Parameter(torch.zeros_like(model.lm_head.weight))
    with torch.no_grad():  # T5's own initialisation, and no scale or bias left at its start
        for name, parameter in model.named_parameters():
            if "layer_norm" in name or "relative_attention_bias" in name:
                parameter += 0.3 * torch.randn_like(parameter)
            elif name == "lm_head.weight" and parameter is not model.shared.weight:
                parameter.copy_(torch.randn_like(parameter) * SIZES["d_model"] ** -0.5)
    model.save_pretrained(folder)
    return model


def parity(model: Any, imported: Any) -> dict[str, float]:
    """Largest differences relative to the largest value; of the loss, relative."""
    import dataclasses

    import jax
    import jax.numpy as jnp
    import torch

    from gsid_jax.models import PretrainModel
    rng = np.random.default_rng(0)
    tokens, targets = (rng.integers(3, SIZES["vocab_size"], (4, n)) for n in LENGTHS)
    tokens[1, 200:], tokens[2, 20:], targets[1, 100:] = 0, 0, 0
    shifted = np.concatenate([np.zeros((4, 1), np.int64), targets[:, :-1]], 1)
    with torch.no_grad():
        want = model(input_ids=torch.tensor(tokens), attention_mask=torch.tensor(tokens > 0).long(),
                     labels=torch.tensor(np.where(targets == 0, -100, targets)))
    batch = {"encoder_input_tokens": tokens, "decoder_input_tokens": shifted,
             "decoder_target_tokens": targets, "decoder_loss_weights": targets > 0}
    found = {}
    for label, dtype in (("", "float32"), ("bf16 ", "bfloat16")):
        module = imported.model.module
        module = module.clone(config=dataclasses.replace(module.config, dtype=dtype))

        @jax.jit
        def run(params, module=module):
            encoded = module.apply({"params": params}, tokens, method="encode")
            logits = module.apply({"params": params}, encoded, jnp.asarray(tokens > 0), shifted,
                                  method="token_logits")
            return encoded, logits, PretrainModel(module).eval_fn(params, batch)[0]

        encoded, logits, loss = jax.device_get(run(imported.variables["params"]))
        for name, got, expected in (
                ("encoder", encoded[tokens > 0], want.encoder_last_hidden_state.numpy()[tokens > 0]),
                ("logits", logits, want.logits.numpy()), ("loss", loss, want.loss.numpy())):
            found[label + name] = float(np.abs(np.float64(got) - expected).max()
                                        / np.abs(expected).max())
    return found


def same_ids(folder: pathlib.Path, vocabulary_file: Any, lines: list[str]) -> tuple[int, int]:
    """Texts with the same ids from transformers and from SeqIO, and texts in all."""
    import transformers
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    marked = [f"{line} <extra_id_{i % 7}> {line[:20]}" for i, line in enumerate(lines[::20])]
    every = [*lines, *marked]
    same = sum([*vocabulary_file.encode(text), 1] == theirs(text).input_ids for text in every)
    return same, len(every)


def check(name: str, corpus: dict[str, list[str]], folder: pathlib.Path) -> dict[str, Any]:
    """One family: folder, import, export, parity, tokenizer."""
    from transformers import AutoModelForSeq2SeqLM

    from gsid_jax import trained_model
    from tools import export_hf_t5, import_hf_t5
    from tools.hf_t5 import weights
    kind, options, size, language, own_extra_ids = FAMILIES[name]
    model = saved(folder / "hf", kind, options)
    (folder / "hf" / "spiece.model").write_bytes(
        vocabulary(corpus[language], size, own_extra_ids))
    lines = import_hf_t5.import_hf_t5(folder / "hf", folder / "ours")
    export_hf_t5.export_hf_t5(folder / "ours", folder / "back")
    before, after = (weights.read(folder / part) for part in ("hf", "back"))
    exact = before.keys() == after.keys() and all(
        np.array_equal(before[tensor], after[tensor]) for tensor in before)
    again = AutoModelForSeq2SeqLM.from_pretrained(folder / "back").state_dict()
    loads = all(np.array_equal(value.numpy(), again[tensor].numpy())
                for tensor, value in model.state_dict().items())
    imported = trained_model.load((), folder / "ours")
    same = same_ids(folder / "back", imported.vocabulary, corpus["both"])
    return {"taken": lines[0].split(": ", 1)[1].split(" taken")[0], "exact": exact, "loads": loads,
            "same": same, **parity(model, imported)}


def table(results: dict[str, dict[str, Any]]) -> str:
    """Markdown."""
    rows = ["| family | import | export, exact round trip | transformers loads it | encoder | logits "
            "| loss | bf16: logits | bf16: loss | texts with the same ids |",
            "|---|---|---|---|---|---|---|---|---|---|"]
    for name, r in results.items():
        yes = {True: "yes", False: "NO"}
        numbers = " | ".join(f"{r[key]:.1e}" for key in (
            "encoder", "logits", "loss", "bf16 logits", "bf16 loss"))
        rows.append(f"| {name} | {r['taken']} | {yes[r['exact']]} | {yes[r['loads']]} | {numbers} | "
                    f"{r['same'][0]:,} of {r['same'][1]:,} |")
    return "\n".join(rows)


def report(results: dict[str, dict[str, Any]]) -> str:
    """The results page."""
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in (
        "transformers", "torch", "jax", "flax", "seqio", "sentencepiece", "numpy"))
    day = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
    sizes = ", ".join(f"{name} {value}" for name, value in SIZES.items())
    return (
        "# T5 families against transformers\n\n"
        f"Made by `python -m tools.t5_families` on {day}, seed 0, {hardware()}, "
        f"{versions}.\n\n"
        f"Random weights ({sizes}), saved by transformers, float32. Differences are the largest "
        "over all positions that are no padding, divided by the largest value; inputs of "
        f"{LENGTHS[0]} and targets of {LENGTHS[1]} tokens cross every bucket of relative positions;"
        " bf16: our activations in bfloat16 against transformers in float32. Vocabularies are "
        f"small SentencePiece models of each family's kind, trained on {len(range(0, LISTINGS, 3))} simulated "
        "listings a language; the ids are compared on the English and the Chinese listings, and "
        "on texts with our special tokens, between SeqIO and the tokenizer that transformers "
        f"builds from the exported folder.\n\n{table(results)}\n\n"
        "mT5's real model falls back to bytes for characters it has no piece for; SeqIO follows "
        "it, transformers 5 gives its unknown token there.\n")


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--report", default="", help="Markdown file to write")
    args = parser.parse_args(argv)
    quiet.tensorflow()
    try:
        for package in ("torch", "transformers"):
            if importlib.util.find_spec(package) is None:
                raise UserError(f"{package} is not installed; expected it to compare with: pip "
                                "install torch 'gsid_jax[hf]'")
        with tempfile.TemporaryDirectory() as folder:
            corpus = texts(pathlib.Path(folder) / "raw")
            results = {name: check(name, corpus, pathlib.Path(folder) / name.replace(" ", "_"))
                       for name in FAMILIES}
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(table(results))
    if args.report:
        path = pathlib.Path(args.report)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(report(results), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
