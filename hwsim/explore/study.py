"""The study file: what an exploration chooses from, measures and spends, as typed TOML.

Every default is written out into the result folder's own ``study.toml``, so that the folder alone says what
was done.
"""

from __future__ import annotations

import difflib
import itertools
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, ClassVar, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)

from hwsim import files
from hwsim.bits import parse_overflow, quoted
from hwsim.catalogue import look_up
from hwsim.cost.decoding import check_coder
from hwsim.cost.hardware import Hardware
from hwsim.cost.memory.hierarchy import Accelerator, Array, Hierarchy, parse_buffers
from hwsim.cost.memory.search import OBJECTIVES
from hwsim.cost.network_energy import EnergyModel
from hwsim.cost.technology import technology
from hwsim.cost.traffic import Memory
from hwsim.errors import HwsimError, unknown
from hwsim.explore.evaluation import LOSSES, MEASURED_ALONE, METRICS, OF_AN_ARRAY, OF_ELEMENTS, DesignPoint
from hwsim.formats import Int, parse_int, parse_weight
from hwsim.quantize.settings import Settings

SEARCH_NAMES = ("evolve", "exact", "greedy", "nsga2", "tpe", "uniform", "random")

MOST_FORMATS = 32
"""Formats of an array's elements by the lists of a space, weights times activations times accumulators, that exact prices unasked."""

ENERGY_CYCLES = 256
"""Cycles of each circuit's operands that a design point's energy is counted on."""

_Names = Annotated[tuple[str, ...], Field(min_length=1)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    LATER: ClassVar[frozenset[str]] = frozenset()
    """Keys that are written only where they have another value than their default."""

    @field_validator("*", mode="before")
    @classmethod
    def _lists_are_tuples(cls, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: tuple(item) if isinstance(item, list) else item for key, item in value.items()}
        return tuple(value) if isinstance(value, list) else value

    @model_serializer(mode="wrap")
    def _later_keys_where_chosen(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        written: dict[str, Any] = write(self)
        fields = type(self).model_fields
        return {
            key: value
            for key, value in written.items()
            if key not in self.LATER or getattr(self, key) != fields[key].default
        }


def _activation_width(bits: int) -> None:
    if not 2 <= bits <= 8:
        raise ValueError(f"activation width {bits} is out of range; activations have 2 to 8 bits")


_CHOICES: dict[str, Callable[[Any], object]] = {
    "weights": parse_weight,
    "activations": _activation_width,
    "accumulators": parse_int,
    "overflows": parse_overflow,
    "coders": check_coder,
}
"""The lists that a layer chooses from, and what refuses an entry."""

_SHARED: dict[str, Callable[[Any], object]] = {
    "datapaths": str,
    "quantizers": Settings.parse,
    "arrays": Array.parse,
    "buffers": parse_buffers,
    "layer_quantizers": Settings().of_layer,
}
"""The lists that a whole design chooses from, likewise."""


def _check_choices(table: BaseModel, choices: Mapping[str, Callable[[Any], object]]) -> None:
    """Refuse a list that holds an entry twice, or one that is none; a list that is left out is in order."""
    for name, check in choices.items():
        given = getattr(table, name) or ()
        doubled = {str(choice) for choice in given if given.count(choice) > 1}
        if doubled:
            raise ValueError(f'"{min(doubled)}" is listed twice in {name}; leave one out')
        for choice in given:
            check(choice)


class Own(_Table):
    """What one layer, or a group, may choose; a list that is left out is the space's."""

    weights: _Names | None = None
    activations: Annotated[tuple[int, ...], Field(min_length=1)] | None = None
    accumulators: _Names | None = None
    overflows: _Names | None = None
    coders: _Names | None = None
    quantizers: _Names | None = None

    @model_validator(mode="after")
    def _known(self) -> Own:
        _check_choices(self, _CHOICES | {"quantizers": Settings().of_layer})
        return self


class Space(_Table):
    """What each layer with weights may choose, and the layers whose bits are given.

    ``channels`` are layers whose output channels choose in groups, by their number or sizes: ``conv = 2`` makes the layers
    "conv.0" and "conv.1" of one. ``groups`` are layers that choose together, by name or pattern; ``layers`` the lists of a layer or group of its own.
    ``arrays`` and ``buffers`` are choices of the whole design, in place of what [array] and [memory] say of both: the rows,
    columns and dataflow of the array that layers run on, and the size of its buffer or of two, the outer one first.
    ``coders`` are those of the weights, which then cross the bus coded, through decoders that are priced, or packed, through
    readers that are; without them the file alone is coded. ``layer_quantizers`` are what each layer's quantizer may differ in
    from the design's, "" for nothing; in [space.layers] a list of this kind is called quantizers.
    """

    LATER = frozenset({"arrays", "buffers", "channels", "coders", "groups", "layer_quantizers", "layers"})

    weights: _Names = ("int2", "int3", "int4", "int6", "int8", "pow2x4")
    activations: Annotated[tuple[int, ...], Field(min_length=1)] = (2, 3, 4, 6, 8)
    accumulators: _Names = ("int16", "int32")
    overflows: _Names = ("wrap", "saturate")
    datapaths: _Names = ("mac",)
    quantizers: _Names = (str(Settings()),)
    arrays: tuple[str, ...] = ()
    buffers: tuple[str, ...] = ()
    coders: tuple[str, ...] = ()
    layer_quantizers: tuple[str, ...] = ()
    channels: dict[str, int | tuple[int, ...]] = {}
    groups: dict[str, _Names] = {}
    layers: dict[str, Own] = {}
    fixed: dict[str, str] = {}

    @field_validator("channels", mode="before")
    @classmethod
    def _numbers_or_sizes(cls, value: Any) -> Any:
        for layer, given in value.items() if isinstance(value, dict) else ():
            numbers = given if isinstance(given, list | tuple) else [given]
            if not numbers or not all(type(number) is int for number in numbers):
                raise ValueError(f'the groups of layer "{layer}" are 2, say, or [16, 48], not {given!r}')
        return value

    @model_validator(mode="after")
    def _known(self) -> Space:
        _check_choices(self, _CHOICES | _SHARED)
        for name in ("quantizers", "arrays", "buffers"):
            given = getattr(self, name)
            if len(set(map(_SHARED[name], given))) < len(given):
                raise ValueError(f"two of the {name} {', '.join(given)} are the same; leave one out")
        return self


class Data(_Table):
    """Which splits calibrate and test, and how many images of each at most; 0 means the whole split."""

    calibration: str = ""
    calibration_images: Annotated[int, Field(ge=0)] = 0
    test: str = ""
    test_images: Annotated[int, Field(ge=0)] = 0


class HardwareTable(_Table):
    """Clock, throughput, technology and mapping point of the layer-pipelined design."""

    LATER = frozenset({"mapping"})

    clock_mhz: Annotated[float, Field(gt=0, le=100_000, allow_inf_nan=False)] = 500.0
    images_per_second: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 10_000.0
    technology: str = "open45"
    mapping: str = "balanced"

    def value(self, mac: str) -> Hardware:
        return Hardware(**self.model_dump(), mac=mac)


class MemoryTable(_Table):
    """On-chip buffer, burst width and loop order of the memory traffic; with an array also its memories.

    With an [array] the loop order is searched for, ``inner_buffer_bytes`` puts a second buffer behind the first,
    and ``bus_bits`` cross the bus to DRAM in a cycle of the array; these keys are LATER.
    """

    LATER = frozenset({"inner_buffer_bytes", "bus_bits", "double_buffered"})

    buffer_bytes: Annotated[int, Field(gt=0)] = 4096
    burst_bits: Annotated[int, Field(gt=0)] = 64
    loop_order: str = "weights_outer"
    inner_buffer_bytes: Annotated[int, Field(ge=0)] = 0
    bus_bits: Annotated[int, Field(gt=0)] = 64
    double_buffered: bool = True

    def value(self) -> Memory:
        return Memory(self.buffer_bytes, self.burst_bits, self.loop_order)

    def hierarchy(self) -> Hierarchy:
        """Return the memories of an array."""
        inner = (self.inner_buffer_bytes,) if self.inner_buffer_bytes else ()
        return Hierarchy(
            (self.buffer_bytes, *inner), self.bus_bits, self.burst_bits // 8, self.double_buffered
        )


class ArrayTable(_Table):
    """The systolic array that layers with weights run on for the memory traffic, each by its best tiling."""

    rows: Annotated[int, Field(gt=0)] = 16
    columns: Annotated[int, Field(gt=0)] = 16
    dataflow: str = "weight"
    minimise: str = "traffic"

    def value(self) -> Array:
        return Array(self.rows, self.columns, self.dataflow)


class Study(_Table):
    """An exploration: model, data, space, objectives, search, budget and seed.

    ``in_flight`` is how many design points may be under evaluation at a time: part of the result, like the seed.
    """

    title: Annotated[str, Field(min_length=1, max_length=200)]
    model: Annotated[str, Field(min_length=1)]
    objectives: _Names = ("accuracy_loss", "gates", "bandwidth", "compression_ratio")
    search: str = ""
    budget: Annotated[int, Field(ge=1, le=1_000_000)] = 100
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    in_flight: Annotated[int, Field(ge=1, le=1_000_000)] = 8
    data: Data = Data()
    space: Space = Space()
    hardware: HardwareTable = HardwareTable()
    memory: MemoryTable = MemoryTable()
    array: ArrayTable | None = None
    constraints: dict[str, Annotated[float, Field(allow_inf_nan=False)]] | None = None

    @model_validator(mode="after")
    def _known(self) -> Study:
        for name in self.constraints or {}:
            _choose("metric", name, METRICS)
        for name in self.objectives:
            _choose("objective", name, METRICS)
            if self.objectives.count(name) > 1:
                raise ValueError(f'objective "{name}" is listed twice; leave one out')
        if not self.search:
            object.__setattr__(self, "search", self._default_search)  # it is frozen
        look_up("search", self.search, dict.fromkeys(SEARCH_NAMES))
        self.memory.value()
        self._chosen_once()
        self.hardware.value("mac")
        sizes = {"area", "array_area", "critical_path"} & {*self.objectives, *(self.constraints or {})}
        if sizes and not technology(self.hardware.technology).physical:
            raise ValueError(f"technology {self.hardware.technology} has no {min(sizes)}; choose open45, say")
        if "energy" in (self.constraints or {}) and "energy" not in self.objectives:
            raise ValueError("a constraint on energy needs energy among the objectives; add it there")
        for array, buffers in self.places:
            place = self.at(array, buffers)
            place._array_known()
            place.energy_model("mac")
        return self

    def _chosen_once(self) -> None:
        """Refuse tables that say what a list of the space chooses, and buffers without an array."""
        tables: tuple[tuple[str, _Table, tuple[str, ...], object], ...] = (
            ("array", self.array or ArrayTable(), ("rows", "columns", "dataflow"), self.space.arrays),
            ("memory", self.memory, ("buffer_bytes", "inner_buffer_bytes"), self.space.buffers),
        )
        for name, table, keys, chosen in tables:
            for key in keys if chosen else ():
                if getattr(table, key) != type(table).model_fields[key].default:
                    raise ValueError(f"{name}.{key} is chosen from the lists of the space; leave one out")
        if self.space.buffers and not self.has_array:
            raise ValueError("space.buffers are those of an array; add an [array] table or space.arrays")

    @property
    def _default_search(self) -> str:
        """Exact, or evolve where exact cannot weigh the objectives."""
        objectives = set(self.objectives)
        weighed = objectives & {*LOSSES} and not objectives & {*MEASURED_ALONE}
        told = not objectives & {*OF_ELEMENTS} or self._few_arrays
        return "exact" if weighed and told and self._priced else "evolve"

    @property
    def _priced(self) -> bool:
        """Whether some designs add integers, and if their channels of activations have widths their layers choose those alike."""
        designs = (Settings.parse(text) for text in self.space.quantizers)
        return any(one.placement == "integer" and self._alike(one) for one in designs)

    def _alike(self, whole: Settings) -> bool:
        """Whether all layers of designs with a quantizer quantize activations in one way, or by whole tensors."""
        every = (whole, *map(whole.of_layer, self._layer_quantizers))
        return len({one.of_activations for one in every}) == 1 or not any(
            one.has_channel_widths for one in every
        )

    @property
    def _few_arrays(self) -> bool:
        """Whether the lists alone say that an array's elements are of one kind and few formats."""
        lists = (self.space, *self.space.layers.values())
        weights, activations, accumulators, overflows = (
            {entry for one in lists for entry in getattr(one, kind, None) or ()}
            for kind in ("weights", "activations", "accumulators", "overflows")
        )
        alike = overflows == {"wrap"} and all(isinstance(parse_weight(text), Int) for text in weights)
        return alike and len(weights) * len(activations) * len(accumulators) <= MOST_FORMATS

    def _array_known(self) -> None:
        """Refuse a hierarchy and metrics without an array, and a loop order where it is searched for."""
        asked = self.asked_of_array
        if self.array is None:
            chosen = self.memory.model_dump().keys() & MemoryTable.LATER
            if asked:
                raise ValueError(f"{asked[0]} is that of an array; add an [array] table or space.arrays")
            if chosen:
                raise ValueError(
                    f"memory.{min(chosen)} is that of an array; add an [array] table or leave it out"
                )
            return
        if self.memory.loop_order != MemoryTable().loop_order:
            raise ValueError("memory.loop_order is searched for where there is an [array]; leave it out")
        if self.array.minimise not in OBJECTIVES:
            raise unknown("objective of a tiling", self.array.minimise, OBJECTIVES)
        self.accelerator()
        if "latency" in asked and self.coded:
            raise ValueError(
                "latency counts no decoders; leave the coders out, or latency from the objectives"
            )

    @property
    def coded(self) -> bool:
        """Whether the study chooses coders of weights."""
        return bool(self.space.coders) or any(own.coders for own in self.space.layers.values())

    @property
    def settings(self) -> tuple[Settings, ...]:
        """All settings that are named, those of layers beside the defaults."""
        return (
            *map(Settings.parse, self.space.quantizers),
            *map(Settings().of_layer, self._layer_quantizers),
        )

    @property
    def _layer_quantizers(self) -> list[str]:
        """What some layer's quantizer may differ in from the design's."""
        own = (text for one in self.space.layers.values() for text in one.quantizers or ())
        return [*self.space.layer_quantizers, *own]

    @property
    def has_array(self) -> bool:
        """Whether layers run on an array, the study's own or one that a design chooses."""
        return self.array is not None or bool(self.space.arrays)

    @property
    def asked_of_array(self) -> list[str]:
        """The metrics of an array that the study names, and where it chooses one those that nothing is synthesised for."""
        chosen = ["buffer_bytes", *([] if self.coded else ["latency"])]
        named = [*self.objectives, *(self.constraints or {})]
        named += chosen if self.space.arrays or self.space.buffers else []
        return [name for name in OF_AN_ARRAY if name in named]

    @property
    def places(self) -> list[tuple[str, str]]:
        """Every array with every buffers that a design may choose; "" where the study's tables say it."""
        return list(itertools.product(self.space.arrays or ("",), self.space.buffers or ("",)))

    def at(self, array: str, buffers: str) -> Study:
        """Return the study of the designs with an array and buffers of :attr:`places`: its tables say both."""
        tables = dict[str, Any]()
        if array:
            tables["array"] = (self.array or ArrayTable()).model_copy(update=asdict(Array.parse(array)))
        if buffers:
            outer, *inner = parse_buffers(buffers)
            sizes = {"buffer_bytes": outer, "inner_buffer_bytes": sum(inner)}
            tables["memory"] = self.memory.model_copy(update=sizes)
        return self.model_copy(update=tables)

    def of(self, point: DesignPoint) -> Study:
        """Return the study of the designs with a point's array and buffers."""
        return self.at(point.array, point.buffers)

    @property
    def minimise(self) -> str:
        """What tilings on the study's array are best at; without one nothing is tiled."""
        return "traffic" if self.array is None else self.array.minimise

    def energy_model(self, datapath: str) -> EnergyModel | None:
        """Return what an energy is that of, for one datapath; None where energy is no objective."""
        accelerator = self.accelerator()
        if "energy" not in self.objectives:
            return None
        if accelerator is None:
            raise ValueError("energy is that of an array and its memories; add an [array] table")
        cells = technology(self.hardware.technology)
        return EnergyModel(
            cells,
            accelerator,
            self.hardware.clock_mhz,
            datapath,
            cycles=ENERGY_CYCLES,
            minimise=self.minimise,
            mapping=self.hardware.mapping,
        )

    def accelerator(self) -> Accelerator | None:
        """Return the array and its memories; None where the traffic is that of one buffer without an array."""
        return None if self.array is None else Accelerator(self.array.value(), self.memory.hierarchy())

    def to_toml(self) -> str:
        """Return the file form with every default written out; reading it back gives an equal study."""
        return _toml(self.model_dump(exclude_none=True))


def _choose(kind: str, name: str, known: dict[str, Any]) -> None:
    if name not in known:
        raise ValueError(f'unknown {kind} "{name}"; known: {", ".join(known)}{_hint(name, known)}')


def _hint(name: str, known: Any) -> str:
    close = difflib.get_close_matches(name, list(known), 1)
    return f' (did you mean "{close[0]}"?)' if close else ""


def read_study(path: Path) -> Study:
    """Return the study of a TOML file.

    Raises :class:`HwsimError` naming the file, the key and the rule where the file is no TOML, misses or
    misspells a key, or holds a value that is out of range or contradicts another.
    """
    table = files.parse_toml(files.read_text(path, "study file"), f'study file "{path}"')
    try:
        return Study.model_validate(table)
    except ValidationError as error:
        raise HwsimError(f'the study file "{path}" is refused: {_first(error)}') from None


_LISTS = {"too_short": "a list has one entry or more", "tuple_type": "input should be a list"}
"""What is said of a list in place of pydantic's words, which are those of Python."""


def _first(error: ValidationError) -> str:
    """Return pydantic's first complaint as one clause with the key's path."""
    problem = error.errors()[0]
    where = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return f'unknown key "{where}"; known: {_unknown(problem["loc"])}'
    if problem["type"] == "missing":
        return f'the key "{where}" is missing; add it'
    message = _LISTS.get(problem["type"], problem["msg"]).removeprefix("Value error, ")
    given = problem["input"]
    return f"{where or 'study'}: {message[0].lower()}{message[1:]}" + (
        ""
        if problem["type"] == "value_error"
        else f", not {reprlib.repr(list(given) if isinstance(given, tuple) else given)}"
    )


def _unknown(key: tuple[int | str, ...]) -> str:
    """Return the keys that stand where an unknown one was given, and where that one or one like it may be meant."""
    table, name = Study, str(key[-1])
    for part in key[:-1]:
        table = _table_of(table.model_fields[part].annotation) if part in table.model_fields else table
    tables = {where: _table_of(field.annotation) for where, field in Study.model_fields.items()}
    homes = [f"[{where}]" for where, its in tables.items() if name in getattr(its, "model_fields", ())]
    hint = f" ({name} stands under {homes[0]})" if homes else _hint(name, table.model_fields)
    return ", ".join(table.model_fields) + hint


def _table_of(annotation: Any) -> Any:
    """Return the table of a field, whether it can be left out or not; of named tables that of each."""
    return next((choice for choice in get_args(annotation) if choice not in (NoneType, str)), annotation)


def _toml(table: dict[str, Any], path: str = "") -> str:
    """Return nested tables of strings, numbers and lists as TOML."""
    lines = [f"[{path}]"] if path else []
    nested = []
    for key, value in table.items():
        name = key if key.isascii() and key.isidentifier() else quoted(key)
        if isinstance(value, dict):
            nested.append(_toml(value, f"{path}.{name}" if path else name))
        else:
            lines.append(f"{name} = {_toml_value(value)}")
    return "\n".join(lines) + "\n" + "".join("\n" + text for text in nested)


def _toml_value(value: Any) -> str:
    if isinstance(value, str):
        return quoted(value)
    return f"[{', '.join(map(_toml_value, value))}]" if isinstance(value, tuple) else str(value).lower()
