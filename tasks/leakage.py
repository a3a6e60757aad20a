"""What the test might give away: counted after a build, and written into its record."""

import pathlib
from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq


def check(directory: pathlib.Path) -> dict[str, int]:
    """Counts leaks between the tables of a dataset; 0 everywhere is clean.

    ``pairs_in_training``: test pairs that are training pairs too (the evaluation leaves them out).
    ``unseen_queries_in_training``: queries called unseen that training has.
    ``validation_items_without_text_of_their_own``: validation items that read as a training item.
    ``test_items_read_as_training``: items without training pairs that read as one with.
    ``unseen_queries_like_training``: unseen queries equal to a training query but for case and
    spaces. ``i2i_pairs_in_sequences``: held-out item pairs side by side in a user's sequence.
    """
    items = pq.read_table(directory / "items.parquet", columns=["text", "seen", "validation"])
    queries = pq.read_table(directory / "queries.parquet", columns=["query", "weight"])
    seen = items["seen"].to_numpy(zero_copy_only=False)
    validation = items["validation"].to_numpy(zero_copy_only=False)
    trained = queries["weight"].to_numpy() > 0
    pairs = pq.read_table(directory / "train_pairs.parquet",
                          columns=["query_index", "item_index"])
    width = max(len(trained), 1)
    training = pairs["item_index"].to_numpy() * width + pairs["query_index"].to_numpy()
    test = pq.read_table(directory / "q2i_test.parquet")
    query, item = _flat(test, "query_index")
    unseen = test["unseen_query"].to_numpy(zero_copy_only=False)
    unseen_queries = test["query_index"].to_numpy()[unseen]
    codes = _codes(items["text"])
    in_training = np.isin(codes, codes[seen & ~validation])
    squeezed = _codes(pc.replace_substring(pc.utf8_lower(queries["query"]), " ", ""))
    found = {
        "pairs_in_training": int(np.isin(item * width + query, training).sum()),
        "unseen_queries_in_training": int(trained[unseen_queries].sum()),
        "validation_items_without_text_of_their_own": int((validation & in_training).sum()),
        "test_items_read_as_training": int((np.isin(np.arange(len(seen)), item) & ~seen
                                            & in_training).sum()),
        "unseen_queries_like_training": int(np.isin(squeezed[unseen_queries],
                                                    squeezed[trained]).sum())}
    if (directory / "i2i_test.parquet").exists() and (directory / "sequences.parquet").exists():
        found["i2i_pairs_in_sequences"] = _pairs_in_sequences(directory, len(seen))
    return found


def _flat(table: pa.Table, key: str) -> tuple[np.ndarray, np.ndarray]:
    lengths = pc.list_value_length(table["item_indices"]).to_numpy()
    return (np.repeat(table[key].to_numpy(), lengths),
            pc.list_flatten(table["item_indices"]).to_numpy().astype(np.int64))


def _codes(texts: pa.ChunkedArray) -> np.ndarray:
    """A number for each distinct text."""
    return texts.combine_chunks().dictionary_encode().indices.to_numpy(zero_copy_only=False)


def _pairs_in_sequences(directory: pathlib.Path, num_items: int) -> int:
    trigger, item = _flat(pq.read_table(directory / "i2i_test.parquet"), "item_index")
    user, viewed = _flat(pq.read_table(directory / "sequences.parquet",
                                       columns=["item_indices"]).add_column(
        0, "user", pa.array(np.arange(pq.read_metadata(
            directory / "sequences.parquet").num_rows))), "user")
    held = np.unique(np.minimum(trigger, item) * num_items + np.maximum(trigger, item))
    same = user[1:] == user[:-1]
    beside = (np.minimum(viewed[1:], viewed[:-1]) * num_items + np.maximum(viewed[1:], viewed[:-1]))
    return int(np.isin(held, beside[same]).sum())


def faults(found: Mapping[str, int]) -> dict[str, int]:
    """The counts that a split of ours must never have."""
    return {name: found[name] for name in ("pairs_in_training", "unseen_queries_in_training")
            if found[name]}
