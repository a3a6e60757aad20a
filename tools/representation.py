"""What retrieval would be with the representations of every stage of a run, side by side.

    python -m tools.representation --run_dirs=runs/marketplace_seed0,runs/marketplace_decoder_seed0 \\
        --stages=step_1,step_3,fit,dual_encoder --report=docs/results/representation.md

For each stage: the decoder's outputs d_1..d_t, each text after its own codes, and the mean of its
encoder states. Query-to-item recall and MRR over the whole pool, as the evaluation measures them.
A stage that a run has not trained is left out.
"""

import argparse
import dataclasses
import pathlib
import sys
from collections.abc import Iterator, Sequence

import numpy as np

from gsid_jax import final_lookup, quiet
from gsid_jax.errors import UserError
from gsid_jax.evaluate import retrieval
from gsid_jax.evaluate.catalogue import Catalogue, load_catalogue
from gsid_jax.evaluate.run import check_run_dir
from gsid_jax.evaluate.tables import RETRIEVAL
from gsid_jax.leaf_marginals import unit
from gsid_jax.models import DualEncoderModel
from gsid_jax.trained_model import TrainedModel
from tools.bench.results_page import results_page, write_page

BATCH = 512
COLUMNS = ("R@1", "R@10", "R@100", "MRR@100")  # of `measure`
TEXT = (
    "Query to item over the whole pool (%), one row a representation. d_t: the decoder's output at "
    "position t after the text's own codes; pooled: the mean of the encoder states. One run each: "
    "with {triggers:,} triggers the standard error of a recall near 50 is {error:.1f} points.")


def representations(run_dir: pathlib.Path, stage: str, texts: dict[str, list[str]]
                    ) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    """Names and vectors of items and queries, [N, D] each."""
    trained = final_lookup.load_model(run_dir, stage)

    def encoded(model: TrainedModel, name: str, **options) -> dict[str, np.ndarray]:
        encoder = model.encoder(batch_size=BATCH, **options)
        encoder.expect(max(map(len, texts.values())))
        return {kind: encoder.encode(texts[kind], kind)[name] for kind in texts}

    if stage != "dual_encoder":
        outputs = encoded(trained, "outputs", outputs=True)
        for t in range(outputs["item"].shape[1]):
            yield f"d_{t + 1}", {kind: x[:, t] for kind, x in outputs.items()}
    pooling = dataclasses.replace(trained, model=DualEncoderModel(trained.model.module),
                                  variables={"params": trained.variables["params"]})
    yield "pooled", encoded(pooling, "embedding")


def triggers_and_pool(catalogue: Catalogue) -> dict[str, list[str]]:
    """Texts of all items, and of the held-out queries that they are ranked for."""
    return {"item": catalogue.text.to_pylist(),
            "query": catalogue.query.take(catalogue.q2i.index).to_pylist()}


def measure(catalogue: Catalogue, vectors: dict[str, np.ndarray]) -> list[str]:
    """RETRIEVAL of one representation, in percent, as a page prints it."""
    triggers = catalogue.q2i
    ranked, _ = retrieval.top_k(unit(vectors["query"]), unit(vectors["item"]), 100,
                                catalogue.tie_rank, triggers.excluded)
    found = retrieval.summary(ranked, triggers.relevant)
    return [f"{100 * found[name]:.1f}" for name in RETRIEVAL]


def compare(run_dirs: Sequence[pathlib.Path], stages: Sequence[str]
            ) -> tuple[list[list[str]], int]:
    """Rows of the table, and the number of triggers."""
    rows, count = [], 0
    for run_dir in run_dirs:
        check_run_dir(run_dir)
        catalogue = load_catalogue(run_dir / "data")
        count = len(catalogue.q2i.index)
        texts = triggers_and_pool(catalogue)
        for stage in stages:
            if not (run_dir / stage / "model.json").exists():
                continue
            for name, vectors in representations(run_dir, stage, texts):
                rows.append([run_dir.name, stage, name, *measure(catalogue, vectors)])
                print("  ".join(rows[-1]), flush=True)
    if not rows:
        raise UserError(f"none of the runs has a stage of {', '.join(stages)}; expected some of "
                        "step_1, step_2, ..., fit, dual_encoder: correct --stages")
    return rows, count


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run_dirs", required=True, help="pipeline runs, comma-separated")
    parser.add_argument("--stages", default="step_1,step_3,fit,dual_encoder")
    parser.add_argument("--report", type=pathlib.Path, help="page to write")
    args = parser.parse_args(argv)
    quiet.tensorflow()
    try:
        rows, triggers = compare([pathlib.Path(d) for d in args.run_dirs.split(",")],
                                 args.stages.split(","))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    command = f"python -m tools.representation --run_dirs={args.run_dirs} --stages={args.stages}"
    write_page(results_page("Representations, stage by stage", command,
                            TEXT.format(triggers=triggers, error=50 / triggers ** 0.5),
                            ["run", "stage", "representation", *COLUMNS],
                            rows), args.report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
