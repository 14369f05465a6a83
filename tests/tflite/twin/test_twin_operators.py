"""Every operator against the interpreter: integers to the bit, real numbers to rounding."""

import pytest
import tensorflow as tf

from tests._helpers.twin_files import compared, file_of, images, weights
from tfharden.tflite import Twin
from tfharden.tflite.twin import known

old = tf.compat.v1.image


def mean(x):
    return tf.reduce_mean(x, [1, 2], keepdims=True)


# Each makes of images [1, 8, 8, 4] something that the converter does with the operators in front.
CASES = {
    "ADD of its kind": lambda x: tf.tanh(x) + tf.nn.relu(x),
    "ADD with relu": lambda x: tf.nn.relu(tf.nn.max_pool2d(x, 1, 1, "SAME") + 3 * tf.sigmoid(x)),
    "ADD of a constant": lambda x: x + weights(4),
    "ADD of a number": lambda x: x + 0.3,
    "ADD broadcast": lambda x: x + 3 * mean(x),
    "SUB": lambda x: tf.tanh(x) - 0.2 * tf.nn.relu(x),
    "SUB from a constant": lambda x: weights(4) - x,
    "MUL": lambda x: tf.tanh(x) * tf.nn.relu(x),
    "MUL with relu": lambda x: tf.nn.relu(x * weights(4)),
    "MUL broadcast, LOGISTIC": lambda x: x * tf.sigmoid(20 * mean(x)),
    "DIV": lambda x: x / (tf.nn.relu(x) + 1.5),
    "MAXIMUM": lambda x: tf.maximum(x, tf.tanh(-x)),
    "MINIMUM": lambda x: tf.minimum(x, 0.3 * tf.tanh(x)),
    "SQUARED_DIFFERENCE": lambda x: tf.math.squared_difference(tf.tanh(x), tf.nn.relu(x)),
    "AVERAGE_POOL_2D": lambda x: tf.nn.avg_pool2d(x, 2, 2, "VALID"),
    "AVERAGE_POOL_2D at borders": lambda x: tf.nn.avg_pool2d(x, 3, 2, "SAME"),
    "AVERAGE_POOL_2D with relu": lambda x: tf.nn.relu(tf.nn.avg_pool2d(x, (3, 2), 1, "SAME")),
    "MAX_POOL_2D": lambda x: tf.nn.max_pool2d(x, 3, 2, "SAME"),
    "MAX_POOL_2D with relu": lambda x: tf.nn.relu(tf.nn.max_pool2d(x, 2, 1, "VALID")),
    "MEAN": lambda x: tf.reduce_mean(x, [1, 2]),
    "MEAN of rows": lambda x: tf.reduce_mean(x, [1]),
    "MEAN of channels": lambda x: tf.reduce_mean(x, [3], keepdims=True),
    "REDUCE_MAX": lambda x: tf.reduce_max(x, [1, 2]),
    "REDUCE_MIN": lambda x: tf.reduce_min(x, [3]),
    "RELU": tf.nn.relu,
    "RELU6": lambda x: tf.nn.relu6(tf.nn.max_pool2d(5 * x, 1, 1, "SAME")),
    "RELU_N1_TO_1": lambda x: tf.clip_by_value(2 * x, -1, 1),
    "LEAKY_RELU": lambda x: tf.nn.leaky_relu(x, 0.2),
    "GELU": lambda x: tf.nn.gelu(1.5 * x),
    "GELU approximate": lambda x: tf.nn.gelu(1.7 * x, approximate=True),
    "TANH": lambda x: tf.tanh(3 * x),
    "HARD_SWISH": lambda x: 4 * x * tf.nn.relu6(4 * x + 3) / 6,
    "ABS": tf.abs,
    "EXP": tf.exp,
    "RSQRT": lambda x: tf.math.rsqrt(tf.nn.relu(x) + 0.5),
    "SQRT": lambda x: tf.sqrt(tf.nn.relu(x) + 0.1),
    "LOG": lambda x: tf.math.log(tf.nn.relu(x) + 0.2),
    "NEG, SQUARE, QUANTIZE, DEQUANTIZE": lambda x: tf.square(-x),
    "SOFTMAX": lambda x: tf.nn.softmax(4 * tf.reshape(x, [1, 64, 4])),
    "SOFTMAX of many": lambda x: tf.nn.softmax(20 * tf.reshape(x, [1, -1])),
    "PAD": lambda x: tf.pad(x, [[0, 0], [1, 2], [0, 1], [0, 0]]),
    "PADV2": lambda x: tf.pad(x, [[0, 0], [1, 2], [0, 1], [0, 0]], constant_values=0.5),
    "MIRROR_PAD": lambda x: tf.pad(x, [[0, 0], [1, 2], [2, 1], [0, 0]], "REFLECT"),
    "CONCATENATION": lambda x: tf.concat([x, tf.tanh(x)], -1),
    "SPLIT": lambda x: tf.concat(tf.split(x, 2, -1)[::-1], 1),
    "SPLIT_V": lambda x: tf.concat(tf.split(x, [1, 3], -1)[::-1], -1),
    "SLICE": lambda x: tf.slice(x, [0, 1, 2, 0], [1, 4, 3, 4]),
    "STRIDED_SLICE": lambda x: x[:, 1:7:2, ::-1, 1:],
    "STRIDED_SLICE that shrinks": lambda x: x[:, 2],
    "TRANSPOSE": lambda x: tf.transpose(x, [0, 3, 1, 2]),
    "SPACE_TO_DEPTH": lambda x: tf.nn.space_to_depth(x, 2),
    "PACK": lambda x: tf.stack([x, tf.tanh(x)], -1),
    "UNPACK": lambda x: tf.concat(tf.unstack(x, axis=1)[:2], 1),
    "GATHER": lambda x: tf.gather(x, [2, 0, 1], axis=3),
    "RESIZE_BILINEAR": lambda x: tf.image.resize(x, (13, 5)),
    "RESIZE_BILINEAR old": lambda x: old.resize_bilinear(x, (16, 12)),
    "RESIZE_BILINEAR to corners": lambda x: old.resize_bilinear(x, (15, 11), align_corners=True),
    "RESIZE_NEAREST_NEIGHBOR": lambda x: tf.image.resize(x, (13, 5), method="nearest"),
    "RESIZE_NEAREST_NEIGHBOR to corners": lambda x: old.resize_nearest_neighbor(x, (15, 11), align_corners=True),
    "BATCH_MATMUL": lambda x: tf.matmul(tf.reshape(x, [1, 32, 8]), tf.reshape(x, [1, 8, 32])),
    "BATCH_MATMUL transposed": lambda x: tf.matmul(x, x, transpose_b=True),
    "RESHAPE that drops the batch axis": lambda x: tf.reshape(tf.reduce_mean(x, [1, 2]), [4]) + x,
}
# What the converter can't make in 16 bits, and LiteRT's kernels don't take without a sign.
NOT_16 = ("BATCH", "DIV", "HARD", "MAXIMUM", "MINIMUM", "NEG", "PADV2", "SPACE", "SQRT", "SQUARED", "LOG", "RSQRT")
NOT_UNSIGNED = ("ABS", "BATCH", "EXP", "GELU", "LOG", "RSQRT", "SQRT", "SQUARED")


BOTH = ("xnnpack", "reference")


def chosen(*without):
    return {name: function for name, function in CASES.items() if not name.startswith(without)}


def inexact(found):
    return {case: agreement for case, agreement in found.items() if agreement != (1.0, 0.0)}


@pytest.mark.slow
def test_signed():
    assert inexact(compared(CASES, BOTH)) == {}


@pytest.mark.slow
def test_unsigned():
    options = {"recipe": "uint8", "per_channel": False}
    assert inexact(compared(chosen(*NOT_UNSIGNED, "RESIZE_BILINEAR"), BOTH, **options)) == {}
    resized = {name: function for name, function in CASES.items() if name.startswith("RESIZE_BILINEAR")}
    assert inexact(compared(resized, ("xnnpack",), **options)) == {}


@pytest.mark.slow
def test_sixteen_bits():
    found = compared(chosen(*NOT_16), BOTH, recipe="int16x8")
    assert inexact({case: agreement for case, agreement in found.items() if case[1] == "reference"}) == {}
    # LiteRT's optimised sums round otherwise, sixteen at a time, where the processor has AVX2.
    assert all(exact > 0.99 and largest <= 1 for exact, largest in found.values()), inexact(found)


@pytest.mark.slow
def test_real():
    found = compared(CASES, BOTH, recipe="float32")
    assert {case: agreement for case, agreement in found.items() if agreement[0] != 1.0} == {}


def test_what_reference_kernels_lack():
    """ELU and DEPTH_TO_SPACE, and sums of signed integers, which they read as unsigned."""
    lacking = {
        "ELU": tf.nn.elu,
        "DEPTH_TO_SPACE": lambda x: tf.nn.depth_to_space(x, 2),
        "SUM": lambda x: tf.reduce_sum(x, [1, 2]),
    }
    assert inexact(compared(lacking, ("xnnpack",))) == {}


def test_a_path_will_do(tmp_path):
    file = file_of(tf.nn.relu)
    (tmp_path / "relu.tflite").write_bytes(file.content)
    twin = Twin(tmp_path / "relu.tflite", "reference")
    assert twin.file.sha256 == file.sha256
    assert twin.verify(images(count=2)).exact == 1.0


def test_all_that_the_twin_knows_are_named():
    tried = " ".join(CASES)
    elsewhere = {"CAST", "CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV", "SHAPE", "SUM", "PRELU",
                 "ELU", "DEPTH_TO_SPACE", "SQUEEZE", "EXPAND_DIMS", "LOG_SOFTMAX", "RELU_0_TO_1",
                 "DENSIFY"}  # fmt: skip
    assert [name for name in known() if name not in tried and name not in elsewhere] == []
