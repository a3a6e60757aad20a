"""The three pre-training tasks and their 1:1:1 mixture (paper 2.2.1, appendix B).

`gsid_pretrain_without_item_cloze` and so on leave one task out, to see what it is worth.
"""

from gsid_jax import quiet
from tasks import features, metrics, preprocessors
from tasks.catalogue_task import CatalogueTask
from tasks.sources import RecordSource

quiet.tensorflow()
import seqio  # pylint: disable=wrong-import-position

OBJECTIVES = {
    "gsid_query_generation": preprocessors.query_generation,
    "gsid_item_cloze": preprocessors.item_cloze,
    "gsid_suffix_completion": preprocessors.suffix_completion,
}


def register() -> None:
    """Adds the tasks and the mixtures to SeqIO's registries."""
    for name, objective in OBJECTIVES.items():
        seqio.TaskRegistry.add(
            name,
            source=RecordSource("train"),
            preprocessors=[objective],
            output_features=features.PRETRAINING,
            metric_fns=[metrics.exact_match],
            task_cls=CatalogueTask,
            length_keys=("inputs", "targets"),
        )
    seqio.MixtureRegistry.add("gsid_pretrain", [(name, 1.0) for name in OBJECTIVES])
    for left_out in OBJECTIVES:
        seqio.MixtureRegistry.add(
            f"gsid_pretrain_without_{left_out.removeprefix('gsid_')}",
            [(name, 1.0) for name in OBJECTIVES if name != left_out])
