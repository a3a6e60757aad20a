"""Makes up a second-hand marketplace: listings, searches, clicks and the truth behind them.

    python -m tools.simulate --output_dir=DIR --num_items=10000 --seed=0 --language=en

writes, in the same format that a user's own data would have (see ``tools.build_dataset``):

  items.jsonl         item_id, title, description (often absent), category (the seller's choice,
                      null for most, sometimes wrong), attributes (null for most)
  interactions.jsonl  query, item_id, click, contact, purchase: for training
  sequences.jsonl     user_id, items in the order the user looked at them: for training
  q2i_test.jsonl      query, item_ids: held-out queries and the items meant by them; some queries
                      and some items never occur in interactions.jsonl, and no pair does
  i2i_test.jsonl      item_id, item_ids: held-out pairs of items; none share a sequence
  truth/items.jsonl   item_id, category (the true path of four names), spu: for evaluation only
  simulation.json     seed, language, sizes, version

The same arguments give the same bytes. Memory is about 50 bytes an item on top of
a constant of some 60 MB.
"""

import argparse
import json
import os
import sys
import time

import numpy as np

from gsid_jax.errors import UserError
from tools.marketplace import behaviour, listings, sequences, writer
from tools.marketplace.draws import uniform
from tools.marketplace.phrases_en import ENGLISH
from tools.marketplace.phrases_zh import CHINESE
from tools.marketplace.world import World

VERSION = "1"
MIN_ITEMS = 2000
LANGUAGES = {"en": ENGLISH, "zh": CHINESE}
FACT_STREAM, LISTING_STREAM, BEHAVIOUR_STREAM, STRANGER_STREAM = 20, 21, 22, 23


def item_id(number: int) -> str:
    """The public id of an item."""
    return f"i{number:08d}"


def _chunk(world: World, start: int, stop: int):
    """Yields (item number, SPU, listing, pairs, may be trained on) of items start..stop-1."""
    language, seed = world.language, world.seed
    numbers = np.arange(start, stop)
    strange = uniform(seed, STRANGER_STREAM, numbers, 3)
    strange_spus = (strange[:, 0] * world.num_spus).astype(np.int64).tolist()
    fame = sequences.popularity(seed, numbers).tolist()
    seen = behaviour.seen_items(seed, numbers).tolist()
    all_facts = item_facts(world, numbers)
    listing_rows = uniform(seed, LISTING_STREAM, numbers, listings.LISTING_DRAWS)
    behaviour_rows = uniform(seed, BEHAVIOUR_STREAM, numbers, behaviour.BEHAVIOUR_DRAWS)
    for row, number in enumerate(numbers.tolist()):
        facts = all_facts[row]
        stranger = listings.draw_facts(language, world.spu(strange_spus[row]),
                                       _draws(strange[row, 1:]))
        listing = listings.write_listing(language, world.leaves, facts, _draws(listing_rows[row]))
        pairs = behaviour.item_pairs(language, facts, stranger, fame[row],
                                     _draws(behaviour_rows[row]))
        yield number, facts.spu, listing, pairs, seen[row]


def item_facts(world: World, numbers: np.ndarray) -> list[listings.Facts]:
    """What is true of the items of these numbers, int64 [n]."""
    return [listings.draw_facts(world.language, world.spu(spu), _draws(row)) for spu, row in zip(
        world.item_spus(numbers).tolist(), uniform(world.seed, FACT_STREAM, numbers, 2))]


def _draws(row: np.ndarray):
    return iter(row.tolist()).__next__


def _write_items(world: World, chunk_items: int, directory: str, progress):
    """Writes items, truth, interactions and q2i_test in one pass over the items.

    Returns (sizes, bool [num_items]: which items have a training interaction).
    """
    hold_out = behaviour.HoldOut(world.seed, world.num_items)

    def open_file(name):
        return writer.JsonLines(os.path.join(directory, name))

    with (open_file("items.jsonl") as items, open_file("truth/items.jsonl") as truth,
          open_file("interactions.jsonl") as interactions):
        for start in range(0, world.num_items, chunk_items):
            stop = min(start + chunk_items, world.num_items)
            for number, spu, listing, pairs, seen in _chunk(world, start, stop):
                name = item_id(number)
                items.write({"item_id": name, **listing})
                truth.write({"item_id": name, "category": spu.leaf.path, "spu": spu.name})
                for pair in pairs:
                    if hold_out.is_training(number, seen, pair):
                        interactions.write({"query": pair.query, "item_id": name,
                                            "click": pair.click, "contact": pair.contact,
                                            "purchase": pair.purchase})
            progress(stop)
    with open_file("q2i_test.jsonl") as test:
        for query, relevant in hold_out.triggers():
            test.write({"query": query, "item_ids": [item_id(n) for n in relevant]})
    sizes = {"items": items.count, "interactions": interactions.count, "q2i_test": test.count}
    return sizes, hold_out.trained


def _write_sequences(world: World, trained: np.ndarray, chunk_items: int, directory: str) -> dict:
    """Writes i2i_test and sequences."""
    neighbours = sequences.Neighbours(world, chunk_items)
    held_out = sequences.held_out_triggers(neighbours, trained, chunk_items)
    with writer.JsonLines(os.path.join(directory, "i2i_test.jsonl")) as test:
        for item, relevant in held_out.items():
            test.write({"item_id": item_id(item), "item_ids": [item_id(n) for n in relevant]})
    with writer.JsonLines(os.path.join(directory, "sequences.jsonl")) as file:
        for user, viewed in sequences.user_sequences(neighbours, trained, held_out, chunk_items):
            file.write({"user_id": f"u{user:08d}", "items": [item_id(n) for n in viewed]})
    return {"sequences": file.count, "i2i_test": test.count}


def simulate(output_dir: str, num_items: int = 10_000, seed: int = 0, language: str = "en",
             chunk_items: int = 4096, progress=lambda done: None) -> dict:
    """Writes a marketplace to `output_dir` and returns what simulation.json holds.

    Args:
      output_dir: a new or empty directory.
      num_items: listings, at least ``MIN_ITEMS``.
      seed: non-negative; the same seed gives the same bytes.
      language: "en" or "zh".
      chunk_items: listings made at a time; changes memory, not the result.
      progress: called with the number of listings written so far.

    Raises:
      UserError: for an argument out of range or a directory in use.
    """
    if language not in LANGUAGES:
        raise UserError(f"unknown language: got {language!r}, expected one of "
                        f"{', '.join(sorted(LANGUAGES))}. Pass --language=en or --language=zh.")
    if num_items < MIN_ITEMS:
        raise UserError(f"too few items: got num_items={num_items}, expected at least {MIN_ITEMS} "
                        f"so that the leaf categories fill. Pass --num_items={MIN_ITEMS}.")
    if not 0 <= seed < 2**63:
        raise UserError(f"bad seed: got {seed}, expected 0 to 2**63 - 1. Pass --seed=0.")
    with writer.staged_directory(output_dir) as directory:
        world = World(LANGUAGES[language], num_items, seed)
        sizes, trained = _write_items(world, chunk_items, directory, progress)
        sizes.update(_write_sequences(world, trained, chunk_items, directory))
        sizes.update(leaves=len(world.leaves), spus=world.num_spus)
        record = {"version": VERSION, "language": language, "seed": seed, "num_items": num_items,
                  "sizes": sizes}
        with open(os.path.join(directory, "simulation.json"), "w", encoding="utf-8") as file:
            json.dump(record, file, indent=2)
            file.write("\n")
    return record


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--output_dir", required=True, help="a new or empty directory")
    parser.add_argument("--num_items", type=int, default=10_000, help="listings to write")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--language", default="en", help="en or zh")
    args = parser.parse_args(argv)
    started = time.time()

    shown = 0

    def progress(done: int) -> None:
        nonlocal shown
        if done * 10 // args.num_items > shown:
            shown = done * 10 // args.num_items
            print(f"simulate: {done:,} of {args.num_items:,} items", file=sys.stderr)

    try:
        record = simulate(args.output_dir, args.num_items, args.seed, args.language,
                          progress=progress)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    sizes = ", ".join(f"{name} {count:,}" for name, count in record["sizes"].items())
    print(f"wrote {args.output_dir} in {time.time() - started:.1f} s: {sizes}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
