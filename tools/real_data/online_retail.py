"""UCI Online Retail: real baskets of a gift shop, without searches.

Products bought together are item-item pairs. The stand-in for a search is the description of the
other product of the pair; pairs of the last fifth of the time that training did not see are the
test.
"""

import collections
import itertools
import math
import pathlib

from tools.real_data.source import Converted, clean, read_csv

TRAIN_SHARE = 0.8  # of the invoices, by time
MIN_TOGETHER = 3  # invoices that make a pair
NEIGHBOURS = 10  # pairs kept of a product, by count / sqrt(count_a * count_b)
MAX_BASKET = 50  # larger invoices are wholesale orders: everything goes with everything
ABOUT = (
    "Real invoices of one gift shop, without searches. Pairs are products bought together at "
    "least 3 times, each product's 10 closest by cosine of the counts, in the first 80% of the "
    "invoices; the 'query' of a pair is the description of the other product. The test holds the "
    "pairs of the last 20% that training did not have. What is bought together is often a set "
    "(the same thing in another colour), so short descriptions already tell much. There are no "
    "categories: no AMI, no CPV. q2i asks with the other product's description, so it is i2i "
    "through the query side; the described product itself is in the pool and comes first, which "
    "makes R@1 0 for every method that reads well.")


def _neighbours(baskets: list[list[str]]) -> dict[str, dict[str, int]]:
    """For each product its closest others, with the number of invoices they share."""
    alone, together = collections.Counter(), collections.Counter()
    for basket in baskets:
        alone.update(basket)
        together.update(itertools.combinations(basket, 2))
    near: dict[str, list] = collections.defaultdict(list)
    for (a, b), count in together.items():
        if count >= MIN_TOGETHER:
            score = count / math.sqrt(alone[a] * alone[b])
            near[a].append((-score, b, count))
            near[b].append((-score, a, count))
    return {a: {b: count for _, b, count in sorted(others)[:NEIGHBOURS]}
            for a, others in sorted(near.items())}


def convert(folder: pathlib.Path) -> Converted:
    """Reads ``products.csv`` and ``transactions.csv.gz``."""
    titles = {row["stock_code"]: clean(row["description"]).lower()
              for row in read_csv(folder / "products.csv", ["stock_code", "description"])}
    titles = {code: title for code, title in titles.items() if title}
    invoices: dict[str, set[str]] = collections.defaultdict(set)
    when, customer = {}, {}
    columns = ["InvoiceNo", "StockCode", "Quantity", "InvoiceDate", "CustomerID"]
    for row in read_csv(folder / "transactions.csv.gz", columns):
        if row["StockCode"] in titles and float(row["Quantity"] or 0) > 0:
            invoices[row["InvoiceNo"]].add(row["StockCode"])
            when[row["InvoiceNo"]] = row["InvoiceDate"]
            customer[row["InvoiceNo"]] = row["CustomerID"]
    order = sorted(invoices, key=lambda number: (when[number], number))
    cut = int(TRAIN_SHARE * len(order))
    baskets = [sorted(invoices[number]) for number in order]
    train = _neighbours([b for b in baskets[:cut] if len(b) <= MAX_BASKET])
    later = _neighbours([b for b in baskets[cut:] if len(b) <= MAX_BASKET])
    trained = {frozenset((a, b)) for a, others in train.items() for b in others}
    interactions = [{"query": titles[a], "item_id": b, "click": count}
                    for a, others in train.items() for b, count in others.items()
                    if titles[a] != titles[b]]
    asked, pairs = {(each["query"], each["item_id"]) for each in interactions}, {}
    for a, others in later.items():
        new = [b for b in others if frozenset((a, b)) not in trained and titles[a] != titles[b]]
        if new:
            pairs[a] = new
    q2i = {titles[a]: [b for b in new if (titles[a], b) not in asked]
           for a, new in pairs.items()}
    sequences = collections.defaultdict(list)
    for number, basket in zip(order[:cut], baskets):
        if customer[number] and len(basket) <= MAX_BASKET:
            sequences[customer[number]].extend(basket)
    return Converted(
        [{"item_id": code, "title": title} for code, title in titles.items()], interactions, ABOUT,
        q2i_test=[{"query": query, "item_ids": ids} for query, ids in q2i.items() if ids],
        i2i_test=[{"item_id": a, "item_ids": new} for a, new in pairs.items()],
        sequences=[{"user_id": user, "items": items} for user, items in sequences.items()])
