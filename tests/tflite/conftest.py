"""Small .tflite files, made once a session."""

import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf

_SHARED = pathlib.Path(__file__).parents[3] / "shared" / "models"


@pytest.fixture(scope="session")
def tflite_folder(tmp_path_factory):
    """A folder with int8, float and other classifiers of 8x8 images, untrained."""
    folder = tmp_path_factory.mktemp("tflite")
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Conv2D(4, 3, padding="same", activation="relu", bias_initializer="uniform"),
            keras.layers.DepthwiseConv2D(3, bias_initializer="uniform"),
            keras.layers.MaxPooling2D(),
            keras.layers.Flatten(),
            keras.layers.Dense(10, bias_initializer="uniform"),
        ]
    )
    (folder / "float.tflite").write_bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())
    for name, types in (("int8", (tf.int8, tf.int8)), ("uint8", (tf.uint8, tf.float32))):
        (folder / f"{name}.tflite").write_bytes(_quantised(model, *types))
    weights = tf.constant(np.random.default_rng(0).normal(size=(64, 10)), tf.float32)
    # The batch axis is baked into the first, and the images of a batch meet in the second.
    _save(folder / "baked.tflite", lambda x: tf.reshape(x, (1, 64)) @ weights)
    _save(folder / "mixed.tflite", lambda x: tf.reshape(x, (-1, 64)) @ weights * (1 + tf.reduce_sum(x)))
    _save(folder / "scalar.tflite", lambda x: tf.reduce_sum(x, axis=(1, 2, 3)))
    return folder


@pytest.fixture
def shared_models():
    """Files from other hands."""
    if not _SHARED.is_dir():
        pytest.skip("the folder shared/models beside the repository is absent")
    return sorted(_SHARED.glob("*.tflite"))


def _quantised(model, input_type, output_type):
    random = np.random.default_rng(0)
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([random.random((1, 8, 8, 1), np.float32)] for _ in range(20))
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type, converter.inference_output_type = input_type, output_type
    return converter.convert()


def _save(path, function):
    concrete = tf.function(function).get_concrete_function(tf.TensorSpec((1, 8, 8, 1), tf.float32))
    path.write_bytes(tf.lite.TFLiteConverter.from_concrete_functions([concrete], None).convert())
