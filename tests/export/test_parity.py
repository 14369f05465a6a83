"""When a file may predict another class than its source."""

import keras
import numpy as np
import pytest
from keras import layers

import tfharden as th
from tests._helpers.exporting import CLASSES, SHAPE, images, one_line
from tfharden.errors import InputError
from tfharden.export import ExportError, converter, parity


def unsure(spread):
    """Probabilities that differ by far less than a step of 1/256, as those of a network that never learnt."""
    inputs = keras.Input(SHAPE)
    logits = layers.Dense(CLASSES, kernel_initializer=keras.initializers.RandomNormal(0, spread, seed=0))
    return keras.Model(inputs, layers.Softmax()(logits(layers.Flatten()(inputs))), name="model")


def test_probabilities_closer_than_the_steps_of_the_file():
    with pytest.warns(UserWarning, match=r"int8 file of model agrees .* only, since the source's classes are closer"):
        artifact = th.export.to_tflite(unsure(1e-4), "int8", images())
    assert artifact.agreement < parity.LEAST_AGREEMENT  # as it is, excuses apart


def test_sure_probabilities_get_no_excuse(monkeypatch):
    content = th.export.to_tflite(unsure(2.0), "int8", images()).file.content
    model = unsure(2.0)
    kernel, bias = model.layers[2].get_weights()
    model.layers[2].set_weights([np.roll(kernel, 1, axis=1), bias])
    monkeypatch.setattr(converter, "_convert", lambda *_: content)
    with pytest.raises(ExportError, match="agrees with its source on") as error:
        th.export.to_tflite(model, "int8", images())
    assert one_line(error)
    allowed = th.export.to_tflite(model, "int8", images(), least_agreement=0)
    assert allowed.agreement < parity.LEAST_AGREEMENT


@pytest.mark.parametrize("share", [-0.1, 1.1, np.nan])
def test_agreement_is_a_share(share):
    with pytest.raises(InputError, match=r"least_agreement=.* has to be a share"):
        th.export.to_tflite(unsure(2.0), "int8", images(), least_agreement=share)


@pytest.mark.parametrize(("shift", "share"), [(0.5, 1.0), (1.9, 1.0), (2.1, 0.0), (50, 0.0)])
def test_logits_are_as_close_as_two_steps_of_their_range(shift, share):
    """Two classes in turn, of a range of 255 steps: the file swaps them."""

    class Logits:
        scores = "logits"

    expected = np.array([[0, 255, 255 - shift], [0, 255 - shift, 255]], np.float32)
    assert parity._tolerant(expected, expected[::-1], Logits) == share
