"""Datapaths by name, from a user's file, and for the layers of a network."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Mapping
from dataclasses import is_dataclass, replace
from typing import Any, get_type_hints

from hwsim import layers
from hwsim.bits import LayerBits
from hwsim.catalogue import look_up, reason
from hwsim.datapath.add import Add
from hwsim.datapath.adder_tree import AdderTree
from hwsim.datapath.adders import width_of
from hwsim.datapath.apot_mac import ApotMac
from hwsim.datapath.bit_serial_mac import BitSerialMac
from hwsim.datapath.bitmap_decode import BitmapDecode
from hwsim.datapath.channel_clamp import ChannelClamp
from hwsim.datapath.constant_dot import ConstantDot
from hwsim.datapath.datapath import Datapath, Register, Scheduled, describe, elaborate, resolver
from hwsim.datapath.decomposable_mac import DecomposableMac
from hwsim.datapath.focused_mac import FocusedMac
from hwsim.datapath.from_half import FromHalf
from hwsim.datapath.half_add import HalfAdd
from hwsim.datapath.huffman_decode import HuffmanDecode
from hwsim.datapath.input_sum import InputSum, sum_format
from hwsim.datapath.mac import Mac
from hwsim.datapath.output_stationary_array import OutputStationaryArray
from hwsim.datapath.pool import AveragePool, MaxPool
from hwsim.datapath.requantize import Requantize
from hwsim.datapath.requantize_sums import RequantizeSums
from hwsim.datapath.resolve import Resolve
from hwsim.datapath.run_length_decode import RunLengthDecode
from hwsim.datapath.shift_mac import ShiftMac
from hwsim.datapath.systolic import MACS
from hwsim.datapath.to_half import ToHalf
from hwsim.datapath.unpack import Unpack
from hwsim.datapath.weight_stationary_array import WeightStationaryArray
from hwsim.errors import HwsimError, unknown
from hwsim.formats import Focused, Half, Int, Overflow, Rounding, TensorFormat
from hwsim.network import IntegerLayer

__all__ = [
    "DATAPATHS",
    "Datapath",
    "Register",
    "apart",
    "describe",
    "elaborate",
    "load",
    "multiply_accumulate",
    "parts",
]

DATAPATHS: dict[str, type[Any]] = {
    "mac": Mac,
    "shift_mac": ShiftMac,
    "apot_mac": ApotMac,
    "focused_mac": FocusedMac,
    "bit_serial_mac": BitSerialMac,
    "adder_tree": AdderTree,
    "constant_dot": ConstantDot,
    "decomposable_mac": DecomposableMac,
    "output_stationary_array": OutputStationaryArray,
    "weight_stationary_array": WeightStationaryArray,
    "input_sum": InputSum,
    "resolve": Resolve,
    "requantize": Requantize,
    "requantize_sums": RequantizeSums,
    "channel_clamp": ChannelClamp,
    "add": Add,
    "max_pool": MaxPool,
    "average_pool": AveragePool,
    "to_half": ToHalf,
    "half_add": HalfAdd,
    "from_half": FromHalf,
    "unpack": Unpack,
    "huffman_decode": HuffmanDecode,
    "bitmap_decode": BitmapDecode,
    "run_length_decode": RunLengthDecode,
}

_PARAMETER = re.compile(r"(.+?) +([a-z_]+)=(\S+) *")

_MEMBERS = ("inputs", "registers", "outputs", "compute", "connect")


def load(text: str) -> type[Any] | Datapath:
    """Return the datapath that a name or ``path/to/file.py:NAME`` means: a class, or one with its parameters."""
    found: Any = look_up("datapath", text, DATAPATHS)
    members = {*dir(found), *getattr(found, "__dataclass_fields__", ())}
    if not is_dataclass(found) or not members.issuperset(_MEMBERS) or found.__hash__ is None:
        raise HwsimError(f'"{text}" is no datapath; write a frozen dataclass with {", ".join(_MEMBERS)}')
    return found  # type: ignore[return-value]


def parts(
    item: IntegerLayer,
    formats: Mapping[str, TensorFormat],
    rounding: Rounding,
    mac: str = "mac",
    **mac_options: Any,
) -> dict[str, Datapath]:
    """Return the circuits that one layer of an integer network runs, by their names in :data:`DATAPATHS`.

    ``formats`` are those of the network's tensors. ``mac`` names the multiply-accumulate, "mac" standing
    for a :class:`ShiftMac` or :class:`ApotMac` where the weights are powers of two or sums of them, which have no
    multiplier to choose; it is called with the layer's formats and ``mac_options``. Layers that only move data run no circuit.
    """
    circuits = _computing(item, formats, rounding, mac, **mac_options)
    if circuits and item.width is not None and item.layer.kind != "max_pool":
        circuits["channel_clamp"] = _channel_clamp(item)
    return circuits


def _channel_clamp(item: IntegerLayer) -> ChannelClamp:
    assert isinstance(item.requantized, Int) and isinstance(item.output, Int)
    return ChannelClamp(item.requantized, item.output)


def _computing(
    item: IntegerLayer, formats: Mapping[str, TensorFormat], rounding: Rounding, mac: str, **mac_options: Any
) -> dict[str, Datapath]:
    """Return the circuits of a layer up to its requantiser."""
    source, output = formats[item.layer.inputs[0]], item.requantized
    if isinstance(source, Half) or isinstance(output, Half):
        return _with_halves(item, formats, rounding, mac, **mac_options)
    match item.layer.operator:
        case layers.Convolution() | layers.Linear():
            assert item.bits is not None
            recentralized = item.masks is not None
            sums = multiply_accumulate(item.bits, mac, recentralized=recentralized, **mac_options)
            if not recentralized:
                return {
                    "mac": sums,
                    **_behind(sums),
                    "requantize": Requantize(item.bits.accumulator, output, rounding),
                }
            masked = _masked(item, rounding)
            if isinstance(sums, FocusedMac):
                sums = replace(sums, input_sum=masked.pop("input_sum").registers["accumulator"].format)
            return {"mac": sums, **_behind(sums), **masked}
        case layers.Add():
            second = formats[item.layer.inputs[1]]
            assert isinstance(second, Int)
            return {"add": Add(source, second, output, rounding)}
        case layers.AveragePool(kernel):
            bits = source.bits + (math.prod(kernel) - 1).bit_length()
            pool = AveragePool(source, Int(bits, source.signed))
            return {"average_pool": pool, "requantize": Requantize(pool.accumulator, output, rounding)}
        case layers.MaxPool():
            return {"max_pool": MaxPool(source)}
        case layers.Rescale():
            return {"requantize": Requantize(source, output, rounding)}
    return {}


def _with_halves(
    item: IntegerLayer, formats: Mapping[str, TensorFormat], rounding: Rounding, mac: str, **mac_options: Any
) -> dict[str, Datapath]:
    """Return the circuits of a layer that reads or makes half precision."""
    source, output = formats[item.layer.inputs[0]], item.requantized
    match item.layer.operator:
        case layers.Add():
            second = formats[item.layer.inputs[1]]
            assert isinstance(source, Half) and isinstance(second, Half) and isinstance(output, Half)
            return {"half_add": HalfAdd(source, second, output)}
        case layers.FromHalf():
            assert isinstance(source, Half) and isinstance(output, Int)
            return {"from_half": FromHalf(source, output, rounding)}
        case layers.Rescale():
            assert isinstance(source, Int) and isinstance(output, Half)
            return {"to_half": ToHalf(source, output)}
    if item.bits is None:
        return {}
    assert isinstance(output, Half)
    sums = multiply_accumulate(item.bits, mac, **mac_options)
    return {"mac": sums, **_behind(sums), "to_half": ToHalf(item.bits.accumulator, output)}


def _behind(sums: Datapath) -> dict[str, Datapath]:
    """Return the circuit that adds up what a multiply-accumulate keeps in several registers."""
    found = resolver(sums)
    return {} if found is None else {"resolve": found}


def apart(mac: str) -> str:
    """Return the multiply-accumulate that whole networks are simulated on: a focused_mac's parts, else what was asked for.

    ``hwsim check focused_mac`` holds it against these parts; its circuits are theirs side by side.
    """
    name, _ = written(mac)
    return "mac" if load(name) is FocusedMac else mac


def written(text: str) -> tuple[str, dict[str, str]]:
    """Return a datapath's name and the parameters written behind it.

    >>> written("mac multiplier=booth adder=carry_save")
    ('mac', {'multiplier': 'booth', 'adder': 'carry_save'})
    """
    name, options = text, dict[str, str]()
    while found := _PARAMETER.fullmatch(name):
        name, parameter, value = found.groups()
        options = {parameter: value} | options
    return name, options


def _masked(item: IntegerLayer, rounding: Rounding) -> dict[str, Datapath]:
    """Return the circuits of a layer that adds sums of its inputs.

    The constants of these sums get the whole bytes that hold the layer's, so that layers share circuits.
    """
    assert item.bits is not None and item.masks is not None and item.mask_multiplier is not None
    assert isinstance(item.requantized, Int)
    one = InputSum(item.bits.activation, sum_format(item.bits.activation, item.layer.products))
    needed = width_of(int(item.mask_multiplier.min()), int(item.mask_multiplier.max()))
    requantize = RequantizeSums(
        item.bits.accumulator,
        one.accumulator,
        len(item.masks),
        item.requantized,
        rounding,
        sum_multiplier=Int(-(-needed // 8) * 8),
    )
    return {"input_sum": one, "requantize_sums": requantize}


@functools.cache
def _types(circuit: type[Any]) -> dict[str, Any]:
    """Return the types that a class of datapaths declares; reading them takes longer than making a circuit's parameters."""
    return get_type_hints(circuit)


def multiply_accumulate(
    bits: LayerBits, name: str, *, recentralized: bool = False, **options: Any
) -> Datapath:
    """Return the multiply-accumulate ``name`` in a layer's formats, as :func:`parts` uses it.

    Parameters may be written behind the name, as in ``mac multiplier=booth stages=2``.

    Focused weights are the powers of two of their alphabet, ``recentralized`` or plain, except to "focused_mac",
    which takes the symbols of recentralized layers and leaves all others to "mac".
    """
    name, behind = written(name)
    circuit = load(name)
    options = _read(name, circuit, behind) | options
    if circuit is FocusedMac and not (isinstance(bits.weight, Focused) and recentralized):
        circuit, options = Mac, {}
    if isinstance(bits.weight, Focused) and circuit is not FocusedMac:
        bits = replace(bits, weight=bits.weight.shift(recentralized=recentralized))
    if circuit is Mac and not isinstance(bits.weight, Int):
        circuit = MACS[type(bits.weight)]
        options = {key: options[key] for key in options if key != "multiplier"}
    if not isinstance(circuit, type):
        raise HwsimError(f'"{name}" has its formats already; give the class, so that each layer sets its own')
    if _types(circuit).get("weight") is Int and not isinstance(bits.weight, Int):  # type: ignore[arg-type]
        raise HwsimError(
            f'the datapath "{name}" takes integer weights, not {bits.weight}; leave that format out'
        )
    try:
        made: Datapath = circuit(
            weight=bits.weight,
            activation=bits.activation,
            accumulator=bits.accumulator,
            overflow=bits.overflow,
            **options,
        )
    except Exception as error:
        why = error if isinstance(error, HwsimError) else reason(error)
        raise HwsimError(f'the datapath "{name}" cannot be made for {bits}: {why}') from error
    if isinstance(made, Scheduled):
        if bits.overflow is not Overflow.WRAP:
            raise HwsimError(
                f'the datapath "{name}" does not add product by product, so that it cannot {bits.overflow} as a network '
                "does; use wrap"
            )
    elif set(made.inputs) != {"activation", "weight"}:
        raise HwsimError(
            f'the datapath "{name}" has the ports {", ".join(made.inputs)}; a network runs on circuits that take '
            "activation and weight, or that say their schedule in cycles() and operands()"
        )
    return made


def _read(name: str, circuit: object, options: Mapping[str, str]) -> dict[str, Any]:
    """Return written parameters by the types that a datapath declares for them: names and whole numbers."""
    kinds = _types(circuit) if isinstance(circuit, type) else {}
    known = [f for f in getattr(circuit, "__dataclass_fields__", ()) if kinds.get(f) in (str, int)]
    for parameter, text in options.items():
        if parameter not in known:
            raise unknown(f"parameter of {name}", parameter, known)
        if kinds[parameter] is int and not text.isdecimal():
            raise HwsimError(f'{parameter} "{text}" is no whole number')
    return {key: int(text) if kinds[key] is int else text for key, text in options.items()}
