"""A level T + 1, or level T again, for runs whose IDs are a new tree (M10 c).

Items of one published prefix are clustered anew by the published model's vectors, as the tree was
grown, and a short fit from that model teaches the new IDs. Published items keep their prefixes.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from gsid_jax import final_lookup, item_ids, published_ids, trained_model
from gsid_jax.errors import UserError
from gsid_jax.evaluate.codes import code_health
from gsid_jax.final_ids import write_ids
from gsid_jax.manifest import read_json, write_json
from tools.extension import relabel, tree_levels
from tools.extension.extension import BATCH_SIZE, FIX, Extension

SOURCE = "published"  # the published fit, which the new one starts from
OWN = "ids/own_choice.json"


class TreeExtension(Extension):
    """The stages: the published model, the tree, the fit, its lookup."""

    def _group_size(self) -> int:
        stats = read_json(self.run / "tree" / "stats.json", FIX)
        if not stats:
            raise UserError(f"run {self.run} has no finished tree; expected tree/stats.json: {FIX}")
        return stats["group_size"]

    def _stages(self) -> list[tuple[str, Callable[[], None], list[str], str]]:
        return [(SOURCE, self._source, [f"{SOURCE}/model.json"], SOURCE),
                ("tree", self._tree, ["tree/stats.json"], "tree"),
                ("fit", lambda: self._train("fit"), ["fit/model.json"], "fit/checkpoints"),
                ("lookup", self._lookup, ["lookup/lookup.json", "lookup/leaves.npz"], "lookup")]

    def _source(self) -> None:
        """The published fit without its prototypes: those of the new IDs take their place."""
        relabel.rewrite(self._published_model("fit"), self.dir / SOURCE, lambda collections: {
            name: values for name, values in collections.items() if name != "leaves"})

    def _tree(self) -> None:
        encoder = trained_model.load_run(self.run).encoder(batch_size=BATCH_SIZE, outputs=True)
        own, vectors, query_vectors = item_ids.blended_vectors(encoder, self.dir / "data")
        rows = self.rows["item"]
        published = self.ids["item"].codes
        codes = np.where(rows[:, None] >= 0, published[rows], own).astype(np.int32)
        prefix, size = codes[:, :self.base], encoder.sizes.K
        groups = tree_levels.prefix_groups(prefix)
        if self.refresh:
            children = [len(np.unique(codes[items, -1])) for items in groups]
        else:
            last = code_health(published)[f"l{self.base}"]["conditional_perplexity"]
            children = tree_levels.even_children(groups, max(last, 2.0))
        new = tree_levels.split(vectors, groups, children, size, self.seed)
        if self.match:
            old = np.where(rows >= 0, codes[:, -1], -1)
            new = tree_levels.matched(old, new, groups, size)
        codes = np.concatenate([prefix, new[:, None]], axis=1)
        queries = item_ids.vector_codes(query_vectors, codes, vectors, size)
        final_lookup.save_tree(encoder, codes, queries, data_dir=self.dir / "data",
                               output_dir=self.dir / "tree", group_size=self.group_size,
                               seed=self.seed)

    def _bindings(self) -> list[str]:
        """What the new fit changes in the configuration of the run's own."""
        fresh = ["leaves/.*", *self._new_names()]
        return [f"RUN_DIR = {str(self.dir)!r}", f"NUM_LEVELS = {self.level}",
                f"initial/run_path.name = {SOURCE!r}",
                f"checkpoints.RestoreCheckpointConfig.fresh = {fresh!r}"]

    def _lookup(self) -> None:
        described = read_json(self.run / final_lookup.DESCRIPTION, FIX)
        final_lookup.write_lookup(
            final_lookup.load_model(self.dir, "fit"), assignment="retree", run_dir=self.dir,
            model_name="fit", tau=described["tau"], query_share=0.0, batch_size=BATCH_SIZE)

    def _write_ids(self) -> None:
        """Published prefixes are forced; all else is what the model says."""
        model = trained_model.load_run(self.dir)
        encoder, tree = model.encoder(batch_size=BATCH_SIZE), np.load(
            self.dir / "tree" / "item_codes.npy")
        write_ids(encoder, data_dir=self.dir / "data", output_dir=self.dir / "ids",
                  model_hash=model.hash, fixed={"item": tree[:, :self.base]})
        codes = published_ids.read_ids(self.dir / "ids" / "items.parquet").codes
        own = item_ids.represented(encoder, self.dir / "data", "item")["codes"]
        same = np.logical_and.accumulate(own == codes, axis=1)[self.rows["item"] >= 0]
        write_json(self.dir / OWN, {f"l{j + 1}": float(column.mean())
                                    for j, column in enumerate(same.T[:self.base])})

    def _outcome(self) -> dict[str, Any]:
        own = read_json(self.dir / OWN, FIX)
        level = code_health(published_ids.read_ids(self.dir / "ids" / "items.parquet").codes)
        return {"own_choice": own, "own_choice_whole": min(own.values(), default=1.0),
                "level": level[f"l{self.level}"]}
