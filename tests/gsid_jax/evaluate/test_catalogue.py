"""Labels of category paths and of the seller's structure."""

import json

import numpy as np
import pyarrow as pa

from gsid_jax.evaluate.catalogue import category_labels, cpv_labels


def test_categories_are_told_apart_by_their_whole_path():
    paths = [["toys", "parts"], ["cars", "parts", "wheels"], None, ["toys", "parts"], ["cars"], [],
             ["cars", None, "wheels"]]
    for array in (pa.array(paths), pa.chunked_array([paths[:3], paths[3:]])):
        labels, names = category_labels(pa.table({"category": array}))
        assert labels.shape == (7, 3)
        first, second, third = labels.T
        assert first[0] == first[3] != first[1] == first[4] == first[6]
        assert second[0] == second[3] != second[1]
        np.testing.assert_array_equal(first[[2, 5]], -1)
        np.testing.assert_array_equal(second[[2, 4, 5, 6]], -1)
        np.testing.assert_array_equal(np.flatnonzero(third != -1), [1])
        assert names[0][first[0]] == "toys" and names[1][second[1]] == "parts"
        assert names[2] == ["wheels"]


def test_no_categories_at_all():
    for array in (pa.nulls(3), pa.array([None] * 3, pa.list_(pa.string()))):
        labels, names = category_labels(pa.table({"category": array}))
        assert labels.shape == (3, 0) and names == []


def test_seller_clusters_need_category_and_all_key_attributes():
    category = np.array([[0, 0], [0, 0], [0, 0], [0, 0], [0, -1], [-1, -1], [0, 0], [0, 1]])
    given = [{"brand": "a", "size": "s", "note": "!"}, {"size": "s", "brand": "a"}, {"brand": "a"},
             {"brand": "b", "size": "s"}, {"brand": "a"}, {"brand": "a"}, None, {}]
    attributes = pa.chunked_array([[None if each is None else json.dumps(each)
                                    for each in given]])
    # 'note' is filled in by one of four and is no key; row 2 lacks the key 'size'
    assert cpv_labels(category, attributes).tolist() == [0, 0, -1, 1, 2, -1, -1, -1]
