"""Seconds that a compiled step takes at best on a topology: the roofline."""

import dataclasses
import math
from collections.abc import Sequence

from tools.launch_plan.chips import Topology
from tools.launch_plan.costs import Collective


@dataclasses.dataclass(frozen=True)
class Seconds:
    """Of one step, at the chip's published rates."""

    compute: float
    memory: float
    collectives: float

    @property
    def overlapped(self) -> float:
        """If everything hides behind the slowest part: nothing can be faster."""
        return max(self.compute, self.memory, self.collectives)

    @property
    def serial(self) -> float:
        """If no exchange hides behind computation: what plans are made with."""
        return max(self.compute, self.memory) + self.collectives


def seconds(topology: Topology, flops: float, bytes_: float,
            collectives: Sequence[Collective]) -> Seconds:
    """The roofline of a step that costs this much on every chip."""
    chip = topology.chip
    return Seconds(flops / chip.flops, bytes_ / chip.memory_bytes,
                   sum(exchange(topology, c) for c in collectives))


def exchange(topology: Topology, collective: Collective) -> float:
    """Seconds of a ring (or, on GPUs across hosts, two-level) exchange; latency left out."""
    chip, group = topology.chip, collective.group
    # Bytes that pass a chip for each byte of the result.
    passes = 2.0 if collective.kind == "all-reduce" else 1.0
    size = collective.bytes
    if collective.kind == "reduce-scatter":
        size *= group  # its result is one part
    if not chip.is_gpu:
        return passes * size * (group - 1) / group / _torus_rate(topology, group)
    inside = min(group, chip.host_chips)
    hosts = math.ceil(group / chip.host_chips)
    time = passes * size * (inside - 1) / inside / chip.link_bytes
    if hosts > 1:
        time += passes * size / inside * (hosts - 1) / hosts / chip.network_bytes
    return time


def _torus_rate(topology: Topology, group: int) -> float:
    """Bytes a second of a chip in a ring: all axes for the whole slice, one for a part of it."""
    axes = [n for n in topology.shape if n > 1]
    if group < topology.chips:
        axes = sorted(axes, key=lambda n: (n != group, -n))[:1]
    wraps = topology.chip.wraps_at
    rates = [topology.chip.link_bytes * (1.0 if wraps and n % wraps == 0 else 0.5) for n in axes]
    return sum(rates) or topology.chip.link_bytes
