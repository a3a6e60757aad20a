"""Random spans and cuts of a text, by characters or by words."""

from gsid_jax import quiet
from gsid_jax.errors import UserError
from tasks import vocabulary as special

tf = quiet.tensorflow()

UNITS = ("char", "word")
MAX_SPANS = len(special.SPAN_MASKS)
MAX_UNITS = 3  # of one span
MASKS = tuple(f"<extra_id_{k}>" for k in special.SPAN_MASKS)


def check_unit(preprocessor: str, unit: str) -> None:
    """Raises UserError unless ``unit`` is one of UNITS."""
    if unit not in UNITS:
        raise UserError(f"tasks.preprocessors.{preprocessor}.unit is '{unit}'; expected 'char', or "
                        "'word' for texts that separate words by spaces")


def split(text: tf.Tensor, unit: str) -> tuple[tf.Tensor, str]:
    """Returns the units of a text, string [n], and what stands between them."""
    if unit == "word":
        return tf.strings.split(text), " "
    return tf.strings.unicode_split(text, "UTF-8"), ""


def place(count: tf.Tensor, seeds: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Draws 1 to 3 spans of 1 to 3 of ``count`` units: starts and lengths, int32 [s], ascending.

    Spans neither overlap nor touch. A short text gets fewer and shorter spans, so that something
    stays visible, except of a text of one unit. seeds: three seeds, int64 [2] each.
    """
    most = tf.clip_by_value((count + 1) // (MAX_UNITS + 1), 1, MAX_SPANS)
    number = tf.random.stateless_uniform([], seeds[0], 1, MAX_SPANS + 1, tf.int32)
    number = tf.minimum(number, most)
    lengths = tf.random.stateless_uniform([MAX_SPANS], seeds[1], 1, MAX_UNITS + 1, tf.int32)
    lengths = tf.minimum(lengths[:number], tf.maximum(count - 1, 1))
    # What is left, less one unit between each two spans, is dealt out before and after the spans.
    free = tf.maximum(count - tf.reduce_sum(lengths) - (number - 1), 0)
    gaps = tf.random.stateless_uniform([MAX_SPANS], seeds[2], 0, free + 1, tf.int32)
    starts = tf.sort(gaps[:number]) + tf.cumsum(lengths + 1, exclusive=True)
    return starts, lengths


def mask(text: tf.Tensor, unit: str, seeds: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the text with its spans masked, and the masks each followed by what it hides.

    A mask is written after a space, which is where SentencePiece knows extra ids.
    """
    units, between = split(text, unit)
    count = tf.size(units)
    starts, lengths = place(count, seeds)
    position = tf.range(count)
    span = tf.searchsorted(starts, position, side="right") - 1  # the span begun last; -1: none
    begun = tf.maximum(span, 0)
    hidden = (span >= 0) & (position < tf.gather(starts + lengths, begun))
    first = hidden & (position == tf.gather(starts, begun))
    marks = tf.gather([" " + name if unit == "char" else name for name in MASKS], begun)
    masked = tf.boolean_mask(tf.where(first, marks, units), ~hidden | first)
    joint = tf.strings.join([marks, units], between)
    content = tf.boolean_mask(tf.where(first, joint, units), hidden)
    return (tf.strings.strip(tf.strings.reduce_join(masked, separator=between)),
            tf.strings.strip(tf.strings.reduce_join(content, separator=between)))


def cut(text: tf.Tensor, unit: str, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Cuts a text of n units after 1 to n - 1 of them; a text of one unit is all suffix."""
    units, between = split(text, unit)
    count = tf.size(units)
    place = tf.random.stateless_uniform([], seed, 1, tf.maximum(count, 2), tf.int32)
    place = tf.minimum(place, count - 1)
    return (tf.strings.reduce_join(units[:place], separator=between),
            tf.strings.reduce_join(units[place:], separator=between))
