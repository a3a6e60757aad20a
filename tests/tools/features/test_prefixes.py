import numpy as np
import pytest

from gsid_jax.errors import UserError
from tools.features.prefixes import FIRST, UNKNOWN, PrefixVocabulary, count_ids

IDS = np.array([[1, 5], [1, 5], [1, 7], [3, 5]])


def vocabulary(min_items=1):
    return PrefixVocabulary.build(*count_ids([IDS[:2], IDS[2:]]), min_items)


def test_ids_are_counted_over_batches():
    distinct, counts = count_ids([IDS[:1], IDS[1:3], IDS[3:]])
    np.testing.assert_array_equal(distinct, [[1, 5], [1, 7], [3, 5]])
    np.testing.assert_array_equal(counts, [2, 1, 1])


def test_prefixes_are_numbered_by_length_then_code():
    found = vocabulary()
    assert len(found) == FIRST + 5
    np.testing.assert_array_equal(found.lookup(IDS), [[2, 4], [2, 4], [2, 5], [3, 6]])


def test_unknown_prefixes_are_one_index():
    codes = np.array([[1, 6], [2, 5], [9, 9], [-1, 5]])
    np.testing.assert_array_equal(vocabulary().lookup(codes),
                                  [[2, UNKNOWN], [UNKNOWN] * 2, [UNKNOWN] * 2, [UNKNOWN] * 2])


def test_rare_prefixes_are_left_out():
    found = vocabulary(min_items=2)
    np.testing.assert_array_equal(found.lookup(IDS), [[2, 3], [2, 3], [2, 1], [1, 1]])


def test_lookup_of_every_prefix_is_its_own_row():
    random = np.random.default_rng(0)
    ids = random.integers(0, 20, (500, 4))
    found = PrefixVocabulary.build(*count_ids([ids]))
    rows = found.lookup(ids)
    for level in range(4):
        np.testing.assert_array_equal(found.codes[rows[:, level] - FIRST, :level + 1],
                                      ids[:, :level + 1])
        assert (found.length[rows[:, level] - FIRST] == level + 1).all()


def test_written_and_read_it_is_the_same(tmp_path):
    vocabulary().write(tmp_path / "v.tsv")
    assert (tmp_path / "v.tsv").read_text().splitlines()[:5] == [
        "index\tprefix\tlevel\titems", "0\t<padding>\t0\t0", "1\t<unknown>\t0\t0",
        "2\t1\t1\t3", "3\t3\t1\t1"]
    np.testing.assert_array_equal(PrefixVocabulary.read(tmp_path / "v.tsv").lookup(IDS),
                                  vocabulary().lookup(IDS))


@pytest.mark.parametrize("spoil, message", [
    (lambda text: text.replace("index", "no"), "line 1: not a vocabulary of prefixes"),
    (lambda text: text.replace("3\t3\t1\t1", "4\t3\t1\t1"), "line 5: got '4\\\\t3\\\\t1\\\\t1'"),
    (lambda text: text.replace("2\t1\t1", "2\tx\t1"), "line 4: got")])
def test_a_spoilt_file_is_refused_with_its_line(tmp_path, spoil, message):
    vocabulary().write(tmp_path / "v.tsv")
    (tmp_path / "v.tsv").write_text(spoil((tmp_path / "v.tsv").read_text()))
    with pytest.raises(UserError, match=message):
        PrefixVocabulary.read(tmp_path / "v.tsv")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match="none.tsv is missing; expected vocabulary.tsv"):
        PrefixVocabulary.read(tmp_path / "none.tsv")
