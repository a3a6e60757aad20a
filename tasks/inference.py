"""Tasks that encode texts: gsid_items and gsid_queries, every item and query of a catalogue in
order, once; gsid_code_accuracy, queries and items in turns, to compare their codes.
"""

from gsid_jax import quiet
from tasks import features, metrics, preprocessors
from tasks.catalogue_task import CatalogueTask
from tasks.sources import RecordSource, TableSource

tf = quiet.tensorflow()
import seqio  # pylint: disable=wrong-import-position


@seqio.map_over_dataset
def item_row(row: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Renames a row of items.parquet: 'id', 'text', and 'index', its row."""
    return {"id": row["item_id"], "text": row["text"], "index": row["item_index"]}


@seqio.map_over_dataset
def query_row(row: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Renames a row of queries.parquet; a query is its own 'id'."""
    return {"id": row["query"], "text": row["query"], "index": row["query_index"]}


def query_and_item(records: tf.data.Dataset) -> tf.data.Dataset:
    """Two texts a record: its heaviest query, then the item. Each decodes by itself."""

    def pair(record: dict[str, tf.Tensor]) -> tf.data.Dataset:
        texts = tf.stack([record["queries"][0], record["text"]])
        return tf.data.Dataset.from_tensor_slices(
            {"id": texts, "text": texts, "targets": tf.zeros([2, 1], tf.int32)})

    return records.filter(lambda record: tf.size(record["queries"]) > 0).flat_map(pair)


def register() -> None:
    """Adds the tasks to SeqIO's registry."""
    seqio.TaskRegistry.add(
        "gsid_code_accuracy",
        source=RecordSource("train"),
        preprocessors=[query_and_item, preprocessors.encode_texts],
        output_features=features.CODE_ACCURACY,
        metric_fns=[metrics.code_accuracy],
        task_cls=CatalogueTask,
        length_keys=("inputs",),
    )
    for name, source, row in (
        ("gsid_items", TableSource("items.parquet", ("item_id", "item_index", "text")), item_row),
        ("gsid_queries", TableSource("queries.parquet", ("query", "query_index")), query_row),
    ):
        seqio.TaskRegistry.add(
            name,
            source=source,
            preprocessors=[row, preprocessors.encode_texts],
            output_features=features.INFERENCE,
            task_cls=CatalogueTask,
            length_keys=("inputs",),
        )
