"""Entry point: the whole chain from a marketplace's files to evaluated semantic IDs.

    python -m gsid_jax.pipeline --gin_file=gin_configs/runs/quickstart.gin \\
        --gin.RUN_DIR="'runs/mine'"

Stages: data, vocab, pretrain, then step_t and assign_t for t = 1..T, ids, evaluate. Each writes
under RUN_DIR and is recorded in its manifest: started again, the pipeline skips what is done,
resumes what was cut off and refuses a configuration that differs from the one recorded.
"""

import dataclasses
import json
import re
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gin

from gsid_jax import launch, t5x_checkpoints
from gsid_jax.errors import UserError
from gsid_jax.manifest import Manifest, file_hash

# What says where a run lies and how it reports, not what it computes.
PLACE = re.compile(r"^(RUN_DIR|LOG_PERIOD|train\.(log_period|tensorboard|compilation_cache_dir))$"
                   r"|^pipeline\.")
OWN = re.compile(r"(pipeline\.)?(Pipeline|Data|Vocabulary)\.")  # parameters of the pipeline itself


@dataclasses.dataclass(frozen=True)
class Data:
    """Where the catalogue comes from: files of the user's, or the simulator."""

    items: str = ""  # docs/data_format.md; empty: simulate
    interactions: str = ""
    sequences: str = ""
    q2i_test: str = ""
    i2i_test: str = ""
    truth: str = ""
    simulate_items: int = 10_000
    language: str = "en"  # of the simulator; for 'zh' pre-training masks characters, not words
    skip_invalid: bool = False  # count bad records and go on

    def files(self) -> dict[str, str]:
        named = {name: getattr(self, name) for name in
                 ("items", "interactions", "sequences", "q2i_test", "i2i_test", "truth")}
        return {name: path for name, path in named.items() if path}


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """A SentencePiece model trained on the data, or a given file."""

    size: int = 8000
    model: str = ""  # such as Mengzi's or T5's; empty: train one


@dataclasses.dataclass(frozen=True)
class Pipeline:
    """What the stages run with.

    Attributes:
      run_dir: RUN_DIR, where everything goes.
      levels: T, the number of steps.
      data, vocabulary: the first two stages.
      seed: of the simulator, the hold-out and the vocabulary; training has RANDOM_SEED.
      model_gin: gin files of the model, read first in every training stage.
      pretrain_gin, step_gin: gin file of pre-training ('' for none) and of step `{t}`.
      bindings, pretrain_bindings, step_bindings: gin bindings of all training stages, of
        pre-training, and of each step; `later_bindings` of the steps after the first.
      until: the last stage to run, such as 'vocab' or 'assign_1'; '' for all. A stage that T5X
        trains in between is taken as it is.
    """

    run_dir: str
    levels: int
    data: Data = Data()
    vocabulary: Vocabulary = Vocabulary()
    seed: int = 0
    model_gin: Sequence[str] = ()
    pretrain_gin: str = ""
    step_gin: str = ""
    bindings: Sequence[str] = ()
    pretrain_bindings: Sequence[str] = ()
    step_bindings: Sequence[str] = ()
    later_bindings: Sequence[str] = ()
    group_size: int = 32  # S, items of one prefix side by side in the batches of the next step
    extra_ids: int = 16  # ids added behind the vocabulary's own
    soft_codes: int = 16  # m, codes kept of every stored distribution (M9)
    encode_batch_size: int = 512  # texts per call in assignment and final IDs
    until: str = ""

    def __post_init__(self):
        if self.levels < 1:
            raise UserError(f"pipeline.Pipeline.levels: got {self.levels}, expected at least 1")
        if bool(self.data.items) != bool(self.data.interactions):
            raise UserError("pipeline.Data needs both files or neither: got items="
                            f"{self.data.items!r}, interactions={self.data.interactions!r}; set "
                            "ITEMS and INTERACTIONS, or none to simulate a marketplace")

    def step_stage(self, t: int) -> tuple[list[str], list[str]]:
        """gin files and bindings of step t."""
        bindings = [f"GROUP_SIZE = {self.group_size}", *self.bindings, *self.step_bindings]
        if t > 1:
            bindings += self.later_bindings
        elif not self.pretrain_gin:
            bindings.append("INITIAL_CHECKPOINT_PATH = None")
        return [*self.model_gin, self.step_gin.format(t=t)], bindings

    def pretrain_stage(self) -> tuple[list[str], list[str]]:
        unit = "char" if self.data.language == "zh" else "word"
        return [*self.model_gin, self.pretrain_gin], [
            f"UNIT = {unit!r}", *self.bindings, *self.pretrain_bindings]


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
        return first + training + ["ids", "evaluate"]

    def execute(self) -> None:
        """Runs what is not done yet and prints the evaluation."""
        begun = time.monotonic()
        names = self.stages()
        until = self.pipeline.until or names[-1]
        if until not in names:
            raise UserError(f"pipeline.Pipeline.until: got {until!r}, expected one of "
                            f"{', '.join(names)}")
        names = names[:names.index(until) + 1]
        for number, name in enumerate(names, 1):
            kind, _, level = name.partition("_")
            t = int(level) if level else 0
            config = self._config(kind, t)
            with self.manifest.stage(name, config, *self._places(name)) as todo:
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

    def _names(self) -> set[str]:
        """Names that any training stage uses."""
        p = self.pipeline
        stages = [p.step_stage(t) for t in (1, 2) if t <= p.levels]
        stages += [p.pretrain_stage()] if p.pretrain_gin else []
        return set().union(*(launch.names_used(*parts) for parts in stages))

    def check_overrides(self, used: set[str]) -> None:
        """Refuses values of the command line that neither the pipeline (`used`) nor a stage uses."""
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
                "ids": (["ids/items.parquet", "ids/queries.parquet"], "ids"),
                "evaluate": (["evaluation/metrics.json"], "evaluation/metrics.json"),
                }.get(name, ([f"{name}/model.json"], f"{name}/checkpoints"))

    def _config(self, kind: str, t: int) -> dict[str, str]:
        """The settings that decide what a stage makes, as text by name."""
        p = self.pipeline
        if kind == "data":
            settings = {f.name: repr(getattr(p.data, f.name)) for f in dataclasses.fields(p.data)}
            for name, path in p.data.files().items():
                if not Path(path).is_file():
                    raise UserError(f"pipeline.Data.{name}: no file {path!r}; correct the path")
                settings[name] = f"sha256 {file_hash(path)}"
            return settings | {"seed": repr(p.seed)}
        if kind == "vocab":
            model = f"sha256 {file_hash(p.vocabulary.model)}" if (
                p.vocabulary.model and Path(p.vocabulary.model).is_file()) else ""
            return {"size": repr(p.vocabulary.size), "model": model, "seed": repr(p.seed)}
        if kind in ("pretrain", "step", "assign"):
            self._parse(*(p.pretrain_stage() if kind == "pretrain" else p.step_stage(t)))
            assigning = {"soft_codes": repr(p.soft_codes)} if kind == "assign" else {}
            return gin_settings() | assigning
        return {"levels": repr(p.levels)}

    def _parse(self, files: list[str], bindings: list[str]) -> None:
        """Puts the gin configuration of a training stage in force."""
        bindings = [f"RUN_DIR = {str(self.dir)!r}", f"NUM_LEVELS = {self.pipeline.levels}",
                    f"VOCAB_SIZE = {self._vocab_size()}", *bindings]
        here = launch.names_used(files, bindings)
        launch.parse_gin(files, bindings + [b for b in self.overrides
                                            if concerns(b, here, self.names)])

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
        build_dataset.build_dataset(**files, output_dir=self.dir / "data",
                                    seed=self.pipeline.seed, skip_invalid=data.skip_invalid)

    def _vocab(self) -> None:
        from tools import train_vocab
        vocabulary = self.pipeline.vocabulary
        if vocabulary.model:
            train_vocab.use_vocab(vocabulary.model, self.dir / "vocab")
        else:
            train_vocab.train_vocab(self.dir / "data", self.dir / "vocab", vocabulary.size,
                                    seed=self.pipeline.seed)

    def _pretrain(self) -> None:
        self._train("pretrain", self.pipeline.pretrain_stage())

    def _step(self, t: int) -> None:
        self._train(f"step_{t}", self.pipeline.step_stage(t))

    def _train(self, name: str, parts: tuple[list[str], list[str]]) -> None:
        if trained := t5x_checkpoints.steps(str(self.dir / name)):
            self.say(f"{name} was trained by T5X, to step {max(trained):,}: taken as it is")
            return
        from gsid_jax import gin_setup
        from gsid_jax.trained_model import vocabulary_info
        from tasks.vocabulary import VOCABULARY
        self._parse(*parts)
        gin_setup.train(config_text_fn=launch.config_text, model_info=vocabulary_info(VOCABULARY))

    def _encoder(self, t: int) -> tuple[Any, str]:
        """The model after step t and what tells it from others."""
        from gsid_jax import trained_model
        model = trained_model.load_run(self.dir, t)
        p = self.pipeline
        return model.encoder(batch_size=p.encode_batch_size, soft_size=p.soft_codes), model.hash

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

    def _ids(self) -> None:
        from gsid_jax.final_ids import write_ids
        encoder, model_hash = self._encoder(self.pipeline.levels)
        write_ids(encoder, data_dir=self.dir / "data", output_dir=self.dir / "ids",
                  model_hash=model_hash)

    def _evaluate(self) -> None:
        from gsid_jax.evaluate.run import evaluate_run
        evaluate_run(self.dir)

    def _finish(self) -> None:
        from gsid_jax.evaluate import tables
        self.say("\n" + tables.report(self.dir))


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
    used = launch.names_used(files, overrides, launch.flags.FLAGS.gin_search_paths)
    own = [b for b in overrides if re.match(OWN, b) or b.partition("=")[0].strip() in used]
    launch.start(argv, own)
    from gsid_jax import gin_setup
    run = Run(gin_setup.pipeline(), overrides)
    run.check_overrides(used)
    run.execute()


if __name__ == "__main__":
    launch.run(main)
