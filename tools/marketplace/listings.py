"""How a private seller writes a listing: short title, maybe a sentence or two, maybe the form."""

import dataclasses
from collections.abc import Callable

from tools.marketplace.draws import pick
from tools.marketplace.language import Language
from tools.marketplace.world import Leaf, Spu

LISTING_DRAWS = 64
"""Uniform numbers one listing may use."""

FORM_FILLED = 0.24
"""Share of sellers who fill in category and key attributes (the paper's Table 1: 23%)."""
CATEGORY_ONLY = 0.06
ATTRIBUTES_ONLY = 0.02
WRONG_CATEGORY = 0.03
"""Share of the chosen categories that are wrong."""
VAGUE_MODEL = 0.05
"""Share of the filled-in models that name the series only."""
TYPO = 0.08
MISSING_BRAND = 0.45
MISSING_MODEL = 0.14
NO_DESCRIPTION = 0.30
CHATTY = 0.10
"""Share of descriptions that run on to four or five sentences."""

SELLER_HABIT = 2.2
"""How much sellers prefer the commonest word for a thing (searchers do so less)."""

Draw = Callable[[], float]


@dataclasses.dataclass(frozen=True)
class Facts:
    """What is true of an item: its SPU and its value for each key attribute (surfaces)."""

    spu: Spu
    values: tuple[tuple[str, ...], ...]


def draw_facts(language: Language, spu: Spu, draw: Draw) -> Facts:
    """The item's attribute values; every SPU has its own usual ones."""
    values = []
    for place, key in enumerate(spu.leaf.attributes):
        options = language.attributes[key][1]
        start = (spu.index * (7 + 4 * place) + spu.leaf.group) % len(options)
        values.append(options[(start + int(len(options) * draw() ** 2.2)) % len(options)])
    return Facts(spu, tuple(values))


def model_surface(language: Language, spu: Spu, u: float, alias: float, compact: float) -> str:
    """The model as somebody writes it: shortened, glued together or in full."""
    line = spu.line
    if line.alias and u < alias:
        return f"{line.alias}{'' if line.alias_glued else ' '}{spu.designator}"
    if not line.alias:
        u += alias
    if u < alias + compact and spu.leaf.model_format in ("number", "code"):
        return f"{line.series}{spu.designator.replace(' ', '')}"
    return spu.model


def brand_surface(language: Language, brand: str, u: float, alias: float) -> str:
    """The brand, or one of its nicknames with probability `alias`."""
    aliases = language.brand_aliases.get(brand)
    if aliases and u < alias:
        return pick(aliases, u / alias)
    return brand


def _title(language: Language, facts: Facts, draw: Draw) -> str:
    spu, leaf = facts.spu, facts.spu.leaf
    has_model = draw() >= MISSING_MODEL
    names_noun = draw() < (0.72 if has_model else 1.0)
    noun = (pick(leaf.terms, draw(), SELLER_HABIT) if draw() < 0.8
            else pick(leaf.words, draw(), SELLER_HABIT))
    parts = []
    if draw() < 0.28:
        parts.append(pick(language.openers, draw()))
    values = [pick(facts.values[0], draw(), 1.5)] if draw() < 0.55 else []
    if draw() < 0.35:
        values.append(pick(facts.values[1], draw(), 1.5))
    values_first = draw() < 0.25
    if values_first:
        parts += values
    model = model_surface(language, spu, draw(), 0.3, 0.12) if has_model else ""
    if draw() >= MISSING_BRAND and not model.startswith(spu.line.brand):
        parts.append(brand_surface(language, spu.line.brand, draw(), 0.4))
    if has_model:
        parts.append(model)
    if names_noun:
        parts.append(noun)
    if not values_first:
        parts += values
    if draw() < 0.4:
        parts.append(pick(language.conditions, draw()))
    title = pick(language.title_joins, draw()).join(parts)
    case = draw()
    if case < 0.7:
        title = title.lower()
    elif case < 0.9:
        title = title[:1].upper() + title[1:]
    if draw() < TYPO:
        title = language.mistype(title, draw(), draw())
    return title


def _description(language: Language, facts: Facts, draw: Draw) -> str:
    if draw() < NO_DESCRIPTION:
        return ""
    spu = facts.spu
    sentences = 4 + int(2 * draw()) if draw() < CHATTY else 1 + int(2 * draw())
    parts = []
    kind = draw()
    for _ in range(sentences):
        if kind < 0.30:
            parts.append(pick(language.reasons, draw()))
        elif kind < 0.55:
            which = int(2 * draw())
            label = language.attributes[spu.leaf.attributes[which]][0]
            parts.append(pick(language.attribute_sentences, draw()).format(
                label=label, value=pick(facts.values[which], draw(), 1.5)))
        elif kind < 0.80:
            other = pick(spu.leaf.terms, draw(), SELLER_HABIT)
            template = pick(language.about, draw())
            parts.append(template.format(noun=other, model=spu.model.lower()))
        else:
            parts.append(pick(language.terms, draw()).format(place=pick(language.places, draw())))
        kind = (kind + 0.27 + 0.2 * draw()) % 1.0
    return language.sentence_end.join(parts)


def _wrong_leaf(leaves: tuple[Leaf, ...], spu: Spu, u: float) -> Leaf:
    """A leaf other than the true one: half the time its neighbour, else anywhere."""
    true = spu.leaf_index
    if u < 0.5:
        return leaves[true - 1 if spu.leaf.slot else true + 1]
    other = int((2 * u - 1) * (len(leaves) - 1))
    return leaves[other + (other >= true)]


def write_listing(language: Language, leaves: tuple[Leaf, ...], facts: Facts, draw: Draw) -> dict:
    """The public fields of a listing, without its id.

    Args:
      language: phrases.
      leaves: all leaves; a wrong category is one of them.
      facts: what is true of the item.
      draw: gives the next uniform number of this item; at most ``LISTING_DRAWS`` are used.

    Returns:
      title, description (absent when empty), category (the seller's choice or None) and
      attributes (or None).
    """
    title = _title(language, facts, draw)
    description = _description(language, facts, draw)
    form, wrong, vague = draw(), draw(), draw()
    leaf = facts.spu.leaf
    category = attributes = None
    if form < FORM_FILLED + CATEGORY_ONLY:
        chosen = _wrong_leaf(leaves, facts.spu, wrong / WRONG_CATEGORY) if (
            wrong < WRONG_CATEGORY) else leaf
        category = list(chosen.path)
    if form < FORM_FILLED or form > 1.0 - ATTRIBUTES_ONLY:
        line = facts.spu.line
        model = line.series if vague < VAGUE_MODEL else facts.spu.model
        attributes = dict(zip(language.form_labels, (line.brand, model)))
        attributes |= {language.attributes[key][0]: surfaces[0]
                       for key, surfaces in zip(leaf.attributes, facts.values)}
    listing = {"title": title}
    if description:
        listing["description"] = description
    listing["category"] = category
    listing["attributes"] = attributes
    return listing
