"""gsid_query_item: an item with several of its queries, one example of a GSID step (paper 2.2.3).

From step 2 on, an example also carries the codes and the soft code distributions that the step
before stored for the item and for each drawn query.
"""

import dataclasses
from collections.abc import Mapping

import gin

from gsid_jax import quiet
from gsid_jax.errors import UserError
from tasks import features, location
from tasks.catalogue_task import CatalogueTask
from tasks.preprocessors import weighted_choice
from tasks.sources import RecordSource
from tasks.token_cache import cached_rows, check_tokens
from tasks.tokens import encode, encode_rows, with_eos

tf = quiet.tensorflow()
import seqio  # pylint: disable=wrong-import-position

SOURCE = RecordSource("step")


@dataclasses.dataclass(frozen=True)
class Sampling:
    """How queries are drawn."""
    Q: int  # queries per item and visit
    alpha: float  # a query is drawn with weight^alpha, without replacement
    P: int  # known queries listed per item, so that they never serve as negatives


@gin.configurable
def sampling(queries_per_item: int = 2, alpha: float = 0.5, known_queries: int = 32) -> Sampling:
    """Returns the sampling bound in gin; UserError for sizes below 1 or a negative alpha."""
    for name, value in (("queries_per_item", queries_per_item), ("known_queries", known_queries)):
        if value < 1:
            raise UserError(f"tasks.query_item.sampling.{name} is {value}; expected at least 1")
    if alpha < 0:
        raise UserError(f"tasks.query_item.sampling.alpha is {alpha}; expected 0 (every query "
                        "alike) or more (weight^alpha)")
    return Sampling(queries_per_item, alpha, known_queries)


def _padded(values: tf.Tensor, length: int) -> tf.Tensor:
    """Pads the first axis of [n, ...] (n <= length) with zeros or empty strings."""
    padding = [[0, length - tf.shape(values)[0]]] + [[0, 0]] * (values.shape.rank - 1)
    fill = "" if values.dtype == tf.string else tf.constant(0, values.dtype)
    padded = tf.pad(values, padding, constant_values=fill)
    return tf.ensure_shape(padded, [length, *values.shape[1:]])


def build_examples(dataset: tf.data.Dataset, sequence_length: Mapping[str, int] | None,
                   output_features: Mapping[str, seqio.Feature]) -> tf.data.Dataset:
    """Draws Q queries of each record and tokenises: 'inputs' [L], 'queries' [Q, Lq].

    An item with fewer than Q queries brings them all, in random order, and padding: id 0, weight 0,
    token and code 0. Ids are index + 1.
    """
    sizes = sampling()
    shape = SOURCE.code_shape()
    if location.current().cached_tokens:
        check_tokens(SOURCE.builder())
    vocabulary = output_features["inputs"].vocabulary
    lengths = sequence_length or {}

    @seqio.map_over_dataset(num_seeds=1)
    def build(record: dict[str, tf.Tensor], seed: tf.Tensor) -> dict[str, tf.Tensor]:
        drawn = weighted_choice(record["query_weights"], sizes.Q, sizes.alpha, seed)
        texts = _padded(tf.gather(record["queries"], drawn), sizes.Q)
        valid = tf.range(sizes.Q) < tf.size(drawn)
        if "item_tokens" in record:
            item, drawn_tokens = record["item_tokens"], cached_rows(record, drawn, sizes.Q)
        else:
            tokens = encode(vocabulary, tf.concat([record["text"][None], texts], axis=0))
            item, drawn_tokens = tokens[0], tokens[1:]
        queries = encode_rows(vocabulary, drawn_tokens, valid, lengths.get("queries"))
        ids = tf.cast(record["query_ids"], tf.int32)
        example = {
            "inputs_pretokenized": record["text"],
            "inputs": with_eos(vocabulary, item, lengths.get("inputs")),
            "queries_pretokenized": texts,
            "queries": tf.ensure_shape(queries, [sizes.Q, None]),
            "item_ids": tf.cast(record["item_index"] + 1, tf.int32),
            "query_ids": _padded(tf.gather(ids, drawn), sizes.Q),
            "query_weights": tf.cast(valid, tf.float32),
            "item_query_ids": _padded(ids[:sizes.P], sizes.P),
        }
        return example if shape is None else {**example, **_codes(record, drawn, sizes.Q, *shape)}

    return build(dataset)


def _codes(record: dict[str, tf.Tensor], drawn: tf.Tensor, Q: int, C: int, K: int
           ) -> dict[str, tf.Tensor]:
    """Stored codes and soft distributions of the item and of the drawn queries."""
    codes = tf.reshape(tf.cast(record["query_codes"], tf.int32), [-1, C])
    soft = _decoded(tf.gather(record["query_soft"], drawn), [-1, C, K])
    return {
        "item_codes": tf.ensure_shape(tf.cast(record["item_codes"], tf.int32), [C]),
        "query_codes": _padded(tf.gather(codes, drawn), Q),
        "item_soft": _decoded(record["item_soft"], [C, K]),
        "query_soft": _padded(soft, Q),
    }


def _decoded(stored: tf.Tensor, shape: list[int]) -> tf.Tensor:
    """Bytes of float16 to float32 of the given shape."""
    return tf.reshape(tf.cast(tf.io.decode_raw(stored, tf.float16), tf.float32), shape)


def register() -> None:
    """Adds the task to SeqIO's registry."""
    seqio.TaskRegistry.add(
        "gsid_query_item",
        source=SOURCE,
        preprocessors=[build_examples],
        output_features={**features.ITEMS_AND_QUERIES, **features.CODES},
        task_cls=CatalogueTask,
        length_keys=("inputs", "queries"),
    )
