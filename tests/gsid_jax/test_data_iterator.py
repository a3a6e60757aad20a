"""Batches of a tf.data.Dataset as NumPy arrays, and the vocabulary check."""

import types

import numpy as np
import pytest

from gsid_jax import data_iterator, quiet
from gsid_jax.errors import UserError

tf = quiet.tensorflow()


def numbers():
    dataset = tf.data.Dataset.range(100).shuffle(10, seed=1).map(
        lambda n: {"x": tf.cast(tf.stack([n, n]), tf.int32)})
    return data_iterator.TaskIterator(dataset.batch(4, drop_remainder=True).prefetch(2), 4)


def test_batches_and_their_shapes():
    batches = numbers()
    assert batches.element_spec["x"].shape == (4, 2)
    assert batches.element_spec["x"].dtype == np.int32
    batch = next(batches)
    assert isinstance(batch["x"], np.ndarray) and batch["x"].shape == (4, 2)


def test_a_restored_iterator_goes_on_exactly(tmp_path):
    batches = numbers()
    for _ in range(3):
        next(batches)
    batches.save(str(tmp_path))
    rest = [batch["x"] for batch in batches]
    again = numbers()
    next(again)
    again.restore(str(tmp_path))
    np.testing.assert_array_equal(rest, [batch["x"] for batch in again])


def test_a_missing_position_is_a_user_error(tmp_path):
    with pytest.raises(UserError, match="cannot be restored"):
        numbers().restore(str(tmp_path))


def test_data_that_vanishes_is_a_user_error(tmp_path):
    file = tmp_path / "shard-00001"
    dataset = tf.data.Dataset.from_tensors({"x": tf.constant([1])}).repeat(4).batch(2).map(
        lambda batch: batch | {"y": tf.io.read_file(str(file))})
    batches = data_iterator.TaskIterator(dataset, 2)
    with pytest.raises(UserError, match="the training data can no longer be read: .*shard-00001.*; "
                       "expected the files that were there at the start: restore them"):
        next(batches)


def test_a_vocabulary_larger_than_the_embedding(monkeypatch):
    from tasks import location, vocabulary
    monkeypatch.setattr(vocabulary, "VOCABULARY", types.SimpleNamespace(vocab_size=2016))
    model = types.SimpleNamespace(module=types.SimpleNamespace(
        config=types.SimpleNamespace(vocab_size=1024)))
    with location.use(vocabulary=""):  # no vocabulary in force
        data_iterator.check_vocabulary(model)
    with location.use(vocabulary="v.model"):
        with pytest.raises(UserError, match="v.model has 2016 ids with its extra ids, but "
                           "network.T5Config.vocab_size is 1024; .* set VOCAB_SIZE = 2048"):
            data_iterator.check_vocabulary(model)
        model.module.config.vocab_size = 2016
        data_iterator.check_vocabulary(model)
