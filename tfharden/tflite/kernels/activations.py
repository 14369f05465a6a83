"""Activations, fused and not, as TensorFlow functions of real values."""

from collections.abc import Callable

import tensorflow as tf

from tfharden.tflite.graph import Operator

Activation = Callable[[tf.Tensor], tf.Tensor]

FUSED: dict[str, Activation] = {
    "NONE": lambda x: x,
    "RELU": tf.nn.relu,
    "RELU_N1_TO_1": lambda x: tf.clip_by_value(x, -1.0, 1.0),
    "RELU6": tf.nn.relu6,
    "TANH": tf.tanh,
}


def fused(operator: Operator) -> Activation:
    """The activation that follows an operator inside it."""
    return FUSED[operator.activation]


def of(operator: Operator) -> Activation:
    """What an operator that is one function of each value computes, by its name and options."""
    if operator.opcode == "LEAKY_RELU":
        return lambda x: tf.nn.leaky_relu(x, operator.option("alpha"))
    if operator.opcode == "GELU":
        return lambda x: tf.nn.gelu(x, approximate=bool(operator.option("approximate")))
    return FUNCTIONS[operator.opcode]


def hard_swish(x: tf.Tensor) -> tf.Tensor:
    """X relu6(x + 3) / 6 (Howard et al. 2019, arXiv:1905.02244)."""
    return x * tf.nn.relu6(x + 3.0) / 6.0


FUNCTIONS: dict[str, Activation] = {
    "ABS": tf.abs,
    "ELU": tf.nn.elu,
    "EXP": tf.exp,
    "HARD_SWISH": hard_swish,
    "LOG": tf.math.log,
    "LOGISTIC": tf.sigmoid,
    "NEG": tf.negative,
    "RELU": tf.nn.relu,
    "RELU6": tf.nn.relu6,
    "RELU_0_TO_1": lambda x: tf.clip_by_value(x, 0.0, 1.0),
    "RELU_N1_TO_1": FUSED["RELU_N1_TO_1"],
    "RSQRT": tf.math.rsqrt,
    "SQRT": tf.sqrt,
    "SQUARE": tf.square,
    "TANH": tf.tanh,
}
