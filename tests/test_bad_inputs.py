"""Bad input: one sentence on stderr, exit status 2, nothing on stdout and no file touched."""

import io
import json
import os
import shutil
import subprocess
import sys
import zipfile

import numpy as np
import onnx
import pytest
import safetensors.numpy
from onnx import TensorProto, helper, numpy_helper

import tiny
from hwsim import cli, explore_study
from hwsim.errors import HwsimError
from hwsim.models.builder import parameter_shapes
from hwsim.models.resnet import _structure, resnet20
from hwsim.network import save
from hwsim.steps.quantize import quantize_model

ONNX = ("--div", "255", "--calibration", "images.npz")
QUANTIZE = ("quantize", "net.py:net", "--calibration", "images.npz", "-o", "new.safetensors")
SIMULATE = ("simulate", "net.safetensors", "--data", "images.npz")
EXPLORE = ("explore", "study.toml", "-o", "out")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A folder with everything that a good command needs."""
    folder = tiny.write(tmp_path_factory.mktemp("base"))
    network = quantize_model(f"{folder}/net.py:net", "w4a4/int12", calibration=f"{folder}/images.npz")
    save(network, folder / "net.safetensors")
    (folder / "good.onnx").write_bytes(network_onnx())
    return folder


@pytest.fixture
def place(base, tmp_path, monkeypatch):
    """A copy of the folder, which becomes the working one."""
    folder = tmp_path / "work"
    shutil.copytree(base, folder)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    return folder


def listing(folder):
    """Every path under a folder, with the content of the files."""
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in folder.rglob("*")}


def command(monkeypatch, capsys, *arguments):
    """Run the command line in this process; return status, stdout and stderr."""
    monkeypatch.setattr(sys, "argv", ["hwsim", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        cli.main()
    return end.value.code, *capsys.readouterr()


def refused(place, monkeypatch, capsys, arguments, sentence):
    """Assert that a command is answered by one sentence that holds ``sentence``, and leaves every file as it was."""
    before = listing(place)
    status, out, err = command(monkeypatch, capsys, *arguments)
    assert listing(place) == before
    assert (status, out) == (2, ""), err
    assert err.endswith("\n")
    assert err.count("\n") == 1
    assert err.startswith("hwsim: ")
    assert "Traceback" not in err
    assert err[:-1].isprintable()
    assert sentence in err
    assert ("No such option" in err) == ("No such option" in sentence)


# Command lines

MAC = ("--weight", "int4", "--activation", "uint4", "--accumulator", "int16")
COMMANDS = {
    "unknown command": (["quantise"], "No such command 'quantise'"),
    "unknown option": (["list", "--jsn"], "No such option: --jsn"),
    "missing argument": (["simulate"], "Missing argument 'network'"),
    "missing output": (["quantize", "digits"], "Missing option '--output'"),
    "superfluous argument": (["decompress", "a", "b", "-o", "c"], "unexpected extra argument"),
    "option without value": (["cost", "mac", "--weight"], "requires an argument"),
    "negative count": ([*SIMULATE, "--images", "-1"], "--images"),
    "count that is no number": ([*SIMULATE, "--verify", "many"], "'--verify'"),
    "negative seed": (["check", "mac", "--seed", "-1"], "--seed"),
    "unknown catalogue": (["list", "modells"], 'unknown catalogue "modells"; known: models'),
    "newline in a name": (["list", "mo\ndels\x1b[31m"], "mo dels\\x1b[31m"),
    "unknown model": (["quantize", "digit", "-o", "n"], 'unknown model "digit"; known: digits'),
    "model file missing": (["quantize", "a.py:net", "-o", "n"], 'model file "a.py": No such file'),
    "model function missing": (["quantize", "net.py:nett", "-o", "n"], 'defines no "nett"'),
    "model that is none": (["quantize", "net.py:Linear", "-o", "n"], "net.py"),
    "no calibration data": (["quantize", "net.py:net", "-o", "n"], "--calibration"),
    "unknown data set": (
        ["quantize", "net.py:net", "--calibration", "mnist", "-o", "n"],
        'unknown data set "mnist"',
    ),
    "bits malformed": ([*QUANTIZE, "--bits", "w4-a8"], 'bits "w4-a8" are not understood'),
    "bits empty": ([*QUANTIZE, "--bits", ""], "are not understood"),
    "weights of 9 bits": ([*QUANTIZE, "--bits", "w9a8"], "2 to 8 bits"),
    "weights of 1 bit": ([*QUANTIZE, "--bits", "w1a8"], "2 to 8 bits"),
    "accumulator of 33 bits": ([*QUANTIZE, "--bits", "w4a4/int33"], "8 to 32 bits"),
    "accumulator unsigned": ([*QUANTIZE, "--bits", "w4a4/uint16"], "accumulators are signed"),
    "overflow unknown": ([*QUANTIZE, "--bits", "w4a4/int16/trap"], 'unknown overflow "trap"'),
    "unsigned for signed": ([*QUANTIZE, "--bits", "w4u4"], "can be negative"),
    "bits file missing": ([*QUANTIZE, "--bits", "none.toml"], 'bit configuration "none.toml": No such file'),
    "bits file is a folder": ([*QUANTIZE, "--bits", "f.toml"], "Is a directory"),
    "unknown quantizer": ([*QUANTIZE, "--quantizer", "activations=kll"], 'unknown quantizer "kll"'),
    "quantizer setting unknown": ([*QUANTIZE, "--quantizer", "tol=2"], 'settings "tol=2"'),
    "tolerance below 1": ([*QUANTIZE, "--quantizer", "activations=kl tolerance=0.5"], "at least 1"),
    "tolerance nan": ([*QUANTIZE, "--quantizer", "activations=kl tolerance=nan"], "at least 1"),
    "mean that is no number": (["quantize", "good.onnx", *ONNX, "--mean", "a", "-o", "n"], '--mean "a"'),
    "div of 0": (
        ["quantize", "good.onnx", "--div", "0", "--calibration", "images.npz", "-o", "n"],
        "above 0",
    ),
    "div of nan": (
        ["quantize", "good.onnx", "--div", "nan", "--calibration", "images.npz", "-o", "n"],
        "finite",
    ),
    "preprocessing of a built-in": (["quantize", "digits", "--div", "2", "-o", "n"], "its own preprocessing"),
    "no preprocessing": (
        ["quantize", "good.onnx", "--calibration", "images.npz", "-o", "n"],
        "div, mean and std",
    ),
    "output is a folder": ([*QUANTIZE[:-1], "f.toml"], "no regular file"),
    "output has no name": ([*QUANTIZE[:-1], "."], "no regular file"),
    "output below a file": ([*QUANTIZE[:-1], "net.py/new"], "Not a directory"),
    "output below a device": ([*QUANTIZE[:-1], "/dev/null/a/b"], "Not a directory"),
    "output that no one may write": ([*QUANTIZE[:-1], "/proc/new"], 'cannot write "/proc/new"'),
    "bits beside the output blocked": ([*QUANTIZE[:-1], "blocked.safetensors"], "no regular file"),
    "images of another shape": (
        ["quantize", "digits", "--calibration", "images.npz", "-o", "n"],
        "4x4 with 1 channels",
    ),
    "network missing": (["simulate", "no.safetensors"], "No such file"),
    "network is a folder": (["simulate", "."], "Is a directory"),
    "network is no such file": (["simulate", "net.py"], "no network file"),
    "network without data": (["simulate", "net.safetensors"], "names no data set"),
    "test images of another shape": (
        ["simulate", "net.safetensors", "--data", "digits"],
        "8x8 with 1 channels",
    ),
    "codec unknown": (
        ["compress", "net.safetensors", "-o", "n.hwz", "--codec", "zip"],
        'unknown codec "zip"; known: huffman, ans, packed',
    ),
    "compressed is none": (["decompress", "net.safetensors", "-o", "n"], "a compressed network begins with"),
    "mac unknown": ([*SIMULATE, "--mac", "mca"], 'unknown datapath "mca"; known: mac'),
    "mac that is none": ([*SIMULATE, "--mac", "max_pool"], '"max_pool" cannot be made'),
    "datapath unknown": (["check", "mca"], 'unknown datapath "mca"'),
    "datapath file missing": (["check", "no.py:Mac"], 'datapath file "no.py": No such file'),
    "datapath name missing": (["check", "net.py:Mac"], 'defines no "Mac"'),
    "datapath that is none": (["check", "net.py:Linear"], "is no datapath"),
    "technology unknown": (
        ["cost", "requantize", "--accumulator", "int16", "--set", "output=int8", "--technology", "open46"],
        'unknown technology "open46"',
    ),
    "format unknown": (["cost", "mac", "--weight", "float8"], 'unknown number format "float8"'),
    "format of 99 bits": (["cost", "mac", "--weight", "int99"], "1 to 64 bits"),
    "power of two of 9 bits": (["cost", "shift_mac", "--weight", "pow2x9"], "2 to 5 bits"),
    "parameters missing": (["cost", "mac", "--weight", "int4"], "needs its parameters"),
    "parameter malformed": (["cost", "mac", "--set", "multiplier"], '--set "multiplier" is no name=value'),
    "parameter unknown": (["cost", "mac", "--set", "size=3"], 'unknown parameter of mac "size"'),
    "parameters of another kind missing": (
        ["cost", "requantize", "--set", "rounding=half_up"],
        "requantize needs its parameters accumulator, output too; give --accumulator ... --set output=...",
    ),
    "parameter of 5,000 characters": (["cost", "mac", "--weight", "a" * 5_000], "aaa...aaa"),
    "a technology and a library": (
        ["energy", "net.safetensors", "--technology", "open130", "--liberty", "five.lib"],
        "give technology open130 or a Liberty file, not both",
    ),
    "library that is a folder": (
        ["cost", "mac", *MAC, "--liberty", "."],
        'Liberty file "." is missing or no',
    ),
    "energy of cells without a voltage": (
        ["energy", "net.safetensors", "--data", "images.npz", "--technology", "gates"],
        "a Liberty file with nom_voltage",
    ),
    "cycles without end": (
        ["energy", "net.safetensors", "--data", "images.npz", "--cycles", "99999999999999"],
        "counted in 2 to 1048576 cycles",
    ),
    "bits of an integer network": (
        ["traffic", "net.safetensors", "--bits", "w4a4"],
        "its own bits and preprocessing; leave out --bits",
    ),
    "preprocessing of an integer network": (
        ["traffic", "net.safetensors", "--div", "2"],
        "leave out --bits, --div",
    ),
    "array of no numbers": (["traffic", "net.safetensors", "--array", "16"], "write rows x columns: 16x16"),
    "array of 0": (["traffic", "net.safetensors", "--array", "0x4"], "1 to 65536 rows"),
    "buffer of no size": (["traffic", "net.safetensors", "--buffer", "64 pages"], "is no size of a memory"),
    "buffers in the wrong order": (
        ["traffic", "net.safetensors", "--buffer", "1KiB,1MiB"],
        "give the larger first",
    ),
    "mapping unknown": (
        ["cost", "mac", *MAC, "--mapping", "cheapest"],
        'unknown mapping "cheapest"; known: smallest',
    ),
    "characterisation below a device": (
        ["characterise", "--family", "to_half", "-o", "/dev/null/x"],
        "Not a directory",
    ),
    "network below a device": (["quantize", "no.onnx", "-o", "/dev/null/x.safetensors"], "Not a directory"),
    "trained network below a device": (
        ["fine-tune", "no.onnx", "-o", "/dev/null/x.safetensors"],
        "Not a directory",
    ),
    "sensitivities below a device": (["sensitivity", "no.toml", "-o", "/dev/null/x"], "Not a directory"),
    "table below a device": (
        ["reproduce", "aciq", "--network", "no", "-o", "/dev/null/x"],
        "Not a directory",
    ),
    "characterisation without end": (
        ["characterise", "--family", "to_half", "--timeout", "inf"],
        "finite number of seconds",
    ),
    "timeout of nan": (["cost", "mac", "--timeout", "nan"], "--timeout"),
    "timeout without end": (["cost", "mac", "--timeout", "inf"], "finite number of seconds"),
    "timeout of 0": (["cost", "mac", "--timeout", "0"], "--timeout"),
    "study missing": (["explore", "no.toml", "-o", "out"], 'study file "no.toml": No such file'),
    "study is a folder": (["explore", ".", "-o", "out"], "Is a directory"),
    "report without results": (["report", "."], 'results file "results.json": No such file'),
    "report of a file": (["report", "net.py"], "Not a directory"),
    "results are a file": (["explore", "study.toml", "-o", "net.py"], "is not empty and holds no study"),
    "folder of another kind": (["explore", "study.toml", "-o", "f.toml"], "is not empty and holds no study"),
    "folder in a file": (["explore", "study.toml", "-o", "net.py/out"], "Not a directory"),
    "folder that no one may make": (["explore", "study.toml", "-o", "/proc/out"], 'cannot write "/proc/out'),
}


@pytest.mark.parametrize("case", COMMANDS)
def test_a_bad_command_line_is_refused(place, monkeypatch, capsys, case):
    (place / "f.toml").mkdir()
    (place / "f.toml" / "file").write_text("mine")
    (place / "blocked.bits.toml").mkdir()
    refused(place, monkeypatch, capsys, *COMMANDS[case])


# Bit configurations

BITS = {
    "no TOML": ('[layers\nconv = "w4a4"', "is no TOML"),
    "unknown layer": (
        'default = "w4a4"\n[layers]\nconv1 = "w4a4"',
        'layer "conv1"; the network has conv, out',
    ),
    "missing layer": ('[layers]\nconv = "w4a4"', 'add a line "out" = '),
    "duplicate layer": ('[layers]\nconv = "w4a4"\nconv = "w8a8"', "is no TOML"),
    "number for bits": ("[layers]\nconv = 4\nout = 4", 'gives layer "conv" no bits'),
    "layers are a list": ("layers = [1]", "[layers] table"),
    "unknown key": ('defautl = "w4a4"', '"defautl"'),
    "width out of range": ('default = "w4a4"\n[layers]\nconv = "int16*int4/int16"', "2 to 8 bits"),
    "unsigned for signed": ('default = "w4a4"\n[layers]\nconv = "int4*uint4/int16"', "can be negative"),
    "deep nesting": ("layers = " + "[" * 100_000, "is no TOML"),
    "number of many digits": ("default = " + "9" * 5_000, "is no TOML"),
    "control characters": ('default = "w\\u001b[2Ja4"', "are not understood"),
    "no UTF-8": (b"default = '\xff'", "no UTF-8 text"),
}


@pytest.mark.parametrize("case", BITS)
def test_a_bad_bit_configuration_is_refused(place, monkeypatch, capsys, case):
    content, sentence = BITS[case]
    (place / "bits.toml").write_bytes(content if isinstance(content, bytes) else content.encode())
    refused(place, monkeypatch, capsys, [*QUANTIZE, "--bits", "bits.toml"], sentence)


# Images


def npz(**arrays):
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def bomb():
    """An archive of a kilobyte whose array declares 2^50 bytes."""
    buffer = io.BytesIO()
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|u1", "fortran_order": False, "shape": (1 << 50,)}
    )
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", header.getvalue())
        archive.writestr("y.npy", header.getvalue())
    return buffer.getvalue()


X, Y = np.zeros((2, 4, 4), np.uint8), np.zeros(2, np.int64)
IMAGES = {
    "no archive": (b"PK nothing", "no readable .npz"),
    "empty file": (b"", "no readable .npz"),
    "cut short": (npz(x=X, y=Y)[:-30], "no readable .npz"),
    "no labels": (npz(x=X), 'no array "y"'),
    "floats": (npz(x=X / 2, y=Y), "x is float64"),
    "float labels": (npz(x=X, y=Y / 2), "y is float64"),
    "pickled objects": (npz(x=np.array([{}, []], object), y=Y), "holds Python objects"),
    "two dimensions": (npz(x=X[0], y=Y), "uint8 [n, height, width, channels]"),
    "fewer labels": (npz(x=X, y=Y[:1]), "need int64 labels"),
    "no image": (npz(x=X[:0], y=Y[:0]), "empty"),
    "negative label": (npz(x=X, y=Y - 1), "label -1 is negative"),
    "label beyond the classes": (npz(x=X, y=Y + 3), "label 3 is beyond the network's 3 classes"),
    "other size": (npz(x=np.zeros((2, 5, 4), np.uint8), y=Y), "5x4 with 1 channels"),
    "three channels": (npz(x=np.zeros((2, 4, 4, 3), np.uint8), y=Y), "4x4 with 3 channels"),
    "declared size": (bomb(), "more than the file holds"),
}


@pytest.mark.parametrize("case", IMAGES)
@pytest.mark.parametrize(
    "arguments",
    [
        ("quantize", "net.py:net", "--calibration", "bad.npz", "-o", "new.safetensors"),
        ("simulate", "net.safetensors", "--data", "bad.npz"),
        ("explore", "bad.toml", "-o", "out"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_bad_images_are_refused(place, monkeypatch, capsys, arguments, case):
    content, sentence = IMAGES[case]
    (place / "bad.npz").write_bytes(content)
    (place / "bad.toml").write_text(tiny.STUDY.replace('test = "images', 'test = "bad'))
    refused(place, monkeypatch, capsys, arguments, sentence)


# ONNX files and weights


def network_onnx(weight=None, operator="Conv", name="conv", **attributes):
    if weight is None:
        weight = np.random.default_rng(0).normal(size=(3, 1, 4, 4)).astype(np.float32)
    tensor = numpy_helper.from_array(weight, "w")
    nodes = [
        helper.make_node(operator, ["x", "w"], ["c"], name, **attributes),
        helper.make_node("Flatten", ["c"], ["y"], "flat"),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 1, 4, 4])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])
    graph = helper.make_graph(nodes, "g", [x], [y], [tensor])
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    ).SerializeToString()


def with_weight(value):
    weight = np.ones((3, 1, 4, 4), np.float32)
    weight[1, 0, 2, 3] = value
    return network_onnx(weight)


def external():
    model = onnx.load_model_from_string(network_onnx())
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../../etc/passwd")
    return model.SerializeToString()


MODELS = {
    "missing": (None, "No such file"),
    "empty": (b"", "bad.onnx"),
    "no ONNX": (b"\x08\x07 nothing" * 20, "bad.onnx"),
    "cut short": (network_onnx()[:-40], "bad.onnx"),
    "unsupported operator": (network_onnx(operator="ConvTranspose"), "ConvTranspose"),
    "unknown operator": (network_onnx(operator="Ev\x1b[2Jil"), "bad.onnx"),
    "NaN": (with_weight(np.nan), 'layer "conv" has 1 of 48 values in its weight that are NaN or infinite'),
    "infinite": (with_weight(-np.inf), "NaN or infinite"),
    "external data": (external(), "data is read from files beside the model alone"),
    "groups that do not divide": (network_onnx(group=2), "bad.onnx"),
    "stride of 0": (network_onnx(strides=[0, 0]), "bad.onnx"),
    "huge padding": (network_onnx(pads=[1 << 30] * 4), "bad.onnx"),
}


@pytest.mark.parametrize("case", MODELS)
def test_a_bad_onnx_file_is_refused(place, monkeypatch, capsys, case):
    content, sentence = MODELS[case]
    if content is not None:
        (place / "bad.onnx").write_bytes(content)
    refused(place, monkeypatch, capsys, ["quantize", "bad.onnx", *ONNX, "-o", "new.safetensors"], sentence)


def test_control_characters_of_a_layers_name_reach_no_output(place, monkeypatch, capsys):
    hostile = "a\x1b[2J\r\nb\u202e\x07"
    (place / "hostile.onnx").write_bytes(network_onnx(name=hostile))
    for arguments in (
        ["quantize", "hostile.onnx", *ONNX, "-o", "h.safetensors"],
        ["simulate", "h.safetensors", *SIMULATE[2:]],
    ):
        status, out, err = command(monkeypatch, capsys, *arguments)
        assert status == 0
        assert all(line.isprintable() for line in (out + err).split("\n"))
    tensors, header = read_network(place / "h.safetensors")
    header["layers"][0]["layer"]["name"] = hostile
    write_network(place / "h.safetensors", tensors, header)
    refused(place, monkeypatch, capsys, ["simulate", "h.safetensors", *SIMULATE[2:]], "control characters")


WEIGHTS = {
    "empty": (lambda tensors: {}, "has no weight"),
    "missing key": (
        lambda tensors: {k: v for k, v in tensors.items() if k != "bn1.running_var"},
        "running_var",
    ),
    "foreign key": (lambda tensors: tensors | {"fc.weight": np.ones(3)}, '"fc.weight"'),
    "wrong shape": (
        lambda tensors: tensors | {"conv1.weight": np.ones((16, 3, 5, 5))},
        "shape [16, 3, 5, 5]",
    ),
    "NaN": (lambda tensors: tensors | {"bn1.bias": np.full(16, np.nan)}, "16 of 16 values"),
    "negative variance": (lambda tensors: tensors | {"bn1.running_var": np.full(16, -1.0)}, "variance"),
}


@pytest.mark.parametrize("case", WEIGHTS)
def test_bad_resnet_weights_are_refused(tmp_path, case):
    change, sentence = WEIGHTS[case]
    shapes = {f"{x.name}.{k}": s for x in _structure().layers for k, s in parameter_shapes(x).items()}
    shapes.pop("conv1.bias", None)
    tensors = {key: np.ones(shape) for key, shape in shapes.items() if not (".conv" in key and "bias" in key)}
    safetensors.numpy.save_file(tensors, tmp_path / "good.safetensors")
    assert resnet20(tmp_path / "good.safetensors").name == "resnet20-cifar10"
    safetensors.numpy.save_file(change(tensors), tmp_path / "bad.safetensors")
    with pytest.raises(HwsimError) as error:
        resnet20(tmp_path / "bad.safetensors")
    assert sentence in str(error.value)
    assert str(error.value).isprintable()


# Network files


def read_network(path):
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    return safetensors.numpy.load(content), json.loads(
        json.loads(content[8 : 8 + length])["__metadata__"]["hwsim"]
    )


def write_network(path, tensors, header):
    path.write_bytes(safetensors.numpy.save(tensors, metadata={"hwsim": json.dumps(header)}))


def set_in(header, value, *keys):
    for key in keys[:-1]:
        header = header[key]
    header[keys[-1]] = value


NETWORKS = {
    "another version": lambda t, h: set_in(h, 99, "version"),
    "no layer": lambda t, h: set_in(h, [], "layers"),
    "unknown operator": lambda t, h: set_in(h, "attention", "layers", 0, "layer", "operator"),
    "unknown input": lambda t, h: set_in(h, ["nowhere"], "layers", 0, "layer", "inputs"),
    "no inputs": lambda t, h: set_in(h, [], "layers", 0, "layer", "inputs"),
    "another input shape": lambda t, h: set_in(h, [1, 5, 4], "input_shape"),
    "input shape of text": lambda t, h: set_in(h, "144", "input_shape"),
    "name of a number": lambda t, h: set_in(h, 3, "layers", 0, "layer", "name"),
    "dilation of 0": lambda t, h: set_in(h, [0, 1], "layers", 0, "layer", "dilation"),
    "dilation below 0": lambda t, h: set_in(h, [1, -2], "layers", 0, "layer", "dilation"),
    "dilation of text": lambda t, h: set_in(h, "12", "layers", 0, "layer", "dilation"),
    "dilation of one number": lambda t, h: set_in(h, 2, "layers", 0, "layer", "dilation"),
    "dilation beyond all bounds": lambda t, h: set_in(h, [1, 1 << 62], "layers", 0, "layer", "dilation"),
    "stride of 0": lambda t, h: set_in(h, [0, 0], "layers", 0, "layer", "stride"),
    "negative padding": lambda t, h: set_in(h, [-1, -1, -1, -1], "layers", 0, "layer", "padding"),
    "groups of 0": lambda t, h: set_in(h, 0, "layers", 0, "layer", "groups"),
    "format unknown": lambda t, h: set_in(h, "float32", "layers", 0, "output"),
    "scale infinite": lambda t, h: set_in(h, float("inf"), "layers", 0, "scale"),
    "input scale NaN": lambda t, h: set_in(h, float("nan"), "input_scale"),
    "bits of another format": lambda t, h: set_in(h, ["int4", "uint4", "int12", "wrap"], "layers", 0, "bits"),
    "weight too large": lambda t, h: t["0.weight"].__setitem__((0, 0, 0, 0), 8),
    "bias too large": lambda t, h: t["0.bias"].__setitem__(0, 1 << 60),
    "shift negative": lambda t, h: t["0.shift"].__setitem__(0, -1),
    "pixel table too large": lambda t, h: t["input_table"].__setitem__((0, 0), 1000),
    "weight missing": lambda t, h: t.pop("0.weight"),
    "weight of floats": lambda t, h: t.update({"0.weight": t["0.weight"].astype(np.float32)}),
}


@pytest.mark.parametrize("case", NETWORKS)
def test_a_network_file_that_contradicts_itself_is_refused(place, monkeypatch, capsys, case):
    tensors, header = read_network(place / "net.safetensors")
    NETWORKS[case](tensors, header)
    write_network(place / "bad.safetensors", tensors, header)
    refused(place, monkeypatch, capsys, ["simulate", "bad.safetensors", *SIMULATE[2:]], "bad.safetensors")


def test_a_network_file_with_flipped_bits_is_refused_or_runs(place, monkeypatch, capsys):
    content = (place / "net.safetensors").read_bytes()
    rng, ended = np.random.default_rng(0), set()
    for _ in range(100):
        damaged = bytearray(content)
        damaged[rng.integers(len(content))] ^= 1 << rng.integers(8)
        (place / "bad.safetensors").write_bytes(damaged)
        arguments = ["simulate", "bad.safetensors", *SIMULATE[2:], "--images", "1", "--verify", "0"]
        status, out, err = command(monkeypatch, capsys, *arguments)
        assert (status, err) == (0, "") or (status == 2 and out == "" and err.count("\n") == 1), err
        ended.add(status)
    assert ended == {0, 2}


# Study files


def study(old, new):
    assert old in tiny.STUDY
    return tiny.STUDY.replace(old, new)


def added(table, line):
    """The study with a line in a table that it has or not."""
    head = f"[{table}]\n"
    return study(head, f"{head}{line}\n") if head in tiny.STUDY else f"{tiny.STUDY}\n{head}{line}\n"


STUDIES = {
    "empty": ("", 'the key "title" is missing'),
    "no TOML": (tiny.STUDY + "[", "is no TOML"),
    "duplicate key": (study("seed = 3", "seed = 3\nseed = 4"), "is no TOML"),
    "no UTF-8": (study("Tiny", "T\xefny").encode("latin-1"), "no UTF-8 text"),
    "deep nesting": ("a = " + "[" * 100_000, "is no TOML"),
    "deep nesting of keys": (tiny.STUDY + "[" + ".".join("a" * 2_000) + "]", 'unknown key "a"'),
    "number of many digits": (study("seed = 3", "seed = " + "9" * 5_000), "is no TOML"),
    "typo": (study("budget", "bugdet"), 'did you mean "budget"?'),
    "typo in a table": (added("space", "wieghts = []"), 'unknown key "space.wieghts"'),
    "unknown table": (tiny.STUDY + "[sapce]", 'did you mean "space"?'),
    "table for a value": (study("seed = 3", "seed = {}"), "seed: "),
    "value for a table": ("hardware = 3" + study('[hardware]\ntechnology = "gates"\n', ""), "hardware: "),
    "text for a number": (study("budget = 10", 'budget = "10"'), "budget: "),
    "true for a number": (study("budget = 10", "budget = true"), "budget: "),
    "fraction for a count": (study("budget = 10", "budget = 8.5"), "budget: "),
    "budget of 0": (study("budget = 10", "budget = 0"), "not 0"),
    "budget below 0": (study("budget = 10", "budget = -3"), "not -3"),
    "budget of a giant": (study("budget = 10", f"budget = {10**30}"), "budget: "),
    "seed below 0": (study("seed = 3", "seed = -1"), "not -1"),
    "empty title": (study('"Tiny"', '""'), "title: "),
    "unknown model": (study("net.py:net", "digit"), 'unknown model "digit"; known: digits'),
    "model path with a zero": (study("net.py:net", "a\\u0000.onnx"), "a\\x00.onnx"),
    "objective misspelt": (study("seed = 3", 'objectives = ["gate"]'), 'did you mean "gates"?'),
    "unknown objective": (
        study("seed = 3", 'objectives = ["speed"]'),
        'unknown objective "speed"; known: accuracy_loss',
    ),
    "objective of a file": (study("seed = 3", 'objectives = ["a.py:b"]'), 'unknown objective "a.py:b"'),
    "area without sizes": (study("seed = 3", 'objectives = ["area"]'), "technology gates has no area"),
    "duplicate objective": (
        study("seed = 3", 'objectives = ["gates", "gates"]'),
        'objective "gates" is listed twice',
    ),
    "no objective": (
        study("seed = 3", "objectives = []"),
        "objectives: a list has one entry or more, not []",
    ),
    "objectives of text": (
        study("seed = 3", 'objectives = "gates"'),
        "objectives: input should be a list, not 'gates'",
    ),
    "unknown search": (study("seed = 3", 'search = "evolv"'), 'unknown search "evolv"; known: evolve'),
    "search of a file": (study("seed = 3", 'search = "a.py:b"'), 'search file "a.py": No such file'),
    "bits of text": (study("activations = [4]", 'activations = ["8"]'), "space.activations.0: "),
    "bits of truth": (study("activations = [4]", "activations = [true]"), "space.activations.0: "),
    "activations of 9 bits": (study("activations = [4]", "activations = [9]"), "2 to 8 bits"),
    "weights of 16 bits": (study('"int3"', '"int16"'), "2 to 8 bits"),
    "weights unsigned": (study('"int3"', '"uint3"'), "weights are signed"),
    "weights twice": (study('"int3"', '"int4"'), '"int4" is listed twice in weights'),
    "no weights": (study('["int3", "int4"]', "[]"), "space.weights: "),
    "weights unknown": (study('"int3"', '"fp8"'), 'unknown number format "fp8"'),
    "accumulator too narrow": (study("int12", "int7"), "8 to 32 bits"),
    "accumulator unsigned": (study("int12", "uint12"), "accumulators are signed"),
    "overflow unknown": (study('"wrap"', '"trap"'), 'unknown overflow "trap"'),
    "quantizer unknown": (study("aciq_gauss", "aciq_normal"), 'unknown quantizer "aciq_normal"'),
    "quantizer written twice in two ways": (
        study("activations=aciq_gauss", "tolerance=1.3 activations=min_max"),
        "are the same; leave one out",
    ),
    "datapath unknown": (added("space", 'datapaths = ["mca"]'), 'unknown datapath "mca"'),
    "datapath unfit": (added("space", 'datapaths = ["max_pool"]'), '"max_pool" cannot be made'),
    "datapath unfit for some": (
        added("space", 'datapaths = ["shift_mac"]'),
        '"shift_mac" cannot be made for int3',
    ),
    "datapath file missing": (
        added("space", 'datapaths = ["no.py:Mac"]'),
        'datapath file "no.py": No such file',
    ),
    "fixed layer unknown": (
        added("space.fixed", 'conv1 = "w4a4"'),
        'layer "conv1"; the network has conv, out',
    ),
    "fixed unsigned for signed": (added("space.fixed", 'conv = "int4*uint4/int12"'), "can be negative"),
    "fixed malformed": (added("space.fixed", 'conv = "four"'), 'space.fixed.conv: bits "four"'),
    "fixed of a number": (added("space.fixed", "conv = 4"), "space.fixed.conv: "),
    "clock of 0": (added("hardware", "clock_mhz = 0"), "hardware.clock_mhz: "),
    "clock of nan": (added("hardware", "clock_mhz = nan"), "hardware.clock_mhz: "),
    "throughput of inf": (added("hardware", "images_per_second = inf"), "hardware.images_per_second: "),
    "throughput above the clock": (added("hardware", "images_per_second = 1e12"), "no whole cycle"),
    "technology unknown": (study('"gates"', '"open46"'), 'unknown technology "open46"'),
    "buffer of 0": (added("memory", "buffer_bytes = 0"), "memory.buffer_bytes: "),
    "burst of 12 bits": (added("memory", "burst_bits = 12"), "multiple of 8 bits"),
    "loop order unknown": (added("memory", 'loop_order = "both"'), 'unknown loop order "both"'),
    "images below 0": (added("data", "test_images = -1"), "data.test_images: "),
    "data set unknown": (study('test = "images.npz"', 'test = "mnist"'), 'unknown data set "mnist"'),
    "data set missing": (study('test = "images.npz"\n', ""), "names no data set"),
    "control characters": (study("seed = 3", 'search = "\\u001b[2J\\n"'), "unknown search"),
}


@pytest.mark.parametrize("case", STUDIES)
def test_a_bad_study_is_refused(place, monkeypatch, capsys, case):
    content, sentence = STUDIES[case]
    (place / "study.toml").write_bytes(content if isinstance(content, bytes) else content.encode())
    refused(place, monkeypatch, capsys, EXPLORE, sentence)


def test_a_buffer_too_small_for_the_weights_is_told_in_one_sentence(place, monkeypatch, capsys):
    (place / "study.toml").write_text(added("memory", "buffer_bytes = 1"))
    status, out, err = command(monkeypatch, capsys, *EXPLORE)
    assert (status, out) == (2, "")
    assert "buffer" in err.splitlines()[-1]


# Folders of results


@pytest.mark.parametrize("content", ["", "title = 'Another'", "title = 'cut o", "\0"])
def test_a_folder_of_another_or_a_damaged_study_is_refused(place, monkeypatch, capsys, content):
    (place / "out").mkdir()
    (place / "out" / "study.toml").write_text(content)
    refused(place, monkeypatch, capsys, EXPLORE, "holds another study or a damaged one")


def missing(folder):
    folder.unlink() if folder.is_file() else shutil.rmtree(folder)


def halved(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


DAMAGES = {"missing": missing, "empty": lambda path: path.write_bytes(b""), "halved": halved}


@pytest.fixture(scope="module")
def explored(base, tmp_path_factory, working_in):
    """A folder with an exploration in ``out``, and the key of a point of its front."""
    folder = working_in(shutil.copytree(base, tmp_path_factory.mktemp("explored") / "work"))
    return folder, explore_study("study.toml", "out").front[0].point.key()


@pytest.fixture
def copied(explored, tmp_path, monkeypatch):
    """A copy of that folder, which becomes the working one."""
    place = tmp_path / "work"
    shutil.copytree(explored[0], place)
    monkeypatch.chdir(place)
    return place


def drawn(folder):
    """What hwsim report draws."""
    kinds = (".html", ".csv", ".svg", ".pdf", ".png")
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.suffix in kinds}


def test_a_report_is_redrawn_wherever_its_folder_lies_and_whatever_else_of_it_is_lost(
    explored, tmp_path, monkeypatch, capsys
):
    folder, _ = explored
    moved = tmp_path / "far" / "another name"
    shutil.copytree(folder / "out", moved)
    for path in list(moved.iterdir()):
        if path.name != "results.json":
            missing(path)
    status, out, err = command(monkeypatch, capsys, "report", moved)
    assert (status, out, err) == (0, f"report: {moved}/index.html\n", "")
    assert drawn(moved) == drawn(folder / "out")


@pytest.mark.parametrize("damage", DAMAGES)
def test_without_its_results_a_folder_is_refused_until_explored_again(
    explored, copied, monkeypatch, capsys, damage
):
    (folder, key), place = explored, copied
    DAMAGES[damage](place / "out" / "results.json")
    commands = (
        ["report", "out"],
        ["report", "out", folder / "out", "-o", "both"],
        ["diff", "out", folder / "out"],
        ["diff", f"out:{key}", f"{folder}/out:{key}"],
        ["export", "out", key, "-o", "bundle"],
        ["sensitivity", "study.toml", "--explored", "out", "-o", "found"],
    )
    for arguments in commands:
        refused(place, monkeypatch, capsys, arguments, "results.json")
    assert explore_study("study.toml", "out").reused == 10
    assert drawn(place / "out") == drawn(folder / "out")


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_study_file_that_is_damaged_or_gone_costs_nothing_of_the_store(
    explored, copied, monkeypatch, capsys, damage
):
    (_, key), place = explored, copied
    DAMAGES[damage](place / "out" / "study.toml")
    refused(place, monkeypatch, capsys, ["export", "out", key, "-o", "bundle"], '"out/study.toml"')
    if damage != "missing":
        refused(place, monkeypatch, capsys, EXPLORE, "remove study.toml from it to go on with its store")
        missing(place / "out" / "study.toml")
    assert explore_study("study.toml", "out").reused == 10


@pytest.mark.parametrize("source", ["net.py", "f.toml", "none", "/dev/null"])
def test_what_is_no_folder_of_an_exploration_is_refused(place, monkeypatch, capsys, source):
    (place / "f.toml").mkdir(exist_ok=True)
    for arguments in (["report", source], ["diff", source, source], ["diff", f"{source}:ab", f"{source}:ab"]):
        refused(place, monkeypatch, capsys, arguments, "give a folder that hwsim explore wrote")
    refused(place, monkeypatch, capsys, ["export", source, "ab", "-o", "bundle"], f'"{source}')


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"{",
        b"\xff",
        b'{"facts": {}, "evaluations": 3}',
        b"[" * 100_000,
        b'{"a": NaN}',
    ],
)
def test_damaged_results_are_refused(place, monkeypatch, capsys, content):
    (place / "out").mkdir()
    (place / "out" / "results.json").write_bytes(content)
    refused(place, monkeypatch, capsys, ["report", "out"], "is damaged")


# Datapaths of one's own

DATAPATHS = {
    "raises": ("raise RuntimeError('two\\nlines')", "own.py"),
    "exits": ("raise SystemExit(0)", "own.py"),
    "no Python": ("class Mac(:", "own.py"),
    "not a dataclass": ("class Mac: pass", "is no datapath"),
    "a number": ("Mac = 3", "is no datapath"),
}
GOOD = """
from dataclasses import dataclass
from hwsim.datapath.mac import Mac as Own
from hwsim.formats import Int

@dataclass(frozen=True)
class Mac(Own):
    @staticmethod
    def variants():
        yield Mac(Int(2), Int(2), Int(8))

"""
DATAPATHS |= {
    "connects nothing": (GOOD + "    def connect(self, wires): return {}", "wires"),
    "connects with an error": (GOOD + "    def connect(self, wires): return wires['a\\nb']", "KeyError"),
    "computes nothing": (GOOD + "    def compute(self, values): return {}", "compute"),
    "has no variants": (GOOD + "    variants = lambda: []", "variants"),
    "variants fail": (GOOD + "    variants = lambda: 1 / 0", "ZeroDivisionError"),
}


@pytest.mark.parametrize("case", DATAPATHS)
def test_a_bad_datapath_of_ones_own_is_refused(place, monkeypatch, capsys, case):
    content, sentence = DATAPATHS[case]
    (place / "own.py").write_text(content)
    refused(place, monkeypatch, capsys, ["check", "own.py:Mac"], sentence)


def test_a_circuit_that_differs_ends_with_status_1(place, monkeypatch, capsys):
    (place / "own.py").write_text(
        GOOD + "    def connect(self, wires): return {'accumulator': wires['accumulator']}"
    )
    status, out, err = command(monkeypatch, capsys, "check", "own.py:Mac", "--json")
    assert (status, err) == (1, "")
    found = json.loads(out)
    assert (found["checked"], found["different"]) == (1, 1)
    assert found["circuits"][0]["counterexample"]["port"] == "accumulator"
    status, out, err = command(monkeypatch, capsys, *SIMULATE, "--mac", "own.py:Mac", "--json")
    assert (status, err) == (1, "")
    assert json.loads(out)["equal"] is False


SEARCH = (
    "from hwsim.explore.search import random\ndef search(space, done, objectives, rng, count):\n    return "
)
SEARCHES = {
    "fails": (SEARCH + "1 / 0", "ZeroDivisionError"),
    "no function": ("search = 3", "not callable"),
    "one point again": (SEARCH + "random(space, [], objectives, rng, 2)", "again"),
    "too many": (SEARCH + "random(space, done, objectives, rng, count + 1)", "more than 8"),
}


@pytest.mark.parametrize("case", SEARCHES)
def test_a_bad_search_of_ones_own_is_told_in_one_sentence(place, monkeypatch, capsys, case):
    content, sentence = SEARCHES[case]
    (place / "own.py").write_text(content)
    (place / "study.toml").write_text(study("seed = 3", 'search = "own.py:search"'))
    status, out, err = command(monkeypatch, capsys, *EXPLORE)
    assert (status, out) == (2, "")
    assert sentence in err.splitlines()[-1]


# As a process: nothing is left to this one's settings

PROCESSES = {
    "unknown model": ["quantize", "digit", "-o", "n"],
    "study missing": ["explore", "no.toml", "-o", "out"],
    "network damaged": ["simulate", "net.py"],
    "name in another script": ["list", "mödels→"],
    "no UTF-8 on the command line": ["simulate", os.fsdecode(b"\xff\xfe.safetensors")],
}


@pytest.mark.parametrize("case", PROCESSES)
def test_a_refusal_is_one_line_in_a_process_of_its_own(place, case):
    before = listing(place)
    done = tiny.hwsim(*PROCESSES[case], cwd=place, LC_ALL="C", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("hwsim: ")
    assert done.stderr.count("\n") == 1
    assert listing(place) == before


def test_the_module_needs_no_working_folder_to_refuse(tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    script = "import os, sys; os.rmdir(os.getcwd());sys.argv[1:] = ['simulate', 'a']; from hwsim.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", script], cwd=gone, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1


def test_there_are_more_than_a_hundred_cases():
    tables = (COMMANDS, BITS, IMAGES, MODELS, WEIGHTS, NETWORKS, STUDIES, DATAPATHS, PROCESSES)
    assert sum(map(len, tables)) > 150
