"""Constants of an ONNX file: its tensors as arrays, and what its nodes compute from constants alone.

Exporters leave arithmetic on shapes in a file, and weights that are cast or transposed on their way. Nothing here grows
beyond what the file holds: only operators that keep the number of elements take large tensors.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from hwsim.errors import HwsimError

FLOATS = ("FLOAT", "DOUBLE", "FLOAT16", "BFLOAT16")
MALFORMED = (TypeError, ValueError, LookupError, ArithmeticError, AttributeError, AssertionError)
"""What a file that contradicts itself makes Python raise."""

_REARRANGING = ("Cast", "Identity", "Reshape", "Shape", "Squeeze", "Transpose", "Unsqueeze")
_ARITHMETIC = ("Add", "Concat", "ConstantOfShape", "Div", "Gather", "Mul", "Slice", "Sub")
_SMALL = 64
"""Elements up to which constants are computed with: shapes have fewer."""


def as_array(tensor: Any) -> npt.NDArray[Any]:
    """Return a stored tensor as float64 or int64; its bytes bound what is allocated."""
    kind = onnx.TensorProto.DataType.Name(tensor.data_type)
    if kind not in (*FLOATS, "INT32", "INT64", "BOOL"):
        raise HwsimError(f'tensor "{tensor.name}" is {kind}; weights are float numbers')
    if any(size < 0 for size in tensor.dims):
        raise HwsimError(f'tensor "{tensor.name}" declares the shape {list(tensor.dims)}')
    try:
        array = np.asarray(numpy_helper.to_array(tensor))
    except MALFORMED:
        raise HwsimError(
            f'tensor "{tensor.name}" declares the shape {list(tensor.dims)} but holds other data; export it again'
        ) from None
    return array.astype(np.float64 if kind in FLOATS else np.int64)


def constant_of(node: Any) -> Any:
    """Return a Constant node's value as a tensor, named as its output."""
    values = {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}
    if "value" in values:
        tensor = onnx.TensorProto()
        tensor.CopyFrom(values["value"])
        tensor.name = node.output[0]
        return tensor
    for key, kind in (("value_float", np.float32), ("value_int", np.int64)):
        for name in (key, f"{key}s"):
            if name in values:
                return numpy_helper.from_array(np.array(values[name], kind), node.output[0])
    raise HwsimError(f'Constant "{node.name or node.output[0]}" holds no numbers; export it again')


def folded(node: Any, constants: dict[str, Any], opset: int) -> Any | None:
    """Return what a node makes of constants as a tensor, named as its output; nothing where that is not done here."""
    given = [name for name in node.input if name]
    if (
        not given
        or not all(name in constants for name in given)
        or node.op_type not in _REARRANGING + _ARITHMETIC
    ):
        return None
    values = {name: as_array(constants[name]) for name in given}
    if node.op_type in _ARITHMETIC and sum(value.size for value in values.values()) > _SMALL:
        return None
    if node.op_type == "ConstantOfShape" and values[given[0]].prod() > _SMALL:
        return None
    from onnx.reference import ReferenceEvaluator  # takes a fifth of a second, and few files need it

    inputs, outputs = ([onnx.ValueInfoProto(name=name) for name in names] for names in (values, node.output))
    alone = onnx.helper.make_graph([node], "alone", inputs, outputs)
    try:
        (result,) = ReferenceEvaluator(alone, opsets={node.domain: opset}).run(None, values)
    except Exception as error:  # each operator has errors of its own
        raise HwsimError(
            f'{node.op_type} "{node.name}" cannot be computed ({type(error).__name__}); export it again'
        ) from None
    return numpy_helper.from_array(np.asarray(result), node.output[0])
