"""What the variants of the click model know of an item: label columns, one per level."""

import dataclasses
import pathlib

import numpy as np

from gsid_jax.evaluate import columns
from gsid_jax.evaluate.catalogue import BUILDER, category_labels, load_catalogue
from gsid_jax.published_ids import read_ids
from tools.features.prefixes import FIRST, PrefixVocabulary

ITEM_ID = "no units"


@dataclasses.dataclass(frozen=True)
class Units:
    """Label columns of one variant, int32 [N, levels]: 1 unknown, from 2 on a unit."""

    label: np.ndarray

    @property
    def sizes(self) -> list[int]:
        """Rows of the embedding table of each column."""
        return [int(column.max()) + 1 for column in self.label.T]


def variants(run_dir: pathlib.Path) -> dict[str, Units]:
    """The variants by name. Every one has the item id as its first column.

    True categories and products are there if the dataset has truth.parquet.
    """
    ids = read_ids(run_dir / "ids" / "items.parquet")
    distinct, counts = np.unique(ids.codes, axis=0, return_counts=True)
    gsid = PrefixVocabulary.build(distinct, counts).lookup(ids.codes)
    items = columns.read_table(run_dir / "data" / "items.parquet", ["category"], BUILDER)
    catalogue = load_catalogue(run_dir / "data")
    seller = category_labels(items)[0] + FIRST
    item = np.arange(len(gsid))[:, None] + FIRST

    def units(*parts: np.ndarray) -> Units:
        return Units(np.concatenate([item, *parts], axis=1).astype(np.int32))

    found = {ITEM_ID: units()}
    if (seller >= FIRST).any():
        found["seller's category"] = units(seller)
    found["GSID"] = units(gsid)
    if (seller >= FIRST).any():
        found["GSID + seller's category"] = units(gsid, seller)
    if catalogue.category_is_truth:
        found["true category"] = units(catalogue.category + FIRST)
    if catalogue.spu is not None:
        found["true category + product"] = units(catalogue.category + FIRST,
                                                 catalogue.spu[:, None] + FIRST)
    return found
