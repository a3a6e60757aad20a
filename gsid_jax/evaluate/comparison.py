"""Several methods on one dataset over several runs: means, deviations, sure differences.

    RUN/evaluation/metrics.json, tree.txt     each run by itself
    OUTPUT/comparison.json, tables.txt, tables.md, report.html   all methods over all runs
"""

import dataclasses
import datetime
import json
import math
import os
import pathlib
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gsid_jax.errors import UserError
from gsid_jax.evaluate import bootstrap, codes, specs
from gsid_jax.evaluate.catalogue import Catalogue, load_catalogue
from gsid_jax.evaluate.judge import Judgement, Sample, judge
from gsid_jax.evaluate.method import Method
from gsid_jax.evaluate.run import check_run_dir, write_metrics
from gsid_jax.manifest import hardware, read_json, versions, write_json


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What to compare.

    Attributes:
      run_dirs: pipeline runs: one, or the seeds of one experiment.
      methods: specs (gsid_jax.evaluate.specs), in order: a method that uses another's vectors or
        branching comes after it. (): the quick comparison.
      reference: name of the method that differences are taken from.
      output_dir: where the comparison goes; '': the first run's evaluation/.
      title: heads the report.
      seed: of clusterings and bootstrap.
      resamples: of the bootstrap; 0 leaves it out.
      report: also writes report.html.
    """

    run_dirs: Sequence[str]
    methods: Sequence[Any] = ()
    reference: str = "GSID"
    output_dir: str = ""
    title: str = ""
    seed: int = 0
    resamples: int = bootstrap.RESAMPLES
    report: bool = True

    def __post_init__(self):
        if isinstance(self.run_dirs, str) or not self.run_dirs:
            raise UserError(f"Evaluation.run_dirs: got {self.run_dirs!r}, expected a list of at "
                            "least one run: --gin.RUN_DIRS=\"['runs/a', 'runs/b']\"")


def compare(evaluation: Evaluation, say=print) -> dict[str, Any]:
    """Judges every method on every run and writes the results; returns comparison.json's content.

    UserError for runs that cannot be read. A method that lacks its means is named and left out.
    """
    output = pathlib.Path(evaluation.output_dir
                          or pathlib.Path(evaluation.run_dirs[0]) / "evaluation")
    judged: dict[str, list[Judgement | None]] = {}
    about: dict[str, Method] = {}
    left_out: dict[str, str] = {}
    seconds: dict[str, float] = {}
    first: tuple[Catalogue, dict[str, Method]] | None = None
    hashes = []
    for number, run in enumerate(evaluation.run_dirs):
        run_dir = check_run_dir(run)
        catalogue = load_catalogue(run_dir / "data")
        hashes.append(read_json(run_dir / "data" / "dataset.json", "build the dataset again"))
        made = _make(evaluation, run_dir, number, catalogue, output, left_out, seconds, say)
        first = first or (catalogue, made)
        for name, method in made.items():
            begun = time.monotonic()
            judgement = judge(catalogue, method)
            seconds[name] = seconds.get(name, 0.0) + time.monotonic() - begun
            judged.setdefault(name, [None] * len(evaluation.run_dirs))[number] = judgement
            about.setdefault(name, method)
        if evaluation.reference in made and made[evaluation.reference].item_codes is not None:
            write_metrics(run_dir, catalogue, made[evaluation.reference],
                          judged[evaluation.reference][number].metrics)
    result = {
        "title": evaluation.title or output.parent.name,
        "reference": evaluation.reference,
        "run_dirs": [str(run) for run in evaluation.run_dirs],
        "same_data": all(each == hashes[0] for each in hashes),
        "methods": {name: _summary(about[name], runs, seconds[name])
                    for name, runs in judged.items()},
        "left_out": left_out,
        "differences": _differences(evaluation, judged, all(each == hashes[0] for each in hashes)),
        "made": made_by(),
    }
    write_json(output / "comparison.json", result)
    from gsid_jax.evaluate import paper_tables
    _write(output / "tables.txt", paper_tables.text(result))
    _write(output / "tables.md", paper_tables.markdown(result))
    if evaluation.report:
        from gsid_jax.evaluate import report
        page = report.page(result, *first, [pathlib.Path(run) for run in evaluation.run_dirs])
        _write(output / "report.html", page)
    return result


def _make(evaluation: Evaluation, run_dir: pathlib.Path, number: int, catalogue: Catalogue,
          output: pathlib.Path, left_out: dict[str, str], seconds: dict[str, float],
          say) -> dict[str, Method]:
    """The methods of one run by name."""
    made: dict[str, Method] = {}
    for spec in evaluation.methods or specs.standard():
        begun = time.monotonic()
        label = getattr(spec, "name", type(spec).__name__)
        context = specs.Context(run_dir, number, catalogue, made, output / "embeddings",
                                evaluation.seed + number)
        try:
            found = spec.make(context)
        except specs.LeftOut as reason:
            left_out[label] = f"{reason}"
            continue
        took = time.monotonic() - begun
        for method in found:
            if method.name in made:
                raise UserError(f"Evaluation.methods: two methods are named {method.name!r}; "
                                "expected a name of its own for each")
            made[method.name] = method
            seconds[method.name] = seconds.get(method.name, 0.0) + took / len(found)
        if took > 2:
            say(f"{run_dir}: {label} in {took:.0f} s")
    return made


def _summary(method: Method, runs: Sequence[Judgement | None], seconds: float) -> dict[str, Any]:
    metrics = [run.metrics for run in runs if run is not None]
    return {"section": method.section, "extra": dict(method.extra), "flag": flag(metrics),
            "has_ids": int(method.item_codes is not None), "nested": int(method.nested),
            "level_sizes": list(method.level_sizes or ()), "seconds": round(seconds, 2),
            "runs": metrics, "mean": fold(metrics, statistics.fmean),
            "std": fold(metrics, statistics.stdev) if len(metrics) > 1 else {}}


def flag(runs: Sequence[Mapping[str, Any]]) -> str:
    """COLLAPSED or LEAK with the level, and the share of runs if not all; '' for healthy codes.

    A flagged method's agreement means nothing: it is never the best of a table.
    """
    found = []
    for metrics in runs:
        for level, health in metrics.get("codes", {}).items():
            if health["collapsed"] or health["leak"]:
                found.append(f"{codes.COLLAPSED if health['collapsed'] else codes.LEAK} at {level}")
                break
    if not found:
        return ""
    return found[0] if len(found) == len(runs) else f"{found[0]} in {len(found)} of {len(runs)}"


def fold(values: Sequence[Any], function) -> Any:
    """Nested dictionaries of numbers, each number replaced by a function of all runs' numbers.

    A number that some run lacks is left out.
    """
    first = values[0]
    if isinstance(first, Mapping):
        keys = [key for key in first if all(key in each for each in values)]
        return {key: fold([each[key] for each in values], function) for key in keys}
    value = float(function(values))
    return value if math.isfinite(value) else 0.0


def _differences(evaluation: Evaluation, judged: Mapping[str, Sequence[Judgement | None]],
                 same_data: bool) -> dict[str, dict[str, dict[str, float]]]:
    """Reference minus each other method, for every figure that both have."""
    ours = judged.get(evaluation.reference)
    if not ours or not evaluation.resamples:
        return {}
    found: dict[str, dict[str, dict[str, float]]] = {}
    for name, runs in judged.items():
        if name == evaluation.reference:
            continue
        both = [(a.samples, b.samples) for a, b in zip(ours, runs) if a and b]
        shared = [key for key in (both[0][0] if both else {})
                  if all(key in a and key in b for a, b in both)]
        found[name] = {
            key: bootstrap.difference(*_columns(both, key), seed=evaluation.seed,
                                      resamples=evaluation.resamples, same_triggers=same_data)
            for key in shared}
    return found


def _columns(both, key: str) -> tuple[list[Sample], list[Sample]]:
    return [a[key] for a, _ in both], [b[key] for _, b in both]


def made_by() -> dict[str, Any]:
    """Command, date, machine and versions, for the foot of a results page."""
    return {"command": " ".join(["python -m gsid_jax.evaluate", *sys.argv[1:]]),
            "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
            "machine": hardware(),
            "versions": versions(), "numpy": np.__version__}


def _write(path: pathlib.Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".tmp")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)


def read(output_dir: str | pathlib.Path) -> dict[str, Any]:
    """comparison.json of an evaluated run or output directory."""
    path = pathlib.Path(output_dir) / "comparison.json"
    if not path.exists():
        raise UserError(f"{path} is missing; expected what python -m gsid_jax.evaluate writes")
    return json.loads(path.read_text(encoding="utf-8"))
