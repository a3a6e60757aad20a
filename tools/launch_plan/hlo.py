"""The text of a compiled XLA program as computations of instructions."""

import dataclasses
import math
import re

BITS = {"pred": 8, "s4": 4, "u4": 4, "s8": 8, "u8": 8, "s16": 16, "u16": 16, "s32": 32, "u32": 32,
        "s64": 64, "u64": 64, "bf16": 16, "f16": 16, "f32": 32, "f64": 64, "c64": 64,
        "f8e4m3fn": 8, "f8e5m2": 8}
_ARRAY = re.compile(r"\b(" + "|".join(BITS) + r")\[([\d,]*)\](?:\{([^{}]*)\})?")
_INSTRUCTION = re.compile(r"^\s+(ROOT )?%?([\w.\-]+) = (.*)$")
_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\) -> .* \{$")
_OPCODE = re.compile(r"\s([a-z][a-z0-9\-]*)\(")


@dataclasses.dataclass(frozen=True)
class Array:
    """One array of an instruction's result."""

    dtype: str
    dims: tuple[int, ...]
    on_chip: bool  # held in the chip's own fast memory (layout S(1)), not in HBM

    @property
    def elements(self) -> int:
        return math.prod(self.dims)

    @property
    def bytes(self) -> int:
        return -(-self.elements * BITS[self.dtype] // 8)


@dataclasses.dataclass
class Instruction:
    name: str
    opcode: str
    arrays: list[Array]  # of the result; several for a tuple
    operands: list[str]
    text: str  # the operands and attributes
    root: bool

    def attribute(self, name: str) -> str | None:
        match = re.search(rf"\b{name}=%?([\w.\-]+)", self.text)
        return match[1] if match else None

    @property
    def bytes(self) -> int:
        return sum(array.bytes for array in self.arrays)


@dataclasses.dataclass
class Computation:
    name: str
    instructions: dict[str, Instruction]

    @property
    def root(self) -> Instruction:
        return next(i for i in self.instructions.values() if i.root)

    @property
    def parameters(self) -> list[Instruction]:
        """In the order of the operands that fill them."""
        found = [i for i in self.instructions.values() if i.opcode == "parameter"]
        return sorted(found, key=lambda i: int(re.match(r"\d+", i.text)[0]))

    def users(self, name: str) -> list[Instruction]:
        return [i for i in self.instructions.values() if name in i.operands]


@dataclasses.dataclass
class Module:
    entry: str
    computations: dict[str, Computation]


def parse(text: str) -> Module:
    """Reads `compiled.as_text()`."""
    computations, current, entry = {}, None, None
    for line in text.splitlines():
        if current is None:
            match = _COMPUTATION.match(line)
            if match:
                current = Computation(match[2], {})
                computations[match[2]] = current
                entry = match[2] if match[1] else entry
        elif line.startswith("}"):
            current = None
        else:
            match = _INSTRUCTION.match(line)
            if match:
                instruction = _instruction(match[2], match[3], bool(match[1]))
                current.instructions[instruction.name] = instruction
    if entry is None:
        raise ValueError("the text holds no ENTRY computation")
    return Module(entry, computations)


def _instruction(name: str, text: str, root: bool) -> Instruction:
    result_end = _result_end(text)
    opcode = _OPCODE.search(text, result_end)
    body = text[opcode.end():]
    operands = re.findall(r"%([\w.\-]+)", body[:_closing(body)])
    arrays = [Array(a[1], tuple(int(n) for n in a[2].split(",") if n), "S(1)" in (a[3] or ""))
              for a in _ARRAY.finditer(text[:result_end])]
    return Instruction(name, opcode[1], arrays, operands, body, root)


def _result_end(text: str) -> int:
    """Where the result's type ends: after its parenthesis if it is a tuple."""
    return _closing(text[1:]) + 2 if text.startswith("(") else text.index(" ")


def _closing(text: str) -> int:
    """The place of the parenthesis that closes one opened before `text`."""
    depth = 1
    for match in re.finditer(r"[()]", text):
        depth += 1 if match[0] == "(" else -1
        if depth == 0:
            return match.start()
    return len(text)


def trip_count(module: Module, loop: Instruction) -> int:
    """How often a while loop runs: XLA's own record, or the bound its condition compares with.

    A loop whose bound cannot be read counts once, as in XLA's own analysis.
    """
    known = re.search(r'known_trip_count":\{"n":"(\d+)"', loop.text)
    if known:
        return int(known[1])
    condition = module.computations[loop.attribute("condition")]
    bounds = [re.match(r"(\d+)", i.text) for i in _reachable(module, condition)
              if i.opcode == "constant" and i.arrays and i.arrays[0].dtype in ("s32", "u32")]
    bounds = [int(b[1]) for b in bounds if b]
    return max(bounds) if bounds else 1


def _reachable(module: Module, computation: Computation) -> list[Instruction]:
    found = []
    for instruction in computation.instructions.values():
        found.append(instruction)
        called = instruction.attribute("calls")
        if called in module.computations:
            found += _reachable(module, module.computations[called])
    return found
