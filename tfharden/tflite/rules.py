"""What an operator's tensors and options must be like: lies about them crash native kernels that don't look.

Found by mutating valid files field by field and watching what crashed the interpreter.
"""

import math
from collections.abc import Iterator

from tfharden.errors import InputError
from tfharden.tflite import operators, schema
from tfharden.tflite.flatbuffer import Table

ABSENT = -1

_WHOLE = {"INT32", "INT64"}
_SCALED = {"INT8", "UINT8", "INT16"}
_BIAS = {"FLOAT32", "INT32", "INT64"}
# Element types of weights by that of the data they meet; small integers with float data are quantised on the fly.
_WEIGHTS = {
    "FLOAT32": {"FLOAT32", "INT8", "UINT8", "INT4"},
    "INT8": {"INT8", "INT4", "INT2"},
    "UINT8": {"UINT8"},
    "INT16": {"INT8", "INT4", "INT16"},
    "INT32": {"INT32"},
}
# The dimension of the weights that may have a scale for each channel, and the rank of the weights.
_CHANNELS = {"CONV_2D": (0, 4), "DEPTHWISE_CONV_2D": (3, 4), "TRANSPOSE_CONV": (0, 4), "FULLY_CONNECTED": (0, 2)}
_POSITIVE = ("stride_w", "stride_h", "dilation_w_factor", "dilation_h_factor", "filter_width", "filter_height",
             "block_size", "num_splits")  # fmt: skip


def check(operator: Table, tensors: list[Table]) -> None:
    """Verifies one operator; its indices are already known to be in range.

    Raises:
        InputError: naming the operator and what is wrong with it.
    """
    _check_options(operator)
    data = None
    for role, tensor in _roles(operator, tensors):
        if tensor is None:
            continue
        name = tensor.element.name
        scales = _scales(tensor)
        if role == "d":
            data = data or tensor
            if name != data.element.name:
                raise InputError(f"{operator.label} mixes {data.element.name} and {name}")
            if scales > 1 or (not scales and name in _SCALED):
                raise InputError(f"{operator.label} needs one scale for {tensor.label}, not {scales}")
        fits = {"i": name in _WHOLE, "I": name in _WHOLE and tensor.data is not None, "m": name == "BOOL",
                "b": name in _BIAS}  # fmt: skip
        if not fits.get(role, True):
            raise InputError(f"{operator.label} can't use {tensor.label}: its type is {name} or it isn't a constant")
    for role, tensor in _roles(operator, tensors):
        if role == "w":
            _check_weights(operator, tensor, data)


def _roles(operator: Table, tensors: list[Table]) -> Iterator[tuple[str, Table | None]]:
    """The role and the tensor of each input and output; None for an absent bias."""
    for signature in operators.SIGNATURES[operator.opcode]:
        inputs = operators.roles(signature.inputs, len(operator.inputs))
        outputs = operators.roles(signature.outputs, len(operator.outputs))
        if inputs and outputs:
            break
    else:
        counts = f"{len(operator.inputs)} inputs and {len(operator.outputs)} outputs"
        raise InputError(f"{operator.label} has {counts}, which it doesn't take")
    for role, index in zip(inputs + outputs, operator.inputs + operator.outputs, strict=True):
        if index == ABSENT and role != "b":
            raise InputError(f"{operator.label} lacks an input")
        yield role, None if index == ABSENT else tensors[index]


def _check_options(operator: Table) -> None:
    expected = operators.SIGNATURES[operator.opcode][0].options
    if not expected:
        return
    given = schema.option_tables().get(operator.builtin_options_type)
    if given not in ("NONE", expected):
        raise InputError(f"{operator.label} has options of another operator ({given})")
    # Absent options count as zeros, which some operators take and those with a stride, say, don't.
    absent = operator.builtin_options is None
    options = dict.fromkeys(_fields(expected), 0) if absent else vars(operator.builtin_options)
    if not all(1 <= options.get(name, 1) < 2**16 for name in _POSITIVE):
        raise InputError(f"{operator.label} has an option that is absurdly large or not positive")
    if not 0 <= options.get("padding", 0) <= 1:
        raise InputError(f"{operator.label} has an unknown padding")
    # NaN fails every comparison.
    if operator.opcode == "SOFTMAX" and not 0 < options["beta"] < math.inf:
        raise InputError(f"{operator.label} has a beta that isn't positive")


def _fields(table: str) -> list[str]:
    return [field.name for field in schema.TABLES[table]]


def _check_weights(operator: Table, weights: Table, data: Table) -> None:
    where = operator.label
    if weights.element.name not in _WEIGHTS.get(data.element.name, ()):
        raise InputError(f"{where} can't multiply {data.element.name} by {weights.element.name}")
    scales = _scales(weights)
    if not scales and weights.element.name not in ("FLOAT32", "INT32"):
        raise InputError(f"{where} has weights without a scale")
    if operator.opcode not in _CHANNELS:
        return
    dimension, rank = _CHANNELS[operator.opcode]
    if len(weights.dims) != rank or 0 in weights.dims:
        raise InputError(f"{where} has weights of shape {weights.dims}")
    if scales > 1 and weights.quantization.quantized_dimension != dimension:
        raise InputError(f"{where} has scales along dimension {weights.quantization.quantized_dimension}")


def _scales(tensor: Table) -> int:
    quantization = tensor.quantization
    return 0 if quantization is None or quantization.scale is None else len(quantization.scale)
