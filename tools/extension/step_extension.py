"""A step T + 1, or step T again, for runs whose IDs are those of their steps."""

import os
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np

from gsid_jax import published_ids, trained_model
from gsid_jax.assign import assign, load
from gsid_jax.errors import UserError
from gsid_jax.final_ids import write_ids
from gsid_jax.manifest import read_json
from tools.extension import published, relabel
from tools.extension.extension import BATCH_SIZE, FIX, Extension
from tools.extension.links import link_tree

MATCH_ITEMS = 200_000  # items that the matching of codes looks at, at most


class StepExtension(Extension):
    """The stages: the step before with the published codes, the training, its assignment."""

    @staticmethod
    def _assignment(run_dir: pathlib.Path, t: int) -> pathlib.Path:
        return run_dir / f"step_{t}" / "assignment"

    def _group_size(self) -> int:
        directory = self._assignment(self.run, self.published_levels)
        stats = read_json(directory / "stats.json", FIX)
        if not stats:
            raise UserError(f"run {self.run} has no finished step {self.published_levels}; expected "
                            f"its assignment/stats.json: {FIX}")
        self.soft_codes = load(directory, "item").soft.shape[2]
        return stats["group_size"]

    def _stages(self) -> list[tuple[str, Callable[[], None], list[str], str]]:
        step, base = f"step_{self.level}", f"step_{self.base}" if self.base else "pretrain"
        assigned = f"{step}/assignment"
        stages = [(base, lambda: self._link_base(base), [f"{base}/model.json"], base)]
        if self.base:
            stages.append((f"assign_{self.base}", self._keep_codes,
                           [f"{base}/assignment/stats.json"], f"{base}/assignment"))
        stages.append((step, lambda: self._train(f"step_{self.published_levels}"),
                       [f"{step}/model.json"], step))
        if self.match:
            stages.append(("match", self._match, ["match.npy"], "match.npy"))
        return [*stages, (f"assign_{self.level}", self._assign, [f"{assigned}/stats.json"], assigned)]

    def _link_base(self, name: str) -> None:
        link_tree(self._published_model(name), self.dir / name, leave=("assignment", "tensorboard"))

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
                      f"checkpoints.RestoreCheckpointConfig.fresh = {self._new_names()!r}"]
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
        encoder, model_hash = self._encoder(self.level)
        codes = np.asarray(load(self._assignment(self.dir, self.level), "item").codes, np.int32)
        write_ids(encoder, data_dir=self.dir / "data", output_dir=self.dir / "ids",
                  model_hash=model_hash, fixed={"item": codes})

    def _outcome(self) -> dict[str, Any]:
        stats = read_json(self._assignment(self.dir, self.level) / "stats.json", FIX)
        found = {"own_choice": stats["agreement_by_level"], "own_choice_whole": stats["keep"],
                 "level": stats["codes"][f"l{self.level}"]}
        if self.match:
            rows = self.rows["item"]
            there = np.flatnonzero(rows >= 0)
            new = published_ids.read_ids(self.dir / "ids" / "items.parquet").codes[there]
            unmatched = np.argsort(np.load(self.dir / "match.npy"))[new[:, -1]]
            found["ids_changed_before_matching"] = int(
                (self.ids["item"].codes[rows[there], -1] != unmatched).sum())
        return found
