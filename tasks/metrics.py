"""Metrics of the tasks, for T5X's evaluators: targets and predictions in, figures out."""

from collections.abc import Sequence

import numpy as np

from gsid_jax.evaluate import codes as code_metrics


def exact_match(targets: Sequence[str], predictions: Sequence[str]) -> dict[str, float]:
    """Share of predicted texts that are the target, spaces at the ends aside."""
    same = [target.strip() == prediction.strip()
            for target, prediction in zip(targets, predictions, strict=True)]
    return {"exact_match": float(np.mean(same))}


def code_accuracy(targets: Sequence[Sequence[int]], predictions: Sequence[Sequence[int]]
                  ) -> dict[str, float]:
    """l_j_code_acc of pairs, raw, chance and corrected (method.md section 5).

    Predictions alternate: the codes of a query, then those of its item. `targets` hold nothing.
    """
    del targets
    codes_NxT = np.asarray(predictions)
    queries_PxT, items_PxT = codes_NxT[0::2], codes_NxT[1::2]
    found = code_metrics.code_accuracy(queries_PxT, items_PxT, items_PxT)
    return {f"{level}_{name}": value for level, values in found.items()
            for name, value in values.items()}
