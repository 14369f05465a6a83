import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from keras import layers

import tfharden as th
from tests._helpers.exporting import CLASSES, QUANTIZER, SHAPE, classifier, images


def named(name=None, output=None):
    inputs = keras.Input(SHAPE, name=name)
    return keras.Model(inputs, layers.Dense(CLASSES, name=output)(layers.Flatten()(inputs)))


def names(model, recipe="float32", **options):
    """Names of the input tensor, and of input and output in the signature, as LiteRT tells them."""
    interpreter = Interpreter(model_content=th.export.to_tflite(model, recipe, images(), **options).file.content)
    (source,) = interpreter.get_input_details()
    ((key, signature),) = interpreter.get_signature_list().items()
    assert key == "serving_default"
    return source["name"], *signature["inputs"], *signature["outputs"]


@pytest.mark.parametrize("recipe", ["float32", "int8", pytest.param("aeq-int8", marks=QUANTIZER)])
def test_names_are_those_of_keras(recipe):
    assert names(named("picture", "scores"), recipe) == ("picture", "picture", "scores")


def test_names_with_a_dynamic_batch():
    assert names(named("picture", "scores"), dynamic_batch=True) == ("picture", "picture", "scores")


def test_what_nobody_named_is_an_image():
    sequential = keras.Sequential([keras.Input(SHAPE), layers.Flatten(), layers.Dense(CLASSES)])
    for model in (named(output="scores"), sequential):
        assert names(model)[:2] == ("image", "image")


def test_names_survive_saving(tmp_path):
    for name in ("picture", None):
        model = named(name, "scores")
        model.save(tmp_path / "model.keras")
        assert names(th.load_model(tmp_path / "model.keras")) == names(model)


def test_names_that_tensorflow_cannot_use():
    """The signature keeps them; the tensor has what TensorFlow allows of them."""
    assert names(named("my image:0", "scores")) == ("my_image_0", "my image:0", "scores")
    assert names(named("Bild für Zoë"))[1] == "Bild für Zoë"
    assert names(named("_"))[:2] == ("image", "_")


def test_calling_by_name():
    model, x = named("picture", "scores"), images(1)
    content = th.export.to_tflite(model, "float32").file.content
    runner = Interpreter(model_content=content).get_signature_runner()
    np.testing.assert_allclose(runner(picture=x)["scores"], model.predict(x, verbose=0), rtol=1e-4, atol=1e-5)


def test_the_same_model_gives_the_same_bytes():
    """Whatever else was built before, by which Keras numbers what nobody named."""
    first, other = (classifier("cnn") for _ in range(2))
    content = th.export.to_tflite(first, "int8", images()).file.content
    assert th.export.to_tflite(other, "int8", images()).file.content == content
