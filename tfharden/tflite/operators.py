"""The builtin operators an image classifier is made of: what each takes and makes, as data.

Anything else (control flow, state, strings, random numbers, custom code) is refused by name: a feed-forward classifier
needs none of it, and each would be one more native kernel within reach of a stranger's file.
"""

from typing import NamedTuple

# One letter a tensor. A star at the end repeats the letter before it, one or more times.
#   d  data: all of an operator have one element type, and 8- and 16-bit integers have exactly one scale
#   w  weights of a product with data; may have a scale for each channel
#   b  bias; may be absent, as the last or as the tensor -1
#   i  whole numbers: a shape, an axis, indices       I  the same, and constant
#   m  booleans          q  a quantised or half-precision number          a  anything
_OPERATORS = """
ABS CEIL COS ELU EXP FLOOR HARD_SWISH LOG LOGISTIC LOG_SOFTMAX NEG RELU RELU6 RELU_0_TO_1 RELU_N1_TO_1 ROUND RSQRT \
SIGN SIN SQRT SQUARE TANH ZEROS_LIKE | d | d |
ATAN2 FLOOR_DIV FLOOR_MOD MAXIMUM MINIMUM POW PRELU SQUARED_DIFFERENCE | dd | d |
EQUAL GREATER GREATER_EQUAL LESS LESS_EQUAL NOT_EQUAL | dd | m |
LOGICAL_AND LOGICAL_OR | mm | m |
LOGICAL_NOT | m | m |
DENSIFY | a | a |
DEQUANTIZE | q | a |
QUANTIZE | a | d |
EXPAND_DIMS PAD REVERSE_V2 TILE TRANSPOSE | dI | d |
BROADCAST_TO GATHER_ND | di | d |
BATCH_TO_SPACE_ND SPACE_TO_BATCH_ND | dII | d |
PADV2 | dId | d |
SELECT SELECT_V2 | mdd | d |
SLICE | dii | d |
ADD | dd | d | AddOptions
ADD_N | d* | d |
ARG_MAX | dI | i | ArgMaxOptions
ARG_MIN | dI | i | ArgMinOptions
AVERAGE_POOL_2D L2_POOL_2D MAX_POOL_2D | d | d | Pool2DOptions
BATCH_MATMUL | dw | d | BatchMatMulOptions
CAST | a | a | CastOptions
CONCATENATION | d* | d | ConcatenationOptions
CONV_2D | dwb | d | Conv2DOptions
CUMSUM | dI | d | CumsumOptions
DEPTHWISE_CONV_2D | dwb | d | DepthwiseConv2DOptions
DEPTH_TO_SPACE | d | d | DepthToSpaceOptions
DIV | dd | d | DivOptions
FULLY_CONNECTED | dwb | d | FullyConnectedOptions
GATHER | di | d | GatherOptions
GELU | d | d | GeluOptions
L2_NORMALIZATION | d | d | L2NormOptions
LEAKY_RELU | d | d | LeakyReluOptions
LOCAL_RESPONSE_NORMALIZATION | d | d | LocalResponseNormalizationOptions
MEAN REDUCE_ALL REDUCE_ANY REDUCE_MAX REDUCE_MIN REDUCE_PROD SUM | dI | d | ReducerOptions
MIRROR_PAD | dI | d | MirrorPadOptions
MUL | dd | d | MulOptions
PACK | d* | d | PackOptions
RANK | a | i |
RESHAPE | d | d | ReshapeOptions
RESHAPE | di | d | ReshapeOptions
RESIZE_BILINEAR | dI | d | ResizeBilinearOptions
RESIZE_NEAREST_NEIGHBOR | dI | d | ResizeNearestNeighborOptions
SHAPE | a | i | ShapeOptions
SOFTMAX | d | d | SoftmaxOptions
SPACE_TO_DEPTH | d | d | SpaceToDepthOptions
SPLIT | Id | d* | SplitOptions
SPLIT_V | dII | d* | SplitVOptions
SQUEEZE | d | d | SqueezeOptions
STRIDED_SLICE | diii | d | StridedSliceOptions
SUB | dd | d | SubOptions
TOPK_V2 | dI | di |
TRANSPOSE_CONV | iwdb | d | TransposeConvOptions
UNPACK | d | d* | UnpackOptions
"""


class Signature(NamedTuple):
    """The roles of an operator's inputs and outputs, and its table of options (empty: nothing is read from it)."""

    inputs: str
    outputs: str
    options: str


def _signatures(text: str) -> dict[str, list[Signature]]:
    signatures: dict[str, list[Signature]] = {}
    for line in text.strip().splitlines():
        names, inputs, outputs, options = (part.strip() for part in line.split("|"))
        for name in names.split():
            signatures.setdefault(name, []).append(Signature(inputs, outputs, options))
    return signatures


SIGNATURES = _signatures(_OPERATORS)


def roles(pattern: str, count: int) -> str | None:
    """The letters of `count` tensors by `pattern`; None if they don't fit it."""
    if pattern.endswith("*"):
        return pattern[0] * count if count else None
    if pattern.endswith("b") and count == len(pattern) - 1:
        return pattern[:-1]
    return pattern if count == len(pattern) else None
