"""SeqIO preprocessors: the three pre-training objectives, and texts for inference.

Those that draw take SeqIO's per-example seeds, which differ between epochs and are the same for
the same dataset seed. Each is one map over tensors: iterators can be checkpointed, and little time
goes into handing examples on.
"""

from collections.abc import Mapping

import gin

from gsid_jax import quiet
from gsid_jax.errors import UserError
from tasks import spans, vocabulary as special
from tasks.tokens import encode, with_eos

tf = quiet.tensorflow()
import seqio  # pylint: disable=wrong-import-position

Example = dict[str, tf.Tensor]
Lengths = Mapping[str, int] | None


def weighted_choice(weights: tf.Tensor, count: int, alpha: float, seed: tf.Tensor) -> tf.Tensor:
    """Draws up to ``count`` of n things without replacement, with weight ``weights ** alpha``.

    Gumbel top-k: the largest of alpha * log(weight) + Gumbel noise. Returns int32 [min(n, count)],
    in the order drawn. weights: float32 [n], positive; things of weight 0 come last.
    """
    uniform = tf.random.stateless_uniform(tf.shape(weights), seed, 1e-20, 1.0)
    noise = -tf.math.log(-tf.math.log(uniform))
    scores = alpha * tf.math.log(tf.maximum(weights, 1e-20)) + noise
    return tf.math.top_k(scores, tf.minimum(count, tf.size(weights))).indices


@gin.configurable
def query_generation(dataset: tf.data.Dataset, sequence_length: Lengths,
                     output_features: Mapping[str, seqio.Feature],
                     alpha: float = 0.0) -> tf.data.Dataset:
    """Item text -> one of its queries, drawn with weight^alpha (0: any alike; paper 2.2.1)."""
    _check_alpha("query_generation", alpha)
    finish = _Pretraining(special.QUERY_GENERATION, sequence_length, output_features)

    @seqio.map_over_dataset(num_seeds=1)
    def build(example: Example, seed: tf.Tensor) -> Example:
        return finish(example["text"], _one_query(example, alpha, seed))

    return build(dataset)


@gin.configurable
def item_cloze(dataset: tf.data.Dataset, sequence_length: Lengths,
               output_features: Mapping[str, seqio.Feature], unit: str = "char",
               target: str = "full") -> tf.data.Dataset:
    """Item text with 1 to 3 spans of 1 to 3 units masked -> the text, or the spans.

    ``unit`` is 'char', or 'word' for scripts that separate words by spaces. ``target`` is 'full',
    the complete text (paper 2.2.1), or 'spans', the masks each followed by what it hides (paper,
    appendix B).
    """
    spans.check_unit("item_cloze", unit)
    if target not in ("full", "spans"):
        raise UserError(f"tasks.preprocessors.item_cloze.target is '{target}'; expected 'full' or "
                        "'spans'")
    finish = _Pretraining(special.ITEM_CLOZE, sequence_length, output_features)

    @seqio.map_over_dataset(num_seeds=3)
    def build(example: Example, seeds: tf.Tensor) -> Example:
        masked, hidden = spans.mask(example["text"], unit, seeds)
        return finish(masked, example["text"] if target == "full" else hidden)

    return build(dataset)


@gin.configurable
def suffix_completion(dataset: tf.data.Dataset, sequence_length: Lengths,
                      output_features: Mapping[str, seqio.Feature], unit: str = "char",
                      alpha: float = 0.0) -> tf.data.Dataset:
    """A query of the item and the beginning of its text -> the rest (paper 2.2.1).

    The text is cut between two units ('char' or 'word'), at a random place; the query is drawn
    with weight^alpha. A separator token stands between query and beginning.
    """
    spans.check_unit("suffix_completion", unit)
    _check_alpha("suffix_completion", alpha)
    finish = _Pretraining(special.SUFFIX_COMPLETION, sequence_length, output_features)
    separator = f" <extra_id_{special.SEPARATOR}> "

    @seqio.map_over_dataset(num_seeds=2)
    def build(example: Example, seeds: tf.Tensor) -> Example:
        prefix, suffix = spans.cut(example["text"], unit, seeds[1])
        query = _one_query(example, alpha, seeds[0])
        return finish(tf.strings.join([query, separator, prefix]), suffix)

    return build(dataset)


def _one_query(example: Example, alpha: float, seed: tf.Tensor) -> tf.Tensor:
    """One of the record's queries; an empty string should it have none."""
    drawn = weighted_choice(example["query_weights"], 1, alpha, seed)
    return tf.strings.reduce_join(tf.gather(example["queries"], drawn))


class _Pretraining:
    """Turns two texts into 'inputs', opened by the task's token, and 'targets'."""

    def __init__(self, task_token: int, lengths: Lengths,
                 output_features: Mapping[str, seqio.Feature]):
        self._vocabulary = output_features["inputs"].vocabulary
        self._first = special.extra_id(self._vocabulary, task_token)
        self._lengths = lengths or {}

    def __call__(self, inputs: tf.Tensor, targets: tf.Tensor) -> Example:
        ids = encode(self._vocabulary, tf.stack([inputs, targets]))
        opened = tf.concat([[self._first], ids[0]], axis=0)
        return {
            "inputs_pretokenized": inputs,
            "inputs": with_eos(self._vocabulary, opened, self._lengths.get("inputs")),
            "targets_pretokenized": targets,
            "targets": with_eos(self._vocabulary, ids[1], self._lengths.get("targets")),
        }


def encode_texts(dataset: tf.data.Dataset, sequence_length: Lengths,
                 output_features: Mapping[str, seqio.Feature]) -> tf.data.Dataset:
    """Tokenises 'text' to 'inputs' for inference; every other feature stays."""
    vocabulary = output_features["inputs"].vocabulary
    lengths = sequence_length or {}

    @seqio.map_over_dataset
    def build(example: Example) -> Example:
        ids = encode(vocabulary, example["text"][None])
        return {**example, "inputs_pretokenized": example["text"],
                "inputs": with_eos(vocabulary, ids[0], lengths.get("inputs"))}

    return build(dataset)


def _check_alpha(preprocessor: str, alpha: float) -> None:
    if alpha < 0:
        raise UserError(f"tasks.preprocessors.{preprocessor}.alpha is {alpha}; expected 0 (every "
                        "query alike) or more (weight^alpha)")
