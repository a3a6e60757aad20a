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
        if self.max_queries < 1:
            raise UserError(f"bad max_queries: got {self.max_queries}, expected 1 or more: pass "
                            f"--max_queries={Settings.max_queries}")

    @property
    def weights(self) -> tuple[float, float, float]:
        """Weights in the order of ``raw_records.COUNT_FIELDS``."""
        return self.click_weight, self.contact_weight, self.purchase_weight
