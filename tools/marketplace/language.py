"""What a language must supply to the simulator."""

import dataclasses
from collections.abc import Callable


@dataclasses.dataclass(frozen=True)
class Language:
    """Vocabulary and habits of the people who write in one language.

    A surface list holds several ways to write the same thing, split by "|" in the data files and
    stored here as tuples, the canonical way first.
    """

    code: str
    trees: tuple[dict, ...]
    """The halves of the category tree, see ``catalogue_en_technology``."""
    space: str
    """What stands between words: " " or ""."""
    title_joins: tuple[str, ...]
    """What sellers put between the words of a title."""
    attributes: dict[str, tuple[str, tuple[tuple[str, ...], ...]]]
    """Key -> (label, values), each value a tuple of surfaces."""
    form_labels: tuple[str, str]
    """What the form calls the brand and the model."""
    brand_aliases: dict[str, tuple[str, ...]]
    names: tuple[str, ...]
    """Collection names for models of format 'name'."""
    suffixes: tuple[str, ...]
    """Variants of a model, the plain one first."""
    designators: dict[str, str]
    """Format strings for 'volume' and 'year' models."""
    openers: tuple[str, ...]
    conditions: tuple[str, ...]
    reasons: tuple[str, ...]
    """Sentences on why and how long the thing was owned."""
    terms: tuple[str, ...]
    """Sentences on delivery, payment and price."""
    places: tuple[str, ...]
    about: tuple[str, ...]
    """Sentence templates with {noun} and {model}."""
    attribute_sentences: tuple[str, ...]
    """Sentence templates with {label} and {value}."""
    sentence_end: str
    mistype: Callable[[str, float, float], str]
    """A typo: (text, where in [0,1), which in [0,1)) -> text."""
    join_query: Callable[[list[str], float], str]
    """Joins the words of a query, given a draw."""
    query_extras: tuple[str, ...]
    """Words searchers add: "second hand", "cheap"."""
