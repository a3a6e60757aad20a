"""What a pipeline run is made of: its data, vocabulary, stages and choices, as gin binds them."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from gsid_jax.errors import UserError

ASSIGNMENTS = ("greedy", "query_aware", "retree")
LOOKUPS = ("plain", "marginals")


@dataclasses.dataclass(frozen=True)
class Data:
    """Where the catalogue comes from: the user's files, patterns or directories; or the simulator."""

    items: str = ""  # docs/data_format.md; empty: simulate
    interactions: str = ""
    sequences: str = ""
    q2i_test: str = ""
    i2i_test: str = ""
    truth: str = ""
    simulate_items: int = 10_000
    language: str = "en"  # of the simulator; for 'zh' pre-training masks characters, not words
    skip_invalid: bool = False  # count bad records and go on
    item_pairs: str = ""  # similar items, whose titles become queries
    columns: Any = None  # YAML file or dictionary: what the files call our fields
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # more of the build's

    def files(self) -> dict[str, str]:
        named = {name: getattr(self, name) for name in
                 ("items", "interactions", "sequences", "q2i_test", "i2i_test", "truth",
                  "item_pairs")}
        return {name: path for name, path in named.items() if path}

    def identity(self) -> dict[str, str]:
        """What tells this data from other data, as text by name; files by their contents."""
        from tasks import column_map, raw_paths
        found = {f.name: repr(getattr(self, f.name)) for f in dataclasses.fields(self)
                 if getattr(self, f.name) or f.name not in ("item_pairs", "columns", "settings")}
        columns = column_map.load(self.columns)
        if columns:
            found["columns"] = repr(columns)
        for name, path in self.files().items():
            try:
                source = raw_paths.resolve(path, name)
            except UserError as e:
                raise UserError(f"pipeline.Data.{name}: no file {path!r} to read ({e})") from e
            found[name] = f"sha256 {source.identity()['sha256']}"
        return found


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
      recipe_gin: a gin file that is read after everything else of a step, such as
        gin_configs/experiments/genret.gin: another recipe for the same run.
      fit_gin: gin file of the short fit that follows assignment 'retree'.
      dual_encoder_gin: gin file of the in-domain dense baseline ('' for none). It trains for as many
        steps as the chain has in all.
      bindings, pretrain_bindings, step_bindings: gin bindings of all training stages, of
        pre-training, and of each step; `later_bindings` of the steps after the first,
        `fit_bindings` and `dual_encoder_bindings` of those two.
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
    recipe_gin: str = ""
    fit_gin: str = ""
    dual_encoder_gin: str = ""
    bindings: Sequence[str] = ()
    pretrain_bindings: Sequence[str] = ()
    step_bindings: Sequence[str] = ()
    later_bindings: Sequence[str] = ()
    fit_bindings: Sequence[str] = ()
    dual_encoder_bindings: Sequence[str] = ()
    assignment: str = "greedy"  # of the final IDs: or 'query_aware', 'retree' (M10)
    lookup: str = "plain"  # through the codebooks (the paper), or 'marginals' (M10)
    leaf_temperature: float = 0.05  # tau of M10's scores
    query_share: float = 0.5  # of an item's queries in its 'query_aware' code distribution
    tree_query_weight: float = 1.0  # of the mean of an item's queries beside the item, in the tree
    tree_leaves: int = 0  # IDs of the new tree; 0: as many as the steps made, effectively
    group_size: int = 32  # S, items of one prefix side by side in the batches of the next step
    extra_ids: int = 16  # ids added behind the vocabulary's own
    reuse: Sequence[str] = ()  # other runs whose stages are taken over where they would be the same
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
        for name, allowed in (("assignment", ASSIGNMENTS), ("lookup", LOOKUPS)):
            if getattr(self, name) not in allowed:
                raise UserError(f"pipeline.Pipeline.{name}: got {getattr(self, name)!r}, expected "
                                f"one of {allowed}")
        if self.assignment != "greedy" and self.lookup != "marginals":
            raise UserError(f"pipeline.Pipeline.assignment is {self.assignment!r} with lookup "
                            f"{self.lookup!r}; expected lookup 'marginals', as the codebooks do not "
                            "know such IDs: set ASSIGNMENT = 'greedy' or LOOKUP = 'marginals'")
        if self.assignment == "retree" and not self.fit_gin:
            raise UserError("pipeline.Pipeline.assignment is 'retree' without fit_gin; expected "
                            "the gin file of the fit, such as gin_configs/runs/fit.gin")

    def step_stage(self, t: int) -> tuple[list[str], list[str]]:
        """gin files and bindings of step t."""
        bindings = [f"GROUP_SIZE = {self.group_size}", *self.bindings, *self.step_bindings]
        if t > 1:
            bindings += self.later_bindings
        elif not self.pretrain_gin:
            bindings.append("INITIAL_CHECKPOINT_PATH = None")
        if self.recipe_gin:
            bindings.append(f"include {self.recipe_gin!r}")
        return [*self.model_gin, self.step_gin.format(t=t)], bindings

    def pretrain_stage(self) -> tuple[list[str], list[str]]:
        unit = "char" if self.data.language == "zh" else "word"
        return [*self.model_gin, self.pretrain_gin], [
            f"UNIT = {unit!r}", *self.bindings, *self.pretrain_bindings]

    def fit_stage(self) -> tuple[list[str], list[str]]:
        """gin files and bindings of the fit; parameters (NAME.parameter) of the steps hold in it
        too, so that its codebooks have the shapes of theirs."""
        kept = [b for b in self.step_stage(self.levels)[1]
                if "." in b.partition("=")[0] or b.startswith("include ")]
        return [*self.model_gin, self.fit_gin], [
            f"GROUP_SIZE = {self.group_size}", *self.bindings, *kept,
            f"initial/run_path.name = 'step_{self.levels}'", *self.fit_bindings]

    def dual_encoder_stage(self) -> tuple[list[str], list[str]]:
        bindings = [*self.bindings, *self.dual_encoder_bindings]
        if not self.pretrain_gin:
            bindings.append("INITIAL_CHECKPOINT_PATH = None")
        return [*self.model_gin, self.dual_encoder_gin], bindings
