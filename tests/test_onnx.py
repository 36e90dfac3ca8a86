"""ONNX files: every supported operator against onnxruntime, real networks, and refused files."""

from __future__ import annotations

import os

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from hwsim.data import data_folder, load_split
from hwsim.errors import HwsimError
from hwsim.models import load_model
from hwsim.models.forward import logits
from hwsim.models.onnx import load_onnx

RNG = np.random.Generator(np.random.PCG64(11))
SHAPE = (4, 9, 8)


def _normal(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def _model(nodes, constants=None, opset=17, shape=SHAPE, metadata=None, batch="N"):
    """Return a model from "x" to the first output of its last node."""
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, *shape])],
        [helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in (constants or {}).items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    helper.set_model_props(model, {"div": "1.0"} if metadata is None else metadata)
    return model


def _load(model, tmp_path, **preprocessing):
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return load_onnx(path, **preprocessing)


def _runtime(content, x):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x.astype(np.float32)})[0]


def _agree(model, tmp_path, batch=2):
    network = _load(model, tmp_path)
    x = _normal(batch, *network.input_shape).astype(np.float64)
    ours = logits(network, x)
    theirs = _runtime(model.SerializeToString(), x).reshape(ours.shape)
    np.testing.assert_allclose(ours, theirs, atol=1e-5 * max(1, abs(ours).max()), rtol=1e-5)
    return network


def _node(operator, *inputs, out="y", **attributes):
    return helper.make_node(operator, list(inputs), [out], name=f"the {operator}", **attributes)


def _conv(weight_shape, bias=False, **attributes):
    constants = {"w": _normal(*weight_shape)} | ({"b": _normal(weight_shape[0])} if bias else {})
    return [_node("Conv", "x", *constants, **attributes)], constants


def _pool(operator, **attributes):
    return [_node(operator, "x", **attributes)], {}


def _with(operator, attributes=None, **constants):
    return [_node(operator, "x", *constants, **(attributes or {}))], constants


INT = np.int64
OPERATORS = {
    "conv": _conv((6, 4, 3, 3)),
    "conv with bias, stride and uneven pads": _conv((6, 4, 3, 2), True, strides=[2, 1], pads=[1, 0, 2, 1]),
    "conv in two groups": _conv((6, 2, 3, 3), group=2, kernel_shape=[3, 3]),
    "depthwise conv, same upper": _conv((8, 1, 3, 3), group=4, strides=[2, 2], auto_pad="SAME_UPPER"),
    "dilated conv": _conv((6, 4, 3, 2), True, dilations=[2, 3], strides=[1, 2], pads=[2, 0, 1, 3]),
    "dilated conv in groups": _conv((8, 2, 3, 3), group=2, dilations=[3, 2], pads=[3, 0, 1, 3]),
    "dilated depthwise conv": _conv((4, 1, 3, 3), group=4, dilations=[4, 2], pads=[4, 2, 4, 2]),
    "conv, same lower": _conv((5, 4, 4, 4), strides=[1, 3], auto_pad="SAME_LOWER"),
    "conv, valid": _conv((5, 4, 4, 4), auto_pad="VALID"),
    "batch norm": _with(
        "BatchNormalization",
        {"epsilon": 0.01},
        s=_normal(4),
        b=_normal(4),
        m=_normal(4),
        v=np.abs(_normal(4)),
    ),
    "relu": _pool("Relu"),
    "clip": _with("Clip", low=np.float32(-0.5), high=np.float32(0.75)),
    "clip below alone": _with("Clip", low=np.float32(-0.25)),
    "add": ([_node("Relu", "x", out="r"), _node("Add", "r", "x")], {}),
    "constant behind a conv": (
        [_node("Conv", "x", "w", out="c"), _node("Add", "k", "c")],
        {"w": _normal(3, 4, 2, 2), "k": _normal(3, 1, 1)},
    ),
    "constant behind a batch norm": (
        [_node("BatchNormalization", "x", "s", "b", "m", "s", out="c"), _node("Add", "c", "k")],
        {"s": np.abs(_normal(4)), "b": _normal(4), "m": _normal(4), "k": _normal(1, 1, 1, 1)},
    ),
    "max pool": _pool("MaxPool", kernel_shape=[3, 2], strides=[2, 2], pads=[1, 0, 1, 1]),
    "max pool with a ceiling": _pool("MaxPool", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1),
    "max pool with a ceiling and pads": _pool(
        "MaxPool", kernel_shape=[2, 2], strides=[2, 3], ceil_mode=1, pads=[1, 1, 0, 0]
    ),
    "max pool, same upper": _pool("MaxPool", kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER"),
    "average pool": _pool("AveragePool", kernel_shape=[3, 3], strides=[2, 1]),
    "average pool with pads": _pool(
        "AveragePool", kernel_shape=[3, 3], pads=[1, 1, 2, 0], count_include_pad=1
    ),
    "global average pool": _pool("GlobalAveragePool"),
    "global max pool": _pool("GlobalMaxPool"),
    "mean of rows and columns": _pool("ReduceMean", axes=[-1, 2], keepdims=0),
    "maximum of rows and columns": _pool("ReduceMax", axes=[2, 3]),
    "split": (
        [
            helper.make_node("Split", ["x", "sizes"], ["a", "b", "c"], axis=-3),
            _node("Concat", "c", "a", "b", axis=1),
        ],
        {"sizes": np.array([1, 2, 1], INT)},
    ),
    "split into halves": (
        [helper.make_node("Split", ["x"], ["a", "b"], axis=1), _node("Add", "a", "b")],
        {},
    ),
    "concat": ([_node("Relu", "x", out="r"), _node("Concat", "x", "r", "x", axis=1)], {}),
    "concat from behind": ([_node("Relu", "x", out="r"), _node("Concat", "x", "r", axis=-3)], {}),
    "flatten": _pool("Flatten"),
    "reshape": _with("Reshape", shape=np.array([-1, 288], INT)),
    "reshape as torch's exporter writes it": _with(
        "Reshape", {"allowzero": 1}, shape=np.array([-1, 288], INT)
    ),
    "reshape keeping the batch": _with("Reshape", shape=np.array([0, -1], INT)),
    "slice": _with(
        "Slice",
        starts=np.array([1, -9], INT),
        ends=np.array([np.iinfo(INT).max, -1], INT),
        axes=np.array([3, 2], INT),
        steps=np.array([2, 3], INT),
    ),
    "channel shuffle": (
        [
            _node("Reshape", "x", "split", out="g"),
            _node("Transpose", "g", out="t", perm=[0, 2, 1, 3, 4]),
            helper.make_node("Reshape", ["t", "joined"], ["y"]),
        ],
        {"split": np.array([0, 2, -1, 9, 8], INT), "joined": np.array([-1, 4, 9, 8], INT)},
    ),
    "channels in groups and back, then flat": (
        [
            helper.make_node("Reshape", ["x", "split"], ["g"]),
            helper.make_node("Reshape", ["g", "joined"], ["j"]),
            helper.make_node("Reshape", ["j", "split"], ["h"]),
            _node("Transpose", "h", out="t", perm=[0, 2, 1, 3, 4]),
            _node("Flatten", "t", axis=1),
        ],
        {"split": np.array([-1, 2, 2, 9, 8], INT), "joined": np.array([0, 4, 9, 8], INT)},
    ),
    "slice of channels": _with("Slice", starts=np.array([1]), ends=np.array([-1]), axes=np.array([-3])),
    "pad channels": _with("Pad", pads=np.array([0, 1, 0, 0, 0, 2, 0, 0], INT)),
    "pad rows before a conv": (
        [
            _node("Pad", "x", "p", out="z"),
            _node("Conv", "z", "w", auto_pad="SAME_UPPER", strides=[2, 2]),
        ],
        {"p": np.array([0, 0, 1, 0, 0, 1, 2, 1], INT), "w": _normal(3, 5, 3, 3)},
    ),
    "pad rows before an average pool": (
        [
            _node("Pad", "x", "p", out="z"),
            _node("AveragePool", "z", kernel_shape=[3, 3], strides=[2, 2]),
        ],
        {"p": np.array([0, 0, 1, 0, 0, 0, 2, 1], INT)},
    ),
    "identity and dropout": (
        [_node("Identity", "x", out="i"), _node("Dropout", "i", out="d"), _node("Relu", "d")],
        {},
    ),
    "constant nodes": (
        [
            helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(_normal(2, 4, 1, 1))),
            helper.make_node("Constant", [], ["top"], value_float=0.5),
            _node("Identity", "c", out="w"),
            _node("Conv", "x", "w", out="y0"),
            _node("Clip", "y0", "", "top"),
        ],
        {},
    ),
    "weights cast and transposed": (
        [
            _node("Cast", "half", out="w", to=TensorProto.FLOAT),
            _node("Conv", "x", "w", out="c"),
            _node("Flatten", "c", out="f"),
            _node("Transpose", "m", out="t", perm=[1, 0]),
            _node("MatMul", "f", "t"),
        ],
        {"half": _normal(2, 4, 3, 3).astype(np.float16), "m": _normal(5, 84)},
    ),
    "tensor nobody needs": (
        [helper.make_node("Loop", ["x"], ["dead"]), _node("Relu", "x")],
        {},
    ),
}


@pytest.mark.parametrize("case", [name for name in OPERATORS if name != "tensor nobody needs"])
def test_an_operator_equals_onnxruntime(case, tmp_path):
    nodes, constants = OPERATORS[case]
    _agree(_model(nodes, constants), tmp_path)


def test_padding_to_the_same_size_reaches_around_the_whole_dilated_window(tmp_path):
    nodes, constants = _conv((2, 4, 3, 2), dilations=[3, 3], auto_pad="SAME_UPPER")  # onnxruntime has no such
    same = _load(_model(nodes, constants), tmp_path).layers[0]
    assert (same.operator.padding, same.output_shape) == ((3, 1, 3, 2), (2, 9, 8))


def _view(sizes, opset):
    """x.view(x.size(0), ...) as torch.onnx writes it: arithmetic on the tensor's shape."""
    axes = {"axes": [0]} if opset < 13 else {}
    nodes = [
        _node("Shape", "x", out="shape"),
        _node("Gather", "shape", "first", out="n"),
        _node("Unsqueeze", "n", *([] if axes else ["zero"]), out="batch", **axes),
        _node("Mul", "batch", "times", out="groups"),
        _node("Concat", "groups", "sizes", out="target", axis=0),
        _node("Reshape", "x", "target"),
    ]
    constants = {"first": 0, "zero": [0], "times": [1], "sizes": sizes}
    return nodes, {name: np.array(value, INT) for name, value in constants.items()}


@pytest.mark.parametrize("batch", ["N", 1])
@pytest.mark.parametrize("opset", [9, 11, 13, 18, 20])
def test_a_view_of_as_many_images_as_there_are_is_a_flatten(opset, batch, tmp_path):
    nodes, constants = _view([-1], opset)
    network = _agree(_model(nodes, constants, opset, batch=batch), tmp_path, batch=1)
    assert [layer.kind for layer in network.layers] == ["flatten"]


def test_a_view_that_takes_channels_for_images_is_refused(tmp_path):
    nodes, constants = _view([-1], 17)
    with pytest.raises(HwsimError, match=r"reshapes \[4, 9, 8\] to \[4000012, -1\]"):
        _load(_model(nodes, constants | {"times": np.array([4])}), tmp_path)


def test_padding_as_torch_exports_it_is_folded(tmp_path):
    nodes = [
        _node("Shape", "ends", out="given"),
        _node("Sub", "eight", "given", out="missing"),
        _node("ConstantOfShape", "missing", out="zeros", value=numpy_helper.from_array(np.zeros(1, INT))),
        _node("Concat", "ends", "zeros", out="all", axis=0),
        _node("Reshape", "all", "pairs", out="reversed"),
        _node("Slice", "reversed", "last", "first", "rows", "last", out="ordered"),
        _node("Transpose", "ordered", out="turned", perm=[1, 0]),
        helper.make_node("Reshape", ["turned", "flat"], ["pads"]),
        _node("Cast", "pads", out="p", to=TensorProto.INT64),
        _node("Pad", "x", "p", out="padded"),
        _node("Conv", "padded", "w"),
    ]
    constants = {"ends": [1, 2, 0, 3], "eight": [8], "pairs": [-1, 2], "flat": [-1], "rows": [0]}
    constants |= {"last": [-1], "first": [-(1 << 62)]}
    arrays = {name: np.array(value, INT) for name, value in constants.items()}
    network = _agree(_model(nodes, arrays | {"w": _normal(3, 4, 3, 3)}), tmp_path)
    assert network.layers[0].operator.padding == (0, 1, 3, 2)


def test_no_constant_grows_beyond_what_the_file_holds(tmp_path):
    bomb = {"shape": np.array([1 << 20, 1 << 20], INT), "k": np.zeros((1000, 1), np.float32)}
    nodes = [
        _node("ConstantOfShape", "shape", out="big"),
        _node("Mul", "k", "k", out="product"),
        _node("Conv", "x", "big", out="c"),
        _node("Conv", "c", "product"),
    ]
    with pytest.raises(HwsimError, match=r'not supported: ConstantOfShape "the Con.*"; Mul "the Mul"'):
        _load(_model(nodes, bomb), tmp_path)


def test_nodes_that_the_output_does_not_need_are_left_out(tmp_path):
    nodes, _ = OPERATORS["tensor nobody needs"]
    assert [layer.kind for layer in _load(_model(nodes), tmp_path).layers] == ["relu"]


FLAT = [_node("Flatten", "x", out="f")]


@pytest.mark.parametrize("trans_b", [0, 1])
@pytest.mark.parametrize("bias", [(), (1,), (5,), (1, 5)])
def test_gemm_folds_its_factors(trans_b, bias, tmp_path):
    weight = _normal(5, 288) if trans_b else _normal(288, 5)
    constants = {"w": weight} | ({"b": _normal(*bias)} if bias else {})
    gemm = _node("Gemm", "f", *constants, transB=trans_b, alpha=0.5, beta=-2.0)
    network = _agree(_model([*FLAT, gemm], constants), tmp_path)
    assert network.layers[-1].kind == "linear"


def test_matmul_and_add_are_a_linear_layer(tmp_path):
    nodes = [*FLAT, _node("MatMul", "f", "w", out="m"), _node("Add", "m", "b")]
    network = _agree(_model(nodes, {"w": _normal(288, 5), "b": _normal(5)}), tmp_path)
    assert [layer.kind for layer in network.layers] == ["flatten", "linear"]


@pytest.mark.parametrize("operator", ["Softmax", "LogSoftmax"])
def test_a_softmax_at_the_end_is_dropped_and_changes_no_class(operator, tmp_path):
    nodes = [
        _node("GlobalAveragePool", "x", out="g"),
        _node("Squeeze", "g", "axes", out="s"),
        _node(operator, "s", axis=1),
    ]
    model = _model(nodes, {"axes": np.array([2, 3], INT)})
    x = _normal(9, *SHAPE)
    ours = logits(_load(model, tmp_path), x.astype(np.float64))
    np.testing.assert_array_equal(ours.argmax(1), _runtime(model.SerializeToString(), x).argmax(1))
    np.testing.assert_allclose(ours, x.mean((2, 3)), atol=1e-6)


OLD = {
    "clip": ([_node("Clip", "x", min=0.0, max=6.0)], "clip"),
    "clip without a top": ([_node("Clip", "x", min=0.0)], "relu"),
    "pad": ([_node("Pad", "x", pads=[0, 1, 0, 0, 0, 1, 0, 0])], "pad_channels"),
    "slice": ([_node("Slice", "x", starts=[0, 1], ends=[9, 9], axes=[1, 2])], "slice"),
    "squeeze": ([_node("GlobalAveragePool", "x", out="g"), _node("Squeeze", "g", axes=[2, 3])], "flatten"),
}


@pytest.mark.parametrize("case", OLD)
def test_older_operator_sets_keep_their_arguments_in_attributes(case, tmp_path):
    nodes, kind = OLD[case]
    assert _agree(_model(nodes, opset=9), tmp_path).layers[-1].kind == kind


def test_opset_18_gives_axes_as_an_input(tmp_path):
    nodes = [_node("ReduceMean", "x", "axes"), _node("Pad", "y", "pads", "", "channel", out="z")]
    constants = {"axes": np.array([2, 3], INT), "pads": np.array([1, 2], INT), "channel": np.array([1], INT)}
    _agree(_model(nodes, constants, opset=18), tmp_path)


def _residual(seed, tmp_path):
    """Return a random small network: a few blocks, then pooling and a classifier."""
    rng = np.random.Generator(np.random.PCG64(seed))
    constants, nodes, tensor, channels = {}, [], "x", 4
    for block in range(3):
        wide = int(rng.integers(1, 4)) * channels
        kernel, groups = int(rng.integers(1, 4)), int(rng.choice([1, channels]))
        constants[f"w{block}"] = rng.normal(size=(wide, channels // groups, kernel, kernel)).astype(
            np.float32
        )
        pads = [int(n) for n in rng.integers(0, 2, 4)]
        nodes.append(helper.make_node("Conv", [tensor, f"w{block}"], [f"c{block}"], group=groups, pads=pads))
        nodes.append(helper.make_node("Relu", [f"c{block}"], [f"r{block}"]))
        nodes.append(helper.make_node("Add", [f"r{block}", f"c{block}"], [f"a{block}"]))
        tensor, channels = f"a{block}", wide
    nodes += [
        helper.make_node("GlobalAveragePool", [tensor], ["g"]),
        helper.make_node("Flatten", ["g"], ["f"]),
    ]
    constants["w"] = rng.normal(size=(channels, 3)).astype(np.float32)
    return _model([*nodes, helper.make_node("Gemm", ["f", "w"], ["y"])], constants)


@pytest.mark.parametrize("seed", range(8))
def test_random_residual_networks_equal_onnxruntime(seed, tmp_path):
    _agree(_residual(seed, tmp_path), tmp_path)


def test_hostile_and_doubled_names_stay_text(tmp_path):
    nodes = [
        helper.make_node("Relu", ["x"], ["<script>"], name="../../etc/passwd"),
        helper.make_node("Relu", ["<script>"], ["b"], name="../../etc/passwd"),
        helper.make_node("Relu", ["b"], ["c"], name="input"),
        helper.make_node("Relu", ["c"], ["\n"], name=""),
    ]
    network = _load(_model(nodes), tmp_path)
    assert [layer.name for layer in network.layers] == [
        "../../etc/passwd",
        "../../etc/passwd_2",
        "input_2",
        "_",
    ]


def test_a_name_that_is_no_utf_8_becomes_text(tmp_path):
    content = _model([helper.make_node("Relu", ["x"], ["y"], name="bad!")]).SerializeToString()
    (tmp_path / "m.onnx").write_bytes(content.replace(b"bad!", b"bad\xff"))
    assert load_onnx(tmp_path / "m.onnx").layers[0].name == "bad\ufffd"


@pytest.mark.parametrize(
    ("metadata", "arguments", "expected"),
    [
        ({"div": "255", "mean": "[0, 1, 2, 3]", "std": "[2,2,2,2]"}, {}, (255, (0, 1, 2, 3), (2, 2, 2, 2))),
        ({"mean": "127.5"}, {"std": [3.0]}, (1, (127.5,) * 4, (3,) * 4)),
        ({"div": "255"}, {"div": 16}, (16, (0,) * 4, (1,) * 4)),
        ({}, {"div": 1.0}, (1, (0,) * 4, (1,) * 4)),
    ],
)
def test_preprocessing_comes_from_arguments_before_metadata(metadata, arguments, expected, tmp_path):
    found = _load(_model([_node("Relu", "x")], metadata=metadata), tmp_path, **arguments).preprocessing
    assert (found.div, found.mean, found.std) == expected


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({}, "does not say how pixels become inputs; give div, mean and std"),
        ({"mean": "[1, 2]"}, "not understood"),
        ({"mean": "import os"}, "metadata mean is 'import os'"),
        ({"std": "0"}, "std above 0"),
        ({"div": "NaN"}, "finite"),
        ({"div": "[1, 2]"}, "not understood"),
        ({"div": "[" * 9999}, "metadata div"),
    ],
)
def test_preprocessing_that_is_missing_or_wrong_is_refused(metadata, message, tmp_path):
    with pytest.raises(HwsimError, match=message):
        _load(_model([_node("Relu", "x")], metadata=metadata), tmp_path)


def _external():
    model = _model(*_conv((2, 4, 1, 1)))
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    return model


def _spoiled(value):
    nodes, constants = _conv((2, 4, 1, 1))
    constants["w"][:, 1] = value
    return _model(nodes, constants)


def _lying(dims):
    model = _model(*_conv((2, 4, 1, 1)))
    model.graph.initializer[0].ClearField("dims")
    model.graph.initializer[0].dims.extend(dims)
    if 0 in dims:
        model.graph.initializer[0].ClearField("raw_data")
    return model


def _without_order():
    return _model([_node("Relu", "later"), _node("Relu", "x", out="later"), _node("Relu", "y", out="z")])


def _cyclic():
    return _model([_node("Add", "b", "x", out="a"), _node("Relu", "a", out="b")])


def _integer_input():
    model = _model([_node("Relu", "x")])
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.INT8
    return model


def _two_inputs():
    model = _model([_node("Relu", "x")])
    model.graph.input.append(helper.make_tensor_value_info("x2", TensorProto.FLOAT, [1, 4]))
    return model


def _two_outputs():
    model = _model([_node("Relu", "x")])
    model.graph.output.append(helper.make_tensor_value_info("x", TensorProto.FLOAT, None))
    return model


NORM = {"s": np.ones(4, np.float32), "b": np.zeros(4, np.float32), "m": np.zeros(4, np.float32)}
BIG = 1 << 40
REFUSED = {
    "all unsupported operators at once": (
        _model(
            [
                _node("Sin", "x", out="a"),
                _node("Erf", "a", out="b"),
                helper.make_node("Sin", ["b"], ["c"], domain="my.own"),
            ]
        ),
        r'not supported: Sin "the Sin"; Erf "the Erf"; my.own.Sin "c" \(supported: Add, ',
    ),
    "all that is not supported at once": (
        _model(
            [
                _node("MaxPool", "x", out="a", kernel_shape=[1, 1], dilations=[2, 2]),
                _node("Sigmoid", "x", out="b"),
                _node("Concat", "a", "b", out="c", axis=1),
                helper.make_node("Sigmoid", ["c"], ["d"], name="another"),
                _node("Flatten", "x", out="e", axis=2),
                _node("Add", "d", "e"),
            ],
        ),
        r'not supported: Sigmoid "the Sigmoid", "another"; MaxPool "the MaxPool" has dilations \[2, 2\]; only 1 is '
        "supported in a pool; "
        'Flatten "the Flatten" has axis 2',
    ),
    "arithmetic that fails": (
        _model(
            [_node("Gather", "w", "i", out="z"), _node("Conv", "x", "z")], {"w": _normal(3), "i": np.array(9)}
        ),
        'Gather "the Gather" cannot be computed',
    ),
    "split of rows": (
        _model([helper.make_node("Split", ["x"], ["a", "b"], axis=3), _node("Add", "a", "b")]),
        "splits axis 3 into 2; only all 4 channels",
    ),
    "split of too few": (
        _model(
            [helper.make_node("Split", ["x", "s"], ["a", "b"], axis=1), _node("Add", "a", "b")],
            {"s": np.array([1, 1], INT)},
        ),
        r"splits axis 1 into \[1, 1\]",
    ),
    "external data": (
        _external(),
        "tensor \"w\" is kept in '/etc/passwd', and data is read from files beside",
    ),
    "NaN": (_spoiled(np.nan), 'layer "the Conv" has 2 of 8 values in its weight that are NaN or infinite'),
    "infinity": (_spoiled(np.inf), "2 of 8 values"),
    "shape bomb": (_lying([BIG, 4, 1, 1]), "declares the shape .* but holds other data"),
    "negative shape": (_lying([-1, 4, 1, 1]), "declares the shape"),
    "empty weights": (_lying([0, 4, 1, 1]), 'Conv "the Conv" has no outputs'),
    "input bomb": (_model([_node("Relu", "x")], shape=(3, BIG, 5)), "more than 268435456 elements"),
    "padding bomb": (_model(*_pool("MaxPool", kernel_shape=[BIG, BIG], pads=[BIG - 9] * 4)), "the limit is"),
    "dynamic": (
        _model([_node("Relu", "x")], shape=(3, "H", "W")),
        r"shape \['N', 3, 'H', 'W'\]; export it with fixed",
    ),
    "vector input": (_model([_node("Relu", "x")], shape=(3,)), r"shape \['N', 3\]"),
    "integer input": (_integer_input(), "is no float tensor"),
    "two inputs": (_two_inputs(), "has 2 inputs"),
    "two outputs": (_two_outputs(), "2 outputs"),
    "old operator set": (_model([_node("Relu", "x")], opset=6), "operator set is 6"),
    "unordered": (_without_order(), 'reads "later", which nothing before it makes'),
    "cycle": (_cyclic(), 'reads "b", which nothing before it makes'),
    "one tensor made twice": (
        _model([_node("Relu", "x"), _node("Relu", "x")]),
        'two nodes make the tensor "y"',
    ),
    "output is the input": (_model([_node("Identity", "x")]), "is no computed tensor"),
    "no dilation": (
        _model(*_conv((2, 4, 2, 2), dilations=[0, 2])),
        r'Conv "the Conv" has dilations \[0, 2\]',
    ),
    "dilated beyond the image": (
        _model(*_conv((2, 4, 2, 2), dilations=[1, BIG])),
        f"a 2x{BIG + 1} window does not fit a 9x8 input",
    ),
    "dilation bomb": (
        _model(*_conv((2, 4, 2, 2), dilations=[1, BIG], pads=[0, BIG, 0, BIG])),
        "the limit is",
    ),
    "axes in another order": (
        _model([_node("Transpose", "x", perm=[0, 2, 3, 1])]),
        r'Transpose "the Transpose" orders axes as \[0, 2, 3, 1\]; only the groups of a channel shuffle',
    ),
    "channels in groups that are read": (
        _model(
            [_node("Reshape", "x", "split", out="g"), _node("Relu", "g")],
            {"split": np.array([0, 2, 2, 9, 8], INT)},
        ),
        'Relu "the Relu" reads channels in groups; only a channel shuffle is supported there',
    ),
    "1-D conv": (_model(*_conv((2, 4, 3))), "only 2-D"),
    "groups": (_model(*_conv((2, 4, 1, 1), group=3)), "in 3 groups for 4 channels"),
    "no groups": (_model(*_conv((2, 4, 1, 1), group=0)), "in 0 groups"),
    "stride 0": (_model(*_conv((2, 4, 1, 1), strides=[0, 1])), "has strides"),
    "negative pads": (_model(*_conv((2, 4, 1, 1), pads=[0, 0, -1, 0])), "has pads"),
    "auto_pad": (_model(*_conv((2, 4, 1, 1), auto_pad="MAGIC")), "has auto_pad MAGIC; supported: NOTSET"),
    "text for a number": (_model(*_conv((2, 4, 1, 1), group="one")), "malformed"),
    "kernel beyond the image": (_model(*_conv((2, 4, 20, 20))), "a 20x20 window does not fit a 9x8 input"),
    "computed weights": (_model([_node("Conv", "x", "x")]), "computes its input 1, which must be a constant"),
    "mean without its padding": (
        _model(*_pool("AveragePool", kernel_shape=[3, 3], pads=[1, 1, 1, 1])),
        "leaves padded places out of its means",
    ),
    "mean with a ceiling": (
        _model(*_pool("AveragePool", kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1)),
        "ceil_mode 1 with a window beyond",
    ),
    "no kernel": (_model(*_pool("MaxPool")), "has kernel_shape"),
    "rows padded before a pool": (
        _model(
            [_node("Pad", "x", "p", out="z"), _node("MaxPool", "z", kernel_shape=[2, 2])],
            {"p": np.array([0, 0, 1, 1, 0, 0, 1, 1], INT)},
        ),
        "padded in height or width; only a Conv and an AveragePool",
    ),
    "rows padded last": (
        _model(*_with("Pad", p=np.array([0, 0, 1, 1, 0, 0, 1, 1], INT))),
        "is no computed tensor",
    ),
    "reflected padding": (_model(*_with("Pad", {"mode": "reflect"}, p=np.zeros(8, INT))), "has mode reflect"),
    "padding with ones": (
        _model(*_with("Pad", p=np.array([0, 1, 0, 0] * 2, INT), v=np.float32(1))),
        "only zeros",
    ),
    "batch sliced": (_model(*_with("Slice", s=np.array([1]), e=np.array([2]))), "slices axis 0"),
    "slice backwards": (
        _model(*_with("Slice", s=np.array([5]), e=np.array([0]), a=np.array([2]), t=np.array([-1]))),
        "only channels, rows and columns forwards",
    ),
    "empty slice": (_model(*_with("Slice", s=np.array([5]), e=np.array([5]), a=np.array([2]))), "is empty"),
    "reshape": (_model(*_with("Reshape", s=np.array([-1, 4, 72], INT))), "only a flatten"),
    "batch reshaped": (_model(*_with("Reshape", s=np.array([1, -1], INT))), "only a flatten"),
    "constant added to a tensor": (
        _model(*_with("Add", k=np.float32(1))),
        "adds a constant; that is supported only",
    ),
    "constant map": (
        _model(
            [_node("Conv", "x", "w", out="c"), _node("Add", "c", "k")],
            {"w": _normal(3, 4, 1, 1), "k": _normal(3, 9, 8)},
        ),
        "one value a channel",
    ),
    "constant behind a shared conv": (
        _model(
            [_node("Conv", "x", "w", out="c"), _node("Add", "c", "k", out="d"), _node("Add", "c", "d")],
            {"w": _normal(3, 4, 1, 1), "k": _normal(3, 1, 1)},
        ),
        "adds a constant",
    ),
    "unequal sum": (
        _model([_node("GlobalAveragePool", "x", out="g"), _node("Add", "x", "g")]),
        "two tensors of one shape",
    ),
    "softmax inside": (_model([_node("Softmax", "x", out="s"), _node("Relu", "s")]), "is not the last step"),
    "gemm without flatten": (_model(*_with("Gemm", w=_normal(4, 3))), "rank 4, not 2"),
    "gemm of another size": (
        _model([*FLAT, _node("Gemm", "f", "w")], {"w": _normal(7, 3)}),
        "for 288 features",
    ),
    "training": (
        _model(
            [_node("BatchNormalization", "x", "s", "b", "m", "s", training_mode=1)],
            NORM,
        ),
        "has training_mode 1",
    ),
    "negative variance": (
        _model([_node("BatchNormalization", "x", "s", "b", "m", "v")], NORM | {"v": -NORM["s"]}),
        "a variance is above 0",
    ),
    "empty clip": (_model(*_with("Clip", a=np.float32(1), b=np.float32(1))), "which is empty"),
    "concat of rows": (_model([_node("Concat", "x", "x", axis=2)]), "only channels"),
    "flatten from 2": (_model([_node("Flatten", "x", axis=2)]), "has axis 2"),
    "indices used": (
        _model([helper.make_node("MaxPool", ["x"], ["m", "i"], kernel_shape=[2, 2]), _node("Relu", "i")]),
        "the second output of MaxPool",
    ),
    "text constant": (
        _model([helper.make_node("Constant", [], ["c"], value_string="a"), _node("Relu", "x")]),
        "holds no numbers",
    ),
    "integer weights": (
        _model([_node("Conv", "x", "w")], {"w": np.ones((2, 4, 1, 1), np.int8)}),
        'tensor "w" is INT8',
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_file_that_cannot_be_kept_exactly_is_refused_in_one_sentence(case, tmp_path):
    model, message = REFUSED[case]
    with pytest.raises(HwsimError, match=message) as caught:
        _load(model, tmp_path)
    assert "model.onnx" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"hello", b"\x08\x08" * 40, b"\xff" * 99])
def test_a_damaged_file_is_refused(content, tmp_path):
    (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(HwsimError, match=r"cannot use .*m\.onnx"):
        load_onnx(tmp_path / "m.onnx", div=1.0)


def test_no_cut_or_flipped_byte_of_a_file_raises_anything_else(tmp_path):
    content = bytearray(_residual(3, tmp_path).SerializeToString())
    path = tmp_path / "m.onnx"
    rng = np.random.Generator(np.random.PCG64(5))
    for place in rng.integers(0, len(content), 300):
        damaged = bytearray(content)
        damaged[place] ^= int(rng.integers(1, 256))
        path.write_bytes(damaged if place % 3 else content[:place])
        try:
            load_onnx(path)
        except HwsimError as error:
            assert str(path) in str(error)


def _networks():
    try:
        return sorted((data_folder() / "networks").glob("*.onnx"))
    except HwsimError:
        return []


@pytest.mark.parametrize("path", _networks(), ids=lambda path: path.stem)
def test_a_real_network_equals_onnxruntime(path):
    network = load_model(str(path))
    channels, height, width = network.input_shape
    images = RNG.integers(0, 256, (2, height, width, channels), dtype=np.uint8)
    x = network.preprocessing.apply(images)
    ours = logits(network, x)
    theirs = _runtime(str(path), x).reshape(ours.shape)
    np.testing.assert_allclose(ours, theirs, atol=5e-5)


def test_resnet20_is_the_same_network_from_onnx_and_from_its_state_dict():
    if not _networks():
        pytest.skip("the data folder is absent; set HWSIM_DATA")
    built = load_model("resnet20-cifar10")
    read = load_onnx(data_folder() / "networks" / "resnet20_cifar10.onnx")
    x = built.preprocessing.apply(load_split("cifar10", "test").images[:20])
    np.testing.assert_allclose(logits(built, x), logits(read, x), atol=1e-5)
    assert built.preprocessing == read.preprocessing
    assert [layer.output_shape for layer in built.layers] == [layer.output_shape for layer in read.layers]


# Data beside the file


EXTERNAL = _conv((3, 4, 3, 3), True)


def _beside(folder, change=lambda entries: None):
    """Write a model whose weights lie in ``net.onnx.data`` beside it, 128 bytes in; ``change`` edits what is said of "w"."""
    model = _model(*EXTERNAL)
    onnx.save_model(
        model, folder / "net.onnx", save_as_external_data=True, location="net.onnx.data", size_threshold=0
    )
    model = onnx.load_model(folder / "net.onnx", load_external_data=False)
    (weight,) = (tensor for tensor in model.graph.initializer if tensor.name == "w")
    entries = {entry.key: entry.value for entry in weight.external_data}
    change(entries)
    del weight.external_data[:]
    for key, value in entries.items():
        weight.external_data.add(key=key, value=value)
    (folder / "net.onnx").write_bytes(model.SerializeToString())
    return folder / "net.onnx"


def test_weights_in_a_file_beside_are_those_of_one_file(tmp_path, monkeypatch):
    whole = _load(_model(*EXTERNAL), tmp_path)
    path = _beside(tmp_path)
    assert (tmp_path / "net.onnx.data").stat().st_size >= 4 * sum(a.size for a in whole.parameters.values())
    monkeypatch.chdir("/")
    apart = load_onnx(path)
    assert apart.parameters.keys() == whole.parameters.keys()
    for name, array in whole.parameters.items():
        np.testing.assert_array_equal(apart.parameters[name], array, strict=True)


def test_a_constant_node_beside_is_read_too(tmp_path):
    weight = numpy_helper.from_array(EXTERNAL[1]["w"], "w")
    nodes = [helper.make_node("Constant", [], ["w"], value=weight), _node("Conv", "x", "w")]
    model = _model(nodes)
    (tmp_path / "weights.bin").write_bytes(weight.raw_data)
    stored = model.graph.node[0].attribute[0].t
    stored.ClearField("raw_data")
    stored.data_location = TensorProto.EXTERNAL
    stored.external_data.add(key="location", value="weights.bin")
    found = _load(model, tmp_path).parameters["the Conv.weight"]
    np.testing.assert_array_equal(found, EXTERNAL[1]["w"].astype(np.float64), strict=True)


BESIDE = {
    "the folder above": (lambda e: e.update(location="../net.onnx.data"), "files beside the model alone"),
    "a folder below": (lambda e: e.update(location="below/net.onnx.data"), "files beside the model alone"),
    "another root": (lambda e: e.update(location="/etc/passwd"), "files beside the model alone"),
    "another root's way": (lambda e: e.update(location="C:\\secret"), "files beside the model alone"),
    "the folder itself": (lambda e: e.update(location="."), "files beside the model alone"),
    "the folder around": (lambda e: e.update(location=".."), "files beside the model alone"),
    "no place": (lambda e: e.pop("location"), "files beside the model alone"),
    "a zero byte": (lambda e: e.update(location="net\0.data"), "files beside the model alone"),
    "a name that moves the cursor": (
        lambda e: e.update(location="net\x1b[2J"),
        "files beside the model alone",
    ),
    "missing": (lambda e: e.update(location="gone.data"), '"gone.data" cannot be read: No such file'),
    "a link": (
        lambda e: e.update(location="link"),
        '"link" cannot be read: Too many levels of symbolic links',
    ),
    "a link that leads nowhere": (lambda e: e.update(location="dangling"), "symbolic links"),
    "a folder": (lambda e: e.update(location="below"), '"below" cannot be read: Is a directory'),
    "a pipe": (lambda e: e.update(location="pipe"), '"pipe" is no regular file'),
    "an offset beyond the end": (
        lambda e: e.update(offset=str(1 << 60)),
        r'of "net.onnx.data", which has \d+; copy it',
    ),
    "a length beyond the end": (lambda e: e.update(length="99999"), r"bytes \d+ to \d+ of"),
    "an offset below zero": (lambda e: e.update(offset="-4"), "has the offset '-4'"),
    "a length of words": (lambda e: e.update(length="all"), "has the length 'all'"),
    "a length of many digits": (lambda e: e.update(length="9" * 5000), "has the length '999"),
    "another length": (
        lambda e: e.update(length="8"),
        r"declares the shape \[3, 4, 3, 3\] but holds other data",
    ),
    "bytes of others": (lambda e: e.update(offset="0", length=""), "take more than the"),
}


@pytest.mark.parametrize("case", BESIDE)
def test_data_that_is_not_plainly_beside_is_refused_in_one_sentence(case, tmp_path):
    change, message = BESIDE[case]
    (tmp_path / "secret").write_bytes(bytes(10_000))
    folder = tmp_path / "model"
    (folder / "below").mkdir(parents=True)
    (folder / "link").symlink_to(tmp_path / "secret")
    (folder / "dangling").symlink_to(tmp_path / "nowhere")
    os.mkfifo(folder / "pipe")
    with pytest.raises(HwsimError, match=message) as caught:
        load_onnx(_beside(folder, change))
    assert str(caught.value).isprintable()


def test_a_data_file_that_was_cut_short_is_refused_at_every_length(tmp_path):
    path, data = _beside(tmp_path), tmp_path / "net.onnx.data"
    content = data.read_bytes()
    for length in range(0, len(content), 7):
        data.write_bytes(content[:length])
        with pytest.raises(HwsimError, match="copy it again, whole"):
            load_onnx(path)


def test_no_data_file_is_read_again_and_again_for_many_tensors(tmp_path):
    path = _beside(tmp_path)
    model = onnx.load_model(path, load_external_data=False)
    for number in range(1000):
        model.graph.initializer.add().CopyFrom(model.graph.initializer[0])
        model.graph.initializer[-1].name = f"more{number}"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(HwsimError, match=r"its tensors take more than the \d+ bytes"):
        load_onnx(path)
