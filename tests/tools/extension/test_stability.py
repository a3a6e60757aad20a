import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tools.extension import stability

OLD = np.array([[1, 2], [1, 3], [0, 0]])


def test_a_longer_id_with_the_same_prefix_has_not_changed():
    found = stability.compare(OLD, np.c_[OLD, [5, 6, 7]])
    assert found["ids_changed"] == 0 and found["prefix_kept"] == {"l1": 1.0, "l2": 1.0}
    assert (found["levels_before"], found["levels_now"]) == (2, 3)


def test_changes_are_counted_and_listed(tmp_path):
    new = np.array([[1, 2], [1, 4], [3, 0]])
    found = stability.compare(OLD, new)
    assert found["ids_changed"] == 2 and found["prefix_kept"] == {"l1": 2 / 3, "l2": 1 / 3}
    stability.write_changes(tmp_path / "c.parquet", pa.array(["a", "b", "c"]), OLD, new)
    assert pq.read_table(tmp_path / "c.parquet").to_pylist() == [
        {"item_id": "b", "before": "1-3", "now": "1-4"},
        {"item_id": "c", "before": "0-0", "now": "3-0"}]
