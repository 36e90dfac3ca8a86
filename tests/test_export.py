"""A bundle judged by others: Icarus Verilog, Verilator, Yosys, onnxruntime, and readers of its files of our own."""

import json
import keyword
import random
import re
import shlex
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

import hwsim
import networks
import tiny
from hwsim import files
from hwsim.bundle.contents import contents
from hwsim.bundle.names import identifiers, quoted
from hwsim.bundle.onnx_graph import scores_scale
from hwsim.bundle.qdq import qdq_model, says
from hwsim.bundle.qonnx import qonnx_model
from hwsim.cost.compression import compress
from hwsim.cost.yosys import yosys
from hwsim.data import load_split
from hwsim.errors import HwsimError
from hwsim.formats import Int, PowerOfTwo
from hwsim.layers import INPUT, Layer, Rescale
from hwsim.network import IntegerLayer, QuantizedNetwork
from hwsim.simulate.inference import run
from hwsim.steps.export import export_design

icarus = pytest.mark.skipif(not shutil.which("iverilog"), reason="Debian's package iverilog is not installed")
ROOT = Path(__file__).parents[1]


def bundle(network, images, folder, **options):
    files.write_folder(folder, contents(network, images, **options))
    return folder


def compiled(folder, out="testbench.vvp"):
    sources = sorted(map(str, folder.glob("rtl/*.v")))
    command = ["iverilog", "-g2012", "-s", "testbench", "-o", str(folder / out), "testbench.v", *sources]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def ran(folder):
    done = subprocess.run(
        ["vvp", "-n", "testbench.vvp"], cwd=folder, capture_output=True, text=True, timeout=60
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def digits():
    return hwsim.quantize_model("digits", "w4a4/int12", quantizer="activations=aciq_laplace")


@pytest.fixture(scope="module")
def digit_images():
    return load_split("digits", "test").images[:40]


@pytest.fixture(scope="module")
def exported(digits, digit_images, tmp_path_factory):
    return bundle(digits, digit_images, tmp_path_factory.mktemp("export") / "digits", outputs=2)


@icarus
def test_the_testbench_passes_in_icarus_on_every_cycle(exported):
    compiled(exported)
    vectors = json.loads((exported / "design.json").read_text())["vectors"]
    assert ran(exported) == (0, f"PASS: {sum(vectors.values())} vectors\n")


@icarus
def test_the_vectors_end_in_what_the_whole_network_computes(exported, digits, digit_images):
    """Of the classifier: the accumulators' last values become scores that inference gives."""
    rows = (exported / "vectors" / "n11_classifier_requantize.hex").read_text().splitlines()[1:]
    scores = {int(row.split("_")[-1], 16) for row in rows}
    assert scores <= set((run(digits, digit_images[:16]) & 0xFFFF).ravel().tolist())


@icarus
@pytest.mark.parametrize("flips", [25, pytest.param(400, marks=pytest.mark.slow)])
def test_one_bit_of_one_expected_value_makes_it_fail_by_name(tmp_path, flips):
    """Single bits, drawn over the vectors of every kind of layer: every one of them is told."""
    work = bundle(networks.every_kind(), networks.images(16), tmp_path / "every_kind", outputs=1)
    compiled(work)
    assert ran(work)[0] == 0
    widths = _expected_widths(work)
    modules = {
        f"vectors/{layer['identifier']}_{part}.hex": (layer["identifier"], module)
        for layer in json.loads((work / "design.json").read_text())["layers"]
        for part, module in layer["modules"].items()
    }
    draw = random.Random(flips)
    for _ in range(flips):
        name = draw.choice(sorted(modules))
        layer, module = modules[name]
        content = (work / name).read_text()
        lines = content.splitlines()
        at = draw.randrange(1, len(lines))
        fields = lines[at].split("_")
        fields[-1] = f"{int(fields[-1], 16) ^ 1 << draw.randrange(widths[module]):0{len(fields[-1])}x}"
        lines[at] = "_".join(fields)
        (work / name).write_text("\n".join([*lines, ""]))
        status, said = ran(work)
        (work / name).write_text(content)
        assert status != 0
        assert re.search(rf"^FAIL {layer}, {module}, row {at}: \w+ is [0-9a-f]+, expected", said, re.M), said
    assert ran(work)[0] == 0


def _expected_widths(folder):
    """Bits of each module's one expected field, from the Verilog's own ports."""
    found = {}
    for path in folder.glob("rtl/*.v"):
        head = re.search(rf"module {path.stem}\((.*?)\);", path.read_text())[1]
        ((high),) = re.findall(r"output (?:reg )?\[(\d+):0\]", head)
        found[path.stem] = int(high) + 1
    return found


@icarus
@pytest.mark.parametrize("damage", ["", "// reset\n", "not hexadecimal\n"])
def test_vectors_that_are_missing_or_damaged_never_pass(exported, tmp_path, damage):
    work = tmp_path / "damaged"
    shutil.copytree(exported, work)
    compiled(work)
    path = work / "vectors" / "n0_stem_mac.hex"
    path.write_text(damage) if damage else path.unlink()
    status, said = ran(work)
    assert status != 0 and "FAIL n0_stem, mac_0, row 1: it is missing" in said


@icarus
def test_a_circuit_with_another_gate_fails(exported, tmp_path):
    work = tmp_path / "mutant"
    shutil.copytree(exported, work)
    path = work / "rtl" / "mac_0.v"
    text = path.read_text()
    path.write_text(text.replace(" ^ ", " | ", 1) if " ^ " in text else text.replace(" & ", " | ", 1))
    compiled(work)
    status, said = ran(work)
    assert status != 0 and "FAIL n0_stem, mac_0, row" in said and "FAIL: " in said


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("verilator"), reason="Debian's package verilator is not installed")
def test_the_readme_s_commands_run_as_they_stand(exported, tmp_path):
    work = tmp_path / "commands"
    shutil.copytree(exported, work)
    said = []
    for line in re.findall(r"^    ((?:iverilog|verilator) .*)$", (work / "README.md").read_text(), re.M):
        done = subprocess.run(line, cwd=work, shell=True, capture_output=True, text=True, timeout=500)
        assert done.returncode == 0, done.stdout + done.stderr
        said.append(done.stdout)
    assert len(said) == 2 and all(re.search(r"^PASS: \d+ vectors$", text, re.M) for text in said)
    path = work / "vectors" / "n0_stem_mac.hex"
    lines = path.read_text().splitlines()
    lines[3] = lines[3][:-1] + f"{int(lines[3][-1], 16) ^ 1:x}"
    path.write_text("\n".join(lines) + "\n")
    done = subprocess.run(["obj_dir/Vtestbench"], cwd=work, capture_output=True, text=True, timeout=100)
    assert done.returncode != 0 and "FAIL n0_stem, mac_0, row 3" in done.stdout


KINDS = {
    "packed": "unpack",
    "huffman": "huffman_decode",
    "bitmap": "bitmap_decode",
    "run_length": "run_length_decode",
}


@pytest.fixture(scope="module", params=["one width", "channels of several widths"])
def coded(request, digit_images, tmp_path_factory):
    """A bundle of a pruned network with a coder in each layer, beside the network and the coders."""
    allocation = "" if request.param == "one width" else " allocation=exact"
    whole = hwsim.quantize_model("digits", "w4a4/int16", quantizer=f"activations=aciq_laplace{allocation}")
    rng, layers = np.random.default_rng(0), []
    for item in whole.layers:
        pruned = item.weight is not None and rng.random(item.weight.shape) < 0.9
        layers.append(
            replace(item, weight=np.where(pruned, 0, item.weight)) if item.weight is not None else item
        )
    network = replace(whole, layers=tuple(layers))
    names = [item.layer.name for item in layers if item.weight is not None]
    coders = dict(zip(names, [*KINDS, *KINDS], strict=False))
    folder = tmp_path_factory.mktemp("coded") / "bundle"
    return bundle(network, digit_images[:4], folder, outputs=1, coders=coders), network, coders


@icarus
def test_decoders_make_the_layers_weights_of_the_coded_file_s_own_words(coded):
    folder, network, coders = coded
    compiled(folder)
    design = json.loads((folder / "design.json").read_text())
    assert ran(folder) == (0, f"PASS: {sum(design['vectors'].values())} vectors\n")
    used = {re.sub(r"_\d+$", "", module) for module in design["modules"]}
    assert len(used & set(KINDS.values())) >= 3
    file = compress(network, codecs=coders)
    for item, layer in zip(network.layers, design["layers"], strict=True):
        part = set(layer["modules"]) & set(KINDS.values())
        if not part:
            continue
        rows = (folder / "vectors" / f"{layer['identifier']}_{part.pop()}.hex").read_text().splitlines()[1:]
        symbols = [int(row.split("_")[-1], 16) for row in rows]
        memory = (folder / "memories" / f"{layer['identifier']}_weight.hex").read_text().splitlines()[1:]
        assert (
            symbols
            == [int(row, 16) for row in memory]
            == (item.weight.ravel() & (1 << item.bits.weight.bits) - 1).tolist()
        )
        for path in (folder / "memories").glob(f"{layer['identifier']}_coded_*.hex"):
            stream = bytes.fromhex("".join(path.read_text().splitlines()[1:]))
            assert stream.rstrip(b"\0") in file


@icarus
def test_a_bit_of_a_weight_or_of_its_code_makes_the_decoder_fail(coded, tmp_path):
    work = tmp_path / "flipped"
    shutil.copytree(coded[0], work)
    compiled(work)
    draw, layers = random.Random(1), json.loads((work / "design.json").read_text())["layers"]
    of_part = {part: layer for layer in layers for part in set(layer["modules"]) & set(KINDS.values())}
    for part, layer in of_part.items():
        expected = work / "vectors" / f"{layer['identifier']}_{part}.hex"
        streams = sorted((work / "memories").glob(f"{layer['identifier']}_coded_*.hex"))
        for path in (
            expected,
            *(stream for stream in streams if len(stream.read_text().splitlines()) > 2),
        ):
            content = path.read_text()
            lines = content.splitlines()
            at = draw.randrange(1, len(lines)) if path == expected else 1
            digit = len(lines[at]) - 1 if path == expected else 0
            flipped = f"{int(lines[at][digit], 16) ^ (1 << draw.randrange(4) if path == expected else 8):x}"
            lines[at] = lines[at][:digit] + flipped + lines[at][digit + 1 :]
            path.write_text("\n".join([*lines, ""]))
            status, said = ran(work)
            path.write_text(content)
            told = rf"weight {at}:" if path == expected else r"weight \d+:"
            assert status != 0
            assert re.search(rf"^FAIL {layer['identifier']}, {layer['modules'][part]}, {told}", said, re.M), (
                said
            )
        missing = expected.rename(work / "missing.hex")
        assert ran(work)[0] != 0
        missing.rename(expected)
    assert ran(work)[0] == 0


@icarus
def test_an_array_computes_the_network_s_own_sums(digits, digit_images, tmp_path):
    """In each layer's formats; the sums that leave at the bottom are numpy's product of the operands, wrapped."""
    folder = bundle(digits, digit_images[:4], tmp_path / "array", outputs=1, array=(2, 3))
    compiled(folder)
    assert ran(folder)[0] == 0
    lines = (folder / "vectors" / "n11_classifier_array.hex").read_text().splitlines()
    names = lines[0].removeprefix("// ").split(", ")
    last = dict(zip(names, zip(*(line.split("_") for line in lines[1:]), strict=True), strict=True))
    item, seen = digits.layers[-1], {}
    run(digits, digit_images[:1], lambda i, inputs, output, over: seen.setdefault(i.layer.name, inputs[0]))
    exact = item.weight[:3, :, 0, 0] @ seen["classifier"][0, :, 0, 0]
    found = [int(last[f"sum{c}"][-1], 16) for c in range(3)]
    assert found == (exact & 0xFFF).tolist() and exact.any()
    work = folder / "vectors" / "n11_classifier_array.hex"
    lines[-1] = lines[-1][:-1] + f"{int(lines[-1][-1], 16) ^ 1:x}"
    work.write_text("\n".join([*lines, ""]))
    status, said = ran(folder)
    assert status != 0 and "FAIL n11_classifier, array_" in said
    assert {m for m in modules_in_yosys(folder) if m.startswith("array_") and not m.endswith("_cycle")}


def modules_in_yosys(folder):
    """The modules that Yosys finds in the bundle's Verilog, after its checks."""
    sources = " ".join(sorted(f"rtl/{p.name}" for p in folder.glob("rtl/*.v")))
    listing = yosys(
        [f"read_verilog {sources}", "hierarchy -check", "proc", "check -assert", "ls"], folder, 60
    )
    return set(re.findall(r"^  (\w+)$", listing.partition("modules:")[2], re.M))


def test_yosys_reads_exactly_the_modules_that_the_design_names(exported):
    named = set(json.loads((exported / "design.json").read_text())["modules"])
    found = modules_in_yosys(exported)
    assert named <= found and found - named <= {f"{name}_cycle" for name in named}


def read_memory(path, form):
    """A memory file's values, by a reader of its own."""
    words = [line.partition("//")[0].strip() for line in path.read_text().splitlines()]
    codes = [int(word, 16) for word in words if word]
    return np.array([c - (c >> form.bits - 1 << form.bits) if form.signed else c for c in codes])


def test_memories_hold_the_network_s_integers(exported, digits):
    for number, item in enumerate(digits.layers):
        if item.weight is None:
            continue
        stem = f"memories/n{number}_{item.layer.name}"
        held = {
            "weight": (item.weight, item.bits.weight),
            "multiplier": (item.multiplier, Int(16, signed=False)),
            "bias": (item.bias, Int(48)),
            "shift": (item.shift, Int(6, signed=False)),
        }
        for what, (array, form) in held.items():
            np.testing.assert_array_equal(read_memory(exported / f"{stem}_{what}.hex", form), array.ravel())


def test_the_network_and_its_bits_are_in_the_bundle(exported, digits):
    assert hwsim.load(exported / "network.safetensors").digest() == digits.digest()
    assert (exported / "bits.toml").read_text() == digits.bits.to_toml()


def scores(model, images):
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 3, 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return session.run(None, {"pixels": np.ascontiguousarray(np.moveaxis(images, 3, 1))})[0]


SETTINGS = [
    ("w8a8/int32", ""),
    ("w4a4/int32", "activations=aciq_laplace"),
    ("w3a5/int32", "bias_correction=mean"),
    ("w4a4/int32", "activation_granularity=channel activation_allocation=exact"),
    ("p4a4/int32", ""),
]


@pytest.mark.parametrize(("bits", "quantizer"), SETTINGS)
def test_onnxruntime_predicts_what_the_integers_do(bits, quantizer):
    """Safe accumulators: every prediction, and all scores but those behind a tie."""
    network = hwsim.quantize_model("digits", bits, quantizer=quantizer)
    images = load_split("digits", "test").images
    names = identifiers([item.layer.name for item in network.layers])
    model = qdq_model(network, names)
    onnx.checker.check_model(onnx.load_from_string(model), full_check=True)
    found = np.rint(scores(model, images) / scores_scale(network)).astype(np.int64)
    expected = run(network, images)
    np.testing.assert_array_equal(found.argmax(axis=1), expected.argmax(axis=1))
    assert (found == expected).mean() > 0.995


def test_the_bundle_says_how_many_scores_and_predictions_agree(exported, digits, digit_images):
    """These accumulators wrap, which ONNX does not say: the figure is below all, and stated."""
    told = json.loads((exported / "design.json").read_text())["onnx_agreement"]
    found = np.rint(scores((exported / "network.qdq.onnx").read_bytes(), digit_images) / scores_scale(digits))
    expected = run(digits, digit_images)
    assert told["same_scores"] == (found == expected).sum() and told["scores"] == expected.size
    assert told["same_predictions"] == (found.argmax(1) == expected.argmax(1)).sum()
    assert told["text"] in (exported / "README.md").read_text()


class Quant(OpRun):
    """QONNX's Quant as its specification has it, for onnx's reference evaluator."""

    op_domain = "qonnx.custom_op.general"

    def _run(self, x, scale, zero, bits, signed=1, narrow=0, rounding_mode="ROUND"):
        assert (narrow, rounding_mode) == (0, "ROUND")
        low = -(2 ** (bits - 1)) if signed else 0 * bits
        high = 2 ** (bits - signed) - 1
        levels = np.clip(np.round(x / scale + zero), low, high)
        return (((levels - zero) * scale).astype(np.float32),)


@pytest.mark.parametrize(
    "network",
    [
        networks.every_kind(accumulator=Int(32)),
        networks.every_kind(accumulator=Int(32), channels=True),
        networks.masked(networks.every_kind(accumulator=Int(32))),
    ],
    ids=["every kind", "channels", "masks"],
)
def test_quant_nodes_say_every_kind_of_layer(network):
    """Random integers, powers of two among them: the specification's arithmetic gives the network's integers."""
    names = identifiers([item.layer.name for item in network.layers])
    model = onnx.load_from_string(qonnx_model(network, names))
    onnx.checker.check_model(model)
    images = networks.images(6)
    evaluator = ReferenceEvaluator(model, new_ops=[Quant])
    (found,) = evaluator.run(None, {"pixels": np.moveaxis(images, 3, 1)})
    steps = found / scores_scale(network) - run(network, images)
    assert np.abs(steps).max() <= 1 and (np.abs(steps) < 0.5).mean() > 0.9


def test_weights_above_eight_bits_are_said_by_quant_nodes_alone():
    """pow2x5 reaches 2^14; a bundle has no QDQ file then, and says why."""
    network = networks.every_kind(accumulator=Int(32))
    wide = [
        replace(item, bits=replace(item.bits, weight=PowerOfTwo(5)), weight=item.weight << 8)
        if item.bits is not None and isinstance(item.bits.weight, PowerOfTwo)
        else item
        for item in network.layers
    ]
    network = replace(network, layers=tuple(wide))
    assert not says(network)
    made = contents(network, networks.images(2), outputs=1)
    assert [name for name in made if name.endswith(".onnx")] == ["network.qonnx.onnx"]
    assert "onnxruntime has no Quant node" in made["README.md"]


def test_half_precision_has_no_onnx_and_says_so(digit_images):
    network = hwsim.quantize_model("digits", "w4a4/int32", quantizer="placement=half")
    made = contents(network, digit_images, outputs=1)
    assert not [name for name in made if name.endswith(".onnx")]
    assert "Left out: tensors in half precision" in made["README.md"]


ALPHABET = [
    *"aZ09_ .-/\\$`'\"#;:*()[]{}<>|&%@!?=+,~^",
    *"éßΩ中\u202e\u200b\u00a0😀",
    "\n",
    "\x00",
    "\r",
    "endmodule",
    "*/",
    "//",
    "`include",
    "../",
    "$(touch x)",
    "module",
    "output",
    "--help",
    "con.nul",
]


def hostile(count, seed=0):
    """Different names made to break out of whatever they are pasted into."""
    draw = random.Random(seed)
    found = {"", "input", "wire", "a" * 5000, "A" * 5000, "-rf", "CON", "x" * 41, "x" * 42}
    while len(found) < count:
        found.add("".join(draw.choice(ALPHABET) for _ in range(draw.randrange(1, 12))))
    return sorted(found)


def test_identifiers_of_5000_hostile_names_are_legal_short_and_different():
    names = hostile(5000)
    found = identifiers(names)
    assert len({identifier.lower() for identifier in found.values()}) == len(names) == 5000
    for identifier in found.values():
        assert re.fullmatch("[a-z][a-z0-9_]{0,40}", identifier, re.A) and not keyword.iskeyword(identifier)


def test_a_quoted_name_is_one_code_span_of_plain_characters():
    for name in hostile(2000, seed=1):
        assert re.fullmatch(r"`[A-Za-z0-9 _.,:;=+*/()\[\]'\\-]*`", quoted(name)), name


def rescaled(names, seed=0):
    """A network of one layer a name, each a rescale of the one before."""
    rng = np.random.default_rng(seed)
    layers, before = [], INPUT
    for name in names:
        layer = Layer(name, Rescale(), (before,), ((1, 2, 2),))
        constants = rng.integers(1 << 15, 1 << 16, 1), rng.integers(-9, 9, 1), rng.integers(15, 17, 1)
        layers.append(IntegerLayer(layer, Int(8), 0.5, None, None, *constants))
        before = name
    table = rng.integers(-128, 128, (1, 256))
    return QuantizedNetwork("'; $finish; //", (1, 2, 2), Int(8), 0.5, table, tuple(layers))


@icarus
@pytest.mark.parametrize("count", [200, pytest.param(5000, marks=pytest.mark.slow)])
def test_hostile_names_of_layers_reach_no_verilog_no_file_and_no_tool(tmp_path, count):
    names = [name for name in hostile(3 * count, seed=2) if name.isprintable() and name != INPUT][:count]
    assert len(names) == count
    images = np.random.default_rng(0).integers(0, 256, (3, 2, 2, 1), dtype=np.uint8)
    folder = bundle(rescaled(names), images, tmp_path / "hostile", outputs=1)
    compiled(folder)
    assert ran(folder) == (0, f"PASS: {len(names)} vectors\n")
    assert modules_in_yosys(folder) == set(json.loads((folder / "design.json").read_text())["modules"])
    written = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert all(re.fullmatch(r"[A-Za-z0-9_./]+", name, re.A) for name in written)
    plain = re.compile(r"[A-Za-z0-9_]*")
    raw = [name for name in names if not plain.fullmatch(name) and len(name) > 3]
    text = "".join(p.read_text() for p in [folder / "testbench.v", *folder.glob("rtl/*.v")])
    assert not [name for name in raw if name in text]
    design = json.loads((folder / "design.json").read_text())
    assert [layer["name"] for layer in design["layers"]] == names
    onnx.checker.check_model(onnx.load(folder / "network.qdq.onnx"), full_check=True)


def test_a_datapath_whose_circuit_is_wrong_is_not_exported(tmp_path, digits, digit_images):
    text = (ROOT / "designs" / "booth_mac.py").read_text()
    path = tmp_path / "wrong.py"
    path.write_text(
        text + "\n\nright = BoothMac.connect\n\n\ndef wrong(self, wires):\n"
        "    found = right(self, wires)\n"
        "    return {name: ~wire for name, wire in found.items()}\n\n\nBoothMac.connect = wrong\n"
    )
    with pytest.raises(
        HwsimError, match="does not compute what the network does; find out where with hwsim check"
    ):
        contents(digits, digit_images, mac=f"{path}:BoothMac")


def refused(folder):
    with pytest.raises(HwsimError) as error:
        files.write_folder(folder, {"a": "b"})
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_place_that_is_taken_is_refused_and_stays_as_it_was(tmp_path):
    taken, empty, file = tmp_path / "taken", tmp_path / "empty", tmp_path / "file"
    (taken / "sub").mkdir(parents=True)
    empty.mkdir()
    file.write_text("mine")
    (tmp_path / "link").symlink_to(empty)
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for name in ("taken", "file", "link", "dangling"):
        assert "choose another place" in refused(tmp_path / name)
    assert "is a link" in refused(tmp_path / "link")
    assert "cannot write" in refused(file / "below")
    assert "cannot write" in refused(Path("/dev/null/x"))
    assert "cannot write" in refused(tmp_path / ("x" * 300))
    assert "cannot write" in refused(tmp_path / "a\0b")
    assert sorted(path.name for path in tmp_path.rglob("*")) == [
        "dangling",
        "empty",
        "file",
        "link",
        "sub",
        "taken",
    ]
    assert file.read_text() == "mine"
    files.write_folder(empty, {"x/y": b"1", "z": "2"})
    assert (empty / "x" / "y").read_bytes() == b"1" and (empty / "z").read_text() == "2"


@pytest.mark.parametrize("broken", range(8))
def test_a_write_that_fails_at_any_moment_leaves_nothing(tmp_path, monkeypatch, broken):
    """The n-th fsync or rename fails: neither the folder nor what was made for it is there."""
    calls = []

    def failing(real):
        def call(*arguments):
            calls.append(real)
            if len(calls) == broken + 1:
                raise OSError(28, "No space left on device")
            return real(*arguments)

        return call

    monkeypatch.setattr("os.fsync", failing(files.os.fsync))
    monkeypatch.setattr(Path, "replace", failing(Path.replace))
    made = {f"{k}.txt": "x" for k in range(4)}
    if broken < 5:
        with pytest.raises(HwsimError, match="No space left on device"):
            files.write_folder(tmp_path / "new" / "bundle", made)
        assert list(tmp_path.iterdir()) == []
    else:
        files.write_folder(tmp_path / "new" / "bundle", made)
        assert len(list((tmp_path / "new" / "bundle").iterdir())) == 4


@pytest.fixture
def found(tmp_path, monkeypatch):
    """A small exploration in the current folder, with a coder of its own, and the key of its first point on the front."""
    monkeypatch.chdir(tiny.write(tmp_path))
    study = Path("study.toml")
    study.write_text(study.read_text().replace("[space]", '[space]\ncoders = ["packed"]'))
    explored = hwsim.explore_study("study.toml", "found")
    return explored.front[0].point.key()


def test_a_point_of_an_exploration_is_exported_by_the_beginning_of_its_key(found, tmp_path):
    done = tiny.hwsim("export", "found", found[:6], "-o", "bundle", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    files_there = {str(p.relative_to("bundle")) for p in Path("bundle").rglob("*") if p.is_file()}
    assert files_there == set(told["files"])
    design = json.loads(Path("bundle/design.json").read_text())
    assert design["origin"]["Design point"].startswith(found)
    assert all("unpack" in layer["modules"] for layer in design["layers"] if layer["bits"])
    assert "coded weights as bus words" in Path("bundle/README.md").read_text()
    (line,) = re.findall(r"^    hwsim (simulate .*)$", Path("bundle/README.md").read_text(), re.M)
    shutil.copy("images.npz", "bundle")
    done = tiny.hwsim(*shlex.split(line), cwd=tmp_path / "bundle")
    assert (done.returncode, done.stderr) == (0, "")
    assert design["origin"]["Accuracy of its circuits"].partition(" test")[0] in done.stdout


def test_what_cannot_be_exported_is_told_in_one_sentence(found, monkeypatch):
    export_design("found", "bundle", point=found)
    for source, options, sentence in [
        ("found", {"point": "zzz"}, '"zzz" names no design point: no design point has this key; give one of'),
        ("found", {}, "design points have keys that begin so"),
        ("found", {"point": found, "mac": "mac"}, "leave out --mac mac"),
        ("found", {"point": found, "outputs": 0}, "1 output of each layer or more, not 0"),
        ("net.py", {}, "is no network file of hwsim"),
        ("bundle/network.safetensors", {"point": found}, "is no folder of an exploration"),
        ("bundle/network.safetensors", {}, "names no data set"),
        ("bundle", {"point": found}, 'cannot read the results file "bundle/results.json"'),
    ]:
        with pytest.raises(HwsimError) as error:
            export_design(source, "another", **options)
        assert sentence in str(error.value)
    assert not Path("another").exists()
    with pytest.raises(HwsimError, match="exists and is no empty folder"):
        export_design("found", "bundle", point=found)
    Path("net.py").write_text(tiny.MODEL.replace("default_rng(0)", "default_rng(1)"))
    with pytest.raises(HwsimError, match="has changed since it was explored; explore it again"):
        export_design("found", "another", point=found)
