"""What an evaluation compares: one class a kind of method, configurable with gin.

A spec makes its methods for one run from what was made before it (`Context`); one that a run or
machine lacks the means for raises LeftOut, and the comparison goes on without it.
"""

import dataclasses
import importlib.util
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from gsid_jax.errors import UserError
from gsid_jax.evaluate import branching, columns, quantizers
from gsid_jax.evaluate.catalogue import Catalogue
from gsid_jax.evaluate.method import Method, load_run
from gsid_jax.leaf_marginals import unit

SAME_K, MATCHED = "same T and K", "matched branching"


class LeftOut(Exception):
    """Why a method cannot be part of this comparison."""


@dataclasses.dataclass(frozen=True)
class Context:
    """One run, and the methods made for it so far."""

    run_dir: pathlib.Path
    number: int  # of the run among the runs, from 0
    catalogue: Catalogue
    made: Mapping[str, Method]
    cache: pathlib.Path
    seed: int = 0

    def vectors(self, source: str) -> tuple[np.ndarray, np.ndarray]:
        """Item and query vectors of a method; LeftOut if it is not there or has none."""
        method = self.made.get(source)
        if method is None or method.item_vectors is None:
            raise LeftOut(f"there are no vectors of {source}")
        return method.item_vectors, method.query_vectors

    def reference(self, name: str) -> tuple[int, int, list[float]]:
        """(T, K, joint perplexity of each level) of a method; LeftOut if it has no IDs."""
        method = self.made.get(name)
        if method is None or method.item_codes is None:
            raise LeftOut(f"there are no IDs of {name} to take T, K and branching from")
        return (method.item_codes.shape[1], method.codebook_size or int(method.item_codes.max()) + 1,
                branching.joint_perplexities(method.item_codes, method.nested))


def need(*modules: str) -> None:
    """LeftOut if a module is not installed."""
    for module in modules:
        if importlib.util.find_spec(module) is None:
            raise LeftOut(f"{module} is not installed: pip install 'gsid_jax[eval]'")


@dataclasses.dataclass(frozen=True)
class Gsid:
    """IDs and final representation of the runs themselves, or of others on the same data."""

    name: str = "GSID"
    own: bool = True  # the evaluated runs themselves; False: those of `run_dirs`
    run_dirs: Sequence[str] = ()  # other runs, one for each evaluated run

    def make(self, context: Context) -> list[Method]:
        run_dir = context.run_dir
        if not self.own:
            if not self.run_dirs:
                raise LeftOut("no runs are given")
            if context.number >= len(self.run_dirs):
                raise LeftOut(f"{len(self.run_dirs)} runs are given")
            run_dir = pathlib.Path(self.run_dirs[context.number])
            if not run_dir.is_dir():
                raise UserError(f"{self.name}: no run directory {run_dir}; correct Gsid.run_dirs")
        return [load_run(run_dir, context.catalogue, self.name)]


@dataclasses.dataclass(frozen=True)
class Bm25:
    """BM25 (bm25s). With `dense`, `weight` times that method's cosine is added."""

    name: str = "BM25"
    tokenizer: str = "auto"  # 'words', 'jieba', 'bigrams'
    k1: float = 1.5
    b: float = 0.75
    dense: str = ""
    weight: float = 20.0

    def make(self, context: Context) -> list[Method]:
        need("bm25s")
        from gsid_jax.evaluate import bm25
        dense = None
        if self.dense:
            context.vectors(self.dense)
            dense = context.made[self.dense]
        return [bm25.method(self.name, context.catalogue, self.tokenizer, self.k1, self.b, dense,
                            self.weight)]


@dataclasses.dataclass(frozen=True)
class DualEncoder:
    """The in-domain dual encoder that the pipeline trained beside GSID (the XY-BERT role)."""

    name: str = "Dual encoder"
    directory: str = "dual_encoder/ids"

    def make(self, context: Context) -> list[Method]:
        folder = context.run_dir / self.directory
        if not (folder / "items.npy").exists():
            raise LeftOut(f"{context.run_dir} has no {self.directory}/items.npy")
        items = columns.vectors(folder / "items.npy", len(context.catalogue.item_id))
        queries = columns.vectors(folder / "queries.npy", len(context.catalogue.query),
                                  items.shape[1])
        return [Method(self.name, item_vectors=items, query_vectors=queries)]


@dataclasses.dataclass(frozen=True)
class EmbeddingFiles:
    """Any encoder's vectors, from .npy files."""

    name: str
    items: str
    queries: str
    item_ids: str = ""  # text file, one id a line; '': rows are in the dataset's order
    query_texts: str = ""

    def make(self, context: Context) -> list[Method]:
        from gsid_jax.evaluate import dense
        return [dense.from_files(self.name, context.catalogue, self.items, self.queries,
                                 self.item_ids, self.query_texts)]


@dataclasses.dataclass(frozen=True)
class OpenEncoder:
    """An open dense encoder from a local Hugging Face or sentence-transformers folder (BGE)."""

    name: str = "Open encoder"
    folder: str = ""
    query_prompt: str = ""
    document_prompt: str = ""
    pooling: str = ""  # '': what the folder's config says, else mean
    max_length: int = 128

    def make(self, context: Context) -> list[Method]:
        if not self.folder:
            raise LeftOut("no folder is given (OPEN_ENCODER)")
        from gsid_jax.evaluate import dense
        return [dense.from_folder(self.name, context.catalogue, self.folder, context.cache,
                                  self.query_prompt, self.document_prompt, self.pooling,
                                  self.max_length)]


@dataclasses.dataclass(frozen=True)
class ClusteredIds:
    """k-means IDs of the vectors of other methods, at the T and K of `reference` and at its
    branching."""

    sources: Sequence[str] = ("GSID", "Dual encoder", "Open encoder")
    kinds: Sequence[str] = ("hierarchical", "residual", "flat")
    at: Sequence[str] = (SAME_K, MATCHED)
    reference: str = "GSID"

    def make(self, context: Context) -> list[Method]:
        need("faiss")
        levels, size, targets = context.reference(self.reference)
        made = []
        for source in self.sources:
            try:
                items, queries = map(unit, context.vectors(source))
            except LeftOut:
                continue
            for kind in self.kinds:
                if SAME_K in self.at and kind != "flat":
                    found = getattr(quantizers, kind)(items, queries, [size] * levels,
                                                      context.seed)
                    made.append(_method(f"{source}, {kind} k-means", found, SAME_K))
                if MATCHED in self.at:
                    found = getattr(branching, kind)(items, queries, targets, context.seed)
                    made.append(_method(f"{source}, {kind} k-means", found, MATCHED))
        if not made:
            raise LeftOut(f"none of {', '.join(self.sources)} has vectors")
        return made


@dataclasses.dataclass(frozen=True)
class RqVaeIds:
    """RQ-VAE IDs of other methods' vectors, at the T and K of `reference`, and with the codebook
    sizes at which residual k-means has its branching."""

    sources: Sequence[str] = ("Dual encoder",)
    at: Sequence[str] = (SAME_K, MATCHED)
    reference: str = "GSID"

    def make(self, context: Context) -> list[Method]:
        need("faiss")
        from gsid_jax.evaluate import rqvae
        levels, size, targets = context.reference(self.reference)
        made = []
        for source in self.sources:
            items, queries = map(unit, context.vectors(source))
            for where in self.at:
                sizes = (size,) * levels
                if where == MATCHED:
                    sizes = tuple(round(each) for each in branching.residual(
                        items, queries, targets, context.seed).sizes)
                found, health = rqvae.quantize(items, queries, sizes, context.seed)
                made.append(_method(f"{source}, RQ-VAE", found, where, health))
        return made


@dataclasses.dataclass(frozen=True)
class TreeIds:
    """Other methods' vectors with M10's tree and marginals, at the branching of `reference`."""

    sources: Sequence[str] = ("Dual encoder",)
    reference: str = "GSID"

    def make(self, context: Context) -> list[Method]:
        need("faiss")
        from gsid_jax.evaluate import tree_ids
        _, size, targets = context.reference(self.reference)
        made = []
        for source in self.sources:
            items, queries = context.vectors(source)
            found = tree_ids.quantize(
                items, queries, context.catalogue.train_pairs, context.catalogue.train_weights,
                targets, size, context.seed)
            made.append(_method(f"{source}, M10 tree and marginals", found, MATCHED))
        return made


@dataclasses.dataclass(frozen=True)
class RandomIds:
    """IDs drawn at random at the T and K of `reference`: what chance reaches."""

    name: str = "Random IDs"
    reference: str = "GSID"

    def make(self, context: Context) -> list[Method]:
        levels, size, _ = context.reference(self.reference)
        draw = np.random.default_rng([context.seed, 0x1D5])  # no other draw's sequence
        sides = [draw.integers(0, size, (rows, levels)).astype(np.int32)
                 for rows in (len(context.catalogue.item_id), len(context.catalogue.query))]
        return [Method(self.name, *sides, codebook_size=size, section=SAME_K)]


def _method(name: str, found, section: str, health: Mapping[str, float] | None = None) -> Method:
    suffix = "" if section == SAME_K else " (matched)"
    return Method(name + suffix, found.item_codes, found.query_codes,
                  codebook_size=int(found.item_codes.max()) + 1, level_sizes=found.sizes,
                  nested=found.nested, section=section, extra=dict(health or {}))


def standard() -> list:
    """The quick comparison of the pipeline's last stage: a minute or less."""
    return [Gsid(), Bm25(), DualEncoder(),
            ClusteredIds(kinds=("hierarchical", "flat"), at=(MATCHED,)), TreeIds()]
