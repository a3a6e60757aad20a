"""The pre-training tasks: what goes in, what comes out, and that draws differ between epochs."""

import gin
import numpy as np
import pytest
import seqio

from gsid_jax.errors import UserError
from tasks import preprocessors, pretraining, vocabulary
from tests.tasks import small_catalogue

LENGTHS = {"inputs": 40, "targets": 30}
VOCABULARY = vocabulary.VOCABULARY


def examples(task, seed=0, epochs=1, lengths=None, split="train"):
    dataset = seqio.get_mixture_or_task(task).get_dataset(
        lengths or LENGTHS, split=split, shuffle=False, seed=seed, num_epochs=epochs)
    return list(dataset.as_numpy_iterator())


def texts(task, **kwargs):
    return [(example["inputs_pretokenized"].decode(), example["targets_pretokenized"].decode())
            for example in examples(task, **kwargs)]


@pytest.fixture
def records():
    return {row["text"]: row for row in small_catalogue.records()}


@pytest.mark.parametrize("task,token", [("gsid_query_generation", 3), ("gsid_item_cloze", 4),
                                        ("gsid_suffix_completion", 5)])
def test_inputs_open_with_the_task_token_and_end_with_eos(placed, task, token):
    for example in examples(task):
        assert example["inputs"].dtype == example["targets"].dtype == np.int32
        assert example["inputs"][0] == vocabulary.extra_id(VOCABULARY, token)
        for key, length in LENGTHS.items():
            assert example[key][-1] == VOCABULARY.eos_id
            assert len(example[key]) <= length
            ids = VOCABULARY.encode(example[f"{key}_pretokenized"].decode())
            body = example[key][1:-1] if key == "inputs" else example[key][:-1]
            np.testing.assert_array_equal(body, ids[:len(body)])
            assert len(body) == min(len(ids), length - (2 if key == "inputs" else 1))


def test_query_generation_draws_a_query_of_the_item(placed, records):
    drawn = texts("gsid_query_generation", epochs=3)
    assert all(target in records[text]["queries"] for text, target in drawn)
    first, *later = (drawn[start:start + 60] for start in (0, 60, 120))
    assert sorted(text for text, _ in first) == sorted(records)
    assert all(epoch != first for epoch in later)  # another draw of the same items


def test_item_cloze_targets(placed, records):
    for masked, target in texts("gsid_item_cloze"):
        assert target in records and "<extra_id_0>" in masked
    gin.bind_parameter("tasks.preprocessors.item_cloze.target", "spans")
    gin.bind_parameter("tasks.preprocessors.item_cloze.unit", "word")
    for masked, target in texts("gsid_item_cloze"):
        assert target.startswith("<extra_id_0> ")
        assert masked.count("<extra_id_") == target.count("<extra_id_")
        assert all(word in "\n".join(records) for word in target.split()
                   if not word.startswith("<"))


def test_suffix_completion_parts(placed, records):
    for given, suffix in texts("gsid_suffix_completion"):
        query, prefix = given.split(" <extra_id_6> ")
        assert query in records[prefix + suffix]["queries"]
        assert prefix and suffix


@pytest.mark.parametrize("task", list(pretraining.OBJECTIVES))
def test_same_seed_same_draws_other_seed_other_draws(placed, task):
    assert texts(task, seed=1) == texts(task, seed=1)
    assert texts(task, seed=1) != texts(task, seed=2)


def test_mixture_takes_the_three_tasks_alike(placed):
    dataset = seqio.get_mixture_or_task("gsid_pretrain").get_dataset(
        LENGTHS, shuffle=True, seed=0, num_epochs=None)
    tokens = [example["inputs"][0] for example in dataset.take(300).as_numpy_iterator()]
    _, counts = np.unique(tokens, return_counts=True)
    assert len(counts) == 3 and counts.min() > 70


def test_weights_decide_with_alpha(placed, records):
    gin.bind_parameter("tasks.preprocessors.query_generation.alpha", 8.0)
    heaviest = [target == records[text]["queries"][0]
                for text, target in texts("gsid_query_generation")]
    assert np.mean(heaviest) > 0.95


def test_validation_split(placed):
    assert len(examples("gsid_item_cloze", split="validation")) == 10


@pytest.mark.parametrize("binding,value,message", [
    ("item_cloze.unit", "token", "item_cloze.unit is 'token'; expected 'char', or 'word'"),
    ("item_cloze.target", "all", "item_cloze.target is 'all'; expected 'full' or 'spans'"),
])
def test_bad_bindings(placed, binding, value, message):
    gin.bind_parameter(f"tasks.preprocessors.{binding}", value)
    with pytest.raises(UserError, match=message):
        examples("gsid_item_cloze")


def test_negative_alpha(placed):
    with pytest.raises(UserError, match="query_generation.alpha is -1; expected 0"):
        preprocessors.query_generation(None, LENGTHS, {}, alpha=-1)


@pytest.mark.parametrize("lengths,message", [
    ({"inputs": 8}, r"gsid_item_cloze lacks targets; got {'inputs': 8}, expected {'inputs': N, "),
    ({"inputs": 8, "targets": 8, "queries": 4}, "has unknown queries"),
    ({"inputs": 8, "targets": 1}, "has 'targets': 1; expected an integer of at least 2"),
])
def test_bad_lengths(placed, lengths, message):
    with pytest.raises(UserError, match=message):
        examples("gsid_item_cloze", lengths=lengths)


def test_unknown_split(placed):
    with pytest.raises(UserError, match="gsid_item_cloze has no split 'test'; it has train, valid"):
        examples("gsid_item_cloze", split="test")
