"""The stages of the work as plain functions; ``import hwsim`` offers them as its own.

Each is the command of the same verb: ``quantize_model`` is ``hwsim quantize`` and so on.
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

import numpy as np

from hwsim import files
from hwsim.bits import parse_overflow
from hwsim.certificate import Certificate, certify, narrowed, witness
from hwsim.cost.archive import Ledger, pack_network, unpack_network
from hwsim.cost.memory.hierarchy import Accelerator
from hwsim.cost.memory.network import LayerMemory, network_memory
from hwsim.cost.synthesis import Cost, synthesize
from hwsim.cost.technology import read_liberty
from hwsim.data import Split, load_split
from hwsim.datapath import Datapath, load, multiply_accumulate
from hwsim.errors import HwsimError, unknown
from hwsim.formats import (
    Focused,
    Half,
    Int,
    Overflow,
    PowerOfTwo,
    Rounding,
    parse_format,
    parse_int,
    parse_tensor_format,
    parse_weight,
)
from hwsim.network import FloatNetwork, QuantizedNetwork, to_bytes
from hwsim.network import load as load_network
from hwsim.simulate.inference import Accuracy, Difference, Overflows, compute_layer, measure_accuracy
from hwsim.simulate.replay import Replay, replay

if TYPE_CHECKING:
    from hwsim.cost.entropy import Entropies
    from hwsim.explore.exploration import Explored
    from hwsim.quantize.pipeline import Stage, Told
    from hwsim.simulate.circuits import Circuits
    from hwsim.study import Study


def quantize_model(
    model: str | FloatNetwork,
    bits: str,
    *,
    quantizer: str = "",
    calibration: str = "",
    images: int = 0,
    accumulators: str = "given",
    progress: Callable[[int, int], None] | None = None,
    **preprocessing: Any,
) -> QuantizedNetwork:
    """Return a trained network as an integer network.

    ``model`` is a built-in name, an ONNX file or a network already loaded; ``bits`` a shorthand for all
    layers (``w4a8/int16``, ``w4a4/int32 edges=8``) or the TOML text of a bit configuration; ``quantizer`` settings such as
    ``activations=kl tolerance=1.3``. Calibration reads the calibration split of ``calibration`` (a data
    set, a file or a folder of images; the model's own data if left out), all of it or its first ``images``, each twice,
    of which ``progress`` is told; it is kept in the user's cache folder for the next time. ``accumulators``
    is "given", or "proved" for each layer's narrowest accumulator that no input overflows. For ONNX files,
    ``div``, ``mean`` and ``std`` give the preprocessing.
    """
    if accumulators not in ACCUMULATORS:
        raise unknown("choice of accumulators", accumulators, ACCUMULATORS)
    from hwsim.models import load_model
    from hwsim.quantize import quantize
    from hwsim.quantize.once import calibrate_once
    from hwsim.quantize.settings import Settings

    network = load_model(model, **preprocessing) if isinstance(model, str) else model
    source = calibration or network.data
    if not source:
        raise HwsimError(
            f'model "{network.name}" names no data set; give one to calibrate on: --calibration file.npz'
        )
    split = load_split(source, "calibration", network.input_shape)
    split.check(network.input_shape, network.layers[-1].outputs)
    chosen = split.part(slice(images)) if images else split
    quantized = quantize(
        network, bits, calibrate_once(network, chosen, progress), settings=Settings.parse(quantizer)
    )
    return narrowed(quantized) if accumulators == "proved" else quantized


@dataclass(frozen=True, eq=False)
class FineTuned:
    """A fine-tuned network: its stages, of which the last holds the float network and its integers."""

    stages: tuple[Stage, ...]

    @property
    def network(self) -> FloatNetwork:
        """The float network as trained."""
        return self.stages[-1].network

    @property
    def integers(self) -> QuantizedNetwork:
        """The integer network it was trained as."""
        integers = self.stages[-1].integers
        assert integers is not None
        return integers

    def to_json(self) -> dict[str, Any]:
        return {"stages": [_stage_json(stage) for stage in self.stages], "source": self.integers.source}

    def text(self) -> str:
        """Return the stages as a table for people."""
        lines = [
            f"{'stage':12}{'zero weights':>14}{'epochs':>8}{'loss':>9}{'training images':>17}{'seconds':>9}"
        ]
        for stage in self.stages[1:]:
            loss = right = ""
            if stage.epochs:
                last = stage.epochs[-1]
                loss, right = f"{last.loss:.4f}", f"{100 * last.correct / last.images:.2f}% right"
            zeros = f"{100 * stage.sparsity:.2f}%"
            lines.append(
                f"{stage.name:12}{zeros:>14}{len(stage.epochs):8}{loss:>9}{right:>17}{stage.seconds:9.1f}"
            )
        return "\n".join(lines)


def _stage_json(stage: Stage) -> dict[str, Any]:
    return {
        "stage": stage.name,
        "sparsity": stage.sparsity,
        "seconds": stage.seconds,
        "epochs": [asdict(epoch) for epoch in stage.epochs],
    }


SMALLEST_BATCH, LARGEST_BATCH = 16, 128


def fine_tune_model(
    model: str | FloatNetwork,
    bits: str = "w4a4/int32",
    *,
    epochs: int = 6,
    rate: float = 0.01,
    sparsity: float = 0.0,
    float_epochs: int = 0,
    float_rate: float = 0.01,
    batch: int = 0,
    shift: int | None = None,
    mirror: bool | None = None,
    seed: int = 0,
    quantizer: str = "",
    data: str = "",
    calibration: str = "",
    images: int = 0,
    progress: Told = lambda stage, done, planned, epoch: None,
    **preprocessing: Any,
) -> FineTuned:
    """Return a trained network pruned, fine-tuned in float, quantized and fine-tuned as integers; what has no epochs is left out.

    ``model``, ``bits``, ``quantizer``, ``calibration``, ``images`` and the preprocessing are those of :func:`quantize_model`.
    Training reads the train split of ``data`` (a data set or an NPZ file; the model's own data if left out): ``batch`` images
    at a time (0 takes a thirtieth of the split, 16 to 128), each moved by up to ``shift`` pixels (by default a
    sixteenth of the height) and mirrored at random if ``mirror`` (by default colour images are).
    """
    from hwsim.models import load_model
    from hwsim.quantize.pipeline import stages
    from hwsim.quantize.settings import Settings
    from hwsim.quantize.training import Recipe

    network = load_model(model, **preprocessing) if isinstance(model, str) else model
    train = _split(network, data, "train", "--data")
    seen = _split(network, calibration, "calibration", "--calibration")
    seen = seen.part(slice(images)) if images else seen
    channels, height, _ = network.input_shape
    recipe = Recipe(
        epochs,
        rate,
        batch or min(max(len(train) // 30, SMALLEST_BATCH), LARGEST_BATCH),
        shift=max(1, height // 16) if shift is None else shift,
        mirror=channels == 3 if mirror is None else mirror,
        seed=seed,
    )
    float_recipe = replace(recipe, epochs=float_epochs, rate=float_rate)
    done = stages(
        network,
        bits,
        train,
        seen.images,
        settings=Settings.parse(quantizer),
        recipe=recipe,
        sparsity=sparsity,
        float_recipe=float_recipe,
        progress=progress,
    )
    return FineTuned(tuple(done))


def _split(network: FloatNetwork, source: str, name: str, option: str) -> Split:
    """Return a split of a data set or file, or of the network's own data."""
    source = source or network.data
    if not source:
        raise HwsimError(
            f'model "{network.name}" names no data set; give one for its {name} split: {option} file.npz'
        )
    split = load_split(source, name, network.input_shape)
    split.check(network.input_shape, network.layers[-1].outputs)
    return split


ACCUMULATORS = ("given", "proved")
"""Whether accumulators have the widths that the bits give, or the narrowest that are proved safe."""


@dataclass(frozen=True, eq=False)
class Verdict:
    """A layer's certificate and, where it is unsafe, activations that overflow a channel, run on its circuit.

    ``activations`` [products] come in summing order; ``overflowed`` says whether the circuit's sum left the
    range, as the certificate says it does.
    """

    certificate: Certificate
    channel: int | None = None
    activations: tuple[int, ...] = ()
    overflowed: bool = False

    def __str__(self) -> str:
        if self.channel is None:
            return str(self.certificate)
        seen = "overflows" if self.overflowed else "DOES NOT overflow"
        return f"{self.certificate}; a witness {seen} channel {self.channel} of the circuit"

    def to_json(self) -> dict[str, Any]:
        seen = {"channel": self.channel, "activations": self.activations, "overflowed": self.overflowed}
        return self.certificate.to_json() | {"witness": None if self.channel is None else seen}


def certify_network(network: QuantizedNetwork | Path | str, *, mac: str = "mac") -> tuple[Verdict, ...]:
    """Return, for every layer with weights, whether any input can overflow its accumulator, and a witness if so.

    The witness is run on the compiled circuit of ``mac``.
    """
    chosen = network if isinstance(network, QuantizedNetwork) else load_network(Path(network))
    return tuple(_verdict(chosen, certificate, mac) for certificate in certify(chosen))


def _verdict(network: QuantizedNetwork, certificate: Certificate, mac: str) -> Verdict:
    from hwsim.simulate.lanes import reduce

    if certificate.proved:
        return Verdict(certificate)
    channel = int(certificate.unsafe[0])
    activations = witness(network, certificate.layer, channel)
    weight = next(item.weight for item in network.layers if item.layer.name == certificate.layer)
    assert activations is not None and weight is not None
    circuit = multiply_accumulate(certificate.bits, mac)
    sums = reduce(circuit, activations[None], weight[channel].reshape(-1, 1), observe=["overflow"])
    return Verdict(certificate, channel, tuple(activations.tolist()), bool(np.all(sums.overflowed)))


def measure_network_entropies(
    network: QuantizedNetwork | Path | str, *, data: str = "", images: int = 64
) -> Entropies:
    """Return the entropy of a network's weights and activations, over the first ``images`` of a calibration split.

    The split is that of ``data``, or of the network's own data; with 0 images the whole of it.
    """
    from hwsim.cost.entropy import measure_entropies

    chosen = network if isinstance(network, QuantizedNetwork) else load_network(Path(network))
    source = data or chosen.data
    if not source:
        raise HwsimError(f'network "{chosen.name}" names no data set; give one to measure entropy on')
    split = load_split(source, "calibration", chosen.input_shape)
    return measure_entropies(chosen, (split.part(slice(images)) if images else split).images)


VERIFIED_IMAGES = 16

BACKENDS = ("lanes", "arithmetic", "pyrtl", "verilog")
"""What runs a network: its compiled circuits, or exact arithmetic alone or with a sample in another simulator."""


@dataclass(frozen=True)
class Simulation:
    """An integer network's accuracy and overflows on a test split, and what its circuits ran.

    ``cycles`` are the clock cycles of each layer's compiled circuits over all images (empty unless they ran),
    ``steps`` says what they ran for its sums. ``certificates`` say which layers no input can overflow. ``replays`` are the outputs that ``simulators`` ran as well.
    """

    network: str
    data: str
    backend: str
    accuracy: Accuracy
    cycles: Mapping[str, int]
    steps: Mapping[str, str]
    simulators: tuple[str, ...]
    replays: tuple[Replay, ...]
    certificates: tuple[Certificate, ...] = ()

    @property
    def verdicts(self) -> dict[str, str]:
        """What is known of each layer's accumulators: proved, or what they did on these images."""
        proved = {c.layer for c in self.certificates if c.proved}
        return {o.layer: self._known(o, o.layer in proved) for o in self.accuracy.overflows}

    def _known(self, seen: Overflows, proved: bool) -> str:
        if proved:
            return "proved safe"
        if seen.overflowed:
            return f"overflows in {seen.overflowed} of {seen.sums} sums"
        return f"safe on {self.accuracy.images} images"

    @property
    def difference(self) -> Difference | None:
        """The first value on which a circuit and the arithmetic disagree, or None."""
        found = (self.accuracy.difference, *(r.difference for r in self.replays))
        return next((d for d in found if d is not None), None)

    def to_json(self) -> dict[str, Any]:
        low, high = self.accuracy.interval
        return {
            "network": self.network,
            "data": self.data,
            "backend": self.backend,
            "correct": self.accuracy.correct,
            "images": self.accuracy.images,
            "accuracy_percent": self.accuracy.percent,
            "interval_percent": [low, high],
            "overflows": [asdict(o) for o in self.accuracy.overflows],
            "accumulators": self.verdicts,
            "circuit_cycles": dict(self.cycles),
            "circuit_steps": dict(self.steps),
            "verified_in": list(self.simulators),
            "verified": [asdict(r) for r in self.replays],
            "equal": self.difference is None,
        }

    def text(self) -> str:
        """Return the result as a table for people."""
        low, high = self.accuracy.interval
        overflows = {o.layer: o for o in self.accuracy.overflows}
        width = max(map(len, [*overflows, *self.cycles, "layer"]))
        lines = [f"{'layer':{width}}  {'sums':>12}  {'circuit cycles':>14}  accumulators"]
        for name in dict.fromkeys([*self.cycles, *overflows]):
            sums = overflows[name].sums if name in overflows else ""
            known = self.verdicts.get(name, "")
            lines.append(f"{name:{width}}  {sums:>12}  {self.cycles.get(name, ''):>14}  {known}".rstrip())
        lines += [
            f"  overflows in {o.layer} by channel: {_channels(o.by_channel)}"
            for o in overflows.values()
            if o.overflowed
        ]
        lines.append(
            f"accuracy {self.accuracy.percent:.2f}% ({self.accuracy.correct} of {self.accuracy.images} test images of "
            f"{self.data}, 95% interval {low:.2f} to {high:.2f})"
        )
        return "\n".join([*lines, *self._verdict()])

    def _verdict(self) -> Iterator[str]:
        """Yield how much the circuits ran and whether anything differed, a line each."""
        if self.cycles:
            yield f"circuits: every output of every image, {sum(self.cycles.values())} clock cycles"
            for step in dict.fromkeys(self.steps.values()):
                layers = [name for name, other in self.steps.items() if other == step]
                which = "all layers" if len(layers) == len(self.steps) else ", ".join(layers)
                yield f"  sums of {which}: {step}"
        if self.replays:
            outputs, cycles = (
                sum(getattr(r, field) for r in self.replays) for field in ("compared", "cycles")
            )
            where = " and in ".join(_SIMULATORS[name] for name in self.simulators)
            agreed = sum(r.difference is None for r in self.replays)
            how = (
                "all agree"
                if agreed == len(self.replays)
                else f"{agreed} of {len(self.replays)} layers agree"
            )
            yield f"sample: {outputs} outputs of all layers, {cycles} clock cycles, in {where}: {how}"
        if self.cycles or self.replays:
            compared = (
                "every output and overflow" if self.cycles else "every accumulator and output of the sample"
            )
            yield f"circuits against arithmetic, at {compared}: {self.difference or 'no difference'}"


_SIMULATORS = {"pyrtl": "PyRTL's simulator", "verilog": "Icarus Verilog", "verilator": "Verilator"}


def _channels(counts: tuple[int, ...]) -> str:
    return ", ".join(f"{channel}: {count}" for channel, count in enumerate(counts) if count)


def simulate_network(
    network: QuantizedNetwork | Path | str,
    *,
    data: str = "",
    images: int = 0,
    backend: str = "lanes",
    verify: int = 4,
    seed: int = 0,
    mac: str = "mac",
    gates: bool = False,
    threads: int = 0,
    progress: Callable[[int, int], None] = lambda done, planned: None,
) -> Simulation:
    """Run an integer network on a test split and compare its circuits with exact arithmetic.

    ``backend`` is one of :data:`BACKENDS`. With "lanes" the compiled circuits compute every output of every
    image, on ``threads`` threads (0 for all cores), and are compared at every tensor; sums run as arithmetic
    where a multiply-accumulate is proved to be that, unless ``gates``. ``verify`` outputs of each layer, drawn
    with ``seed`` from the first 16 images, go through PyRTL's simulator and, where installed, Icarus Verilog
    or Verilator as well. With "pyrtl" and
    "verilog" the arithmetic computes the network and the named simulator that sample alone.
    """
    chosen = network if isinstance(network, QuantizedNetwork) else load_network(Path(network))
    source = data or chosen.data
    if not source:
        raise HwsimError(f'network "{chosen.name}" names no data set; give one to test on: --data file.npz')
    if backend not in BACKENDS:
        raise unknown("backend", backend, BACKENDS)
    split = load_split(source, "test", chosen.input_shape)
    split.check(chosen.input_shape, chosen.layers[-1].layer.outputs)
    tested = split.part(slice(images)) if images else split
    x, labels = tested.images, tested.labels
    compiled = _compiled(chosen, mac, gates, threads) if backend == "lanes" else None
    accuracy = measure_accuracy(
        chosen,
        x,
        labels,
        compute=compiled.compute if compiled else compute_layer,
        against=compute_layer if compiled else None,
        progress=progress,
    )
    simulators = _simulators(backend) if verify else ()
    replays = (
        replay(chosen, x[:VERIFIED_IMAGES], outputs=verify, simulators=simulators, seed=seed, mac=mac)
        if simulators
        else ()
    )
    cycles = {item.layer.name: compiled.cycles(item) * len(x) for item in chosen.layers} if compiled else {}
    return Simulation(
        chosen.name,
        source,
        backend,
        accuracy,
        {name: count for name, count in cycles.items() if count},
        compiled.steps if compiled else {},
        simulators,
        replays,
        certify(chosen),
    )


def _compiled(network: QuantizedNetwork, mac: str, gates: bool, threads: int) -> Circuits:
    from hwsim.simulate.circuits import Circuits

    return Circuits(network, mac=mac, gates=gates, threads=threads or os.cpu_count() or 1)


def _simulators(backend: str) -> tuple[str, ...]:
    if backend == "lanes":
        return ("pyrtl", *_verilog())
    if backend == "verilog":
        return _verilog() or ("verilog",)
    return () if backend == "arithmetic" else (backend,)


def _verilog() -> tuple[str, ...]:
    """Return the Verilog simulator that is installed: Icarus before Verilator, which compiles each circuit."""
    if shutil.which("iverilog") and shutil.which("vvp"):
        return ("verilog",)
    return ("verilator",) if shutil.which("verilator") else ()


@dataclass(frozen=True)
class NetworkTraffic:
    """Every layer of a network on an accelerator, at a clock of ``clock_mhz``."""

    network: str
    accelerator: Accelerator
    layers: tuple[LayerMemory, ...]
    clock_mhz: float

    @property
    def cycles(self) -> int:
        """Cycles of one image, layer after layer."""
        return sum(layer.cycles for layer in self.layers)

    @property
    def dram_bytes(self) -> int:
        """Bytes over the bus for one image, whole bursts."""
        return sum(layer.dram_bytes for layer in self.layers)

    @property
    def macs(self) -> int:
        return sum(layer.macs for layer in self.layers)

    @property
    def images_per_second(self) -> float:
        return self.clock_mhz * 1e6 / self.cycles

    @property
    def utilisation(self) -> float:
        """Multiply-accumulates of an image, of those that the array could do meanwhile."""
        return self.macs / (self.cycles * self.accelerator.array.elements)

    def bandwidth(self, images_per_second: float) -> float:
        """Return the megabytes a second over the bus at a throughput that the cycles allow."""
        if not 0 < images_per_second <= self.images_per_second:
            raise HwsimError(
                f"a throughput is above 0 and at most the {self.images_per_second:.4g} images a second that {self.cycles} "
                f"cycles at {self.clock_mhz:g} MHz allow, not {images_per_second:g}; ask for fewer"
            )
        return images_per_second * self.dram_bytes / 1e6

    def to_json(self) -> dict[str, Any]:
        return {
            "network": self.network,
            "accelerator": asdict(self.accelerator),
            "clock_mhz": self.clock_mhz,
            "macs": self.macs,
            "dram_bytes": self.dram_bytes,
            "cycles": self.cycles,
            "utilisation": self.utilisation,
            "images_per_second": self.images_per_second,
            "megabytes_per_second": self.bandwidth(self.images_per_second),
            "layers": [layer.to_json() for layer in self.layers],
        }

    def text(self) -> str:
        """Return the layers as a table for people."""
        heads = (
            "layer",
            "tiles",
            "keeps",
            "DRAM bytes",
            "array bytes",
            "cycles",
            "used",
            "MACs/byte",
            "bound by",
        )
        rows = [heads, *(_traffic_row(layer) for layer in self.layers if layer.cycles)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
        lines = [
            "  ".join(
                f"{cell:{width}}" if column < 3 else f"{cell:>{width}}"
                for column, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in rows
        ]
        return "\n".join([*lines, self._summary()])

    def _summary(self) -> str:
        array, hierarchy = self.accelerator.array, self.accelerator.hierarchy
        memory_bound = sum(layer.dram_cycles for layer in self.layers if layer.bound == "memory")
        return (
            "tiles: groups g, output channels k, input channels c, output rows p and columns q, kernel rows r and columns s\n"
            f"an image: {self.dram_bytes} bytes of DRAM, {self.cycles} cycles, {100 * self.utilisation:.1f}% of the "
            f"{array.rows}x{array.columns} array used, {100 * memory_bound / self.cycles:.0f}% of the cycles wait for the "
            f"{hierarchy.bus_bits}-bit bus\n"
            f"at {self.clock_mhz:g} MHz: {self.images_per_second:.4g} images and "
            f"{self.bandwidth(self.images_per_second):.4g} MB a second"
        )


def _traffic_row(layer: LayerMemory) -> tuple[str, ...]:
    tiles, kept = (
        ("", "")
        if layer.tiling is None
        else (" | ".join(map(str, layer.tiling.tiles)), " | ".join(layer.tiling.kept))
    )
    return (
        layer.layer,
        tiles,
        kept,
        str(layer.dram_bytes),
        str(layer.boundaries[-1].total // 8) if layer.tiling else "",
        str(layer.cycles),
        f"{100 * layer.utilisation:.1f}%" if layer.macs else "",
        f"{layer.intensity:.1f}" if layer.macs else "",
        layer.bound,
    )


def memory_traffic(
    network: QuantizedNetwork | Path | str,
    accelerator: Accelerator,
    *,
    bits: str = "w8a8/int32",
    minimise: str = "traffic",
    clock_mhz: float = 500.0,
    **preprocessing: Any,
) -> NetworkTraffic:
    """Return what every layer of a network moves on an accelerator by its best tiling, and the cycles it takes.

    ``network`` is an integer network, its file (.safetensors), or a model as :func:`quantize_model` takes it, which
    gets ``bits``; a model's images are noise then, for no shape or format depends on them.
    """
    if not 0 < clock_mhz < math.inf:
        raise HwsimError(f"the clock is a finite number of MHz above 0, not {clock_mhz}")
    if isinstance(network, str | Path):
        from_file = str(network).endswith(".safetensors")
        network = load_network(Path(network)) if from_file else _on_noise(str(network), bits, preprocessing)
    layers = network_memory(network, accelerator, minimise)
    return NetworkTraffic(network.name, accelerator, layers, clock_mhz)


def _on_noise(model: str, bits: str, preprocessing: Mapping[str, Any]) -> QuantizedNetwork:
    from hwsim.models import load_model
    from hwsim.quantize import quantize

    network = load_model(model, **preprocessing)
    channels, height, width = network.input_shape
    shape = (2, height, width, channels)
    return quantize(network, bits, np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))


def compress_network(network: QuantizedNetwork | Path | str, codec: str = "huffman") -> tuple[bytes, Ledger]:
    """Return an integer network's compressed file and the ledger of its bytes, after decoding it back.

    ``codec`` is one of huffman, ans, packed, bitmap, run_length and best (the smallest of all, layer by layer). Of a
    file, :func:`decompress_network` gives back the same bytes; one that hwsim did not write so is refused.
    """
    chosen = network if isinstance(network, QuantizedNetwork) else load_network(Path(network))
    expected = to_bytes(chosen)
    if not isinstance(network, QuantizedNetwork) and files.read(Path(network), "network file") != expected:
        raise HwsimError(f'"{network}" has not the bytes that hwsim writes; write it again with hwsim.save')
    content, ledger = pack_network(chosen, codec)
    if to_bytes(unpack_network(content)) != expected:
        raise AssertionError("the compressed network decodes to another network")
    return content, ledger


def decompress_network(path: Path | str) -> QuantizedNetwork:
    """Return the integer network of a file that :func:`compress_network` made."""
    try:
        return unpack_network(files.read(Path(path), "compressed network"))
    except HwsimError as error:
        raise HwsimError(f'cannot use "{path}": {error}') from None


def make_datapath(name: str, **parameters: str) -> Datapath:
    """Return a datapath by name (or ``file.py:NAME``) with its parameters given as text.

    >>> make_datapath("mac", weight="int4", activation="uint8", accumulator="int16").multiplier
    'fused'
    """
    loaded = load(name)
    if not isinstance(loaded, type):
        if parameters:
            raise HwsimError(f'"{name}" is one finished circuit; leave out {", ".join(parameters)}')
        return loaded
    hints = get_type_hints(loaded)
    known = {f.name: hints[f.name] for f in fields(loaded)}
    for parameter in parameters:
        if parameter not in known:
            raise unknown(f"parameter of {name}", parameter, known)
    values = {parameter: _parse(parameter, text, known[parameter]) for parameter, text in parameters.items()}
    try:
        return loaded(**values)  # type: ignore[no-any-return]
    except TypeError as error:
        raise HwsimError(f"{name} needs its parameters {', '.join(known)} ({error})") from None


def _parse(parameter: str, text: str, hint: Any) -> Any:
    """Return a parameter's value from its text, by the type the datapath declares for it."""
    if hint is Half:
        half = parse_tensor_format(text)
        if not isinstance(half, Half):
            raise HwsimError(f'{parameter} "{text}" is no floating-point format; write fp16 or ufp16')
        return half
    if hint is Int:
        return parse_int(text)
    if hint is PowerOfTwo or hint == Int | PowerOfTwo:
        return parse_format(text)
    if hint is Focused:
        return parse_weight(text)
    if hint is Overflow:
        return parse_overflow(text)
    if hint is Rounding:
        if text not in list(Rounding):
            raise unknown("rounding", text, Rounding)
        return Rounding(text)
    if hint is int:
        if not text.isdecimal():
            raise HwsimError(f'{parameter} "{text}" is no whole number')
        return int(text)
    return text


def cost_datapath(
    name: str,
    *,
    technology: str = "open45",
    liberty: str = "",
    mapping: str = "balanced",
    timeout_s: float = 120,
    **parameters: str,
) -> Cost:
    """Return the gates, area and critical path of a datapath, synthesised, beside its equivalence check.

    ``liberty`` is the path of a Liberty file to map to in place of a technology.
    """
    if not 0 < timeout_s < math.inf:
        raise HwsimError(f"the synthesis may take a finite number of seconds above 0, not {timeout_s}")
    if liberty and technology != "open45":
        raise HwsimError(f"give technology {technology} or a Liberty file, not both")
    target = read_liberty(Path(liberty)) if liberty else technology
    return synthesize(make_datapath(name, **parameters), target, mapping=mapping, timeout_s=timeout_s)


def explore_study(study: str | Path | Study, directory: str | Path, **options: Any) -> Explored:
    """Evaluate a study (a file or a :class:`Study`) into ``directory`` and write its report there."""
    from hwsim.explore.exploration import explore
    from hwsim.results import write_results
    from hwsim.study import read_study

    if isinstance(study, str | Path):
        study = read_study(Path(study))
    explored = explore(study, Path(directory), **options)
    write_results(explored, Path(directory))
    return explored
