"""FLOPs, memory traffic and collectives of a compiled program, per chip.

XLA's own `cost_analysis` counts the body of a loop once, however often it runs, so a program with
scanned layers looks cheap. Here a body counts as often as its loop runs, and of a conditional the
dearer branch counts.
"""

import collections
import dataclasses
import functools
import re

import numpy as np

from tools.launch_plan import hlo

COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
# Instructions that move nothing: names, views and control flow.
FREE = frozenset((
    "parameter", "constant", "tuple", "get-tuple-element", "bitcast", "while", "conditional",
    "call", "after-all", "partition-id", "replica-id", "iota", "domain", "opt-barrier"))


@dataclasses.dataclass(frozen=True)
class Collective:
    """One kind of exchange, summed over the program."""

    kind: str
    group: int  # chips that exchange with each other
    count: float
    bytes: float  # of the results, on one chip


@dataclasses.dataclass
class Cost:
    """What one chip does in one step."""

    flops: float = 0.0  # of matrix products; elementwise work is not counted
    bytes: float = 0.0  # HBM reads and writes
    collectives: dict[tuple[str, int], list[float]] = dataclasses.field(
        default_factory=lambda: collections.defaultdict(lambda: [0.0, 0.0]))

    def add(self, other: "Cost", times: float = 1.0) -> None:
        self.flops += times * other.flops
        self.bytes += times * other.bytes
        for key, (count, size) in other.collectives.items():
            self.collectives[key][0] += times * count
            self.collectives[key][1] += times * size

    def listed(self) -> list[Collective]:
        return [Collective(kind, group, count, size)
                for (kind, group), (count, size) in sorted(self.collectives.items())]


def cost(text: str, chips: int) -> Cost:
    """Cost of the program whose `compiled.as_text()` is `text`, partitioned over `chips`."""
    return _Counter(hlo.parse(text), chips).entry()


class _Counter:
    def __init__(self, module: hlo.Module, chips: int):
        self._module = module
        self._chips = chips
        self._channels: set[str] = set()  # collectives that XLA split over several fusions

    def entry(self) -> Cost:
        return self._computation(self._module.entry)

    @functools.cache
    def _computation(self, name: str, fused: bool = False) -> Cost:
        total = Cost()
        computation = self._module.computations[name]
        for instruction in computation.instructions.values():
            self._add(total, computation, instruction, fused)
        return total

    def _add(self, total: Cost, computation: hlo.Computation, i: hlo.Instruction, fused: bool):
        kind = i.opcode.removesuffix("-start")
        if i.opcode == "while":
            total.add(self._computation(i.attribute("body")), hlo.trip_count(self._module, i))
        elif i.opcode == "conditional":
            branches = [self._computation(name) for name in _branches(i)]
            total.add(max(branches, key=lambda c: (c.flops, c.bytes)))
        elif i.opcode == "call":
            total.add(self._computation(i.attribute("to_apply")))
        elif i.opcode in ("fusion", "async-start"):
            called = i.attribute("calls")
            total.add(self._computation(called, fused=i.opcode == "fusion"))
            if i.opcode == "fusion" and not fused:
                total.bytes += self._fusion_bytes(computation, i)
        elif kind in COLLECTIVES:
            self._add_collective(total, kind, i)
        elif i.opcode == "dot":
            total.flops += _dot_flops(computation, i)
        elif i.opcode == "convolution":
            total.flops += _convolution_flops(computation, i)
        if not fused and i.opcode not in ("fusion", "async-start") and kind not in COLLECTIVES:
            total.bytes += _plain_bytes(computation, i)

    def _add_collective(self, total: Cost, kind: str, i: hlo.Instruction) -> None:
        channel = re.search(r"channel_id=(\d+)", i.text)
        if channel:
            key = f"{kind} {channel[1]}"
            if key in self._channels:
                return
            self._channels.add(key)
        group = _group_size(i.text, self._chips)
        if group == 1:
            return
        arrays = i.arrays
        if i.opcode.endswith("-start") and kind != "all-reduce" and len(arrays) > 1:
            arrays = arrays[len(arrays) // 2:]  # (operands, results)
        entry = total.collectives[kind, group]
        entry[0] += 1
        entry[1] += sum(array.bytes for array in arrays)

    def _fusion_bytes(self, computation: hlo.Computation, i: hlo.Instruction) -> int:
        """Bytes a fusion reads and writes; of a loop's stacked array only the slice it touches."""
        called = self._module.computations[i.attribute("calls")]
        total = 0
        for parameter, operand in zip(called.parameters, i.operands):
            source = computation.instructions.get(operand, parameter)
            if _hbm(source.arrays):
                total += min(self._read(called, parameter.name), _hbm(source.arrays))
        root = called.root
        outputs = ([called.instructions[name] for name in root.operands]
                   if root.opcode == "tuple" else [root])
        for output, array in zip(outputs, i.arrays):
            if not array.on_chip:
                total += self._written(called, output)
        return total

    def _read(self, computation: hlo.Computation, name: str) -> int:
        """Bytes that a fused computation reads of its value `name`."""
        total = 0
        for user in computation.users(name):
            if user.opcode in ("dynamic-slice", "slice", "gather"):
                total += user.bytes
            elif user.opcode == "bitcast":
                total += self._read(computation, user.name)
            elif user.opcode == "dynamic-update-slice" and user.operands[0] == name:
                pass  # updated in place
            elif user.opcode == "fusion":
                called = self._module.computations[user.attribute("calls")]
                total += sum(self._read(called, parameter.name) for parameter, operand in
                             zip(called.parameters, user.operands) if operand == name)
            elif user.opcode != "tuple":
                return computation.instructions[name].bytes
        return total

    def _written(self, computation: hlo.Computation, output: hlo.Instruction) -> int:
        """Bytes that a fused computation writes for one of its results."""
        if output.opcode == "bitcast":
            return self._written(computation, computation.instructions[output.operands[0]])
        if output.opcode == "dynamic-update-slice":
            return computation.instructions[output.operands[1]].bytes
        if output.opcode == "fusion" and len(output.arrays) == 1:
            called = self._module.computations[output.attribute("calls")]
            return self._written(called, called.root)
        return 0 if output.opcode == "parameter" else output.bytes


def _hbm(arrays: list[hlo.Array], place: hlo.Instruction | None = None) -> int:
    """Bytes of arrays that lie in HBM; `place` says where those of a slice lie."""
    if place is not None:
        return 0 if place.arrays and place.arrays[0].on_chip else sum(a.bytes for a in arrays)
    return sum(a.bytes for a in arrays if not a.on_chip)


def _plain_bytes(computation: hlo.Computation, i: hlo.Instruction) -> int:
    if i.opcode in FREE or i.opcode.endswith("-done"):
        return 0
    operands = [computation.instructions[name] for name in i.operands
                if name in computation.instructions]
    if i.opcode in ("dynamic-slice", "slice", "gather", "slice-start"):
        read = sum(array.bytes for array in i.arrays[-1:])
        return _hbm(i.arrays[-1:]) + (read if operands and _hbm(operands[0].arrays) else 0)
    if i.opcode == "dynamic-update-slice":
        return 2 * _hbm(operands[1].arrays)
    if i.opcode == "copy-start":
        return _hbm(i.arrays[:1]) + _hbm(operands[0].arrays)
    return _hbm(i.arrays) + sum(_hbm(operand.arrays) for operand in operands)


def _branches(i: hlo.Instruction) -> list[str]:
    listed = re.search(r"branch_computations=\{([^}]*)\}", i.text)
    if listed:
        return re.findall(r"%?([\w.\-]+)", listed[1])
    return [i.attribute("true_computation"), i.attribute("false_computation")]


def _group_size(text: str, chips: int) -> int:
    """Chips in one replica group, in any of the ways XLA prints them."""
    mesh = re.search(r"replica_groups=mesh\[([^\]]*)\]\s*\{([^}]*)\}", text)
    if mesh:
        sizes = dict(re.findall(r"'(\w+)'=(\d+)", mesh[1]))
        size = 1
        for axis in re.findall(r"'(\w+)'", mesh[2]):
            size *= int(sizes[axis])
        return size
    iota = re.search(r"replica_groups=\[(\d+),(\d+)\]", text)
    if iota:
        return int(iota[2])
    listed = re.search(r"replica_groups=\{\{([\d,]*)\}", text)
    if listed and listed[1]:
        return listed[1].count(",") + 1
    return chips


def _dims(i: hlo.Instruction, name: str) -> list[int]:
    found = re.search(rf"{name}=\{{([\d,]*)\}}", i.text)
    return [int(n) for n in found[1].split(",") if n] if found else []


def _dot_flops(computation: hlo.Computation, i: hlo.Instruction) -> int:
    left = computation.instructions[i.operands[0]].arrays[0].dims
    contracted = np.prod([left[n] for n in _dims(i, "lhs_contracting_dims")], dtype=np.int64)
    return 2 * i.arrays[0].elements * int(contracted)


def _convolution_flops(computation: hlo.Computation, i: hlo.Instruction) -> int:
    """2 x multiply-adds, positions in padding or between dilated elements left out.

    TPU programs write every matrix product as a convolution, batch dimensions as windows.
    """
    left, right = (computation.instructions[name].arrays[0].dims for name in i.operands[:2])
    labels = re.search(r"dim_labels=(\w+)_(\w+)->(\w+)", i.text)
    window = re.search(r"window=\{([^}]*)\}", i.text)
    window = dict(re.findall(r"(\w+)=(\S+)", window[1])) if window else {}
    groups = re.search(r"batch_group_count=(\d+)", i.text)
    total = (2 * i.arrays[0].dims[labels[3].index("b")] * i.arrays[0].dims[labels[3].index("f")]
             * right[labels[2].index("i")])
    spatial = sum(c.isdigit() for c in labels[1])
    for n in range(spatial):
        get = lambda name, default: window.get(name, "x".join([default] * spatial)).split("x")[n]  # noqa: E731,B023
        low, _ = (int(p) for p in get("pad", "0_0").split("_"))
        total *= _valid(left[labels[1].index(str(n))], right[labels[2].index(str(n))],
                        i.arrays[0].dims[labels[3].index(str(n))], int(get("stride", "1")), low,
                        int(get("lhs_dilate", "1")), int(get("rhs_dilate", "1")))
    return total // (int(groups[1]) if groups else 1)


def _valid(size: int, kernel: int, out: int, stride: int, pad: int, base: int, dilate: int) -> int:
    """Pairs of output and kernel positions that meet an element of the input."""
    at = (np.arange(out) * stride - pad)[:, None] + np.arange(kernel)[None, :] * dilate
    return int(np.sum((at >= 0) & (at % base == 0) & (at // base < size)))
