"""Output features of the tasks: names, dtypes and ranks in one place."""

from gsid_jax import quiet
from tasks.vocabulary import VOCABULARY

tf = quiet.tensorflow()
import seqio  # pylint: disable=wrong-import-position


def tokens(rank: int = 1) -> seqio.Feature:
    """Token ids, int32."""
    return seqio.Feature(VOCABULARY, rank=rank)


def numbers(dtype: tf.DType, rank: int, required: bool = True) -> seqio.Feature:
    """Ids, weights or codes. T5X asks every feature of a task for the same vocabulary."""
    return seqio.Feature(VOCABULARY, add_eos=False, required=required, dtype=dtype, rank=rank)


PRETRAINING = {"inputs": tokens(), "targets": tokens()}

# Present at every step: [L], [Q, Lq], [], [Q], [Q], [P].
ITEMS_AND_QUERIES = {
    "inputs": tokens(),
    "queries": tokens(rank=2),
    "item_ids": numbers(tf.int32, 0),
    "query_ids": numbers(tf.int32, 1),
    "query_weights": numbers(tf.float32, 1),
    "item_query_ids": numbers(tf.int32, 1),
}

# Present from step 2: [C], [Q, C], [C, K], [Q, C, K].
CODES = {
    "item_codes": numbers(tf.int32, 1, required=False),
    "query_codes": numbers(tf.int32, 2, required=False),
    "item_soft": numbers(tf.float32, 2, required=False),
    "query_soft": numbers(tf.float32, 3, required=False),
}

INFERENCE = {"inputs": tokens()}

# Predictions are codes: numbers that no vocabulary decodes.
CODE_ACCURACY = {**INFERENCE, "targets": seqio.Feature(
    seqio.PassThroughVocabulary(1 << 30), add_eos=False)}
