"""Spans and cuts: counts, sizes, separation, and that nothing of the text is lost."""

import re

import pytest

from gsid_jax import quiet
from gsid_jax.errors import UserError
from tasks import spans

tf = quiet.tensorflow()
TEXT = "used sony camera with box and charger"


def seeds_of(number):
    return tf.constant([[number, part] for part in range(3)], tf.int64)


@tf.function
def masked(text, unit, number):
    return spans.mask(text, unit, [tf.stack([number, tf.constant(part, tf.int64)])
                                   for part in range(3)])


def strings(tensors):
    return [tensor.numpy().decode() for tensor in tensors]


@pytest.mark.parametrize("count", [1, 2, 3, 6, 7, 11, 40])
def test_place_draws_separate_spans_inside_the_text(count):
    numbers, sizes = set(), set()
    for number in range(40):
        starts, lengths = (tensor.numpy().tolist() for tensor in
                           spans.place(tf.constant(count), tf.unstack(seeds_of(number))))
        numbers.add(len(starts))
        sizes.update(lengths)
        ends = [start + length for start, length in zip(starts, lengths)]
        assert ends[-1] <= count and starts[0] >= 0
        assert all(following > end for end, following in zip(ends, starts[1:]))
        assert sum(lengths) < count or count == 1
    assert numbers == {1} if count < 7 else numbers == {1, 2} if count < 11 else {1, 2, 3}
    assert sizes == {1, 2, 3} if count > 3 else sizes <= {1, 2}


@pytest.mark.parametrize("unit,text", [("char", TEXT), ("word", TEXT), ("char", "二手索尼相机带包装")])
def test_mask_hides_what_the_spans_tell(unit, text):
    for number in range(30):
        visible, hidden = strings(masked(text, unit, tf.constant(number, tf.int64)))
        marks = re.findall(r"<extra_id_\d>", visible)
        assert marks == [f"<extra_id_{k}>" for k in range(len(marks))]
        assert 1 <= len(marks) <= 3
        contents = re.split(r"\s?<extra_id_\d>", hidden)[1:]
        assert len(contents) == len(marks)
        for mark, content in zip(marks, contents):
            visible = re.sub(rf" ?{mark}", lambda _, c=content: c, visible, count=1)
        assert visible.replace(" ", "") == text.replace(" ", "")
        for content in contents:
            units = content.split() if unit == "word" else content
            assert len(units) <= 3


def test_a_text_of_one_unit_is_masked_whole():
    assert strings(masked("x", "char", tf.constant(0, tf.int64))) == ["<extra_id_0>",
                                                                      "<extra_id_0>x"]


@pytest.mark.parametrize("unit", ["char", "word"])
def test_cut_leaves_both_parts_and_loses_nothing(unit):
    places = set()
    for number in range(40):
        prefix, suffix = strings(spans.cut(tf.constant(TEXT), unit, tf.constant([number, 1])))
        assert prefix and suffix
        assert (" " if unit == "word" else "").join([prefix, suffix]) == TEXT
        places.add(len(prefix))
    assert len(places) > 4


def test_cut_of_one_unit_is_all_suffix():
    assert strings(spans.cut(tf.constant("x"), "char", tf.constant([0, 1]))) == ["", "x"]


def test_unknown_unit():
    with pytest.raises(UserError, match="item_cloze.unit is 'token'; expected 'char', or 'word'"):
        spans.check_unit("item_cloze", "token")
