"""Safety rules of all operators: lies about tensors and options crash native kernels that don't look.

They were found by mutating valid files field by field and watching what crashed the interpreter. Rules of single
operators are in their specs.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from tfharden.errors import InputError
from tfharden.tflite.format import schema
from tfharden.tflite.graph import ACTIVATIONS, MAX_RANK, Operator, Tensor
from tfharden.tflite.ops.spec import OperatorSpec, of

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
# Outside these, products and quotients of scales leave what kernels can hold.
_MIN_SCALE, _MAX_SCALE = 1e-30, 1e10
_POSITIVE_OPTIONS = ("stride_w", "stride_h", "dilation_w_factor", "dilation_h_factor", "filter_width", "filter_height",
                     "block_size", "num_splits")  # fmt: skip


def check_operator(operator: Operator) -> None:
    """Verifies one operator, whose indices are already known to be in range.

    Raises:
        InputError: naming the operator and what is wrong with it.
    """
    spec = of(operator)
    _check_options(operator, spec)
    roles = _roles(operator, spec)
    pairs = list(zip(roles, operator.inputs + operator.outputs, strict=True))
    data = [tensor for role, tensor in pairs if role == "d"]
    for role, tensor in pairs:
        _check_type(operator, role, tensor)
        if role == "d":
            _check_data(operator, tensor, data[0])
        elif role == "w":
            _check_weights(operator, spec, tensor, data[0])
    for role, tensor in pairs[: len(operator.inputs)]:
        # They describe dimensions, two numbers for each at most.
        if role in "iI" and math.prod(tensor.shape) > 2 * MAX_RANK:
            raise InputError(f"{operator.label} has {math.prod(tensor.shape)} entries in {tensor.label}")
    if spec.safety is not None and not spec.safety(operator):
        raise InputError(f"{operator.label} has inputs, outputs and options that don't fit each other")


def _roles(operator: Operator, spec: OperatorSpec) -> str:
    """One letter for each input and output."""
    roles = spec.roles(operator)
    if not roles:
        counts = f"{len(operator.inputs)} inputs and {len(operator.outputs)} outputs"
        raise InputError(f"{operator.label} has {counts}, which it doesn't take")
    if any(tensor is None and role != "b" for role, tensor in zip(roles, operator.inputs, strict=False)):
        raise InputError(f"{operator.label} lacks an input")
    return roles


def _check_options(operator: Operator, spec: OperatorSpec) -> None:
    if not spec.options:
        return
    if operator.options_table not in ("NONE", spec.options):
        raise InputError(f"{operator.label} has options of another operator ({operator.options_table})")
    options = _options(operator, spec)
    if not all(1 <= options.get(name, 1) < 2**16 for name in _POSITIVE_OPTIONS):
        raise InputError(f"{operator.label} has an option that is absurdly large or not positive")
    known = len(ACTIVATIONS)
    if not (0 <= options.get("padding", 0) <= 1 and 0 <= options.get("fused_activation_function", 0) < known):
        raise InputError(f"{operator.label} has an unknown padding or activation")
    # Layouts of weights that nothing documents, so nothing here can tell a lie about them.
    if options.get("weights_format") or isinstance(options.get("quant_spec"), np.ndarray):
        raise InputError(f"{operator.label} has weights in a special layout, which isn't supported")
    if spec.options_fault is not None and (fault := spec.options_fault(options)):
        raise InputError(f"{operator.label} {fault}")


def _options(operator: Operator, spec: OperatorSpec) -> Mapping[str, Any]:
    """Absent options count as zeros, which some operators take and those with a stride, say, don't."""
    if operator.options is None:
        return dict.fromkeys((field.name for field in schema.TABLES[spec.options]), 0)
    return vars(operator.options)


def _check_type(operator: Operator, role: str, tensor: Tensor | None) -> None:
    if tensor is None:
        return
    # Other kernels would read a sparse buffer as a dense one, past its end.
    if tensor.sparsity and role != "s":
        raise InputError(f"{operator.label} can't use {tensor.label}: it is sparse")
    name = tensor.element
    constant = name in _WHOLE and tensor.stored is not None
    fits = {"i": name in _WHOLE, "n": name in _WHOLE, "I": constant, "N": constant, "m": name == "BOOL",
            "q": name in _COMPRESSED, "b": name in _BIAS}  # fmt: skip
    if not fits.get(role, True):
        raise InputError(f"{operator.label} can't use {tensor.label}: its type is {name} or it isn't a constant")


def _check_data(operator: Operator, tensor: Tensor, first: Tensor) -> None:
    if tensor.element != first.element:
        raise InputError(f"{operator.label} mixes {first.element} and {tensor.element}")
    count = len(tensor.scales)
    if count > 1 or (not count and tensor.element in _SCALED):
        raise InputError(f"{operator.label} needs one scale for {tensor.label}, not {count}")
    if count and not _MIN_SCALE < float(tensor.scales[0]) < _MAX_SCALE:
        raise InputError(f"{tensor.label} has an absurd scale {float(tensor.scales[0]):.3g}")


def _check_weights(operator: Operator, spec: OperatorSpec, weights: Tensor, data: Tensor) -> None:
    where = operator.label
    if weights.element not in _WEIGHTS.get(data.element, ()):
        raise InputError(f"{where} can't multiply {data.element} by {weights.element}")
    if not len(weights.scales) and weights.element not in ("FLOAT32", "INT32"):
        raise InputError(f"{where} has weights without a scale")
    if spec.weights is None:
        return
    channels, rank = spec.weights
    if len(weights.shape) != rank or 0 in weights.shape:
        raise InputError(f"{where} has weights of shape {weights.shape}")
    if len(weights.scales) > 1 and weights.axis != channels:
        raise InputError(f"{where} has scales along dimension {weights.axis}")
