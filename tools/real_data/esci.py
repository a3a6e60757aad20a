"""Amazon Shopping Queries (ESCI), a sample: real queries, labels E, S, C, I.

An exact match counts as a purchase, a substitute as a click; complements and irrelevant products
are no interactions. Queries are split by a hash: of a fifth, all pairs are held out, and their
exact products are the relevant ones.
"""

import hashlib
import pathlib

from tools.real_data.source import Converted, clean, read_csv, read_jsonl

HELD_OUT = 5  # one query of so many
COUNTS = {"E": {"purchase": 1}, "S": {"click": 1}}
ABOUT = (
    "Real queries and products in three languages (English, Japanese, Spanish); pairs are labels "
    "of annotators, not clicks: exact = purchase, substitute = click. A fifth of the queries is "
    "held out with its exact products. About 1,400 training pairs, most of them the only one of "
    "their query and of their product: too few to learn a language or a hierarchy from, so a "
    "model trained on nothing else is judged here on whether it runs on real searches, not on how "
    "good the method is. There are no categories: no AMI. Brand and colour are attributes.")


def held_out(query: str) -> bool:
    """Whether the query belongs to the test split; depends on its text alone."""
    return int(hashlib.sha256(query.encode()).hexdigest(), 16) % HELD_OUT == 0


def convert(folder: pathlib.Path) -> Converted:
    """Reads ``products.jsonl.gz`` and ``query_product_labels.csv``."""
    items = []
    for product in read_jsonl(folder / "products.jsonl.gz", ["product_id", "product_title"]):
        title = clean(product["product_title"])
        if not title:
            continue
        item = {"item_id": f"{product.get('locale', '')}-{product['product_id']}", "title": title}
        text = clean(f"{product.get('product_bullet_point') or ''} "
                     f"{product.get('product_description') or ''}")
        if text:
            item["description"] = text
        attributes = {name: value for name in ("brand", "color")
                      if (value := clean(product.get(f"product_{name}")))}
        if attributes:
            item["attributes"] = attributes
        items.append(item)
    known = {item["item_id"] for item in items}
    interactions, relevant = [], {}
    columns = ["locale", "query", "product_id", "esci_label"]
    for row in read_csv(folder / "query_product_labels.csv", columns):
        query, item_id = clean(row["query"]), f"{row['locale']}-{row['product_id']}"
        counts = COUNTS.get(row["esci_label"])
        if not query or not counts or item_id not in known:
            continue
        if not held_out(query):
            interactions.append({"query": query, "item_id": item_id, **counts})
        elif row["esci_label"] == "E":
            relevant.setdefault(query, []).append(item_id)
    test = [{"query": query, "item_ids": sorted(set(ids))} for query, ids in relevant.items()]
    return Converted(items, interactions, ABOUT, q2i_test=test)
