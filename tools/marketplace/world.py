"""The world behind the listings: leaves, SPUs with Zipf popularity, and the SPU of every item.

An SPU (standard product unit) is a brand times a model, such as "Apple iPhone 12". The whole
state is a few integer arrays; names are worked out when they are needed.
"""

import dataclasses
import functools

import numpy as np

from tools.marketplace.draws import uniform
from tools.marketplace.language import Language

LEAF_STREAM, ITEM_STREAM = 1, 2
ITEMS_PER_SPU = 6
MIN_SPUS_PER_LEAF = 2
ZIPF_EXPONENT = 1.0


@dataclasses.dataclass(frozen=True)
class Line:
    """A model line of a maker; `alias` is how people shorten it, None if they do not."""

    brand: str
    series: str
    glued: bool
    alias: str | None
    alias_glued: bool


@dataclasses.dataclass(frozen=True)
class Leaf:
    """A leaf category: everything its listings and queries are made of."""

    path: tuple[str, str, str, str]
    words: tuple[str, ...]
    """Names of the level-3 category, commonest first."""
    terms: tuple[str, ...]
    """Names of the leaf, commonest first."""
    lines: tuple[Line, ...]
    attributes: tuple[str, ...]
    model_format: str
    slot: int
    """0, 1 or 2: the place among its siblings, which share the lines but no model."""
    group: int
    """Number of the level-3 category."""


@dataclasses.dataclass(frozen=True)
class Spu:
    """Names of one SPU."""

    index: int
    leaf: Leaf
    leaf_index: int
    line: Line
    designator: str

    @property
    def model(self) -> str:
        """Series and designator in full: "Galaxy S 12 pro"."""
        series = self.line.series
        glue = "" if self.line.glued or not series[-1].isascii() else " "
        return f"{series}{glue}{self.designator}"

    @property
    def name(self) -> str:
        """The name in the ground truth, unique through its number."""
        return f"{self.index}: {self.line.brand} {self.model}"


def _split(text: str, mark: str = ",") -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(mark))


def _parse_lines(makers: str) -> tuple[Line, ...]:
    lines = []
    for maker in makers.split(";"):
        brand, all_series = _split(maker, ":")
        for text in all_series.split(","):
            series, _, alias = text.strip().partition("=")
            lines.append(Line(brand, series.rstrip("~"), series.endswith("~"),
                              alias.strip().rstrip("~") or None, alias.endswith("~")))
    return tuple(lines)


def parse_leaves(language: Language) -> tuple[Leaf, ...]:
    """All leaves in tree order, so that siblings are neighbours at every level."""
    leaves = []
    group = 0
    for tree in language.trees:
        for root, branches in tree.items():
            for (branch, attributes, model_format), groups in branches.items():
                for name, (words, kinds, makers, *own) in groups.items():
                    lines = _parse_lines(makers)
                    keys = tuple((own[0] if own else attributes).split())
                    for slot, kind in enumerate(kinds.split(" / ")):
                        terms = _split(kind)
                        path = (root, branch, name, terms[0][:1].upper() + terms[0][1:])
                        leaves.append(Leaf(path, _split(words), terms, lines, keys, model_format,
                                           slot, group))
                    group += 1
    return tuple(leaves)


def designator(language: Language, model_format: str, k: int, salt: int) -> str:
    """The k-th model name of a line; different k give different names, whatever the k.

    `salt` shuffles the first names, so that lines do not all begin with the same model.
    """
    suffixes = language.suffixes
    base = {"number": 20, "code": 60, "name": len(language.names), "volume": 30, "year": 30}
    size = base[model_format] * (4 if model_format == "number" else 1)
    block, k = divmod(k, size)
    k = (k * _coprime(size) + salt * 7) % size
    if model_format == "number":
        text = f"{1 + k % 20}{suffixes[k // 20]}"
        extra = suffixes[4:]
    else:
        extra = suffixes[1:]
        if model_format == "code":
            text = f"{'KXTSBM'[salt % 6]}{10 * (k + 4)}"
        elif model_format == "name":
            text = language.names[k]
        elif model_format == "volume":
            text = language.designators["volume"].format(n=k + 1)
        else:
            text = language.designators["year"].format(n=1995 + k)
    generation, block = divmod(block, len(extra) + 1)
    if block:
        text += extra[block - 1]
    return text if generation == 0 else f"{text} v{generation + 1}"


@functools.cache
def _coprime(size: int) -> int:
    return next(m for m in range(size * 3 // 8 + 1, size * 2) if np.gcd(m, size) == 1)


class World:
    """Leaves, SPUs and the SPU of every item; about 12 bytes an item.

    Args:
      language: catalogue and phrases.
      num_items: size of the marketplace.
      seed: with it, everything is determined.
    """

    def __init__(self, language: Language, num_items: int, seed: int):
        self.language = language
        self.num_items = num_items
        self.seed = seed
        self.leaves = parse_leaves(language)
        mass = self._leaf_mass()
        target = max(num_items // ITEMS_PER_SPU, MIN_SPUS_PER_LEAF * len(self.leaves))
        spare = target - MIN_SPUS_PER_LEAF * len(self.leaves)
        per_leaf = MIN_SPUS_PER_LEAF + np.floor(mass * spare).astype(np.int64)
        self.leaf_start = np.concatenate([[0], np.cumsum(per_leaf)])
        self.num_spus = int(self.leaf_start[-1])
        self.spu_leaf = np.repeat(np.arange(len(self.leaves)), per_leaf).astype(np.int32)
        rank = np.arange(self.num_spus) - self.leaf_start[self.spu_leaf]
        zipf = 1.0 / (1.0 + rank) ** ZIPF_EXPONENT
        total = np.add.reduceat(zipf, self.leaf_start[:-1])
        probability = mass[self.spu_leaf] * zipf / total[self.spu_leaf]
        self.spu_share = probability / probability.sum()
        """float64 [num_spus], the chance of each SPU to be an item's."""
        self._cumulative = np.cumsum(self.spu_share)
        self.spu = functools.lru_cache(maxsize=1 << 16)(self._spu)

    def _leaf_mass(self) -> np.ndarray:
        """Share of items per leaf: mildly skewed at every level of the tree."""
        noise = uniform(self.seed, LEAF_STREAM, np.arange(len(self.leaves)), 1)[:, 0]
        mass = np.exp(0.8 * (noise - 0.5))
        for depth in (1, 2, 3):
            nodes = {}
            for leaf in self.leaves:
                nodes.setdefault(leaf.path[:depth], len(nodes))
            draw = uniform(self.seed, LEAF_STREAM + 10 * depth, np.arange(len(nodes)), 1)[:, 0]
            node = np.array([nodes[leaf.path[:depth]] for leaf in self.leaves])
            mass *= np.exp(0.8 * (draw[node] - 0.5))
        return mass / mass.sum()

    def item_spus(self, items: np.ndarray) -> np.ndarray:
        """SPU number of each item, int32 [n], from item numbers int64 [n]."""
        u = uniform(self.seed, ITEM_STREAM, items)[:, 0]
        last = self.num_spus - 1
        return np.minimum(np.searchsorted(self._cumulative, u, side="right"), last).astype(np.int32)

    def _spu(self, index: int) -> Spu:
        leaf_index = int(self.spu_leaf[index])
        leaf = self.leaves[leaf_index]
        rank = index - int(self.leaf_start[leaf_index])
        lines = leaf.lines
        order = (rank + leaf.slot) % len(lines)
        k = 3 * (rank // len(lines)) + leaf.slot
        name = designator(self.language, leaf.model_format, k, 5 * leaf.group + 3 * order)
        return Spu(index, leaf, leaf_index, lines[order], name)
