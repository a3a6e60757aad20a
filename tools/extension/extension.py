"""One more step, or the last one anew, for a run whose IDs are published: stage by stage."""

import os
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from gsid_jax import final_lookup, launch, published_ids, trained_model
from gsid_jax.assign import assign, load
from gsid_jax.errors import UserError
from gsid_jax.manifest import Manifest, file_hash, read_json, write_json
from tools.extension import published, relabel, stability
from tools.extension.links import link_tree

BATCH_SIZE = 512
MATCH_ITEMS = 200_000  # items that the matching of codes looks at, at most
FIX = "finish the pipeline of that run"


class Extension:
    """The plan of one extended run: what it keeps, what it trains."""

    def __init__(self, run_dir: pathlib.Path, output_dir: pathlib.Path, refresh: bool,
                 data_dir: pathlib.Path, match: bool, bindings: Sequence[str], seed: int):
        self.run, self.dir, self.data = run_dir, output_dir, data_dir
        self.refresh, self.match = refresh, match and refresh
        self.bindings, self.seed = list(bindings), seed
        self.ids = {kind: published_ids.read_ids(run_dir / "ids" / f"{name}.parquet", kind)
                    for kind, name in (("item", "items"), ("query", "queries"))}
        self.published_levels = self.ids["item"].codes.shape[1]
        self.base = self.published_levels - refresh  # the step that is built on; 0: pre-training
        self.level = self.base + 1  # the step that is trained
        stats = read_json(self._assignment(run_dir, self.published_levels) / "stats.json", FIX)
        if not stats:
            raise UserError(f"run {run_dir} has no finished step {self.published_levels}; expected "
                            f"its assignment/stats.json: {FIX}")
        described = read_json(run_dir / final_lookup.DESCRIPTION, FIX)
        if described and described["model"] != f"step_{self.published_levels}":
            raise UserError(f"run {run_dir} has the IDs of a new tree ({described['assignment']}, "
                            f"model {described['model']}), which its steps' codebooks do not know; "
                            "expected IDs of the steps: run the pipeline with another assignment")
        self.group_size = stats["group_size"]
        self.soft_codes = load(self._assignment(run_dir, self.published_levels), "item"
                               ).soft.shape[2]
        self.rows = {kind: published.align(self.ids[kind], data_dir, kind) for kind in self.ids}
        if not (self.rows["item"] >= 0).any():
            raise UserError(f"dataset {data_dir} has none of the {len(self.ids['item'].codes):,} "
                            f"items published by run {run_dir}; expected the same catalogue, grown: "
                            "correct --data_dir")

    @staticmethod
    def _assignment(run_dir: pathlib.Path, t: int) -> pathlib.Path:
        return run_dir / f"step_{t}" / "assignment"

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
        step, base = f"step_{self.level}", f"step_{self.base}" if self.base else "pretrain"
        assigned = f"{step}/assignment"
        stages = [("data", self._link_data, ["data/items.parquet"], "data"),
                  (base, lambda: self._link_model(base), [f"{base}/model.json"], base)]
        if self.base:
            stages.append((f"assign_{self.base}", self._keep_codes,
                           [f"{base}/assignment/stats.json"], f"{base}/assignment"))
        stages.append((step, self._train, [f"{step}/model.json"], step))
        if self.match:
            stages.append(("match", self._match, ["match.npy"], "match.npy"))
        stages += [(f"assign_{self.level}", self._assign, [f"{assigned}/stats.json"], assigned),
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

    def _link_model(self, name: str) -> None:
        if not (self.run / name / "model.json").is_file():
            raise UserError(f"run {self.run} has no {name}, which step {self.level} starts from; "
                            "expected its checkpoint: restore it")
        link_tree(self.run / name, self.dir / name, leave=("assignment", "tensorboard"))

    def _encoder(self, t: int, name: str = "") -> tuple[Any, str]:
        directory = self.dir / (name or f"step_{t}")
        model = trained_model.load((), directory, vocabulary=self.dir / "vocab" /
                                   "sentencepiece.model", data_dir=self.dir / "data")
        return model.encoder(batch_size=BATCH_SIZE, soft_size=self.soft_codes), model.hash

    def _keep_codes(self) -> None:
        """The assignment of the step that is built on, with the published codes."""
        encoder, model_hash = self._encoder(self.base)
        fixed = {kind: published.codes_to_keep(self.ids[kind], self.rows[kind], self.base,
                                               self.dir / "data", kind, encoder)
                 for kind in self.ids}
        output = self._assignment(self.dir, self.base)
        if not (output / "stats.json").exists():
            assign(encoder, data_dir=self.dir / "data", output_dir=output, fixed=fixed,
                   model_hash=model_hash, group_size=self.group_size, seed=self.seed)

    def _train(self) -> None:
        from gsid_jax import gin_setup
        from gsid_jax.trained_model import vocabulary_info
        from tasks.vocabulary import VOCABULARY
        config = self.run / f"step_{self.published_levels}" / trained_model.CONFIG_FILE
        if not config.is_file():
            raise UserError(f"{config} is missing; expected the configuration that training wrote: "
                            "restore the file")
        launch.parse_gin([str(config)], [*self._bindings(), *self.bindings])
        gin_setup.train(config_text_fn=launch.config_text, model_info=vocabulary_info(VOCABULARY))

    def _bindings(self) -> list[str]:
        """What the new step changes in the configuration of the run's last one."""
        start = f"step_{self.base}" if self.base else "pretrain"
        found = [f"RUN_DIR = {str(self.dir)!r}", f"LEVEL = {self.level}",
                 f"model/run_path.name = 'step_{self.level}'",
                 f"initial/run_path.name = {start!r}", f"train.stage = 'step_{self.level}'"]
        if self.base:
            found += ["STEP_DIR = @step/run_path()", "step/run_path.run_dir = %RUN_DIR",
                      f"step/run_path.name = '{start}/assignment'",
                      f"tasks.grouping.prefix_groups.group_size = {self.group_size}"]
        if not self.refresh:
            found += [f"NUM_LEVELS = {self.level}",
                      "checkpoints.RestoreCheckpointConfig.fresh = "
                      f"['codebook/level_{self.level}/.*', "
                      f"'params/code_embedders_{self.base - 1}/.*']"]
        return found

    def _match(self) -> None:
        """Renumbers the new codebook's codes like the old one's; keeps the training beside it."""
        final = self.dir / f"step_{self.level}"
        trained = self.dir / f"step_{self.level}.trained"
        if not trained.exists():
            os.replace(final, trained)
        encoder, _ = self._encoder(self.level, trained.name)
        rows = np.flatnonzero(self.rows["item"] >= 0)
        if len(rows) > MATCH_ITEMS:
            rows = np.sort(np.random.default_rng(self.seed).choice(rows, MATCH_ITEMS, False))
        texts = [text for _, texts in published.texts_of(self.dir / "data", "item", rows)
                 for text in texts]
        old = self.ids["item"].codes[self.rows["item"][rows]]
        new = encoder.encode(texts, "item", old[:, :self.base])["codes"][:, -1]
        number = relabel.best_matching(old[:, -1], new, encoder.sizes.K)
        if not final.exists():
            relabel.write_relabelled(trained, final, self.level, number)
        partial = self.dir / "match.tmp.npy"
        np.save(partial, number)
        os.replace(partial, self.dir / "match.npy")

    def _assign(self) -> None:
        encoder, model_hash = self._encoder(self.level)
        previous = self._assignment(self.dir, self.base) if self.base else None
        output = self._assignment(self.dir, self.level)
        if not (output / "stats.json").exists():
            assign(encoder, data_dir=self.dir / "data", output_dir=output, previous_dir=previous,
                   model_hash=model_hash, group_size=self.group_size, seed=self.seed,
                   write_records=False)

    def _write_ids(self) -> None:
        from gsid_jax.final_ids import write_ids
        encoder, model_hash = self._encoder(self.level)
        codes = np.asarray(load(self._assignment(self.dir, self.level), "item").codes, np.int32)
        write_ids(encoder, data_dir=self.dir / "data", output_dir=self.dir / "ids",
                  model_hash=model_hash, fixed={"item": codes})

    def _evaluate(self) -> None:
        from gsid_jax.evaluate.run import evaluate_run
        evaluate_run(self.dir)

    def _report(self) -> dict[str, Any]:
        rows = self.rows["item"]
        there = np.flatnonzero(rows >= 0)
        now = published_ids.read_ids(self.dir / "ids" / "items.parquet")
        old, new = self.ids["item"].codes[rows[there]], now.codes[there]
        stats = read_json(self._assignment(self.dir, self.level) / "stats.json", FIX)
        report = stability.compare(old, new) | {
            "new_items": int((rows < 0).sum()), "refresh": self.refresh,
            "own_choice": stats["agreement_by_level"], "own_choice_whole": stats["keep"],
            "level": stats["codes"][f"l{self.level}"]}
        if self.match:
            unmatched = np.argsort(np.load(self.dir / "match.npy"))[new[:, -1]]
            report["ids_changed_before_matching"] = int((old[:, -1] != unmatched).sum())
        if self.refresh:
            stability.write_changes(self.dir / "changed.parquet",
                                    now.key.take(there).combine_chunks(), old, new)
        write_json(self.dir / "stability.json", report)
        return report
