"""The command line: one command per stage, in the order of the work.

Commands import what they need when they run, so that ``hwsim --help`` starts at once.
"""

from __future__ import annotations

import io
import json
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from typer.exceptions import TyperException

from hwsim.errors import HwsimError, unknown

if TYPE_CHECKING:
    from rich.progress import TaskID

    from hwsim.formats import IntArray
    from hwsim.quantize.pipeline import Told
    from hwsim.quantize.training import Epoch

app = typer.Typer(
    name="hwsim",
    help="Cost and accuracy of quantized neural networks, from the circuits themselves.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout and nothing else.")]
_INTERRUPTED = 130
KINDS = ("models", "quantizers", "datapaths", "technologies", "metrics", "searches")


def main() -> None:
    """Run the command line; a refused input is one sentence on stderr and exit status 2."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal may know nothing but ASCII
    try:
        status = app(sys.argv[1:] or ["--help"], standalone_mode=False) or 0
        print(end="", flush=True)
    except HwsimError as error:
        _fail(str(error))
    except (typer.Abort, KeyboardInterrupt):
        status = _INTERRUPTED
    except TyperException as error:
        _fail(f"{error.format_message()} (see hwsim --help)")
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        place = f' "{error.filename}"' if error.filename else ""
        _fail(f"cannot read or write{place}: {error.strerror or error}; free or choose another place")
    except MemoryError:
        _fail("the memory does not suffice; take fewer images or a smaller network")
    except Exception as error:
        if "HWSIM_TRACEBACK" in os.environ:
            raise
        _fail(
            f"a fault of hwsim's own, {type(error).__name__}: {error}; HWSIM_TRACEBACK=1 shows where",
            status=3,
        )
    if status == _INTERRUPTED:
        _fail("interrupted; no file is half-written, and explore goes on where it was", _INTERRUPTED)
    sys.exit(status)


def _fail(sentence: str, status: int = 2) -> NoReturn:
    """Print one line, control characters made visible, and leave."""
    line = "".join(c if c.isprintable() else repr(c)[1:-1] for c in sentence.replace("\n", " "))
    print(f"hwsim: {line}", file=sys.stderr)
    sys.exit(status)


def _print_json(value: Any) -> None:
    print(json.dumps(value, allow_nan=False))


Show = Callable[[str, int, int], None]
"""Called with a stage, what is done of it and what is planned."""


@contextmanager
def _live_progress() -> Iterator[Show]:
    """Yield a function that shows progress on stderr: a bar with the time left on a terminal, else a line now and then."""
    if not sys.stderr.isatty():
        yield _progress_lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    with Progress(*columns, console=Console(stderr=True), speed_estimate_period=120) as bar:
        tasks: dict[str, TaskID] = {}

        def show(stage: str, done: int, planned: int) -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(stage)
            bar.update(tasks[stage], completed=done, total=planned)

        yield show


def _progress_lines(seconds: float = 5.0) -> Show:
    """Return a function that prints where long work stands, at most once in ``seconds``, and where it ends."""
    shown, spoken, last = time.monotonic(), False, ""

    def show(stage: str, done: int, planned: int) -> None:
        nonlocal shown, spoken, last
        line = f"{stage}: {done} of {planned}"
        due = time.monotonic() >= shown + seconds
        if line != last and (due or (spoken and done == planned)):
            shown, spoken, last = time.monotonic(), True, line
            print(line, file=sys.stderr, flush=True)

    return show


def _first_line(thing: Any) -> str:
    return (thing.__doc__ or "").strip().partition("\n")[0]


def _catalogue(kind: str) -> dict[str, str]:
    match kind:
        case "models":
            from hwsim.models import MODELS

            return {name: _first_line(build) for name, build in MODELS.items()}
        case "quantizers":
            from hwsim.quantize.settings import QUANTIZERS

            return {name: _first_line(threshold) for name, threshold in QUANTIZERS.items()}
        case "datapaths":
            from hwsim.datapath import DATAPATHS

            return {name: _first_line(datapath) for name, datapath in DATAPATHS.items()}
        case "technologies":
            from hwsim.cost.technology import TECHNOLOGIES

            return {name: technology.description for name, technology in TECHNOLOGIES.items()}
        case "metrics":
            from hwsim.explore.evaluation import METRICS

            return {m.name: f"{m.title} [{m.unit}, {m.better} is better]" for m in METRICS.values()}
        case "searches":
            from hwsim.explore.search import SEARCHES

            return {name: _first_line(search) for name, search in SEARCHES.items()}
    raise unknown("catalogue", kind, KINDS)


@app.command("list")
def list_(
    kind: Annotated[str, typer.Argument(help=f"One of {', '.join(KINDS)}; all of them if left out.")] = "",
    as_json: Json = False,
) -> None:
    """Say what exists, one line each."""
    catalogues = {name: _catalogue(name) for name in ([kind] if kind else KINDS)}
    if as_json:
        return _print_json(catalogues)
    for name, entries in catalogues.items():
        print(name)
        width = max(map(len, entries))
        for entry, line in entries.items():
            print(f"  {entry:{width}}  {line}")
    return None


def _numbers(text: str, option: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise HwsimError(f'{option} "{text}" is no list of numbers; write 0.5 or 0.485,0.456,0.406') from None


def _preprocessing(div: float | None, mean: str, std: str) -> dict[str, Any]:
    given: dict[str, Any] = {} if div is None else {"div": div}
    if mean:
        given["mean"] = _numbers(mean, "--mean")
    if std:
        given["std"] = _numbers(std, "--std")
    return given


@app.command("quantize")
def quantize_(
    model: Annotated[str, typer.Argument(help="A built-in model, an ONNX file, or file.py:name.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The integer network to write (.safetensors).")
    ],
    bits: Annotated[
        str, typer.Option(help="Bits of all layers, w4a8/int16 or 'w4a4/int32 edges=8' say, or a TOML file.")
    ] = "w8a8/int32",
    quantizer: Annotated[str, typer.Option(help="Settings, such as 'activations=kl tolerance=1.3'.")] = "",
    calibration: Annotated[
        str, typer.Option(help="Data set, file or folder of images to calibrate on.")
    ] = "",
    images: Annotated[int, typer.Option(min=0, help="Calibration images; 0 takes the whole split.")] = 0,
    accumulators: Annotated[
        str, typer.Option(help="Their widths: given by the bits, or the narrowest proved safe: proved.")
    ] = "given",
    div: Annotated[float | None, typer.Option(help="Preprocessing: x = (pixel / div - mean) / std.")] = None,
    mean: Annotated[str, typer.Option(help="Preprocessing mean, one number a channel.")] = "",
    std: Annotated[str, typer.Option(help="Preprocessing std, one number a channel.")] = "",
    entropy: Annotated[
        int, typer.Option(min=0, help="Calibration images to measure the integers' entropy over; 0 for none.")
    ] = 0,
    as_json: Json = False,
) -> None:
    """Write a trained network as an integer network."""
    from hwsim import files, steps
    from hwsim.network import to_bytes

    text = files.read_text(Path(bits), "bit configuration") if bits.endswith(".toml") else bits
    with _live_progress() as show:
        network = steps.quantize_model(
            model,
            text,
            quantizer=quantizer,
            calibration=calibration,
            images=images,
            accumulators=accumulators,
            progress=lambda done, planned: show("calibrate, each image twice", done, planned),
            **_preprocessing(div, mean, std),
        )
    bits_path = output.parent / f"{output.stem}.bits.toml"
    files.write_together({output: to_bytes(network), bits_path: network.bits.to_toml()})
    facts = {
        "network": str(output),
        "bits": str(bits_path),
        "layers": {name: str(b) for name, b in network.bits.items()},
        "calibration": calibration or network.data,
        "source": network.source,
    }
    shared = {i.layer.name: i.weight_width for i in network.layers if i.weight_width is not None}
    stored = {i.layer.name: i.width for i in network.layers if i.width is not None}
    measured = steps.measure_network_entropies(network, data=calibration, images=entropy) if entropy else None
    if as_json:
        widths = {"weight_width": shared, "output_width": stored}
        facts |= {key: {name: w.tolist() for name, w in found.items()} for key, found in widths.items()}
        return _print_json(facts | ({"entropy_bits": asdict(measured)} if measured else {}))
    width = max(map(len, network.bits))
    for name, layer_bits in network.bits.items():
        channels = _widths("channels of", shared.get(name)) + _widths("output stored in", stored.get(name))
        print(f"  {name:{width}}  {layer_bits}{channels}")
        if measured:
            print(
                f"  {'':{width}}  entropy {measured.weights[name]:.2f} bits a weight, "
                f"{measured.activations[name]:.2f} an activation"
            )
    if measured:
        print(
            f"entropy over {measured.images} images: {measured.mean_weight:.4f} bits a weight, "
            f"{measured.mean_activation:.4f} an activation, means over all values"
        )
    print(f"calibrated on the calibration split of {facts['calibration']}: {network.source}")
    print(f"wrote {output} and {bits_path}")
    return None


def _widths(what: str, widths: IntArray | None) -> str:
    if widths is None:
        return ""
    return f"  {what} {widths.min()} to {widths.max()} bits, {widths.mean():.2f} on average"


@app.command("fine-tune")
def fine_tune_(
    model: Annotated[str, typer.Argument(help="A built-in model, an ONNX file, or file.py:name.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The integer network to write (.safetensors).")
    ],
    bits: Annotated[
        str, typer.Option(help="Bits of all layers, w4a4/int32 say, or a TOML file.")
    ] = "w4a4/int32",
    epochs: Annotated[int, typer.Option(min=0, help="Epochs of training as integers.")] = 6,
    rate: Annotated[float, typer.Option(help="Learning rate; a fifth of it in the second half.")] = 0.01,
    sparsity: Annotated[float, typer.Option(help="Share of the weights to remove first.")] = 0.0,
    float_epochs: Annotated[int, typer.Option(min=0, help="Epochs in float before quantization.")] = 0,
    float_rate: Annotated[float, typer.Option(help="Learning rate of those.")] = 0.01,
    batch: Annotated[int, typer.Option(min=0, help="Images a step; 0 lets the split's size decide.")] = 0,
    shift: Annotated[
        int | None, typer.Option(min=0, help="Pixels an image is moved by; a sixteenth of its height.")
    ] = None,
    mirror: Annotated[
        bool | None, typer.Option(help="Mirror images at random; colour images are by default.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of order, moves and mirrors.")] = 0,
    quantizer: Annotated[str, typer.Option(help="Settings, such as 'activations=kl tolerance=1.3'.")] = "",
    data: Annotated[str, typer.Option(help="Data set or NPZ file to train on; the network's own.")] = "",
    calibration: Annotated[str, typer.Option(help="Data set or NPZ file to calibrate on.")] = "",
    images: Annotated[int, typer.Option(min=0, help="Calibration images; 0 takes the whole split.")] = 0,
    div: Annotated[float | None, typer.Option(help="Preprocessing: x = (pixel / div - mean) / std.")] = None,
    mean: Annotated[str, typer.Option(help="Preprocessing mean, one number a channel.")] = "",
    std: Annotated[str, typer.Option(help="Preprocessing std, one number a channel.")] = "",
    as_json: Json = False,
) -> None:
    """Prune and train a network as the integers it will be.

    Writes the integer network, its bits, and the trained float network beside them (NAME.float.safetensors), which
    hwsim quantize and hwsim fine-tune take as a model."""
    from hwsim import files, steps
    from hwsim.models.checkpoint import to_bytes as float_bytes
    from hwsim.network import to_bytes

    text = files.read_text(Path(bits), "bit configuration") if bits.endswith(".toml") else bits
    with _live_progress() as show:
        tuned = steps.fine_tune_model(
            model,
            text,
            epochs=epochs,
            rate=rate,
            sparsity=sparsity,
            float_epochs=float_epochs,
            float_rate=float_rate,
            batch=batch,
            shift=shift,
            mirror=mirror,
            seed=seed,
            quantizer=quantizer,
            data=data,
            calibration=calibration,
            images=images,
            progress=_epochs_as_lines(show),
            **_preprocessing(div, mean, std),
        )
    bits_path, float_path = (
        output.parent / f"{output.stem}.{end}" for end in ("bits.toml", "float.safetensors")
    )
    files.write_together(
        {
            output: to_bytes(tuned.integers),
            bits_path: tuned.integers.bits.to_toml(),
            float_path: float_bytes(tuned.network),
        }
    )
    if as_json:
        return _print_json(
            {"network": str(output), "bits": str(bits_path), "float": str(float_path)} | tuned.to_json()
        )
    print(tuned.text())
    print(f"wrote {output}, {bits_path} and {float_path}")
    return None


def _epochs_as_lines(show: Show) -> Told:
    """Return what shows the images trained on as progress, and each epoch's end as a line of its own on stderr."""

    def told(stage: str, done: int, planned: int, epoch: Epoch) -> None:
        show(f"{stage} images", done, planned)
        if epoch.images == epoch.planned:
            print(f"{stage}, {epoch}", file=sys.stderr, flush=True)

    return told


@app.command("simulate")
def simulate_(
    network: Annotated[Path, typer.Argument(help="An integer network written by hwsim quantize.")],
    data: Annotated[
        str,
        typer.Option(help="Data set, file or folder of images to test on; the network's own if left out."),
    ] = "",
    images: Annotated[int, typer.Option(min=0, help="Test images; 0 takes the whole split.")] = 0,
    backend: Annotated[str, typer.Option(help="lanes, arithmetic, pyrtl or verilog.")] = "lanes",
    verify: Annotated[int, typer.Option(min=0, help="Outputs of each layer for PyRTL and Icarus too.")] = 4,
    seed: Annotated[int, typer.Option(min=0, help="Seed of those outputs.")] = 0,
    gates: Annotated[
        bool, typer.Option("--gates", help="Run gates even where their arithmetic is proved.")
    ] = False,
    threads: Annotated[int, typer.Option(min=0, help="Threads for the circuits; 0 takes all cores.")] = 0,
    mac: Annotated[str, typer.Option(help="The multiply-accumulate datapath, or file.py:name.")] = "mac",
    as_json: Json = False,
) -> None:
    """Run an integer network bit-accurately.

    The compiled circuits compute every output of every image and are compared with exact arithmetic at each;
    any difference ends with exit status 1. Backends pyrtl and verilog run a sample alone, arithmetic none."""
    from hwsim import steps

    with _live_progress() as show:
        result = steps.simulate_network(
            network,
            data=data,
            images=images,
            backend=backend,
            verify=verify,
            seed=seed,
            mac=mac,
            gates=gates,
            threads=threads,
            progress=lambda done, planned: show("simulate images", done, planned),
        )
    if as_json:
        _print_json(result.to_json())
    else:
        print(result.text())
    if result.difference is not None:
        raise typer.Exit(1)


@app.command("certify")
def certify_(
    network: Annotated[Path, typer.Argument(help="An integer network written by hwsim quantize.")],
    mac: Annotated[
        str, typer.Option(help="The multiply-accumulate that runs witnesses, or file.py:name.")
    ] = "mac",
    as_json: Json = False,
) -> None:
    """Say which accumulators no input can overflow.

    Decided exactly from the integer weights, channel by channel. Where an input can, a witness is run on the
    circuit; a witness that does not overflow it ends with exit status 1."""
    from hwsim import steps

    verdicts = steps.certify_network(network, mac=mac)
    if as_json:
        _print_json([verdict.to_json() for verdict in verdicts])
    else:
        width = max(len(v.certificate.layer) for v in verdicts)
        bits = max(len(str(v.certificate.bits)) for v in verdicts)
        for verdict in verdicts:
            c = verdict.certificate
            print(f"{c.layer:{width}}  {c.bits!s:{bits}}  {c.products:6} products  {verdict}")
        proved = sum(v.certificate.proved for v in verdicts)
        print(f"{proved} of {len(verdicts)} layers are proved safe")
    if any(v.channel is not None and not v.overflowed for v in verdicts):
        raise typer.Exit(1)


@app.command("check")
def check_(
    datapath: Annotated[str, typer.Argument(help="A datapath's name, or file.py:name.")],
    seed: Annotated[int, typer.Option(min=0, help="Seed of the random operands.")] = 0,
    as_json: Json = False,
) -> None:
    """Hold a circuit against its arithmetic.

    On corners, on seeded random operands, and exhaustively where there are at most 2^16 operands; the first
    counterexample ends with exit status 1."""
    from hwsim.simulate.check import check_datapath

    checks = list(check_datapath(datapath, seed=seed))
    failed = [check for check in checks if check.counterexample is not None]
    if as_json:
        _print_json([check.to_json() for check in checks])
    else:
        for check in checks:
            print(check)
        print(f"{len(checks)} circuits checked, {len(failed)} differ from their arithmetic")
    if failed:
        raise typer.Exit(1)


@app.command("cost")
def cost_(
    datapath: Annotated[str, typer.Argument(help="A datapath's name, or file.py:name.")],
    weight: Annotated[str, typer.Option(help="Weight format: int4, pow2x4 ...")] = "",
    activation: Annotated[str, typer.Option(help="Activation format: uint8, int4 ...")] = "",
    accumulator: Annotated[str, typer.Option(help="Accumulator format: int16, int32 ...")] = "",
    overflow: Annotated[str, typer.Option(help="wrap or saturate.")] = "",
    parameter: Annotated[
        list[str] | None, typer.Option("--set", help="Any other parameter of the datapath, name=value.")
    ] = None,
    technology: Annotated[str, typer.Option(help="The cell library to map to.")] = "open45",
    liberty: Annotated[str, typer.Option(help="A Liberty file (.lib) to map to instead.")] = "",
    mapping: Annotated[str, typer.Option(help="smallest, balanced or fastest.")] = "balanced",
    timeout: Annotated[float, typer.Option(min=1, help="Seconds the synthesis may take.")] = 120,
    as_json: Json = False,
) -> None:
    """Synthesise a circuit: gates, area, delay."""
    from hwsim import steps

    given = {"weight": weight, "activation": activation, "accumulator": accumulator, "overflow": overflow}
    parameters = {name: text for name, text in given.items() if text}
    for text in parameter or []:
        name, separator, value = text.partition("=")
        if not separator:
            raise HwsimError(f'--set "{text}" is no name=value; write --set multiplier=fused, say')
        parameters[name] = value
    cost = steps.cost_datapath(
        datapath, technology=technology, liberty=liberty, mapping=mapping, timeout_s=timeout, **parameters
    )
    if as_json:
        return _print_json(cost.to_json())
    print(cost)
    return None


@app.command("traffic")
def traffic_(
    network: Annotated[
        str,
        typer.Argument(help="An integer network (.safetensors); or a model, an ONNX file or file.py:name."),
    ],
    buffer: Annotated[
        str, typer.Option(help="On-chip buffer, 64KiB say; two of them: outer,inner, as 1MiB,64KiB.")
    ] = "64KiB",
    array: Annotated[str, typer.Option(help="Rows x columns of processing elements.")] = "16x16",
    dataflow: Annotated[str, typer.Option(help="What stays in them: weight, output or input.")] = "weight",
    bus: Annotated[int, typer.Option(help="Bits that the bus to DRAM moves in a cycle.")] = 64,
    burst: Annotated[int, typer.Option(help="Bytes of a DRAM burst.")] = 64,
    single_buffered: Annotated[
        bool,
        typer.Option(
            "--single-buffered", help="Room for every tile once; transfers and arithmetic in turns."
        ),
    ] = False,
    minimise: Annotated[str, typer.Option(help="What tilings are best at: traffic or time.")] = "traffic",
    clock: Annotated[float, typer.Option(help="Clock in MHz.")] = 500.0,
    images_per_second: Annotated[
        float, typer.Option(help="Throughput to state the bandwidth at; 0 takes what the cycles allow.")
    ] = 0.0,
    bits: Annotated[
        str, typer.Option(help="Bits of a model, w4a8/int16 say, or a TOML file.")
    ] = "w8a8/int32",
    div: Annotated[
        float | None, typer.Option(help="Preprocessing of an ONNX file: (pixel / div - mean) / std.")
    ] = None,
    mean: Annotated[str, typer.Option(help="Preprocessing mean, one number a channel.")] = "",
    std: Annotated[str, typer.Option(help="Preprocessing std, one number a channel.")] = "",
    as_json: Json = False,
) -> None:
    """Count memory traffic and cycles on an array.

    Each layer runs by its best tiling, found by trying all of them; a tile is groups g, output channels k, input
    channels c, output rows p and columns q, kernel rows r and columns s."""
    from hwsim import files, steps
    from hwsim.cost.memory.hierarchy import Accelerator, Array, Hierarchy, parse_array, parse_bytes

    sizes = tuple(parse_bytes(text) for text in buffer.split(","))
    result = steps.memory_traffic(
        network,
        Accelerator(Array(*parse_array(array), dataflow), Hierarchy(sizes, bus, burst, not single_buffered)),
        bits=files.read_text(Path(bits), "bit configuration") if bits.endswith(".toml") else bits,
        minimise=minimise,
        clock_mhz=clock,
        **_preprocessing(div, mean, std),
    )
    asked = images_per_second or result.images_per_second
    bandwidth = result.bandwidth(asked)
    if as_json:
        return _print_json(result.to_json() | {"images_per_second": asked, "megabytes_per_second": bandwidth})
    print(result.text())
    if images_per_second:
        print(f"at {images_per_second:g} images a second: {bandwidth:.4g} MB a second")
    return None


@app.command("compress")
def compress_(
    network: Annotated[Path, typer.Argument(help="An integer network written by hwsim quantize.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The compressed network to write (.hwz).")],
    codec: Annotated[
        str, typer.Option(help="huffman, ans, packed, bitmap, run_length; or best, layer by layer.")
    ] = "huffman",
    as_json: Json = False,
) -> None:
    """Write a network compressed, and its bytes' ledger.

    The whole network, graph and all: decoded back and compared before it is written. A layer whose weights are
    smaller packed stays packed."""
    from hwsim import files, steps

    content, ledger = steps.compress_network(network, codec)
    files.write(output, content)
    if as_json:
        return _print_json({"file": str(output)} | ledger.to_json())
    print(ledger.text())
    print(f"wrote {output}, which decodes back to the bytes of {network}")
    return None


@app.command("decompress")
def decompress_(
    compressed: Annotated[Path, typer.Argument(help="A compressed network written by hwsim compress.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The integer network to write (.safetensors).")
    ],
    as_json: Json = False,
) -> None:
    """Write a compressed network's network file again."""
    from hwsim import files, steps
    from hwsim.network import to_bytes

    content = to_bytes(steps.decompress_network(compressed))
    files.write(output, content)
    if as_json:
        return _print_json({"network": str(output), "bytes": len(content)})
    print(f"wrote {output}, {len(content)} bytes")
    return None


@app.command("explore")
def explore_(
    study: Annotated[Path, typer.Argument(help="A study file (.toml).")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder of results and report.")],
    as_json: Json = False,
) -> None:
    """Find a study's Pareto front and report it."""
    from hwsim.explore.exploration import explore
    from hwsim.report import terminal_table
    from hwsim.results import write_results
    from hwsim.study import read_study

    command = shlex.join(["hwsim", "explore", str(study), "-o", str(output)])
    with _live_progress() as progress:
        explored = explore(read_study(study), output, progress=progress)
        page = write_results(explored, output, command)
    front = explored.front
    if as_json:
        return _print_json(
            {"report": str(page), "evaluated": len(explored.evaluations), "reused": explored.reused}
            | {"front": [e.point.key() for e in front]}
        )
    from rich.console import Console

    Console().print(terminal_table(explored.evaluations, explored.bench.study.objectives))
    fresh = len(explored.evaluations) - explored.reused
    print(
        f"{len(explored.evaluations)} design points, {len(front)} on the front: {fresh} evaluated now, {explored.reused} reused"
    )
    print(f"report: {page}")
    return None


@app.command("report")
def report_(
    directory: Annotated[Path, typer.Argument(help="A folder written by hwsim explore.")],
) -> None:
    """Redraw a report without computing again."""
    from hwsim.results import redraw_report

    print(f"report: {redraw_report(directory)}")


@app.command("reproduce")
def reproduce_(
    paper: Annotated[str, typer.Argument(help="aciq, bag-of-tricks or focused.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The folder to write; reports/reproduce-PAPER if left out."),
    ] = None,
    network: Annotated[
        list[str] | None, typer.Option(help="A built-in model to measure on; may be given again.")
    ] = None,
    images: Annotated[int, typer.Option(min=0, help="Test images of each network; 0 takes all.")] = 0,
) -> None:
    """Measure a published table on the networks at hand."""
    from hwsim.reproduce import reproduce

    with _live_progress() as show:
        directory = output or Path("reports") / f"reproduce-{paper}"
        readme = reproduce(paper, directory, networks=network or (), images=images, show=show)
    print(f"table: {readme}")
