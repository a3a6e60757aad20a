import numpy as np
import pytest

from gsid_jax.errors import UserError
from tools.ctr.events import draw_negatives, events_of

SEQUENCE = np.array([10, 11, 12, 13, 20, 21, 30])
START = np.array([0, 4, 6, 7])


def many(users=200, seed=0):
    random = np.random.default_rng(seed)
    lengths = random.integers(3, 8, users)
    return events_of(random.integers(0, 60, lengths.sum()), np.r_[0, np.cumsum(lengths)])


def test_the_last_view_is_the_test_and_the_one_before_validation():
    events = events_of(SEQUENCE, START)
    np.testing.assert_array_equal(events.item, [11, 12, 13, 21])
    np.testing.assert_array_equal(events.split, [0, 1, 2, 2])


def test_an_events_past_is_what_its_user_saw_before_it_and_nothing_else():
    events = many()
    sequence_place = np.flatnonzero(np.isin(np.arange(len(events.sequence)), np.unique(
        events.sequence_start), invert=True))  # every view but a user's first is an event
    for event in range(0, len(events.item), 13):
        mine = events.past_event == event
        past = events.past_item[mine][np.argsort(-events.past_age[mine])]
        start, place = events.sequence_start[event], sequence_place[event]
        np.testing.assert_array_equal(past, events.sequence[start:place])
        assert events.item[event] == events.sequence[place]
        assert sorted(events.past_age[mine]) == list(range(place - start))


def test_units_of_an_event():
    label = np.zeros(40, np.int32)
    label[[10, 11, 12, 20]] = [2, 3, 2, 9]
    units, weights = events_of(SEQUENCE, START).units(label, 2, 1.0)
    np.testing.assert_array_equal(units, [[2, 0], [3, 2], [2, 3], [9, 0]])
    np.testing.assert_allclose(weights[2], [1.25 / 1.75, 0.5 / 1.75], rtol=1e-6)


def test_negatives_are_clicks_of_others_in_the_same_split_never_viewed_by_the_user():
    events = many()
    negatives = draw_negatives(events, 3, seed=1)
    for split in range(3):
        mine = events.split == split
        assert np.isin(negatives[mine], events.item[mine]).all()
    for event in range(len(events.item)):
        viewed = events.sequence[events.sequence_start[event]:events.sequence_stop[event]]
        assert not np.isin(negatives[event], viewed).any()
    np.testing.assert_array_equal(negatives, draw_negatives(events, 3, seed=1))


def test_near_negatives_share_the_place():
    events = many()
    place = np.arange(60) // 30  # places large enough that an unviewed item is found
    negatives = draw_negatives(events, 2, seed=1, place_N=place)
    np.testing.assert_array_equal(place[negatives], np.repeat(place[events.item][:, None], 2, 1))


def test_sequences_too_short_to_split_are_refused():
    with pytest.raises(UserError, match="at most 2 views a user; expected users with 3 or more"):
        events_of(np.array([1, 2, 3]), np.array([0, 2, 3]))
