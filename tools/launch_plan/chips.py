"""Published figures of accelerators: peak rates, memory and links of one chip."""

import dataclasses
import math
import re

from gsid_jax.errors import UserError

GIB = 2**30


@dataclasses.dataclass(frozen=True)
class Chip:
    """One accelerator.

    Rates are per second. `link_bytes` is what one chip sends along one torus axis in both
    directions together (TPU), or to its switch in one direction (GPU). `network_bytes` is the
    rate of one GPU out of its host; TPUs of one slice have no such boundary.
    """

    name: str
    flops: float  # dense bf16
    memory: int  # bytes of HBM
    memory_bytes: float  # HBM bytes a second
    link_bytes: float
    host_chips: int
    wraps_at: int = 0  # torus axes of this length (or its multiples) close to a ring; 0: none
    network_bytes: float = 0.0
    stand_in: str = ""  # TPU whose program stands in for a GPU's
    sparse_core: bool = False  # a second kind of core that XLA gives gathers and scatters to
    megacore: bool = False  # two cores that libtpu must be told to treat as one device

    @property
    def is_gpu(self) -> bool:
        return bool(self.stand_in)


# TPU: Google's pages on v4, v5e, v5p and v6e. GPU: NVIDIA's data sheets (SXM, dense bf16),
# NVLink inside a host of 8 and one 400 Gbit/s network card a GPU outside it.
CHIPS = {chip.name: chip for chip in (
    Chip("v4", 275e12, 32 * GIB, 1.2e12, 9e10, 4, wraps_at=4, megacore=True),
    Chip("v5e", 197e12, 16 * GIB, 8.1e11, 9e10, 4, wraps_at=16),
    Chip("v5p", 459e12, 95 * GIB, 2.77e12, 1.8e11, 4, wraps_at=4, sparse_core=True),
    Chip("v6e", 918e12, 32 * GIB, 1.64e12, 1.8e11, 4, wraps_at=16, sparse_core=True),
    Chip("h100", 989e12, 80 * 10**9, 3.35e12, 4.5e11, 8, network_bytes=5e10, stand_in="v5p"),
    Chip("h200", 989e12, 141 * 10**9, 4.8e12, 4.5e11, 8, network_bytes=5e10, stand_in="v5p"),
)}


@dataclasses.dataclass(frozen=True)
class Topology:
    """A number of chips and how they are connected."""

    chip: Chip
    shape: tuple[int, ...]  # of the torus; (n,) for GPUs

    @property
    def chips(self) -> int:
        return math.prod(self.shape)

    @property
    def name(self) -> str:
        return f"{self.chip.name}:{'x'.join(map(str, self.shape))}"

    @property
    def compiled_chip(self) -> Chip:
        """The chip that libtpu compiles for: this one, or the GPU's stand-in."""
        return CHIPS[self.chip.stand_in] if self.chip.is_gpu else self.chip

    @property
    def compiled_name(self) -> str:
        """The topology that libtpu compiles for: this one, or a TPU as large as the GPUs."""
        if not self.chip.is_gpu:
            return self.name
        return f"{self.chip.stand_in}:{'x'.join(map(str, _box(self.chips)))}"


def topology(text: str) -> Topology:
    """'v5e:4x4', 'v4:2x2x4', 'h100:32' -> Topology; UserError for anything else."""
    match = re.fullmatch(r"([a-z0-9]+):(\d+(?:x\d+)*)", text)
    if not match or match[1] not in CHIPS:
        raise UserError(f"--topology={text}; expected CHIP:SHAPE with a chip of "
                        f"{', '.join(CHIPS)}, such as v5e:4x4, v4:2x2x4 or h100:32")
    chip, shape = CHIPS[match[1]], tuple(int(n) for n in match[2].split("x"))
    dimensions = 1 if chip.is_gpu else 3 if chip.name in ("v4", "v5p") else 2
    if len(shape) != dimensions or min(shape) < 1:
        raise UserError(f"--topology={text}: {chip.name} has {dimensions} "
                        f"dimension{'s' if dimensions > 1 else ''}; expected such as "
                        f"{chip.name}:{'x'.join(['4'] * dimensions)}")
    return Topology(chip, shape)


def _box(chips: int) -> tuple[int, int, int]:
    """A v4 or v5p slice of this many chips: whole hosts of 2 x 2 x 1."""
    if chips < 4 or chips & (chips - 1):
        raise UserError(f"a plan for {chips} GPUs is not possible; expected a power of two from 4 "
                        "on, because a TPU slice of that size stands in for the compiler")
    shape = [2, 2, 1]
    while math.prod(shape) < chips:
        shape[shape.index(min(shape))] *= 2
    return tuple(sorted(shape))
