"""Entry point: the whole chain from a marketplace's files to evaluated semantic IDs.

    python -m gsid_jax.pipeline --gin_file=gin_configs/runs/quickstart.gin \\
        --gin.RUN_DIR="'runs/mine'"

Stages: data, vocab, pretrain, then step_t and assign_t for t = 1..T, what M10 needs where it is
chosen (tree, fit, lookup), ids, where asked for the dual encoder that GSID is compared with,
evaluate. Each writes under RUN_DIR and is recorded in its manifest: started again, the pipeline
skips what is done, resumes what was cut off and refuses a configuration that differs from the one
recorded.
"""

import json
import re
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gin

from gsid_jax import launch, stage_reuse, t5x_checkpoints
from gsid_jax.errors import UserError
from gsid_jax.manifest import Manifest, file_hash
from gsid_jax.pipeline_settings import Pipeline

# What says where a run lies and how it reports, not what it computes.
PLACE = re.compile(r"^(RUN_DIR|LOG_PERIOD|train\.(log_period|tensorboard|compilation_cache_dir))$"
                   r"|^pipeline\.")
DENSE = ("dual_encoder", "dual_encoder_ids")  # stages beside the chain, and all they depend on:
DENSE_NEEDS = {"data", "vocab", "pretrain", *DENSE}
OWN = re.compile(r"(pipeline\.)?(Pipeline|Data|Vocabulary)\.")  # parameters of the pipeline itself


class Run:
    """One pipeline run: its manifest, its directory and what the command line added."""

    def __init__(self, pipeline: Pipeline, overrides: Sequence[str] = ()):
        self.pipeline = pipeline
        self.dir = Path(pipeline.run_dir)
        self.overrides = list(overrides)
        try:
            self.dir.mkdir(parents=True, exist_ok=True)
        except OSError as e:
            raise UserError(f"RUN_DIR {self.dir} cannot be made ({e.strerror}); expected a "
                            "writable place") from e
        self.manifest = Manifest(self.dir)
        self.names = self._names() if self.overrides else set()

    def say(self, text: str) -> None:
        print(text, flush=True)

    def stages(self) -> list[str]:
        steps = range(1, self.pipeline.levels + 1)
        training = [name for t in steps for name in (f"step_{t}", f"assign_{t}")]
        first = ["data", "vocab"] + (["pretrain"] if self.pipeline.pretrain_gin else [])
        dense = list(DENSE) if self.pipeline.dual_encoder_gin else []
        final = ["tree", "fit"] if self.pipeline.assignment == "retree" else []
        final += ["lookup"] if self.pipeline.lookup == "marginals" else []
        return first + training + final + ["ids"] + dense + ["evaluate"]

    def execute(self) -> None:
        """Runs what is not done yet and prints the evaluation."""
        begun = time.monotonic()
        names = self.stages()
        self._check_final(names)
        until = self.pipeline.until or names[-1]
        if until not in names:
            raise UserError(f"pipeline.Pipeline.until: got {until!r}, expected one of "
                            f"{', '.join(names)}")
        names = names[:names.index(until) + 1]
        for number, name in enumerate(names, 1):
            kind, t = name, 0
            if numbered := re.fullmatch(r"(step|assign)_(\d+)", name):
                kind, t = numbered[1], int(numbered[2])
            config = self._config(kind, t)
            places = self._places(name)
            needs = [n for n in names[:number - 1] if name not in DENSE or n in DENSE_NEEDS]
            stage_reuse.take(self.manifest, name, config, places[0], self.pipeline.reuse, needs)
            with self.manifest.stage(name, config, *places) as todo:
                if not todo:
                    self.say(f"[{number}/{len(names)}] {name}: done before, skipped")
                    continue
                self.say(f"[{number}/{len(names)}] {name}")
                stage_begun = time.monotonic()
                getattr(self, f"_{kind}")(*([t] if t else []))
            self.say(f"[{number}/{len(names)}] {name}: {time.monotonic() - stage_begun:.0f} s "
                     f"({time.monotonic() - begun:.0f} s in all)")
        if names[-1] == "evaluate":
            self._finish()

    def _check_final(self, names: Sequence[str]) -> None:
        """Refuses another choice of final IDs before a tree is grown and fitted for nothing."""
        for stage in ("tree", "fit", "lookup"):
            if stage in self.manifest.content["stages"] and stage not in names:
                raise UserError(
                    f"{self.dir} has a stage '{stage}', which ASSIGNMENT = "
                    f"{self.pipeline.assignment!r} with LOOKUP = {self.pipeline.lookup!r} has not; "
                    "expected the values it was run with: give them back, or use another RUN_DIR "
                    f"with --gin.Pipeline.reuse=\"['{self.dir}']\" to keep what it shares")
        self.manifest.check("ids", self._config("ids", 0), "ids")

    def _names(self) -> set[str]:
        """Names that any training stage uses."""
        p = self.pipeline
        stages = [p.step_stage(t) for t in (1, 2) if t <= p.levels]
        stages += [p.pretrain_stage()] if p.pretrain_gin else []
        stages += [p.dual_encoder_stage()] if p.dual_encoder_gin else []
        stages += [p.fit_stage()] if p.assignment == "retree" else []
        return set().union(*(launch.names_used(*parts) for parts in stages))

    def check_overrides(self, used: set[str]) -> None:
        """Refuses values of the command line that neither the pipeline (`used`) nor a stage uses,
        and parameters of what no stage has."""
        parameters = [b for b in self.overrides if "." in b.partition("=")[0]]
        launch.names_used([], parameters)  # `_names` has imported what the stages name
        for binding in self.overrides:
            name = binding.partition("=")[0].strip()
            if "." not in name and name not in used | self.names:
                raise UserError(launch.unknown_value(
                    name, {n for n in used | self.names if n.isupper()}))

    def _places(self, name: str) -> tuple[list[str], str]:
        """What a stage leaves when done, and the path that holds its unfinished work."""
        if name.startswith("assign_"):
            directory = f"step_{name.removeprefix('assign_')}/assignment"
            return [f"{directory}/stats.json"], directory  # its .partial knows what it is made from
        return {"data": (["data/dataset.json"], "data"),
                "vocab": (["vocab/sentencepiece.model"], "vocab"),
                "tree": (["tree/stats.json"], "tree"),
                "lookup": (["lookup/lookup.json", "lookup/leaves.npz"], "lookup"),
                "ids": (["ids/items.parquet", "ids/queries.parquet"], "ids"),
                "dual_encoder_ids": (["dual_encoder/ids/items.npy", "dual_encoder/ids/queries.npy"],
                                     "dual_encoder/ids"),
                "evaluate": (["evaluation/metrics.json"], "evaluation/metrics.json"),
                }.get(name, ([f"{name}/model.json"], f"{name}/checkpoints"))

    def _config(self, kind: str, t: int) -> dict[str, str]:
        """The settings that decide what a stage makes, as text by name."""
        p = self.pipeline
        if kind == "data":
            return p.data.identity() | {"seed": repr(p.seed)}
        if kind == "vocab":
            model = f"sha256 {file_hash(p.vocabulary.model)}" if (
                p.vocabulary.model and Path(p.vocabulary.model).is_file()) else ""
            return {"size": repr(p.vocabulary.size), "model": model, "seed": repr(p.seed)}
        if kind in ("pretrain", "step", "assign"):
            self._parse(*(p.pretrain_stage() if kind == "pretrain" else p.step_stage(t)))
            assigning = {"soft_codes": repr(p.soft_codes)} if kind == "assign" else {}
            return gin_settings() | assigning
        if kind == "dual_encoder":
            self._parse_dual_encoder()
            return gin_settings()
        if kind == "fit":
            self._parse(*p.fit_stage())
            return gin_settings()
        if kind == "tree":
            return {"leaves": repr(p.tree_leaves), "query_weight": repr(p.tree_query_weight),
                    "group_size": repr(p.group_size), "seed": repr(p.seed)}
        settings = {"levels": repr(p.levels)}
        if kind in ("lookup", "ids") and p.lookup != "plain":
            settings |= {"assignment": repr(p.assignment), "lookup": repr(p.lookup),
                         "leaf_temperature": repr(p.leaf_temperature)}
            if p.assignment == "query_aware":
                settings["query_share"] = repr(p.query_share)
        return settings

    def _parse(self, files: list[str], bindings: list[str],
               overrides: Sequence[str] | None = None) -> None:
        """Puts the gin configuration of a training stage in force."""
        overrides = self.overrides if overrides is None else overrides
        bindings = [f"RUN_DIR = {str(self.dir)!r}", f"NUM_LEVELS = {self.pipeline.levels}",
                    f"VOCAB_SIZE = {self._vocab_size()}", *bindings]
        here = launch.names_used(files, bindings)
        launch.parse_gin(files, bindings + [b for b in overrides
                                            if concerns(b, here, self.names)])

    def _parse_dual_encoder(self) -> None:
        """The dual encoder's configuration, with the steps of the whole chain."""
        steps = 0
        for t in range(1, self.pipeline.levels + 1):
            self._parse(*self.pipeline.step_stage(t))
            steps += gin.query_parameter("TRAIN_STEPS/macro.value")
        if self.pipeline.assignment == "retree":
            self._parse(*self.pipeline.fit_stage())
            steps += gin.query_parameter("TRAIN_STEPS/macro.value")
        files, bindings = self.pipeline.dual_encoder_stage()
        overrides = [b for b in self.overrides if b.partition("=")[0].strip() != "TRAIN_STEPS"]
        self._parse(files, [*bindings, f"TRAIN_STEPS = {steps}"], overrides)

    def _vocab_size(self) -> int:
        """Rows of the embedding: the vocabulary with its extra ids, rounded up to 128."""
        record = json.loads((self.dir / "vocab" / "vocab.json").read_text(encoding="utf-8"))
        return -(-(record["size"] + self.pipeline.extra_ids) // 128) * 128

    def _data(self) -> None:
        from tools import build_dataset, simulate
        data, files = self.pipeline.data, self.pipeline.data.files()
        if not files:
            raw = self.dir / "raw"
            asked = {"language": data.language, "seed": self.pipeline.seed,
                     "num_items": data.simulate_items}
            if not _simulated(raw, asked):
                simulate.simulate(str(raw), **asked)
            files = {name: str(raw / f"{name}.jsonl") for name in
                     ("items", "interactions", "sequences", "q2i_test", "i2i_test")}
            files["truth"] = str(raw / "truth" / "items.jsonl")
        build_dataset.build_dataset(**files, output_dir=self.dir / "data", columns=data.columns,
                                    **{"seed": self.pipeline.seed,
                                       "skip_invalid": data.skip_invalid} | dict(data.settings))

    def _vocab(self) -> None:
        from tools import train_vocab
        vocabulary = self.pipeline.vocabulary
        if vocabulary.model:
            train_vocab.use_vocab(vocabulary.model, self.dir / "vocab")
        else:
            train_vocab.train_vocab(self.dir / "data", self.dir / "vocab", vocabulary.size,
                                    seed=self.pipeline.seed)

    def _pretrain(self) -> None:
        self._train("pretrain", lambda: self._parse(*self.pipeline.pretrain_stage()))

    def _step(self, t: int) -> None:
        self._train(f"step_{t}", lambda: self._parse(*self.pipeline.step_stage(t)))

    def _dual_encoder(self) -> None:
        self._train("dual_encoder", self._parse_dual_encoder)

    def _train(self, name: str, configure: Callable[[], None]) -> None:
        """Trains what `configure` puts in force, unless T5X has."""
        if trained := t5x_checkpoints.steps(str(self.dir / name)):
            self.say(f"{name} was trained by T5X, to step {max(trained):,}: taken as it is")
            return
        configure()
        from gsid_jax import gin_setup
        from gsid_jax.trained_model import vocabulary_info
        from tasks.vocabulary import VOCABULARY
        gin_setup.train(config_text_fn=launch.config_text, model_info=vocabulary_info(VOCABULARY))

    def _encoder(self, t: int, **options: Any) -> tuple[Any, str]:
        """The model after step t and what tells it from others; options are `Encoder`'s."""
        from gsid_jax import trained_model
        model = trained_model.load_run(self.dir, t)
        p = self.pipeline
        return model.encoder(batch_size=p.encode_batch_size, soft_size=p.soft_codes,
                             **options), model.hash

    def _assign(self, t: int) -> None:
        from gsid_jax.assign import assign
        encoder, model_hash = self._encoder(t)
        previous = self.dir / f"step_{t - 1}" / "assignment" if t > 1 else None
        output = self.dir / f"step_{t}" / "assignment"
        if (output / "stats.json").exists():
            return  # all was written; the kill came before the manifest knew
        stats = assign(encoder, data_dir=self.dir / "data", output_dir=output,
                       previous_dir=previous, model_hash=model_hash,
                       group_size=self.pipeline.group_size, seed=self.pipeline.seed,
                       write_records=t < self.pipeline.levels)
        code = stats["codes"][f"l{t}"]
        line = (f"codes of level {t}: {code['used']} of {stats['codebook_size']} used, perplexity "
                f"{code['perplexity']:.1f}, conditional {code['conditional_perplexity']:.1f}, "
                f"largest {code['max_share']:.0%}; {stats['ids']['distinct']:,} distinct IDs")
        self.say(line + (f"; keep {stats['keep']:.3f}" if t > 1 else ""))

    def _tree(self) -> None:
        from gsid_jax.final_lookup import write_tree
        p = self.pipeline
        counts = write_tree(self._encoder(p.levels, outputs=True)[0], data_dir=self.dir / "data",
                            output_dir=self.dir / "tree", leaves=p.tree_leaves,
                            query_weight=p.tree_query_weight, group_size=p.group_size, seed=p.seed)
        self.say(f"a new tree of {counts['leaves']:,} IDs for {counts['items']:,} items")

    def _fit(self) -> None:
        self._train("fit", lambda: self._parse(*self.pipeline.fit_stage()))

    def _lookup(self) -> None:
        from gsid_jax import final_lookup
        p = self.pipeline
        name = "fit" if p.assignment == "retree" else f"step_{p.levels}"
        count = final_lookup.write_lookup(
            final_lookup.load_model(self.dir, name), assignment=p.assignment, run_dir=self.dir,
            model_name=name, tau=p.leaf_temperature, query_share=p.query_share,
            batch_size=p.encode_batch_size)
        self.say(f"prototypes of {count:,} IDs ({p.assignment})")

    def _ids(self) -> None:
        from gsid_jax import trained_model
        model = trained_model.load_run(self.dir)
        self._write_ids(model, self.dir / "ids")

    def _dual_encoder_ids(self) -> None:
        from gsid_jax import final_lookup
        self._write_ids(final_lookup.load_model(self.dir, "dual_encoder"),
                        self.dir / "dual_encoder" / "ids")

    def _write_ids(self, model: Any, output_dir: Path) -> None:
        from gsid_jax.final_ids import write_ids
        write_ids(model.encoder(batch_size=self.pipeline.encode_batch_size),
                  data_dir=self.dir / "data", output_dir=output_dir, model_hash=model.hash)

    def _evaluate(self) -> None:
        from gsid_jax.evaluate.comparison import Evaluation, compare
        compare(Evaluation(run_dirs=[str(self.dir)]), say=self.say)

    def _finish(self) -> None:
        from gsid_jax.evaluate import tables
        self.say("\n" + tables.report(self.dir))
        compared = self.dir / "evaluation" / "tables.txt"
        if compared.exists():
            self.say(compared.read_text(encoding="utf-8"))
            self.say(f"Report: {self.dir / 'evaluation' / 'report.html'}")


def _simulated(raw: Path, asked: dict[str, Any]) -> bool:
    """Whether `raw` holds the simulation asked for; one with other settings is removed."""
    record = raw / "simulation.json"
    if not record.exists():
        return False
    found = json.loads(record.read_text(encoding="utf-8"))
    if {name: found.get(name) for name in asked} == asked:
        return True
    shutil.rmtree(raw)
    return False


def gin_settings() -> dict[str, str]:
    """The gin configuration in force as {name: value text}, without names of places."""
    text = gin.config_str(max_line_length=10**6)
    pairs = re.findall(r"^([\w/.]+) = (.*)$", text, re.MULTILINE)
    return {name: value for name, value in pairs if not PLACE.search(name)}


def concerns(binding: str, here: set[str], anywhere: set[str]) -> bool:
    """Whether a binding of the command line is one of a training stage.

    A value (NAME = ...) is where its name is used. A parameter is where its configurable is
    named, and everywhere if no stage names it; those of the pipeline itself are never.
    """
    name = binding.partition("=")[0].strip()
    if "." not in name:
        return name in here
    configurable = name.split(".")[-2].split("/")[-1]
    return not re.match(OWN, name) and (configurable in here or configurable not in anywhere)


def main(argv: list[str]) -> None:
    """Runs the pipeline that the gin flags describe."""
    files, overrides = launch.flags.FLAGS.gin_file, launch.flags.FLAGS.gin_bindings
    here = [b for b in overrides if re.match(OWN, b) or "." not in b.partition("=")[0]]
    used = launch.names_used(files, here, launch.flags.FLAGS.gin_search_paths)  # no module of tasks
    own = [b for b in here if re.match(OWN, b) or b.partition("=")[0].strip() in used]
    launch.start(argv, own)
    from gsid_jax import gin_setup
    run = Run(gin_setup.pipeline(), overrides)
    run.check_overrides(used)
    run.execute()


if __name__ == "__main__":
    launch.run(main)
