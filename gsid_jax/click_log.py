"""Click statistics of the candidate IDs of a query (paper section 5, the query side)."""

import collections
import os
import pathlib

import numpy as np

from gsid_jax.code_index import CodeIndex
from gsid_jax.errors import UserError


class ClickLog:
    """Clicks by query and ID, added up over the items of an ID.

    The probability of an ID becomes (clicks + m P(ID | query)) / (all clicks of the query + m): the
    model's own at first, that of the clicks in the end; m is the number of clicks that weighs as
    much as the model.
    """

    def __init__(self, smoothing: float = 10.0):
        if not smoothing > 0:
            raise UserError(f"--click_smoothing={smoothing}; expected a number above 0, such as 10")
        self._smoothing = smoothing
        self._clicks: dict[str, collections.Counter[int]] = collections.defaultdict(
            collections.Counter)
        self.unknown_items = 0

    def __len__(self) -> int:
        return len(self._clicks)

    def add(self, query: str, number: int, clicks: float) -> None:
        """Counts clicks on an ID after a query."""
        self._clicks[query][number] += clicks

    def reweighted(self, query: str, numbers_W: np.ndarray, log_prob_W: np.ndarray) -> np.ndarray:
        """log P of the candidate IDs of a query, with its clicks; float32 [W]."""
        clicks = self._clicks.get(query)
        if not clicks:
            return log_prob_W
        counts = np.array([clicks[number] if number in clicks else 0.0
                           for number in numbers_W.tolist()])
        m = self._smoothing
        joint = (counts + m * np.exp(log_prob_W.astype(np.float64))) / (sum(clicks.values()) + m)
        with np.errstate(divide="ignore"):
            return np.where(numbers_W >= 0, np.log(joint), log_prob_W).astype(np.float32)


def read_click_log(path: str | os.PathLike, index: CodeIndex, smoothing: float = 10.0) -> ClickLog:
    """Reads interactions (docs/data_format.md: query, item_id, click, contact, purchase).

    Records weigh as in the dataset. Those of items that the index does not have are counted in
    ``unknown_items`` and passed over: items leave a catalogue. UserError for a bad record, with
    file and line, and if no record is of an item of the index.
    """
    from tasks import raw_files, raw_records
    from tasks.dataset_settings import Settings

    path = raw_files.check_path(pathlib.Path(path), "click log")
    log, weights = ClickLog(smoothing), np.array(Settings().weights)
    ids = index.item_ids()
    place_of = {str(item): place for place, item in enumerate(ids.to_pylist())}
    number_of_place = index.id_of_place()

    def parse(record):
        if isinstance(record.get("item_id"), str) and record["item_id"] not in place_of:
            return None
        return raw_records.parse_interaction(record, place_of)

    for record in raw_files.read_records(path, "click log", raw_records.INTERACTION_FIELDS, parse,
                                         raw_files.Rejects()):
        if record is None:
            log.unknown_items += 1
            continue
        log.add(record.query, int(number_of_place[record.item_index]),
                float(np.dot(weights, record.counts)))
    if not len(log):
        raise UserError(f"click log {path}: none of its {log.unknown_items:,} records is of an item "
                        f"of index {index.directory}; expected the log of this catalogue: correct "
                        "--click_log")
    return log
