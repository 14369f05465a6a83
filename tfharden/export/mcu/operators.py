"""Operators of tflite-micro, and its names for them."""

from collections.abc import Iterable

from tfharden.errors import InputError

# Of the operators in `tfharden.tflite.ops`, those that tflite-micro has kernels for, by LiteRT's names.
_SUPPORTED = """
ABS ADD ADD_N ARG_MAX ARG_MIN AVERAGE_POOL_2D BATCH_MATMUL BATCH_TO_SPACE_ND BROADCAST_TO CAST CEIL CONCATENATION \
CONV_2D COS CUMSUM DEPTHWISE_CONV_2D DEPTH_TO_SPACE DEQUANTIZE DIV ELU EQUAL EXP EXPAND_DIMS FLOOR FLOOR_DIV \
FLOOR_MOD FULLY_CONNECTED GATHER GATHER_ND GREATER GREATER_EQUAL HARD_SWISH L2_NORMALIZATION L2_POOL_2D LEAKY_RELU \
LESS LESS_EQUAL LOG LOGICAL_AND LOGICAL_NOT LOGICAL_OR LOGISTIC LOG_SOFTMAX MAXIMUM MAX_POOL_2D MEAN MINIMUM \
MIRROR_PAD MUL NEG NOT_EQUAL PACK PAD PADV2 PRELU QUANTIZE REDUCE_ALL REDUCE_MAX REDUCE_MIN RELU RELU6 RESHAPE \
RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR REVERSE_V2 ROUND RSQRT SELECT_V2 SHAPE SIN SLICE SOFTMAX SPACE_TO_BATCH_ND \
SPACE_TO_DEPTH SPLIT SPLIT_V SQRT SQUARE SQUARED_DIFFERENCE SQUEEZE STRIDED_SLICE SUB SUM TANH TRANSPOSE \
TRANSPOSE_CONV UNPACK ZEROS_LIKE
"""
SUPPORTED = frozenset(_SUPPORTED.split())
# Names with words that LiteRT's underscores don't part.
_IRREGULAR = {"BATCH_MATMUL": "BatchMatMul", "CUMSUM": "CumSum", "PADV2": "PadV2"}


def method(operator: str) -> str:
    """The method of tflite-micro's resolver that adds an operator: AddConv2D for CONV_2D.

    Raises:
        InputError: tflite-micro doesn't have the operator.
    """
    if operator not in SUPPORTED:
        raise InputError(f"tflite-micro doesn't have the operator {operator}")
    words = (word if word[0].isdigit() else word.capitalize() for word in operator.split("_"))
    return "Add" + _IRREGULAR.get(operator, "".join(words))


def methods(operators: Iterable[str]) -> list[str]:
    """The methods for operators, each once, in alphabetical order.

    Raises:
        InputError: tflite-micro lacks some of them; the message names them all.
    """
    missing = sorted(set(operators) - SUPPORTED)
    if missing:
        raise InputError(f"tflite-micro doesn't have the operators {', '.join(missing)}")
    return sorted({method(operator) for operator in operators})
