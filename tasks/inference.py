"""gsid_items and gsid_queries: every item and every query of a catalogue, in order, once."""

from gsid_jax import quiet
from tasks import features, preprocessors
from tasks.catalogue_task import CatalogueTask
from tasks.sources import TableSource

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


def register() -> None:
    """Adds both tasks to SeqIO's registry."""
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
