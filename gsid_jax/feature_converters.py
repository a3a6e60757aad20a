"""SeqIO feature converters: task features to the batches the models take.

SeqIO checks lengths, dtypes and ranks of the token features; what it has no rules for (scalars,
matrices, features without a length) is checked here in the same stages: missing, dtype, rank,
length. T5X builds a converter as ``CLS(pack=..., use_custom_packing_ops=...)``, so sizes such as Q,
P, C and K are read from the dataset's static shapes.
"""

import copy
from collections.abc import Mapping

from gsid_jax import quiet
from gsid_jax.errors import UserError

tf = quiet.tensorflow()
import seqio  # pylint: disable=wrong-import-position

Spec = seqio.FeatureConverter.FeatureSpec


class _Unpacked(seqio.FeatureConverter):
    """What the converters share: no packing, and no length assertions on static shapes."""

    PACKING_FEATURE_DTYPES = {}

    def __init__(self, pack: bool = False, use_custom_packing_ops: bool = False, **kwargs):
        if pack:
            raise UserError(f"{type(self).__name__} got pack=True; expected pack=False: texts are "
                            "short and the models know no packed sequences; bind DatasetConfig.pack"
                            " = False")
        super().__init__(pack=False, use_custom_packing_ops=use_custom_packing_ops, **kwargs)

    def _validate_dataset(self, ds: tf.data.Dataset, expected_features: Mapping[str, Spec],
                          expected_lengths: Mapping[str, int], strict: bool, error_label: str
                          ) -> tf.data.Dataset:
        """As in SeqIO; lengths known statically cost no assertion per example."""
        def settled(name: str, length: int) -> bool:
            spec, shape = expected_features[name], ds.element_spec[name].shape
            return spec.rank == 0 or (
                shape.rank == spec.rank and shape[spec.sequence_dim] == length)

        known = expected_features.keys() & ds.element_spec.keys()
        open_lengths = {name: length for name, length in expected_lengths.items()
                        if name in known and not settled(name, length)}
        converter = copy.copy(self)
        converter._apply_length_check = self._apply_length_check and bool(open_lengths)
        return super(_Unpacked, converter)._validate_dataset(
            ds, expected_features, open_lengths, strict, error_label)


class PretrainFeatureConverter(_Unpacked, seqio.EncDecFeatureConverter):
    """Encoder-decoder features for ``PretrainModel``, as SeqIO's own converter makes them.

    'inputs' [L] and 'targets' [M] become encoder_input_tokens int32 [L], decoder_input_tokens,
    decoder_target_tokens and decoder_loss_weights int32 [M]. One map instead of SeqIO's two.
    """

    def _convert_features(self, ds: tf.data.Dataset,
                          task_feature_lengths: Mapping[str, int]) -> tf.data.Dataset:
        """Pads the tokens; the decoder's inputs are its targets, one place later."""
        L, M = task_feature_lengths["inputs"], task_feature_lengths["targets"]

        def convert(example: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            targets = _pad_last(example["targets"], (M,))
            return {"encoder_input_tokens": _pad_last(example["inputs"], (L,)),
                    "decoder_target_tokens": targets,
                    "decoder_input_tokens": tf.concat([[self.bos_id], targets[:-1]], axis=0),
                    "decoder_loss_weights": tf.cast(targets != 0, tf.int32)}

        return ds.map(convert, num_parallel_calls=tf.data.AUTOTUNE)


class GSIDFeatureConverter(_Unpacked):
    """Items with their sampled queries, for ``GSIDModel`` and ``DualEncoderModel``.

    Model features, per example: item_tokens int32 [Li], item_ids int32 [], query_tokens int32
    [Q, Lq], query_ids int32 [Q] (0: no query), query_weights float32 [Q] (1, or 0 for padding),
    item_query_ids int32 [P] (0: padding). When the dataset carries the codes of earlier steps also
    item_codes int32 [C], query_codes int32 [Q, C], item_soft float32 [C, K] and query_soft float32
    [Q, C, K]; these are absent at step 1.
    """

    TASK_FEATURES = {
        "inputs": Spec(dtype=tf.int32),
        "queries": Spec(dtype=tf.int32, rank=2, sequence_dim=1),
    }
    SIDE_FEATURES = {
        "item_ids": Spec(dtype=tf.int32, rank=0),
        "query_ids": Spec(dtype=tf.int32),
        "query_weights": Spec(dtype=tf.float32),
        "item_query_ids": Spec(dtype=tf.int32),
    }
    CODE_FEATURES = {
        "item_codes": Spec(dtype=tf.int32),
        "query_codes": Spec(dtype=tf.int32, rank=2, sequence_dim=1),
        "item_soft": Spec(dtype=tf.float32, rank=2, sequence_dim=1),
        "query_soft": Spec(dtype=tf.float32, rank=3, sequence_dim=2),
    }
    TOKEN_FEATURES = {
        "item_tokens": Spec(dtype=tf.int32),
        "query_tokens": Spec(dtype=tf.int32, rank=2, sequence_dim=1),
    }
    MODEL_FEATURES = {**TOKEN_FEATURES, **SIDE_FEATURES}
    _side_shapes: Mapping[str, tuple[int, ...]] = {}

    def _convert_features(self, ds: tf.data.Dataset,
                          task_feature_lengths: Mapping[str, int]) -> tf.data.Dataset:
        """Checks the side features, pads the tokens and renames them."""
        expected = dict(self.SIDE_FEATURES)
        if any(name in ds.element_spec for name in self.CODE_FEATURES):
            expected.update(self.CODE_FEATURES)
        self.MODEL_FEATURES = {**self.TOKEN_FEATURES, **expected}
        self._side_shapes = _check_side_features(ds.element_spec, expected)
        Q = self._side_shapes["query_ids"][0]
        Li, Lq = task_feature_lengths["inputs"], task_feature_lengths["queries"]

        def convert(example: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            side = {name: example[name] for name in expected}
            return {"item_tokens": _pad_last(example["inputs"], (Li,)),
                    "query_tokens": _pad_last(example["queries"], (Q, Lq)), **side}

        return ds.map(convert, num_parallel_calls=tf.data.AUTOTUNE)

    def get_model_feature_lengths(self, task_feature_lengths: Mapping[str, int]
                                  ) -> Mapping[str, int]:
        """Length of each model feature along its ``sequence_dim``; 1 for scalars."""
        sides = {name: shape[-1] if shape else 1 for name, shape in self._side_shapes.items()}
        return {"item_tokens": task_feature_lengths["inputs"],
                "query_tokens": task_feature_lengths["queries"], **sides}


class InferenceFeatureConverter(_Unpacked):
    """Texts to encode: 'inputs' becomes encoder_input_tokens int32 [L].

    If the dataset has 'codes' int32 [C], the prefix to force, it is passed on.
    """

    TASK_FEATURES = {"inputs": Spec(dtype=tf.int32)}
    CODE_FEATURES = {"codes": Spec(dtype=tf.int32)}
    MODEL_FEATURES = {"encoder_input_tokens": Spec(dtype=tf.int32)}
    _code_shapes: Mapping[str, tuple[int, ...]] = {}

    def _convert_features(self, ds: tf.data.Dataset,
                          task_feature_lengths: Mapping[str, int]) -> tf.data.Dataset:
        """Pads the tokens and renames them."""
        expected = {name: spec for name, spec in self.CODE_FEATURES.items()
                    if name in ds.element_spec}
        self.MODEL_FEATURES = {**type(self).MODEL_FEATURES, **expected}
        self._code_shapes = _check_side_features(ds.element_spec, expected)
        L = task_feature_lengths["inputs"]

        def convert(example: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            return {"encoder_input_tokens": _pad_last(example["inputs"], (L,)),
                    **{name: example[name] for name in expected}}

        return ds.map(convert, num_parallel_calls=tf.data.AUTOTUNE)

    def get_model_feature_lengths(self, task_feature_lengths: Mapping[str, int]
                                  ) -> Mapping[str, int]:
        """Length of each model feature."""
        return {"encoder_input_tokens": task_feature_lengths["inputs"],
                **{name: shape[0] for name, shape in self._code_shapes.items()}}


class EvaluationFeatureConverter(InferenceFeatureConverter):
    """As ``InferenceFeatureConverter``, for tasks with 'targets', which the model does not see."""

    TASK_FEATURES = {**InferenceFeatureConverter.TASK_FEATURES, "targets": Spec(dtype=tf.int32)}


def _pad_last(tokens: tf.Tensor, shape: tuple[int, ...]) -> tf.Tensor:
    """Pads the last axis with 0 to ``shape[-1]``; the other axes must have their length."""
    missing = shape[-1] - tf.shape(tokens)[-1]
    padded = tf.pad(tokens, [[0, 0]] * (len(shape) - 1) + [[0, missing]])
    return tf.ensure_shape(padded, shape)


def _check_side_features(element_spec: Mapping[str, tf.TensorSpec], expected: Mapping[str, Spec]
                         ) -> dict[str, tuple[int, ...]]:
    """Checks features that have no length of their own; returns their static shapes.

    Stages: missing, dtype, rank, length (every axis static; Q, C and K the same wherever they
    appear). Raises UserError naming the feature, what was found and what was expected.
    """
    stage = "during input_validation"
    shapes = {}
    for name, spec in expected.items():
        if name not in element_spec:
            raise UserError(f"dataset is missing feature '{name}' {stage}; it has "
                            f"{', '.join(sorted(element_spec))}: use task gsid_query_item or one "
                            "with its features")
        got = element_spec[name]
        if got.dtype != spec.dtype:
            raise UserError(f"feature '{name}' has dtype {got.dtype.name} {stage}; expected "
                            f"{spec.dtype.name}: cast it in the task's preprocessors")
        if got.shape.rank != spec.rank:
            raise UserError(f"feature '{name}' has rank {got.shape.rank} {stage}; expected "
                            f"{spec.rank}: reshape it in the task's preprocessors")
        if not got.shape.is_fully_defined():
            raise UserError(f"feature '{name}' has shape {tuple(got.shape)} {stage}; expected a "
                            "static one: pad it in the task's preprocessors, see "
                            "tasks.query_item.build_examples")
        shapes[name] = tuple(got.shape)
    axes = {"query_ids": "Q", "query_weights": "Q", "item_codes": "C", "query_codes": "QC",
            "item_soft": "CK", "query_soft": "QCK"}
    sizes = {}
    for name, shape in shapes.items():
        for axis, size in zip(axes.get(name, ""), shape):
            first, known = sizes.setdefault(axis, (name, size))
            if size != known:
                raise UserError(f"feature '{name}' has length {size} in axis {axis} {stage}; "
                                f"expected {known}, as in '{first}'")
    return shapes
