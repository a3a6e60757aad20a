"""How people search: every query has an intent, from a whole root category to one variant."""

from tools.marketplace.draws import pick
from tools.marketplace.language import Language
from tools.marketplace.listings import Draw, Facts, brand_surface, model_surface

QUERY_DRAWS = 12
"""Uniform numbers one query may use."""

# Cumulative chances of the intents for an unpopular and for a popular item: head queries mostly
# lead to popular items, so that not every phone is clicked for "phone".
_INTENTS = ("root", "branch", "words", "term", "brand_term", "term_value", "spu", "spu_value")
_TAIL = (0.001, 0.005, 0.025, 0.22, 0.40, 0.51, 0.78, 1.0)
_HEAD = (0.006, 0.025, 0.12, 0.38, 0.55, 0.64, 0.86, 1.0)
POPULAR = 0.7
"""Popularity (uniform in [0, 1)) above which an item draws head queries."""
TYPO = 0.02
EXTRA = 0.02


def write_query(language: Language, facts: Facts, popularity: float, draw: Draw) -> tuple[str, int]:
    """One query that leads to the item.

    Args:
      language: phrases.
      facts: what is true of the item; the query agrees with it at the level of its intent.
      popularity: uniform number of the item.
      draw: next uniform number; at most ``QUERY_DRAWS`` are used.

    Returns:
      (query text, intent: 0 the most general .. 7 the most specific).
    """
    spu, leaf = facts.spu, facts.spu.leaf
    table = _HEAD if popularity > POPULAR else _TAIL
    u = draw()
    intent = next(i for i, bound in enumerate(table) if u < bound)
    kind = _INTENTS[intent]
    space = language.space
    if kind == "root":
        text = leaf.path[0]
    elif kind == "branch":
        text = leaf.path[1]
    elif kind == "words":
        text = pick(leaf.words, draw())
    elif kind == "term":
        text = pick(leaf.terms, draw())
    elif kind == "brand_term":
        noun = pick(leaf.terms, draw()) if draw() < 0.75 else pick(leaf.words, draw())
        text = f"{brand_surface(language, spu.line.brand, draw(), 0.4)}{space}{noun}"
    elif kind == "term_value":
        value = pick(facts.values[int(2 * draw())], draw(), 1.6)
        text = space.join((value, pick(leaf.terms, draw())) if draw() < 0.6
                          else (pick(leaf.terms, draw()), value))
    else:
        model = model_surface(language, spu, draw(), 0.45, 0.25)
        brand_habit = draw()
        if brand_habit < 0.12 and leaf.model_format in ("number", "code"):
            model = spu.designator
        parts = [model]
        if brand_habit < 0.3 and not model.startswith(spu.line.brand):
            parts.insert(0, brand_surface(language, spu.line.brand, draw(), 0.5))
        if draw() < (0.1 if spu.line.alias else 0.2):
            parts.append(pick(leaf.terms, draw()))
        if kind == "spu_value":
            both = draw()
            parts.append(pick(facts.values[int(2 * both)], draw(), 1.6))
            if 0.4 < both < 0.6:
                parts.append(pick(facts.values[1 - int(2 * both)], draw(), 1.6))
        text = language.join_query(parts, draw())
    u = draw()
    if u < TYPO and intent >= 2:
        text = language.mistype(text, u / TYPO, draw())
    elif TYPO <= u < TYPO + EXTRA and intent >= 2:
        text = f"{text}{space}{pick(language.query_extras, draw())}"
    return text.lower(), intent
