"""A small catalogue on disk for tests: datasets, tables and a vocabulary."""

import pathlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import sentencepiece
import tensorflow_datasets as tfds

from gsid_jax.step_order import window_order

ITEMS = 60
LEVELS, CODES = 2, 8  # of the step dataset
GROUP = 4
BRANDS = ("apple", "sony", "canon", "lego", "nike", "ikea")
THINGS = ("phone", "camera", "jacket", "table lamp", "brick set", "running shoes")

RECORD = {
    "item_id": tfds.features.Text(),
    "item_index": tfds.features.Scalar(np.int64),
    "text": tfds.features.Text(),
    "queries": tfds.features.Sequence(tfds.features.Text()),
    "query_ids": tfds.features.Sequence(np.int64),
    "query_weights": tfds.features.Sequence(np.float32),
}
STEP_RECORD = {
    **RECORD,
    "item_codes": tfds.features.Tensor(shape=(LEVELS,), dtype=np.int32),
    "query_codes": tfds.features.Sequence(np.int32),
    "item_soft": tfds.features.Scalar(np.object_),
    "query_soft": tfds.features.Sequence(np.object_),
}


def soft(codes: np.ndarray) -> bytes:
    """Soft distributions float16 [LEVELS, CODES] that put 0.75 on the code."""
    values = np.full((LEVELS, CODES), 0.25 / (CODES - 1), np.float16)
    values[np.arange(LEVELS), codes] = 0.75
    return values.tobytes()


def records(count: int = ITEMS) -> list[dict]:
    """Records of the step dataset; item i has 1 + i % 5 queries, heaviest first."""
    random = np.random.default_rng(0)
    made = []
    for index in range(count):
        name = f"{BRANDS[index % 6]} {THINGS[index // 6 % 6]}"
        number = 1 + index % 5
        codes = np.array([index % 3, index % 7], np.int32)
        query_codes = random.integers(0, CODES, (number, LEVELS)).astype(np.int32)
        made.append({
            "item_id": f"item{index:03d}",
            "item_index": index,
            "text": f"used {name} number {index}, good condition, sold with box",
            "queries": [f"{name} query {position}" for position in range(number)],
            "query_ids": [1 + 5 * index + position for position in range(number)],
            "query_weights": [float(2 ** (number - position)) for position in range(number)],
            "item_codes": codes,
            "query_codes": query_codes.reshape(-1),
            "item_soft": soft(codes),
            "query_soft": [soft(row) for row in query_codes],
        })
    return made


def write_dataset(directory: pathlib.Path, name: str, features: dict,
                  splits: dict[str, list[dict]], ordered: bool = False, shards: int = 1) -> None:
    """Writes a TFDS dataset named ``name`` under ``directory``."""

    class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        """Writes the given records."""
        VERSION = tfds.core.Version("1.0.0")
        pkg_dir_path = directory
        url_infos = None  # nothing is downloaded

        def _info(self):
            return tfds.core.DatasetInfo(
                builder=self, features=tfds.features.FeaturesDict(features),
                disable_shuffling=ordered)

        def _split_generators(self, dl_manager):
            del dl_manager
            return {split: self._generate_examples(rows) for split, rows in splits.items()}

        def _generate_examples(self, rows):
            for index, row in enumerate(rows):
                yield index, {key: row[key] for key in features}

    Builder.name = name
    config = tfds.download.DownloadConfig(num_shards=shards)
    Builder(data_dir=directory).download_and_prepare(download_config=config)


def write(root: pathlib.Path) -> None:
    """Writes data/, step/ and spm.model under ``root``."""
    made = records()
    data = root / "data"
    plain = {"train": made, "validation": made[:10]}
    write_dataset(data / "gsid_catalogue" / "x", "train", RECORD, plain, shards=3)
    (data / "gsid_catalogue" / "x" / "train").rename(data / "gsid_catalogue" / "train")
    codes = np.stack([row["item_codes"] for row in made])
    ordered = [made[place] for place in window_order(codes, GROUP, seed=1)]
    write_dataset(root / "step", "gsid_step", STEP_RECORD, {"train": ordered}, ordered=True)
    pq.write_table(pa.table({
        "item_index": pa.array(range(ITEMS), pa.int64()),
        "item_id": [row["item_id"] for row in made],
        "text": [row["text"] for row in made],
    }), data / "items.parquet")
    queries = [query for row in made for query in row["queries"]]
    pq.write_table(pa.table({
        "query_index": pa.array(range(len(queries)), pa.int64()), "query": queries,
    }), data / "queries.parquet")
    write_vocabulary(root / "spm.model", [row["text"] for row in made] + queries)


def write_vocabulary(path: pathlib.Path, texts: list[str], **options) -> None:
    """Trains a small SentencePiece model with T5's pad, eos and unk ids."""
    ids = {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1, **options}
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts), model_prefix=str(path.with_suffix("")), vocab_size=120,
        hard_vocab_limit=False, minloglevel=2, num_threads=1, **ids)
