import keras
import numpy as np
import pytest
from keras import layers

import tfharden as th

CLASSES = 4


def counted(shape, *inner, recipe="float32", **options):
    """Multiply-adds of a file, without those of the dense layer at its end."""
    model = keras.Sequential([keras.Input(shape), *inner, layers.Flatten(), layers.Dense(CLASSES)])
    x = np.random.default_rng(0).random((16, *shape), np.float32)
    file = th.export.to_tflite(model, recipe, x, **options).file
    return file.multiply_adds - int(np.prod(model.layers[-1].input.shape[1:])) * CLASSES


# By hand: outputs, times what is summed up for each.
COUNTS = {
    "dense": ((5, 5, 2), [layers.Flatten(), layers.Dense(7)], 7 * 50),
    "dense on each row": ((6, 10), [layers.Dense(7)], 6 * 7 * 10),
    "convolution": ((8, 8, 3), [layers.Conv2D(5, 3, padding="same")], 8 * 8 * 5 * (3 * 3 * 3)),
    "stride": ((8, 8, 3), [layers.Conv2D(5, 3, strides=2, padding="same")], 4 * 4 * 5 * (3 * 3 * 3)),
    "valid": ((8, 8, 3), [layers.Conv2D(5, (3, 5))], 6 * 4 * 5 * (3 * 5 * 3)),
    "groups": ((8, 8, 4), [layers.Conv2D(6, 3, groups=2, padding="same")], 8 * 8 * 6 * (3 * 3 * 2)),
    "depthwise": ((8, 8, 3), [layers.DepthwiseConv2D(3)], 6 * 6 * 3 * (3 * 3)),
    "multiplier": ((8, 8, 3), [layers.DepthwiseConv2D(3, depth_multiplier=2)], 6 * 6 * 6 * (3 * 3)),
    "transposed": ((4, 4, 3), [layers.Conv2DTranspose(5, 3, strides=2, padding="same")], 4 * 4 * 3 * (3 * 3 * 5)),
    "separable": ((8, 8, 3), [layers.SeparableConv2D(5, 3, padding="same")], 8 * 8 * 3 * 9 + 8 * 8 * 3 * 5),
    "none": ((8, 8, 3), [layers.MaxPooling2D(), layers.ReLU()], 0),
}


@pytest.mark.parametrize("name", COUNTS)
def test_hand_counted(name):
    shape, inner, expected = COUNTS[name]
    assert counted(shape, *inner) == expected


@pytest.mark.parametrize("recipe", ["dynamic", "int8-uint8"])
def test_the_same_in_every_recipe(recipe):
    inner = [layers.Conv2D(16, 3), layers.DepthwiseConv2D(3), layers.Conv2D(128, 1)]
    expected = 6 * 6 * 16 * 27 + 4 * 4 * 16 * 9 + 4 * 4 * 128 * 16
    assert counted((8, 8, 3), *inner, recipe=recipe) == expected


def test_the_same_with_a_dynamic_batch():
    assert counted((8, 8, 3), layers.Conv2D(5, 3), dynamic_batch=True) == 6 * 6 * 5 * 27


def test_matrix_products_of_attention():
    """Queries, keys, values and outputs are projected; scores and their use are products of 6 by 6 and 5, a head."""
    inputs = keras.Input((6, 8))
    attended = layers.MultiHeadAttention(num_heads=2, key_dim=5)(inputs, inputs)
    model = keras.Model(inputs, layers.Dense(CLASSES)(layers.Flatten()(attended)))
    file = th.export.to_tflite(model, "float32").file
    assert file.operators["BATCH_MATMUL"] == 2
    projections, products = 4 * (6 * 8 * 10), 2 * 2 * (6 * 6 * 5)
    assert file.multiply_adds == projections + products + 48 * CLASSES
