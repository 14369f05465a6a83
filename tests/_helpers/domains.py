"""Teachers of two domains, for what merges them."""

import keras
import numpy as np
from keras import layers

SHAPE = (8, 8, 1)
# Not in the order of the alphabet, which a file could bring them into.
CLASSES = {"pets": ["cat", "dog"], "fruit": ["banana", "apple", "cherry"]}
NAN = float("nan")


def model(classes, seed=0, *, end="logits", shape=SHAPE, name="teacher"):
    """Moving statistics and dropout, and logits far enough apart to matter."""
    keras.utils.set_random_seed(seed)
    inputs = keras.Input(shape)
    x = layers.BatchNormalization()(layers.Conv2D(4, 3, strides=2, activation="relu", name="conv")(inputs))
    x = layers.Dropout(0.5)(layers.GlobalAveragePooling2D()(x))
    first = keras.initializers.RandomNormal(0.0, 6.0)
    activation = "softmax" if end == "softmax" else None
    return keras.Model(inputs, layers.Dense(classes, activation=activation, kernel_initializer=first)(x), name=name)


def constant(*logits):
    """A model with the same logits for every image."""
    inputs = keras.Input(SHAPE)
    made = keras.Model(inputs, layers.Dense(len(logits))(layers.Flatten()(inputs)))
    made.layers[-1].set_weights([np.zeros((64, len(logits)), np.float32), np.float32(logits)])
    return made


def teachers(end="logits"):
    return {"pets": model(2, 1, end=end), "fruit": model(3, 2, end=end)}


def images(count=6, seed=0):
    return np.random.default_rng(seed).random((count, *SHAPE), np.float32)
