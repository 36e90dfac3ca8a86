"""Random PyRTL blocks over the whole netlist alphabet, as Hypothesis data that shrinks net by net."""

from dataclasses import dataclass
from itertools import count
from random import Random

import numpy as np
import pyrtl
from hypothesis import strategies as st

WIDEST = 130
WIDTHS = (1, 1, 2, 3, 4, 6, 7, 8, 9, 13, 15, 16, 17, 24, 31, 32, 33, 48, 63, 64, 65, 96, 127, 128, 129, 130)


@dataclass(frozen=True)
class Recipe:
    """What a block is built from. A step is (kind, width, first, second, third, cut): the wires it reads are
    counted back from the latest, so that leaving a step out leaves a block."""

    inputs: tuple[int, ...]
    registers: tuple[tuple[int, bool], ...]
    memories: tuple[tuple[str, int, int], ...]
    steps: tuple[tuple[str, int, int, int, int, int], ...]
    every_wire: bool
    cycles: int
    different: int
    lanes: int
    default: int
    seed: int


class Builder:
    """Adds nets to a block one by one and keeps the wires that later nets can read."""

    def __init__(self, block: pyrtl.Block) -> None:
        self.block = block
        self.pool: list[pyrtl.WireVector] = []
        self.memories: list[pyrtl.MemBlock] = []
        self.ports: dict[pyrtl.MemBlock, int] = {}

    def net(self, op, args, width, param=None):
        """A net that drives a new wire of a width."""
        wire = pyrtl.WireVector(width)
        self.block.add_net(pyrtl.LogicNet(op, param, tuple(args), (wire,)))
        return wire

    def slice(self, wire, bits):
        return self.net("s", [wire], len(bits), tuple(bits))

    def fit(self, wire, width, how=0):
        """A wire's low or high bits, or the wire behind zeros or behind copies of its sign."""
        size = len(wire)
        if size > width:
            return self.slice(wire, range(size - width, size) if how & 1 else range(width))
        if size == width:
            return wire
        sign = self.slice(wire, [size - 1])
        head = [pyrtl.Const(0, width - size)] if how & 1 else [sign] * (width - size)
        return self.net("c", [*head, wire], width)

    def step(self, kind, width, first, second, third, cut):
        a, b, c = (self.pool[-1 - index % len(self.pool)] for index in (first, second, third))
        width = width or len(a)
        made = STEPS[kind](self, width, a, b, c, cut)
        if made is not None:
            self.pool.append(made)


def _two_sided(op, growth):
    """A net of two operands of one width, its destination as wide as it may be, or narrower."""

    def step(self, width, a, b, c, cut):
        width = min(width, WIDEST // 2) if op == "*" else width
        full = growth(width)
        args = [self.fit(a, width, cut), self.fit(b, width, cut >> 1)]
        return self.net(op, args, max(1, min(full, WIDEST) - (cut >> 2)))

    return step


def _constant(self, width, a, b, c, cut):
    corners = [0, 1, -1, 1 << (width - 1), (1 << (width - 1)) - 1, 0x5A3C96F00F69C3A51E * (cut + 1), cut]
    return pyrtl.Const(corners[cut % 7] & ((1 << width) - 1), width)


def _select(self, width, a, b, c, cut):
    bit = self.slice(c, [cut % len(c)])
    return self.net("x", [bit, self.fit(a, width, cut), self.fit(b, width, cut)], max(1, width - (cut >> 2)))


def _concatenate(self, width, a, b, c, cut):
    parts = ([a, b], [a, b, c], [a], [pyrtl.Const(0, cut // 4 + 1), a], [a, pyrtl.Const(cut, 6)])[cut % 5]
    while sum(map(len, parts)) > WIDEST:
        parts = parts[1:] if len(parts) > 1 else [self.fit(parts[0], WIDEST)]
    return self.net("c", parts, max(1, sum(map(len, parts)) - cut // 12))


def _pick_bits(self, width, a, b, c, cut):
    stride = (1, -1, 0, 3)[cut & 3]
    bits = [(len(a) - 1 - (cut >> 2) + stride * k) % len(a) for k in range(width)]
    return self.net("s", [a], max(1, width - cut // 12), tuple(bits))


def _slice(self, width, a, b, c, cut):
    low = (cut * 7) % len(a)
    return self.slice(a, range(low, min(low + width, len(a))))


def _read(self, width, a, b, c, cut):
    if not self.memories:
        return None
    memory = self.memories[cut % len(self.memories)]
    return self.net("m", [self.fit(a, memory.addrwidth, cut)], memory.bitwidth, (memory.id, memory))


def _write(self, width, a, b, c, cut):
    """One write port; the second to fourth of a memory write each its own part, since who wins is undefined."""
    writable = [memory for memory in self.memories if not isinstance(memory, pyrtl.RomBlock)]
    if not writable:
        return
    memory = writable[cut % len(writable)]
    port = self.ports.get(memory, 0)
    if port > 3 or (memory.addrwidth < 3 and port):
        return
    self.ports[memory] = port + 1
    address = self.fit(a, memory.addrwidth, cut)
    if memory.addrwidth >= 3:
        address = self.net("c", [pyrtl.Const(port, 2), self.fit(a, memory.addrwidth - 2)], memory.addrwidth)
    enable = pyrtl.Const(1, 1) if cut & 4 else self.slice(c, [cut % len(c)])
    args = address, self.fit(b, memory.bitwidth, cut), enable
    self.block.add_net(pyrtl.LogicNet("@", (memory.id, memory), args, ()))


def _shift_constant(self, width, a, b, c, cut):
    amount = 1 + cut * 5 % width
    a = self.fit(a, width, cut)
    if amount == width:
        return a
    if cut & 1:
        return self.net("c", [self.slice(a, range(width - amount)), pyrtl.Const(0, amount)], width)
    head = [self.slice(a, [width - 1])] * amount if cut & 2 else [pyrtl.Const(0, amount)]
    return self.net("c", [*head, self.slice(a, range(amount, width))], width)


def _barrel(self, width, a, b, c, cut):
    distance = b[: 1 + cut % 6]
    shift = (pyrtl.shift_left_logical, pyrtl.shift_right_logical, pyrtl.shift_right_arithmetic)[cut % 3]
    return shift(self.fit(a, width), distance)


def _saturate(self, width, a, b, c, cut):
    """A signed number clamped to fewer bits."""
    bits = min(width, max(1, len(a) - 1 - cut % 4))
    if len(a) == 1:
        return a
    sign, head = a[-1], a[bits - 1 :]
    within = head == pyrtl.concat_list([sign] * len(head))
    limit = pyrtl.concat(sign, ~pyrtl.concat_list([sign] * (bits - 1))) if bits > 1 else sign
    return pyrtl.select(within, a[:bits], limit)


def _saturating_sum(self, width, a, b, c, cut):
    """The sum of two signed numbers, its overflow told from the sign bits or from a wider sum."""
    a, b = self.fit(a, width), self.fit(b, width)
    if cut & 1:
        return _saturate(self, width, a.sign_extended(width + 1) + b.sign_extended(width + 1), b, c, 1)
    total = (a + b)[:width]
    over = ~(a[-1] ^ b[-1]) & (a[-1] ^ total[-1])
    limit = pyrtl.concat(a[-1], ~a[-1].sign_extended(width - 1)) if width > 1 else a
    return pyrtl.select(over, limit, total)


def _signed_product(self, width, a, b, c, cut):
    """Sign extension to the whole product, an unsigned product, the low part of it."""
    a, b = self.fit(a, min(len(a), 1 + width // 2)), self.fit(b, min(len(b), 1 + width // 2))
    full = min(len(a) + len(b), WIDEST // 2)
    return self.net("*", [self.fit(a, full), self.fit(b, full, cut & 4)], max(1, full - cut % 4))


def _signed_less(self, width, a, b, c, cut):
    compare = (pyrtl.signed_lt, pyrtl.signed_ge)[cut & 1]
    return compare(self.fit(a, width, cut), self.fit(b, width, cut >> 1))


STEPS = {
    "w": lambda self, width, a, b, c, cut: self.net("w", [a], max(1, len(a) - (cut >> 1))),
    "~": lambda self, width, a, b, c, cut: self.net("~", [a], max(1, len(a) - (cut >> 1))),
    **{op: _two_sided(op, lambda width: width) for op in "&|^n"},
    **{op: _two_sided(op, lambda width: width + 1) for op in "+-"},
    "*": _two_sided("*", lambda width: 2 * width),
    **{op: _two_sided(op, lambda width: 1) for op in "<>="},
    "x": _select,
    "c": _concatenate,
    "s": _pick_bits,
    "m": _read,
    "@": _write,
    "constant": _constant,
    "slice": _slice,
    "extend": lambda self, width, a, b, c, cut: self.fit(a, min(WIDEST, len(a) + 1 + width // 2), cut),
    "shift": _shift_constant,
    "barrel": _barrel,
    "saturate": _saturate,
    "saturating sum": _saturating_sum,
    "signed product": _signed_product,
    "signed less": _signed_less,
}


def value(rng: Random, width: int) -> int:
    """A number of some bits, an extreme or a small one as often as not."""
    top = 1 << width
    corners = (0, 1, top - 1, top >> 1, (top >> 1) - 1, rng.randrange(16), -rng.randrange(16))
    return (rng.choice(corners) if rng.random() < 0.5 else rng.getrandbits(width)) % top


def _memory(rng: Random, name: str, kind: str, bits: int, address_bits: int) -> pyrtl.MemBlock:
    options = {"name": name, "max_read_ports": None, "asynchronous": True}
    if kind == "ram":
        return pyrtl.MemBlock(bits, address_bits, max_write_ports=None, **options)
    words = [value(rng, bits) for _ in range(1 << address_bits)]
    if kind == "function":
        return pyrtl.RomBlock(bits, address_bits, lambda address: words[address], **options)
    if kind == "short list":
        words = words[: len(words) // 2]
    return pyrtl.RomBlock(bits, address_bits, words, pad_with_zeros=True, **options)


@dataclass(frozen=True)
class Design:
    """A block and what it is run on: values of inputs [cycle][lane], of registers [lane] and of memory words [lane]."""

    block: pyrtl.Block
    lanes: int
    default: int
    inputs: dict[str, list[list[int]]]
    registers: dict[pyrtl.Register, list[int]]
    memories: dict[pyrtl.MemBlock, dict[int, list[int]]]

    @property
    def outputs(self) -> dict[str, int]:
        """The widths of the outputs by name."""
        return {wire.name: len(wire) for wire in self.block.wirevector_subset(pyrtl.Output)}

    @property
    def cycles(self) -> int:
        return len(next(iter(self.inputs.values())))


def build(recipe: Recipe) -> Design:
    """Return the block of a recipe, its stimuli and its initial state."""
    rng = Random(recipe.seed)
    block = pyrtl.Block()
    with pyrtl.set_working_block(block, no_sanity_check=True):
        builder = Builder(block)
        _declare(builder, recipe, rng)
        for step in recipe.steps:
            builder.step(*step)
        _close(builder, recipe)
    lanes = range(recipe.different)
    inputs = {
        f"i{k}": [[value(rng, width) for _ in lanes] for _ in range(recipe.cycles)]
        for k, width in enumerate(recipe.inputs)
    }
    registers = sorted(block.wirevector_subset(pyrtl.Register), key=lambda wire: wire.name)
    used = {net.op_param[1] for net in block.logic_subset("m@")}
    writable = [memory for memory in builder.memories if not isinstance(memory, pyrtl.RomBlock)]
    return Design(
        block,
        recipe.different,
        recipe.default,
        inputs,
        {wire: [value(rng, len(wire)) for _ in lanes] for wire in registers if rng.random() < 0.6},
        {
            memory: {
                address: [value(rng, memory.bitwidth) for _ in lanes]
                for address in range(1 << memory.addrwidth)
                if rng.random() < 0.6
            }
            for memory in writable
            if memory in used and rng.random() < 0.8
        },
    )


def _declare(builder: Builder, recipe: Recipe, rng: Random) -> None:
    for k, (width, reset) in enumerate(recipe.registers):
        builder.pool.append(pyrtl.Register(width, f"r{k}", reset_value=value(rng, width) if reset else None))
    for k, width in enumerate(recipe.inputs):
        builder.pool.append(pyrtl.Input(width, f"i{k}"))
    for k, (kind, bits, address_bits) in enumerate(recipe.memories):
        builder.memories.append(_memory(rng, f"m{k}", kind, bits, address_bits))


def _close(builder: Builder, recipe: Recipe) -> None:
    """Feed every register from the latest wires and make wires visible: all of them, or those that no net reads."""
    pool, registers = builder.pool, builder.pool[: len(recipe.registers)]
    for k, register in enumerate(registers):
        following = pool[-1 - k]
        if len(following) < len(register):
            following = builder.fit(following, len(register))
        builder.block.add_net(pyrtl.LogicNet("r", None, (following,), (register,)))
    read = {wire for net in builder.block.logic for wire in net.args}
    names = count()
    for wire in pool:
        if recipe.every_wire or wire not in read or wire is pool[-1]:
            output = pyrtl.Output(len(wire), f"o{next(names)}")
            builder.block.add_net(pyrtl.LogicNet("w", None, (wire,), (output,)))


def reference(design: Design, kind=pyrtl.Simulation) -> dict[str, np.ndarray]:
    """Return the outputs [cycles, lanes] by one of PyRTL's own simulators, lane by lane."""
    seen = {name: [[0] * design.lanes for _ in range(design.cycles)] for name in design.outputs}
    for lane in range(design.lanes):
        simulation = kind(
            register_value_map={wire: values[lane] for wire, values in design.registers.items()},
            memory_value_map={
                memory: {address: values[lane] for address, values in words.items()}
                for memory, words in design.memories.items()
            },
            default_value=design.default,
            block=design.block,
            tracer=pyrtl.SimulationTrace(block=design.block) if kind is pyrtl.CompiledSimulation else None,
        )
        for cycle in range(design.cycles):
            simulation.step({name: rows[cycle][lane] for name, rows in design.inputs.items()})
            for name, rows in seen.items():
                rows[cycle][lane] = simulation.inspect(name)
    return {name: array(rows, design.outputs[name]) for name, rows in seen.items()}


def array(rows: list[list[int]], width: int) -> np.ndarray:
    """Return values [cycles, lanes] in the form that lanes are run in."""
    return np.array(rows, np.uint64 if width <= 64 else object)


def recipes(most: int, least: int = 1):
    """Return a strategy for recipes of so many steps."""
    width = st.sampled_from(WIDTHS) | st.integers(1, WIDEST)
    back = st.integers(0, 4) | st.integers(0, 999)
    step = st.tuples(
        st.sampled_from([*STEPS, "m", "@", "m", "@"]),
        st.just(0) | width,
        back,
        back,
        back,
        st.just(0) | st.integers(0, 31),
    )
    memory = st.tuples(
        st.sampled_from(("ram", "ram", "list", "short list", "function")), width, st.integers(1, 6)
    )
    sizes = st.integers(least, most)
    if least == 1:
        sizes = st.integers(1, 12) | sizes
    return st.builds(
        Recipe,
        inputs=st.lists(width, min_size=1, max_size=4).map(tuple),
        registers=st.lists(st.tuples(width, st.booleans()), max_size=4).map(tuple),
        memories=st.lists(memory, max_size=3).map(tuple),
        steps=sizes.flatmap(lambda size: st.lists(step, min_size=size, max_size=size).map(tuple)),
        every_wire=st.booleans(),
        cycles=st.integers(1, 6),
        different=st.sampled_from((1, 3, 5)),
        lanes=st.sampled_from((1, 2, 7, 16, 33, 65, 100, 300, 512, 1025)),
        default=st.sampled_from((0, 0, 0, 1)),
        seed=st.integers(0, 2**32 - 1),
    )
