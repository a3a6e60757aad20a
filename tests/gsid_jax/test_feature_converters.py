"""Feature converters: shapes, SeqIO's own results, and every check."""

import numpy as np
import pytest
import seqio

from gsid_jax import feature_converters, quiet
from gsid_jax.errors import UserError

tf = quiet.tensorflow()
LENGTHS = {"inputs": 5, "queries": 4}
Q, P, C, K = 2, 3, 2, 4


def pretrain_dataset():
    examples = [([7, 8, 5, 1], [3, 9, 1]), ([8, 4, 9, 3, 1], [4, 1])]
    return tf.data.Dataset.from_generator(
        lambda: ({"inputs": inputs, "targets": targets, "note": "x"}
                 for inputs, targets in examples),
        output_signature={"inputs": tf.TensorSpec([None], tf.int32),
                          "targets": tf.TensorSpec([None], tf.int32),
                          "note": tf.TensorSpec([], tf.string)})


def gsid_features(codes=True):
    features = {
        "inputs": tf.constant([5, 6, 1]),
        "queries": tf.constant([[7, 1, 0], [8, 9, 1]]),
        "item_ids": tf.constant(4),
        "query_ids": tf.constant([3, 2]),
        "query_weights": tf.constant([1.0, 1.0]),
        "item_query_ids": tf.constant([3, 2, 0]),
        "text": tf.constant("x"),
    }
    if codes:
        features |= {
            "item_codes": tf.constant([1, 2]),
            "query_codes": tf.constant([[1, 3], [0, 2]]),
            "item_soft": tf.ones([C, K]),
            "query_soft": tf.ones([Q, C, K]),
        }
    return features


def convert(features, lengths=None):
    dataset = tf.data.Dataset.from_tensors(features)
    return feature_converters.GSIDFeatureConverter()(dataset, lengths or LENGTHS)


def test_pretrain_equals_seqio():
    lengths = {"inputs": 6, "targets": 4}
    ours = feature_converters.PretrainFeatureConverter(pack=False)(pretrain_dataset(), lengths)
    theirs = seqio.EncDecFeatureConverter(pack=False)(pretrain_dataset(), lengths)
    assert ours.element_spec == theirs.element_spec
    for one, other in zip(ours.as_numpy_iterator(), theirs.as_numpy_iterator()):
        for key in other:
            np.testing.assert_array_equal(one[key], other[key])


def test_pretrain_refuses_long_examples():
    dataset = feature_converters.PretrainFeatureConverter()(
        pretrain_dataset(), {"inputs": 4, "targets": 4})
    with pytest.raises(tf.errors.InvalidArgumentError, match="inputs.* has length not less than or "
                                                             "equal to the expected length of 4"):
        list(dataset)


def test_gsid_pads_tokens_and_passes_the_rest():
    batch = next(convert(gsid_features()).as_numpy_iterator())
    np.testing.assert_array_equal(batch["item_tokens"], [5, 6, 1, 0, 0])
    np.testing.assert_array_equal(batch["query_tokens"], [[7, 1, 0, 0], [8, 9, 1, 0]])
    assert batch["item_ids"] == 4
    np.testing.assert_array_equal(batch["query_codes"], [[1, 3], [0, 2]])
    assert set(batch) == {"item_tokens", "item_ids", "query_tokens", "query_ids", "query_weights",
                          "item_query_ids", "item_codes", "query_codes", "item_soft", "query_soft"}


def test_gsid_shapes_are_static():
    specs = convert(gsid_features()).element_spec
    shapes = {name: tuple(spec.shape) for name, spec in specs.items()}
    assert shapes["item_tokens"] == (5,) and shapes["query_tokens"] == (Q, 4)
    assert shapes["item_query_ids"] == (P,) and shapes["query_soft"] == (Q, C, K)


def test_gsid_without_codes():
    spec = convert(gsid_features(codes=False)).element_spec
    assert not any("codes" in name or "soft" in name for name in spec)


def test_a_converter_serves_steps_with_and_without_codes():
    converter = feature_converters.GSIDFeatureConverter(pack=False, use_custom_packing_ops=False)
    for codes in (True, False, True):
        dataset = converter(tf.data.Dataset.from_tensors(gsid_features(codes)), LENGTHS)
        assert ("item_codes" in dataset.element_spec) == codes


@pytest.mark.parametrize("change,message", [
    ({"query_ids": None}, "dataset is missing feature 'query_ids' during input_validation; it has"),
    ({"item_soft": None}, "dataset is missing feature 'item_soft'"),
    ({"item_ids": tf.constant(4, tf.int64)}, "feature 'item_ids' has dtype int64 during "
                                             "input_validation; expected int32"),
    ({"query_codes": tf.constant([1, 3])}, "feature 'query_codes' has rank 1 .*; expected 2"),
    ({"query_weights": tf.ones([3])}, "feature 'query_weights' has length 3 in axis Q .*; expected "
                                      "2, as in 'query_ids'"),
    ({"query_soft": tf.ones([Q, C, 5])}, "'query_soft' has length 5 in axis K .*; expected 4, as in"
                                         " 'item_soft'"),
])
def test_gsid_checks_side_features(change, message):
    features = {name: value for name, value in {**gsid_features(), **change}.items()
                if value is not None}
    with pytest.raises(UserError, match=message):
        convert(features)


def test_gsid_asks_for_static_shapes():
    dataset = tf.data.Dataset.from_tensors(gsid_features()).map(
        lambda example: {**example, "item_query_ids": tf.boolean_mask(
            example["item_query_ids"], example["item_query_ids"] > 0)})
    with pytest.raises(UserError, match=r"'item_query_ids' has shape \(None,\) .*expected a st"):
        feature_converters.GSIDFeatureConverter()(dataset, LENGTHS)


@pytest.mark.parametrize("change,message", [
    ({"inputs": None}, "missing an expected feature during input_validation validation: 'inputs'"),
    ({"inputs": tf.constant([1.0])}, "incorrect type for feature 'inputs'"),
    ({"queries": tf.constant([1])}, "incorrect rank for feature 'queries'"),
])
def test_gsid_token_checks_are_seqios(change, message):
    features = {name: value for name, value in {**gsid_features(), **change}.items()
                if value is not None}
    with pytest.raises(ValueError, match=message):
        convert(features)


def test_gsid_refuses_long_tokens_and_odd_lengths():
    features = gsid_features()
    signature = {name: tf.TensorSpec(value.shape, value.dtype) for name, value in features.items()}
    signature["queries"] = tf.TensorSpec([Q, None], tf.int32)
    dataset = tf.data.Dataset.from_generator(lambda: [features], output_signature=signature)
    dataset = feature_converters.GSIDFeatureConverter()(dataset, {"inputs": 5, "queries": 2})
    with pytest.raises(tf.errors.InvalidArgumentError, match="queries.* has length not less than"):
        list(dataset)
    with pytest.raises(ValueError, match="task_feature_lengths is missing features specified in "
                                         "the TASK_FEATURES: {'queries'}"):
        convert(gsid_features(), {"inputs": 5})
    with pytest.raises(ValueError, match="contains extra features not specified"):
        convert(gsid_features(), {**LENGTHS, "targets": 5})


def test_inference_passes_codes_only_if_there_are_some():
    for codes in (False, True):
        features = {"inputs": tf.constant([5, 1]), "id": tf.constant("a")}
        if codes:
            features["codes"] = tf.constant([1, 2])
        dataset = feature_converters.InferenceFeatureConverter()(
            tf.data.Dataset.from_tensors(features), {"inputs": 4})
        batch = next(dataset.as_numpy_iterator())
        np.testing.assert_array_equal(batch["encoder_input_tokens"], [5, 1, 0, 0])
        assert ("codes" in batch) == codes


@pytest.mark.parametrize("name", ["PretrainFeatureConverter", "GSIDFeatureConverter",
                                  "InferenceFeatureConverter"])
def test_packing_is_refused(name):
    with pytest.raises(UserError, match=f"{name} got pack=True; expected pack=False"):
        getattr(feature_converters, name)(pack=True)
    getattr(feature_converters, name)(pack=False, use_custom_packing_ops=False)
