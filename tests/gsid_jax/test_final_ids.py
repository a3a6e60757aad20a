"""The final assignment: files of all items and queries."""

import numpy as np
import pyarrow.parquet as pq

from gsid_jax import final_ids


def test_ids_and_representations_of_every_row(tiny_data, letters, tmp_path):
    encoder = letters.encoder(level=3)
    counts = final_ids.write_ids(encoder, data_dir=tiny_data, output_dir=tmp_path / "ids")
    items = pq.read_table(tiny_data / "items.parquet")
    queries = pq.read_table(tiny_data / "queries.parquet")
    assert counts == {"item": len(items), "query": len(queries)}
    for kind, name, key, texts in (("item", "items", items["item_id"], items["text"]),
                                   ("query", "queries", queries["query"], queries["query"])):
        table = pq.read_table(tmp_path / "ids" / f"{name}.parquet")
        encoded = encoder.encode(texts.to_pylist(), kind)
        assert table[table.column_names[1]].to_pylist() == key.to_pylist()
        assert table["codes"].to_pylist() == encoded["codes"].tolist()
        assert "embedding" not in table.column_names
        vectors = np.load(tmp_path / "ids" / f"{name}.npy")
        assert vectors.dtype == np.float32
        np.testing.assert_array_equal(vectors, encoded["embedding"])
    assert len(list((tmp_path / "ids").iterdir())) == 4


def test_finished_files_are_kept_and_those_of_another_model_replaced(tiny_data, letters, tmp_path):
    def write(encoder, model_hash):
        final_ids.write_ids(encoder, data_dir=tiny_data, output_dir=tmp_path, model_hash=model_hash)

    write(letters.encoder(level=1), "a")
    before = (tmp_path / "items.parquet").stat().st_mtime_ns
    encoder = letters.encoder(level=1)
    encoder.encode_tokens = None  # would fail if it were called
    write(encoder, "a")
    assert (tmp_path / "items.parquet").stat().st_mtime_ns == before
    (tmp_path / "queries.npy").unlink()
    write(letters.encoder(level=1), "a")
    assert (tmp_path / "queries.npy").exists()
    write(letters.encoder(level=2), "b")
    assert len(pq.read_table(tmp_path / "items.parquet")["codes"][0]) == 2


def test_published_codes_may_be_forced(tiny_data, letters, tmp_path):
    items = pq.read_metadata(tiny_data / "items.parquet").num_rows
    codes = np.random.default_rng(0).integers(0, 8, (items, 2))
    encoder = letters.encoder(level=3)
    final_ids.write_ids(encoder, data_dir=tiny_data, output_dir=tmp_path, fixed={"item": codes})
    table = pq.read_table(tmp_path / "items.parquet")
    texts = pq.read_table(tiny_data / "items.parquet")["text"].to_pylist()
    assert table["codes"].to_pylist() == encoder.encode(texts, "item", codes)["codes"].tolist()
    assert [row[:2] for row in table["codes"].to_pylist()] == codes.tolist()
