"""Texts to token ids: cut to L - 1, then EOS (all texts of the package end this way)."""

from collections.abc import Sequence

import numpy as np

from gsid_jax import quiet

tf = quiet.tensorflow()
import seqio  # pylint: disable=wrong-import-position


def encode(vocabulary: seqio.Vocabulary, texts: tf.Tensor) -> tf.RaggedTensor:
    """Tokenises string [n] to int32 [n, (length)], without EOS."""
    return vocabulary.encode_tf(texts)


def with_eos(vocabulary: seqio.Vocabulary, ids: tf.Tensor, length: int | None) -> tf.Tensor:
    """Cuts ids [n] to ``length - 1`` (None: no cut) and appends EOS."""
    if length is not None:
        ids = ids[:length - 1]
    return tf.concat([ids, [vocabulary.eos_id]], axis=0)


def encode_rows(vocabulary: seqio.Vocabulary, ids: tf.RaggedTensor, valid: tf.Tensor,
                length: int | None) -> tf.Tensor:
    """As ``with_eos`` for rows, padded with 0 to the longest; rows that are not valid stay 0.

    ids: int32 [n, (length)]; valid: bool [n]. Returns int32 [n, <= length].
    """
    if length is not None:
        ids = ids[:, :length - 1]
    eos = tf.where(valid, vocabulary.eos_id, 0)[:, None]
    rows = tf.concat([ids, tf.RaggedTensor.from_tensor(eos)], axis=1).to_tensor()
    return tf.where(valid[:, None], rows, 0)


def encode_batch(vocabulary: seqio.Vocabulary, texts: Sequence[str], length: int) -> np.ndarray:
    """Tokenises texts outside a dataset to int32 [n, length], as the tasks do, padded with 0."""
    tokens_NxL = np.zeros((len(texts), length), np.int32)
    tokenizer = vocabulary.tokenizer
    for row, ids in enumerate(tokenizer.encode(list(texts))):
        ids = [*ids[:length - 1], vocabulary.eos_id]
        tokens_NxL[row, :len(ids)] = ids
    return tokens_NxL
