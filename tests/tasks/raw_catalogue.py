"""A small raw catalogue for tests: the files of a user, as records and on disk."""

import json
import pathlib

ITEMS = 60
BRANDS = ("apple", "sony", "canon", "lego", "nike", "ikea")
THINGS = ("phone", "camera", "jacket", "table lamp", "brick set", "running shoes")


def records() -> dict[str, list[dict]]:
    """Records by kind. Item i is searched as its thing, its brand, and both; the last 2 never."""
    items, interactions, truth = [], [], []
    for number in range(ITEMS):
        brand, thing = BRANDS[number % 6], THINGS[number // 6 % 6]
        category = ["things", thing]
        items.append({
            "item_id": f"i{number}", "title": f"{brand} {thing} no {number}",
            "description": "as new" if number % 2 else None,
            "category": category if number % 3 == 0 else None,
            "attributes": {"brand": brand} if number % 4 == 0 else None})
        truth.append({"item_id": f"i{number}", "category": category, "spu": f"{brand} {thing}"})
        if number < ITEMS - 2:
            interactions += [
                {"query": thing, "item_id": f"i{number}", "click": 1 + number % 3},
                {"query": f"{brand}  {thing}", "item_id": f"i{number}", "click": 2, "contact": 1,
                 "purchase": number % 2},
                {"query": brand, "item_id": f"i{number}", "click": 1}]
    return {
        "items": items, "interactions": interactions, "truth": truth,
        "sequences": [{"user_id": "u1", "items": ["i1", "i7"]}, {"user_id": "u2", "items": ["i3"]}],
        "q2i_test": [{"query": "apple", "item_ids": ["i58"]},
                     {"query": "nikon camera", "item_ids": ["i8", "i14"]},
                     {"query": " nikon   camera ", "item_ids": ["i14", "i20"]}],
        "i2i_test": [{"item_id": "i59", "item_ids": ["i5"]}, {"item_id": "i1", "item_ids": ["i7"]}]}


def write_lines(path: pathlib.Path, rows: list[dict]) -> pathlib.Path:
    """Writes records as JSON lines."""
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows),
                    encoding="utf-8")
    return path


def write(directory: pathlib.Path, *kinds: str, **changed: list[dict]) -> dict[str, pathlib.Path]:
    """Writes the files of some kinds (default: all), records of ``changed`` instead of ours."""
    directory.mkdir(parents=True, exist_ok=True)
    rows = records() | changed
    return {kind: write_lines(directory / f"{kind}.jsonl", rows[kind])
            for kind in kinds or tuple(rows)}
