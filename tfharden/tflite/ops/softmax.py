"""Normalisation along the channels: SOFTMAX, LOG_SOFTMAX, L2_NORMALIZATION and LOCAL_RESPONSE_NORMALIZATION."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tfharden.tflite.graph import Operator
from tfharden.tflite.kernels import fixed_softmax
from tfharden.tflite.kernels.kernel_set import Function, KernelSet, refuse
from tfharden.tflite.kernels.straight_through import fixed, straight_through
from tfharden.tflite.ops.common import same_shape
from tfharden.tflite.ops.spec import OperatorSpec, register


def _beta_fault(options: Mapping[str, Any]) -> str:
    # NaN fails every comparison.
    return "" if 0 < options["beta"] < math.inf else "has a beta that isn't positive"


def _fits_fixed_point(operator: Operator) -> bool:
    """Kernels need a factor above 1 from scales with 26 fractional bits."""
    beta = operator.option("beta") if operator.opcode == "SOFTMAX" else 1.0
    source = operator.inputs[0]
    return source.element not in ("INT8", "UINT8") or beta * source.scale > 2.0**-26


def _softmax(op: Operator, kernels: KernelSet) -> Function:
    """exp(beta x) over the last axis, divided by its sum."""
    beta = op.option("beta")
    if not op.output.quantised:
        return lambda x: tf.nn.softmax(beta * x)
    source, target = op.inputs[0], op.output
    if source.element == "INT16":
        exact = fixed_softmax.of_16_bits(op)
    else:
        exact = fixed_softmax.of_8_bits(op) if kernels.reference else _float(op)
    slope = float(beta * source.scale32)
    return lambda x: straight_through(exact, lambda x: tf.nn.softmax(slope * x) / target.scale32, x)


def _log_softmax(op: Operator, kernels: KernelSet) -> Function:
    """The logarithm of the softmax over the last axis, in real numbers."""
    if op.output.quantised:
        raise refuse(op, f"it takes {op.output.element}")
    return tf.nn.log_softmax


def _float(op: Operator) -> Function:
    """LiteRT's optimised kernel for 8 bits: exponentials from a table, in float32."""
    source, target = op.inputs[0], op.output
    slope = -source.scale32 * np.float32(op.option("beta"))
    table = np.array([math.exp(slope * np.float32(step)) for step in range(256)], np.float32)
    low, high = target.limits

    def exact(x: tf.Tensor) -> tf.Tensor:
        below = tf.cast(tf.reduce_max(x, axis=-1, keepdims=True) - x, tf.int32)
        powers = tf.gather(table, below)
        # One after the other, as the kernel adds them.
        total = tf.cumsum(powers, axis=-1)[..., -1:]
        return tf.clip_by_value(tf.floor(powers * (1.0 / (total * fixed(target.scale32))) + 0.5), low, high)

    return exact


register(OperatorSpec(
    "SOFTMAX", "d -> d", same_shape, "SoftmaxOptions", safety=_fits_fixed_point, options_fault=_beta_fault,
    kernel=_softmax,
))  # fmt: skip
register(OperatorSpec("LOG_SOFTMAX", "d -> d", same_shape, safety=_fits_fixed_point, kernel=_log_softmax))
register(OperatorSpec("L2_NORMALIZATION", "d -> d", same_shape, "L2NormOptions"))
register(OperatorSpec("LOCAL_RESPONSE_NORMALIZATION", "d -> d", same_shape, "LocalResponseNormalizationOptions"))
