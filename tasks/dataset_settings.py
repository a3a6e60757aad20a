"""How raw files become a dataset: weights, shares held out, and what to do with bad records."""

import dataclasses

from gsid_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Settings:
    """How raw files become a dataset; recorded in ``dataset.json``."""

    seed: int = 0
    """Decides what is held out."""
    click_weight: float = 1.0
    """Weight of one click in an interaction's weight."""
    contact_weight: float = 3.0
    """Weight of one contact with the seller."""
    purchase_weight: float = 5.0
    """Weight of one purchase."""
    max_queries: int = 64
    """Queries kept in an item's training record, heaviest first."""
    validation_fraction: float = 0.02
    """Share of the training items set apart for the evaluation loss."""
    holdout_items: float = 0.02
    """Share of items whose interactions are all held out, if no q2i_test file is given."""
    holdout_queries: float = 0.05
    """Share of queries that are held out, if no q2i_test file is given."""
    skip_invalid: bool = False
    """Sets bad records aside instead of stopping."""
    lower: bool = False
    """Lower-cases item texts and queries; texts given to inference later must be lower-cased too."""
    deduplicate: str = "none"
    """Merges listings that read the same into the first of them: 'none', 'text' (equal texts, but
    for case) or 'minhash' (equal but for a few characters)."""
    similarity: float = 0.9
    """Jaccard similarity of the 5-character shingles from which on 'minhash' merges."""
    min_pair_weight: float = 0.0
    """Query-item pairs of less weight are left out."""
    min_query_weight: float = 0.0
    """Then queries of less weight in all are left out."""
    min_item_weight: float = 0.0
    """Then the pairs of items of less weight in all are left out."""
    max_user_events: int = 0
    """Users with more interactions are taken for robots and left out; 0: no limit."""
    max_query_items: int = 0
    """Queries that led to more items are taken for spam and left out; 0: no limit."""
    split: str = "hash"
    """What parts the test from training if no q2i_test file is given: 'hash' or 'time'."""
    test_from: str = ""
    """With split 'time': interactions from here on are the test, such as 2024-05-01."""
    validation_from: str = ""
    """Items first met from here on are for validation, instead of validation_fraction by hash."""
    pair_weight: float = 1.0
    """Weight of the best of an item's similar items, whose titles become queries (item_pairs)."""

    def __post_init__(self):
        for name, top in (("validation_fraction", 0.5), ("holdout_items", 0.5),
                          ("holdout_queries", 0.5)):
            if not 0 <= getattr(self, name) <= top:
                raise UserError(f"bad {name}: got {getattr(self, name)}, expected 0 to {top}: "
                                f"pass --{name}={getattr(Settings, name)}")
        for name in ("click_weight", "contact_weight", "purchase_weight"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise UserError(f"bad {name}: got {getattr(self, name)}, expected 0 or more: "
                                f"pass --{name}={getattr(Settings, name)}")
        if not any(self.weights):
            raise UserError("bad weights: got 0 for click, contact and purchase, expected at least "
                            "one above 0: pass --click_weight=1")
        for name in ("min_pair_weight", "min_query_weight", "min_item_weight", "max_user_events",
                     "max_query_items", "pair_weight"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise UserError(f"bad {name}: got {getattr(self, name)}, expected 0 or more: "
                                f"pass --{name}={getattr(Settings, name)}")
        for name, choices in (("deduplicate", ("none", "text", "minhash")),
                              ("split", ("hash", "time"))):
            if getattr(self, name) not in choices:
                raise UserError(f"bad {name}: got {getattr(self, name)!r}, expected one of "
                                f"{', '.join(choices)}: pass --{name}={choices[0]}")
        if not 0.5 <= self.similarity <= 1:
            raise UserError(f"bad similarity: got {self.similarity}, expected 0.5 to 1: pass "
                            f"--similarity={Settings.similarity}")
        if (self.split == "time") != bool(self.test_from):
            raise UserError(f"split is {self.split!r} and test_from is {self.test_from!r}; expected "
                            "both --split=time and --test_from=TIME, or neither")
        if self.max_queries < 1:
            raise UserError(f"bad max_queries: got {self.max_queries}, expected 1 or more: pass "
                            f"--max_queries={Settings.max_queries}")

    @property
    def weights(self) -> tuple[float, float, float]:
        """Weights in the order of ``raw_records.COUNT_FIELDS``."""
        return self.click_weight, self.contact_weight, self.purchase_weight
