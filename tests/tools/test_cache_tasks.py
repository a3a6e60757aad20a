"""Cached tokens: written through SeqIO and Beam, and the same batches as without."""

import gin
import numpy as np
import pytest

from gsid_jax.errors import UserError
from gsid_jax.feature_converters import GSIDFeatureConverter
from tasks import loading, location
from tests.tasks import small_catalogue
from tools import cache_tasks

pytest.importorskip("apache_beam")


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory):
    """A catalogue of its own, to write caches into."""
    root = tmp_path_factory.mktemp("cached")
    small_catalogue.write(root)
    return root


def batches(count: int) -> list[dict[str, np.ndarray]]:
    dataset = loading.get_dataset(
        "gsid_query_item", {"inputs": 12, "queries": 6}, feature_converter_cls=GSIDFeatureConverter,
        batch_size=8, seed=3)
    return [batch for _, batch in zip(range(count), dataset.as_numpy_iterator())]


@pytest.mark.parametrize("step", [False, True])
def test_cached_tokens_give_the_same_batches(catalogue, capsys, step):
    step_dir = catalogue / "step" if step else ""
    options = [f"--data_dir={catalogue / 'data'}", f"--vocabulary={catalogue / 'spm.model'}"]
    assert cache_tasks.main([*options, *([f"--step_dir={step_dir}"] if step else [])]) == 0
    assert '"train": 60' in capsys.readouterr().out
    place = {"data_dir": catalogue / "data", "vocabulary": catalogue / "spm.model",
             "step_dir": step_dir}
    try:
        gin.bind_parameter("tasks.grouping.prefix_groups.group_size", small_catalogue.GROUP)
        with location.use(**place):
            plain = batches(20)  # over two epochs
            with location.use(cached_tokens=True):
                cached = batches(20)
                with location.use(vocabulary=catalogue / "data" / "items.parquet"), pytest.raises(
                        UserError, match="were made with another vocabulary; expected those of"):
                    from tasks import query_item, token_cache
                    token_cache.check_tokens(query_item.SOURCE.builder())
    finally:
        gin.clear_config()
    for one, other in zip(plain, cached, strict=True):
        assert one.keys() == other.keys()
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])


def test_a_missing_cache_is_named(catalogue, tmp_path):
    with location.use(data_dir=tmp_path, cached_tokens=True), pytest.raises(
            UserError, match="no 'tokens' dataset: .*gsid_tokens holds no dataset_info.json; write "
            "it with tools.cache_tasks"):
        location.dataset_dir("tokens")
