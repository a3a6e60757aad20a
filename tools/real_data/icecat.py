"""Open Icecat: a real catalogue of electronics, without searches.

The stand-in for a search is the short description that the vendor wrote; the item's text is
Icecat's own title. Matching the two is product matching, a real task, but not search.
"""

import pathlib
import re

from tools.real_data.source import Converted, clean, read_jsonl

MAX_ATTRIBUTES = 12
MAX_QUERY_WORDS = 12
ABOUT = (
    "A real catalogue without searches. The 'query' of a product is the beginning of the vendor's "
    "short description, the item's text is Icecat's title: what is learned and judged is product "
    "matching between two descriptions of one product, written independently but often sharing "
    "the model number, which favours lexical methods; it says nothing of how people search. Each "
    "product has one such text, so multi-query sampling has nothing to draw from. The category "
    "path is brand, then product type where given (8% of the products); the brand opens nearly "
    "every title, so the AMI of its level is close to a check of spelling.")


def convert(folder: pathlib.Path) -> Converted:
    """Reads ``products.jsonl.gz``."""
    items, interactions = [], []
    for product in read_jsonl(folder / "products.jsonl.gz",
                              ["id", "title", "short_description", "supplier", "attributes"]):
        title = clean(product["title"])
        if not title:
            continue
        values = {"brand": clean(product["supplier"])}
        for name, value in (product["attributes"] or {}).items():
            if name.startswith("attr_t_") and len(values) < MAX_ATTRIBUTES:
                values[name.removeprefix("attr_t_")] = clean(value)
        kind = clean(product.get("product_type"))
        item = {"item_id": str(product["id"]), "title": title,
                "attributes": {name: value for name, value in values.items() if value}}
        path = [values["brand"], kind] if re.search(r"[^\W\d]", kind) else [values["brand"]]
        if path[0]:
            item["category"] = path
        items.append(item)
        query = " ".join(clean(product["short_description"]).split()[:MAX_QUERY_WORDS])
        if query and query.lower() not in title.lower():
            interactions.append({"query": query, "item_id": item["item_id"], "click": 1})
    return Converted(items, interactions, ABOUT)
