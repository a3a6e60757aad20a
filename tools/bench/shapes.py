"""What is measured: sizes of models and batches, the same for every framework."""

import dataclasses

from gsid_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Case:
    """A model and a batch.

    Dims: B items, Q queries an item, L and Lq tokens, t level, T levels, K codes, M target tokens.
    """

    size: str = "small"
    B: int = 16
    Q: int = 1
    L: int = 64
    Lq: int = 16
    t: int = 1  # 0: pre-training
    T: int = 4
    K: int = 128
    M: int = 32
    dtype: str = "float32"

    @property
    def network(self) -> dict[str, int]:
        return SIZES[self.size]

    @property
    def name(self) -> str:
        step = f"GSID step {self.t}" if self.t else "pre-training"
        batch = (f"{self.B} items x {self.L}, {self.B * self.Q} queries x {self.Lq}" if self.t else
                 f"{self.B} x {self.L} -> {self.M}")
        return f"{self.size}, {step}, {batch}, {self.dtype}"


_COMMON = {"vocab_size": 32128, "head_dim": 64}
SIZES = {
    "tiny": {"vocab_size": 8064, "emb_dim": 64, "num_heads": 4, "head_dim": 16, "mlp_dim": 128,
             "num_encoder_layers": 2, "num_decoder_layers": 1},
    "small": {**_COMMON, "emb_dim": 512, "num_heads": 6, "mlp_dim": 1024,
              "num_encoder_layers": 8, "num_decoder_layers": 8},
    "base": {**_COMMON, "emb_dim": 768, "num_heads": 12, "mlp_dim": 2048,
             "num_encoder_layers": 12, "num_decoder_layers": 12},
}


def case(**values) -> Case:
    """A Case; UserError for an unknown size or an impossible level."""
    made = Case(**values)
    if made.size not in SIZES:
        raise UserError(f"size is {made.size!r}; expected one of {list(SIZES)}")
    if not 0 <= made.t <= made.T or min(made.B, made.Q, made.L, made.Lq, made.K) < 1:
        raise UserError(f"{made} is no case; expected 0 <= t <= T and sizes of at least 1")
    return made
