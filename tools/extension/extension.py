"""One more level, or the last one anew, for a run whose IDs are published: what all ways share."""

import abc
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gsid_jax import final_lookup, launch, published_ids, trained_model
from gsid_jax.errors import UserError
from gsid_jax.manifest import Manifest, file_hash, read_json, write_json
from tools.extension import published, stability
from tools.extension.links import link_tree

BATCH_SIZE = 512
FIX = "finish the pipeline of that run"


def of_tree(run_dir: pathlib.Path) -> bool:
    """Whether a run's IDs are those of a new tree (M10 c) and not its steps'."""
    return (read_json(run_dir / final_lookup.DESCRIPTION, FIX) or {}).get("assignment") == "retree"


class Extension(abc.ABC):
    """The plan of one extended run: what it keeps, what it trains; the ways differ by subclass."""

    def __init__(self, run_dir: pathlib.Path, output_dir: pathlib.Path, refresh: bool,
                 data_dir: pathlib.Path, match: bool, bindings: Sequence[str], seed: int):
        self.run, self.dir, self.data = run_dir, output_dir, data_dir
        self.refresh, self.match = refresh, match and refresh
        self.bindings, self.seed = list(bindings), seed
        self.ids = {kind: published_ids.read_ids(run_dir / "ids" / f"{name}.parquet", kind)
                    for kind, name in (("item", "items"), ("query", "queries"))}
        self.published_levels = self.ids["item"].codes.shape[1]
        self.base = self.published_levels - refresh  # the levels that are kept
        self.level = self.base + 1  # the level that is made
        self.group_size = self._group_size()
        self.rows = {kind: published.align(self.ids[kind], data_dir, kind) for kind in self.ids}
        if not (self.rows["item"] >= 0).any():
            raise UserError(f"dataset {data_dir} has none of the {len(self.ids['item'].codes):,} "
                            f"items published by run {run_dir}; expected the same catalogue, grown: "
                            "correct --data_dir")

    @abc.abstractmethod
    def _group_size(self) -> int:
        """Items of one prefix side by side in the run's records; UserError if it is unfinished."""

    @abc.abstractmethod
    def _stages(self) -> list[tuple[str, Callable[[], None], list[str], str]]:
        """(name, what it does, what it leaves, its unfinished work) of every stage but the data."""

    @abc.abstractmethod
    def _bindings(self) -> list[str]:
        """What the training changes in the configuration that it goes on from."""

    @abc.abstractmethod
    def _write_ids(self) -> None:
        """Writes ids/ with the published codes kept."""

    @abc.abstractmethod
    def _outcome(self) -> dict[str, Any]:
        """What the report says of the new level and of the model's own choice."""

    def settings(self) -> dict[str, str]:
        """What decides the result, for the manifest."""
        return {"published": f"sha256 {file_hash(self.run / 'ids' / 'items.parquet')}",
                "data": f"sha256 {file_hash(self.data / 'items.parquet')}",
                "level": str(self.level), "refresh": str(self.refresh), "match": str(self.match),
                "bindings": repr(self.bindings), "seed": str(self.seed)}

    def execute(self) -> dict[str, Any]:
        """Runs what is not done yet; returns the report of stability."""
        self.dir.mkdir(parents=True, exist_ok=True)
        manifest = Manifest(self.dir)
        stages = [("data", self._link_data, ["data/items.parquet"], "data"), *self._stages(),
                  ("ids", self._write_ids, ["ids/items.parquet", "ids/queries.parquet"], "ids"),
                  ("evaluate", self._evaluate, ["evaluation/metrics.json"],
                   "evaluation/metrics.json")]
        for number, (name, run, outputs, work) in enumerate(stages, 1):
            with manifest.stage(name, self.settings(), outputs, work) as todo:
                print(f"[{number}/{len(stages)}] {name}" + ("" if todo else ": done before"),
                      flush=True)
                if todo:
                    run()
        return self._report()

    def _link_data(self) -> None:
        link_tree(self.data, self.dir / "data")
        link_tree(self.run / "vocab", self.dir / "vocab")

    def _published_model(self, name: str) -> pathlib.Path:
        """The directory of a stage of the run; UserError if it holds no model."""
        if not (self.run / name / "model.json").is_file():
            raise UserError(f"run {self.run} has no {name}, which level {self.level} starts from; "
                            "expected its checkpoint: restore it")
        return self.run / name

    def _new_names(self) -> list[str]:
        """Patterns of the parameters and codebooks that a new level brings."""
        return [] if self.refresh else [f"codebook/level_{self.level}/.*",
                                        f"params/code_embedders_{self.base - 1}/.*"]

    def _train(self, name: str) -> None:
        """Trains as the run's stage `name` was, but for `_bindings`."""
        from gsid_jax import gin_setup
        from gsid_jax.trained_model import vocabulary_info
        from tasks.vocabulary import VOCABULARY
        config = self.run / name / trained_model.CONFIG_FILE
        if not config.is_file():
            raise UserError(f"{config} is missing; expected the configuration that training wrote: "
                            "restore the file")
        launch.parse_gin([str(config)], [*self._bindings(), *self.bindings])
        gin_setup.train(config_text_fn=launch.config_text, model_info=vocabulary_info(VOCABULARY))

    def _evaluate(self) -> None:
        from gsid_jax.evaluate.run import evaluate_run
        evaluate_run(self.dir)

    def _report(self) -> dict[str, Any]:
        rows = self.rows["item"]
        there = np.flatnonzero(rows >= 0)
        now = published_ids.read_ids(self.dir / "ids" / "items.parquet")
        old, new = self.ids["item"].codes[rows[there]], now.codes[there]
        report = stability.compare(old, new) | {
            "new_items": int((rows < 0).sum()), "refresh": self.refresh,
            **self._outcome()}
        if self.refresh:
            stability.write_changes(self.dir / "changed.parquet",
                                    now.key.take(there).combine_chunks(), old, new)
        write_json(self.dir / "stability.json", report)
        return report
