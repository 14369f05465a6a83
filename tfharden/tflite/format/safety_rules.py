"""What an operator's tensors and options must be like: lies about them crash native kernels that don't look.

Found by mutating valid files field by field and watching what crashed the interpreter.
"""

import math
from collections.abc import Callable

import numpy as np

from tfharden.errors import InputError
from tfharden.tflite import operators
from tfharden.tflite.format import schema
from tfharden.tflite.format.flatbuffer import Table

ABSENT = -1
MAX_RANK = 6

_WHOLE = {"INT32", "INT64"}
_SCALED = {"INT8", "UINT8", "INT16"}
_COMPRESSED = {"INT8", "UINT8", "INT16", "INT4", "INT2", "FLOAT16"}
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
# Outside these, products and quotients of scales leave what kernels can hold.
_LEAST_SCALE, _MOST_SCALE = 1e-30, 1e10
_ACTIVATIONS = 6
# Elsewhere, whole numbers describe dimensions, two for each at most.
_INDEXED = {"GATHER", "GATHER_ND", "SPLIT_V"}
_POSITIVE = ("stride_w", "stride_h", "dilation_w_factor", "dilation_h_factor", "filter_width", "filter_height",
             "block_size", "num_splits")  # fmt: skip


def check(operator: Table, tensors: list[Table]) -> None:
    """Verifies one operator, whose indices are already known to be in range, and sets its `roles`.

    Raises:
        InputError: naming the operator and what is wrong with it.
    """
    _check_options(operator)
    operator.roles = _roles(operator)
    chosen = [None if index == ABSENT else tensors[index] for index in operator.inputs + operator.outputs]
    pairs = list(zip(operator.roles, chosen, strict=True))
    data = [tensor for role, tensor in pairs if role == "d"]
    for role, tensor in pairs:
        _check_type(operator, role, tensor)
        if role == "d":
            _check_data(operator, tensor, data[0])
        elif role == "w":
            _check_weights(operator, tensor, data[0])
    inputs = [tensor for _, tensor in pairs[: len(operator.inputs)]]
    for role, tensor in pairs[: len(inputs)]:
        if role in "iI" and operator.opcode not in _INDEXED and math.prod(tensor.dims) > 2 * MAX_RANK:
            raise InputError(f"{operator.label} has {math.prod(tensor.dims)} entries in {tensor.label}")
    outputs = [tensor for _, tensor in pairs[len(operator.inputs) :]]
    if operator.opcode in _RULES and not _RULES[operator.opcode](operator, inputs, outputs):
        raise InputError(f"{operator.label} has inputs, outputs and options that don't fit each other")


def _roles(operator: Table) -> str:
    """One letter for each input and output, as `operators` explains them."""
    for signature in operators.SIGNATURES[operator.opcode]:
        inputs = operators.roles(signature.inputs, len(operator.inputs))
        outputs = operators.roles(signature.outputs, len(operator.outputs))
        if inputs and outputs:
            break
    else:
        counts = f"{len(operator.inputs)} inputs and {len(operator.outputs)} outputs"
        raise InputError(f"{operator.label} has {counts}, which it doesn't take")
    if any(index == ABSENT and role != "b" for role, index in zip(inputs, operator.inputs, strict=True)):
        raise InputError(f"{operator.label} lacks an input")
    return inputs + outputs


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
    if not (0 <= options.get("padding", 0) <= 1 and 0 <= options.get("fused_activation_function", 0) < _ACTIVATIONS):
        raise InputError(f"{operator.label} has an unknown padding or activation")
    # Layouts of weights that nothing documents, so nothing here can tell a lie about them.
    if options.get("weights_format") or isinstance(options.get("quant_spec"), np.ndarray):
        raise InputError(f"{operator.label} has weights in a special layout, which isn't supported")
    # NaN fails every comparison.
    if operator.opcode == "SOFTMAX" and not 0 < options["beta"] < math.inf:
        raise InputError(f"{operator.label} has a beta that isn't positive")


def _fields(table: str) -> list[str]:
    return [field.name for field in schema.TABLES[table]]


def _check_type(operator: Table, role: str, tensor: Table | None) -> None:
    if tensor is None:
        return
    # Other kernels would read a sparse buffer as a dense one, past its end.
    if tensor.sparsity and operator.opcode != "DENSIFY":
        raise InputError(f"{operator.label} can't use {tensor.label}: it is sparse")
    name = tensor.element.name
    fits = {"i": name in _WHOLE, "I": name in _WHOLE and tensor.data is not None, "m": name == "BOOL",
            "q": name in _COMPRESSED, "b": name in _BIAS}  # fmt: skip
    if not fits.get(role, True):
        raise InputError(f"{operator.label} can't use {tensor.label}: its type is {name} or it isn't a constant")


def _check_data(operator: Table, tensor: Table, first: Table) -> None:
    name, scales = tensor.element.name, _scales(tensor)
    if name != first.element.name:
        raise InputError(f"{operator.label} mixes {first.element.name} and {name}")
    if scales > 1 or (not scales and name in _SCALED):
        raise InputError(f"{operator.label} needs one scale for {tensor.label}, not {scales}")
    if scales and not _LEAST_SCALE < _scale(tensor) < _MOST_SCALE:
        raise InputError(f"{tensor.label} has an absurd scale {_scale(tensor):.3g}")


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


def _scale(tensor: Table) -> float:
    return float(tensor.quantization.scale[0])


# Rules of single operators: (operator, inputs, outputs) -> whether they fit.


def _same_shape(_: Table, inputs: list[Table], outputs: list[Table]) -> bool:
    return inputs[0].dims == outputs[0].dims


def _reshape(operator: Table, inputs: list[Table], _: list[Table]) -> bool:
    option = getattr(operator.builtin_options, "new_shape", None)
    shape = inputs[1].dims if len(inputs) > 1 else ()
    return math.prod(shape) <= MAX_RANK and (option is None or len(option) <= MAX_RANK)


def _biased(_: Table, inputs: list[Table | None], __: list[Table]) -> bool:
    return len(inputs) == 3 and inputs[2] is not None  # noqa: PLR2004 - data, weights, bias


def _split(operator: Table, inputs: list[Table], outputs: list[Table]) -> bool:
    axis = inputs[0] if operator.opcode == "SPLIT" else inputs[2]
    return math.prod(axis.dims) == 1 and operator.builtin_options.num_splits == len(outputs)


def _pack(operator: Table, inputs: list[Table], _: list[Table]) -> bool:
    return operator.builtin_options is not None and operator.builtin_options.values_count == len(inputs)


def _unpack(operator: Table, _: list[Table], outputs: list[Table]) -> bool:
    return operator.builtin_options is not None and operator.builtin_options.num == len(outputs)


def _slice(_: Table, inputs: list[Table], __: list[Table]) -> bool:
    return all(index.dims == (len(inputs[0].dims),) for index in inputs[1:])


def _strided_slice(operator: Table, inputs: list[Table], _: list[Table]) -> bool:
    begin = inputs[1].dims
    if len(begin) != 1 or any(index.dims != begin for index in inputs[2:]):
        return False
    added = operator.builtin_options.new_axis_mask & (2 ** begin[0] - 1) if operator.builtin_options else 0
    return begin[0] <= len(inputs[0].dims) + added.bit_count()


def _add(_: Table, inputs: list[Table], outputs: list[Table]) -> bool:
    # Kernels shift sums left by 20 bits (15 for int16) and abort if the scale of the output needs more than that.
    if inputs[0].element.name not in _SCALED:
        return True
    bits = 15 if inputs[0].element.name == "INT16" else 20
    return 2 * max(map(_scale, inputs)) < 2**bits * _scale(outputs[0])


def _subtract(_: Table, inputs: list[Table], outputs: list[Table]) -> bool:
    # The kernel for differences knows factors above 1 and below, and aborts at 1.
    if inputs[0].element.name not in _SCALED:
        return True
    return 2 * max(map(_scale, inputs)) / _scale(outputs[0]) not in (2**15, 2**20)


def _softmax(operator: Table, inputs: list[Table], _: list[Table]) -> bool:
    # Kernels need a factor above 1 from scales with 26 fractional bits.
    beta = operator.builtin_options.beta if operator.opcode == "SOFTMAX" else 1.0
    return inputs[0].element.name not in ("INT8", "UINT8") or beta * _scale(inputs[0]) > 2.0**-26


def _squared_difference(_: Table, inputs: list[Table], outputs: list[Table]) -> bool:
    if inputs[0].element.name not in _SCALED:
        return True
    return (2 * max(map(_scale, inputs))) ** 2 < 2**14 * _scale(outputs[0])


def _pad(_: Table, inputs: list[Table], outputs: list[Table]) -> bool:
    # The one operator that makes a tensor of any size from a few bytes; the size it claims was checked.
    type_ = np.int32 if inputs[1].element.name == "INT32" else np.int64
    padding = np.frombuffer(inputs[1].data, type_)
    dims = np.array(inputs[0].dims, np.int64)
    if inputs[1].dims != (len(dims), 2) or (padding < 0).any():
        return False
    return tuple(dims + padding.reshape(-1, 2).astype(np.int64).sum(axis=1)) == outputs[0].dims


def _densify(_: Table, inputs: list[Table], outputs: list[Table]) -> bool:
    return bool(inputs[0].sparsity) and inputs[0].dims == outputs[0].dims


_RULES: dict[str, Callable[[Table, list[Table], list[Table]], bool]] = {
    **dict.fromkeys(["DEQUANTIZE", "QUANTIZE", "CAST"], _same_shape),
    "DENSIFY": _densify,
    "DEPTHWISE_CONV_2D": _biased,
    **dict.fromkeys(["PAD", "PADV2", "MIRROR_PAD"], _pad),
    "RESHAPE": _reshape,
    "SPLIT": _split,
    "SPLIT_V": _split,
    "PACK": _pack,
    "UNPACK": _unpack,
    "SLICE": _slice,
    "STRIDED_SLICE": _strided_slice,
    "ADD": _add,
    "SUB": _subtract,
    "SOFTMAX": _softmax,
    "LOG_SOFTMAX": _softmax,
    "SQUARED_DIFFERENCE": _squared_difference,
}
