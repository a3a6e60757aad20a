"""JD.com titles: Chinese text with leaf categories, without searches.

The stand-in for a search is a stretch cut out of the title; the item's text is the rest (an
inverse cloze), so that the pair shares no text by construction.
"""

import hashlib
import pathlib

from tools.real_data.source import Converted, clean, read_csv

CUT_SHARE = 1 / 3  # of the title
MIN_CHARACTERS = 9
ABOUT = (
    "2,517 Chinese titles in 255 leaf categories, without searches. The 'query' is a third of the "
    "title, cut out at a place chosen by hash; the item's text is the rest, so both describe one "
    "product and share no text by construction (sellers repeat themselves, so words recur). "
    "Retrieval figures judge this puzzle and not search. Categories were never shown to training: "
    "AMI against the leaf category is the honest figure, with about 10 titles a category. The "
    "titles are those that a classifier got wrong, hence harder to place than most.")


def cut_out(title: str) -> tuple[str, str]:
    """(stretch, rest) of a title; the place depends on the title alone."""
    length = max(2, round(CUT_SHARE * len(title)))
    place = int(hashlib.sha256(title.encode()).hexdigest(), 16) % (len(title) - length + 1)
    return title[place:place + length], f"{title[:place]} {title[place + length:]}"


def convert(folder: pathlib.Path) -> Converted:
    """Reads ``titles.csv``."""
    items, interactions = [], []
    for number, row in enumerate(read_csv(folder / "titles.csv", ["title", "leaf_category"])):
        title = clean(row["title"])
        if len(title) < MIN_CHARACTERS:
            continue
        query, rest = map(clean, cut_out(title))
        item = {"item_id": f"jd{number:05d}", "title": rest}
        if clean(row["leaf_category"]):
            item["category"] = [clean(row["leaf_category"])]
        items.append(item)
        if query:
            interactions.append({"query": query, "item_id": item["item_id"], "click": 1})
    return Converted(items, interactions, ABOUT)
