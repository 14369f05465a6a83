"""Small classifiers to export, and LiteRT's bare interpreter to run what comes of them."""

import importlib.util

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from keras import layers

import tfharden as th

SHAPE, CLASSES = (8, 8, 1), 4
QUANTIZER = pytest.mark.skipif(
    importlib.util.find_spec("ai_edge_quantizer") is None, reason="needs pip install 'tfharden[quantizer]'"
)


def images(count=64, seed=0, shape=SHAPE):
    return np.random.default_rng(seed).random((count, *shape), np.float32)


def spread(model, x):
    """The model with a last layer whose logits differ between images as a trained model's would: 0 +- 3 each."""
    kernel, bias = model.layers[-1].get_weights()
    features = keras.Model(model.input, model.layers[-1].input).predict(x, verbose=0)
    logits = features @ kernel
    factor = 3 / logits.std(axis=0)
    model.layers[-1].set_weights([kernel * factor, bias - logits.mean(axis=0) * factor])
    return model


def classifier(name="cnn", seed=0):
    return spread(th.models.build(name, SHAPE, CLASSES, width=8, seed=seed), images())


def softmax_dense(scale=1.0):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input(SHAPE),
            layers.Flatten(),
            layers.Dense(CLASSES),
            layers.Rescaling(scale),
            layers.Softmax(),
        ]
    )
    model.layers[1].bias.assign(-0.5 * np.sum(model.layers[1].kernel, axis=0))
    return model


def interpreted(content, x):
    """Outputs of LiteRT's interpreter used as its manual says, image by image, in real units; and as stored."""
    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    (source,), (target,) = interpreter.get_input_details(), interpreter.get_output_details()
    stored = []
    if source["dtype"] != np.float32:
        scale, zero_point = source["quantization"]
        limits = np.iinfo(source["dtype"])
        x = np.clip(np.round(x / scale) + zero_point, limits.min, limits.max).astype(source["dtype"])
    for image in x[:, np.newaxis]:
        interpreter.set_tensor(source["index"], image)
        interpreter.invoke()
        stored.append(interpreter.get_tensor(target["index"])[0])
    stored = np.stack(stored)
    if target["dtype"] == np.float32:
        return stored, stored
    scale, zero_point = target["quantization"]
    return scale * (stored.astype(np.float32) - zero_point), stored


def centred(logits):
    return logits - logits.mean(axis=-1, keepdims=True)


def one_line(error):
    return "\n" not in str(error.value) and str(error.value)
