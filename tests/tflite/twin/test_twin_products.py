"""Convolutions and dense layers against the interpreter, in every kind of number."""

import numpy as np
import pytest
import tensorflow as tf

from tests._helpers.twin_files import changed, compared, file_of, images, weights
from tfharden.tflite import Twin, parse

SHAPE = (6, 6, 16)
LAYERS = {
    "same": lambda x: tf.nn.relu(tf.nn.conv2d(x, weights(3, 3, 16, 16), 1, "SAME") + weights(16)),
    "strides": lambda x: tf.nn.relu6(4 * tf.nn.conv2d(x, weights(3, 2, 16, 24), (2, 1), "VALID") + weights(24)),
    "clipped": lambda x: tf.clip_by_value(tf.nn.conv2d(x, weights(3, 3, 16, 16), 2, "SAME") + weights(16), -1, 1),
    "no bias": lambda x: tf.nn.conv2d(x, weights(3, 3, 16, 16), 1, "SAME"),
    "dilated": lambda x: tf.nn.conv2d(x, weights(3, 3, 16, 16), 1, "SAME", dilations=2) + weights(16),
    "pixels": lambda x: tf.nn.conv2d(x, weights(1, 1, 16, 80), 1, "SAME") + weights(80),
    "pixels with stride": lambda x: tf.nn.conv2d(x, weights(1, 1, 16, 80), 2, "SAME") + weights(80),
    "groups": lambda x: tf.nn.conv2d(x, weights(3, 3, 8, 32), 1, "SAME") + weights(32),
    "depthwise": lambda x: tf.nn.relu(tf.nn.depthwise_conv2d(x, weights(3, 3, 16, 1), [1] * 4, "SAME") + weights(16)),
    "depthwise multiplied": lambda x: tf.nn.depthwise_conv2d(x, weights(3, 3, 16, 8), [1, 2, 2, 1], "VALID"),
    "depthwise dilated": lambda x: tf.nn.depthwise_conv2d(x, weights(3, 3, 16, 1), [1] * 4, "SAME", dilations=[2, 2]),
    "transposed": lambda x: tf.nn.conv2d_transpose(x, weights(3, 3, 8, 16), [1, 12, 12, 8], 2, "SAME"),
    "transposed with bias": lambda x: (
        tf.nn.conv2d_transpose(x, weights(2, 2, 16, 16), [1, 12, 12, 16], 2, "VALID") + weights(16)
    ),
    "dense": lambda x: tf.nn.relu(tf.reshape(x, [1, -1]) @ weights(576, 10) + weights(10)),
    "dense on pixels": lambda x: tf.tensordot(x, weights(16, 80), 1) + weights(80),
}
BOTH = ("xnnpack", "reference")
INTEGERS = [("int8", True), ("int8", False), ("uint8", False), ("int16x8", True)]


@pytest.mark.slow
@pytest.mark.parametrize(("recipe", "per_channel"), INTEGERS)
def test_integers(recipe, per_channel):
    found = compared(LAYERS, BOTH, SHAPE, recipe, per_channel)
    assert {case: agreement for case, agreement in found.items() if agreement != (1.0, 0.0)} == {}


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["float32", "float16", "dynamic"])
def test_real_numbers(recipe):
    found = compared(LAYERS, BOTH, SHAPE, recipe)
    assert {case: agreement for case, agreement in found.items() if agreement[0] != 1.0} == {}


def test_sums_that_float32_does_not_hold():
    # 20,000 products of up to 255 times 127 add up to 6 * 10^8.
    random = np.random.default_rng(0)
    kernel = random.choice([-1, 1], (20000, 4)).astype(np.float32) + np.float32([1, 0.9, 0, 0.5])
    file = file_of(lambda x: tf.reshape(x, [1, -1]) @ kernel, (100, 200, 1), low=0.0)
    x = images((100, 200, 1), 4, 0.0, 1.0)
    x[2:] = np.round(x[2:])
    for kernels in BOTH:
        found = Twin(file, kernels).verify(x)
        assert (found.exact, found.largest) == (1.0, 0.0), found


def test_scales_that_are_powers_of_two_tie():
    def tied(model):
        for tensor in model.subgraphs[0].tensors:
            if tensor.quantization is not None and tensor.quantization.scale is not None:
                tensor.quantization.scale = 2.0 ** np.round(np.log2(tensor.quantization.scale)).astype(np.float32)

    file = parse(changed(file_of(LAYERS["no bias"], SHAPE, per_channel=False).content, tied))
    for kernels in BOTH:
        found = Twin(file, kernels).verify(images(SHAPE, 30, -1.2, 1.2))
        assert (found.exact, found.largest) == (1.0, 0.0), found


def test_dynamic_range_of_a_flat_image():
    file = file_of(LAYERS["same"], SHAPE, "dynamic")
    x = np.stack([np.zeros(SHAPE), np.ones(SHAPE), -np.ones(SHAPE)]).astype(np.float32)
    for kernels in BOTH:
        assert Twin(file, kernels).verify(x).exact == 1.0


def test_sparse_weights():
    """Most of the weights are zero, so that the converter leaves them out, and DENSIFY puts them back."""
    dense = weights(3, 3, 16, 16)
    pruned = np.where(np.abs(dense) > np.quantile(np.abs(dense), 0.9), dense, 0)
    file = file_of(lambda x: tf.nn.conv2d(x, pruned, 1, "SAME") + weights(16), SHAPE, "sparse")
    assert "DENSIFY" in file.operators
    for kernels in BOTH:
        assert Twin(file, kernels).verify(images(SHAPE, 6, -1.2, 1.2)).exact == 1.0
