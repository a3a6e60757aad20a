"""Swing on UCI Online Retail: exact against its definition, and files for an i2i evaluation.

    python -m tools.bench.swing_retail --input=DIR --output_dir=OUT --output=docs/results/swing.md

reads ``transactions.csv.gz`` and ``products.csv``, counts swing over the first 80% of the time and
over the rest, compares every score of a sample of items with the definition, computed densely, and
writes under OUT what a run needs: items, interactions (each product under its own title: the shop
has no searches), sequences, item_pairs.parquet (the earlier period, for training) and
i2i_test.jsonl (pairs of the later period that the earlier one does not have). With --run_dir it
trains on them and compares GSID with BM25 and the dual encoder on those pairs.
"""

import argparse
import collections
import csv
import datetime
import gzip
import pathlib
import platform
import sys
import time

import numpy as np
import scipy.sparse

from gsid_jax.errors import UserError
from gsid_jax.evaluate import comparison
from gsid_jax.evaluate.tables import RETRIEVAL
from gsid_jax.manifest import hardware
from tasks import raw_paths, swing, view_files
from tasks.raw_files import Rejects
from tools import swing_i2i
from tools.bench.results_page import table, write_page
from tools.marketplace.writer import JsonLines
from tools.real_data import chain

TRAIN_SHARE = 0.8  # of the time
TEST_TOP = 10
SAMPLE = 200  # items whose scores are compared, with all others
TRAINED = (
    "Trained on the similar items of the earlier period (the title of a similar item stands for a "
    "query, weighted by its score) and on each product's own title, by "
    "`gin_configs/experiments/real_data.gin`, seed 0; judged on the pairs of the later period (%). "
    "Products bought together are often sets of one design, so word overlap goes far; the model has "
    "1.3 million parameters and minutes of training, so the table shows that the path holds, not "
    "how methods rank.")


def read_shop(folder: pathlib.Path) -> tuple[dict[str, str], list[tuple[str, str, int]]]:
    """(title by product, (customer, product, seconds) of each line of an invoice)."""
    for name in ("products.csv", "transactions.csv.gz"):
        if not (folder / name).exists():
            raise UserError(f"{folder / name} is missing; expected the files of UCI Online Retail: "
                            "correct --input")
    with open(folder / "products.csv", encoding="utf-8") as file:
        titles = {row["stock_code"]: row["description"].strip().lower()
                  for row in csv.DictReader(file) if row["description"].strip()}
    bought = []
    with gzip.open(folder / "transactions.csv.gz", "rt", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["StockCode"] in titles and row["CustomerID"] and float(row["Quantity"]) > 0:
                when = datetime.datetime.fromisoformat(row["InvoiceDate"])
                bought.append((row["CustomerID"].removesuffix(".0"), row["StockCode"], int(
                    when.replace(tzinfo=datetime.timezone.utc).timestamp())))
    return titles, bought


def write_sequences(bought: list[tuple[str, str, int]], path: pathlib.Path) -> int:
    """Writes what each customer bought, in time order; returns the number of customers."""
    users: dict[str, list[tuple[int, str]]] = collections.defaultdict(list)
    for user, product, when in bought:
        users[user].append((when, product))
    with JsonLines(str(path)) as file:
        for user, rows in sorted(users.items()):
            rows.sort()
            file.write({"user_id": user, "items": [product for _, product in rows],
                        "timestamps": [when for when, _ in rows]})
    return len(users)


def largest_error(views: swing.Views, settings: swing.SwingSettings, count: int) -> float:
    """The largest relative difference between swing's scores and the definition.

    Over ``count`` items with all others: s(i, j) = half of x_j' T x_j, T the terms of all pairs of
    users of i, x_j which of them have j. Infinity if a pair is missing or too many.
    """
    views = swing.capped(views, settings)
    shape = (len(views.user_ids), len(views.item_ids))
    seen = scipy.sparse.csr_matrix((np.ones(len(views.user)), (views.user, views.item)),
                                   shape).toarray()
    sizes = seen.sum(axis=1)
    weight = np.where(sizes > 0, np.maximum(sizes, 1) ** -settings.power, 0)
    item, similar, score = swing.similar_items(views, settings)
    worst = 0.0
    for number in np.random.default_rng(0).permutation(shape[1])[:count].tolist():
        users = np.flatnonzero(seen[:, number])
        rows = seen[users]
        terms = np.outer(weight[users], weight[users]) / (settings.alpha + rows @ rows.T)
        np.fill_diagonal(terms, 0)
        expected = ((terms @ rows) * rows).sum(axis=0) / 2
        expected[number] = 0
        found = np.zeros(shape[1])
        found[similar[item == number]] = score[item == number] / swing.ONE
        if not np.array_equal(found > 0, expected > 0):
            return float("inf")
        known = expected > 0
        worst = max(worst, float(np.max(np.abs(found[known] / expected[known] - 1), initial=0)))
    return worst


def run(folder: pathlib.Path, output: pathlib.Path) -> dict[str, float]:
    """Writes everything; returns the figures."""
    output.mkdir(parents=True, exist_ok=True)
    titles, bought = read_shop(folder)
    times = sorted(when for _, _, when in bought)
    cut = times[int(TRAIN_SHARE * len(times))]
    found = {"customers": write_sequences(bought, output / "all_sequences.jsonl"),
             "views": len(bought)}
    write_sequences([row for row in bought if row[2] < cut], output / "sequences.jsonl")
    source = raw_paths.resolve(output / "all_sequences.jsonl", "sequences")
    rows = {}
    for name, options in (("train", {"until": cut}), ("test", {"since": cut})):
        rows[name] = swing_i2i.swing_rows(source, swing.SwingSettings(top=50, **options), Rejects())
    swing_i2i.write_rows([(item, similar[:TEST_TOP], scores[:TEST_TOP])
                          for item, similar, scores in rows["train"]],
                         output / "item_pairs.parquet")
    known = {(item, other) for item, similar, _ in rows["train"] for other in similar}
    triggers = [(item, [other for other in similar[:TEST_TOP] if (item, other) not in known], [])
                for item, similar, _ in rows["test"]]
    triggers = [row for row in triggers if row[1]]
    swing_i2i.write_test(triggers, output / "i2i_test.jsonl", TEST_TOP)
    with JsonLines(str(output / "items.jsonl")) as items, \
            JsonLines(str(output / "interactions.jsonl")) as events:
        for product, title in sorted(titles.items()):
            items.write({"item_id": product, "title": title})
            events.write({"query": title, "item_id": product, "click": 1})
    settings = swing.SwingSettings(top=len(titles))
    views = view_files.read_views(source, settings, Rejects())
    begun = time.monotonic()
    item, _, _ = swing.similar_items(views, settings)
    found |= {"seconds": time.monotonic() - begun, "pairs": len(item), "triggers": len(triggers),
              "items": len(views.item_ids), "error": largest_error(views, settings, SAMPLE)}
    return found


def i2i_table(evaluation: pathlib.Path) -> str:
    """Item-to-item retrieval of every method of an evaluation, a Markdown table."""
    found = {name: method["mean"].get("i2i")
             for name, method in comparison.read(evaluation)["methods"].items()}
    return table(["", "R@1", "R@10", "R@100", "MRR@100"],
                 [[name, *(f"{100 * figures[key]:.1f}" for key in RETRIEVAL)]
                  for name, figures in found.items() if figures])


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--input", required=True, type=pathlib.Path, help="the published files")
    parser.add_argument("--output_dir", required=True, type=pathlib.Path)
    parser.add_argument("--run_dir", type=pathlib.Path,
                        help="trains here (minutes) and adds the i2i evaluation to the page")
    parser.add_argument("--output", type=pathlib.Path, help="page to write; default: print it")
    args = parser.parse_args(argv)
    try:
        found = run(args.input, args.output_dir)
        evaluated = ""
        if args.run_dir:
            chain.train_and_evaluate("swing", args.output_dir, args.run_dir, [], [])
            evaluated = i2i_table(args.run_dir / "evaluation")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    text = "\n".join([
        "# Swing on UCI Online Retail", "",
        f"Written by `python -m tools.bench.swing_retail --input=DIR --output_dir=OUT"
        f"{' --run_dir=RUN' * bool(evaluated)}` on "
        f"{datetime.date.today()}; {hardware()}, Python "
        f"{platform.python_version()}, NumPy {np.__version__}. No randomness but the sample of "
        "items (seed 0).", "",
        f"{found['customers']:,} customers, {found['items']:,} products, {found['views']:,} lines: "
        f"{found['pairs']:,} pairs with a score in {found['seconds']:.1f} s (default caps: 200 items "
        "a user, 500 users an item).", "",
        f"Against the definition, computed densely for {SAMPLE} products with all others: the same "
        f"pairs, largest relative difference {found['error']:.1e}.", "",
        f"Test of later pairs: {found['triggers']:,} triggers."]) + "\n"
    if evaluated:
        text += f"\n## i2i from baskets\n\n{TRAINED}\n\n{evaluated}"
    write_page(text, args.output)
    return int(not found["error"] < 1e-6)


if __name__ == "__main__":
    sys.exit(main())
