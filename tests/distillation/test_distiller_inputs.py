"""Inputs that a Distiller refuses."""

import keras
import numpy as np
import pytest
from keras import layers

import tfharden as th
from tests._helpers.teaching import CLASSES, SHAPE, cnn, distiller, examples, one_line
from tfharden.errors import InputError


@pytest.mark.parametrize(
    ("teacher", "match"),
    [
        (lambda: cnn(classes=4), "classes"),
        (lambda: cnn(shape=(8, 8, 3)), "image shape"),
    ],
)
def test_models_that_do_not_match(teacher, match):
    with pytest.raises(InputError, match=match) as error:
        th.Distiller(cnn(), teacher(), [th.SoftTarget()])
    assert one_line(error)


@pytest.mark.parametrize(
    ("loss", "match"),
    [
        (th.Feature("conv9", "conv1"), "cnn4 has no layer 'conv9'.*conv1"),
        (th.Feature("conv1", "conf2"), "cnn6 has no layer 'conf2'.*conv2"),
        (th.Feature("conv1", "logits"), r"can't be compared"),
        (th.Feature("", "conv1"), "one layer only"),
        (keras.distillation.FeatureDistillation("mse", student_layer_name="conv1"), "one layer only"),
        (keras.distillation.FeatureDistillation("mse", teacher_layer_name="conv1"), "one layer only"),
    ],
)
def test_layers_that_do_not_fit(loss, match):
    with pytest.raises(InputError, match=match) as error:
        th.Distiller(cnn(4), cnn(6), [loss])
    assert one_line(error)


def test_maps_that_are_no_multiples():
    inputs = keras.Input(SHAPE)
    map_of_6 = layers.Conv2D(4, 3, name="valid")(inputs)
    teacher = keras.Model(inputs, layers.Dense(CLASSES)(layers.Flatten()(map_of_6)))
    with pytest.raises(InputError, match=r"\(8, 8, 4\) and \(6, 6, 4\)") as error:
        th.Distiller(cnn(), teacher, th.Feature("conv1", "valid"))
    assert one_line(error)


def test_nothing_to_learn_from():
    with pytest.raises(InputError, match="nothing to learn") as error:
        th.Distiller(cnn(), cnn(), [])
    assert one_line(error)
    # Labels alone are something.
    student, twin, (x, y) = cnn(), cnn(), examples()
    distiller(student, cnn(seed=1), [], label_weight=1.0).fit(x, y, verbose=0)
    twin.compile(keras.optimizers.SGD(0.1), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    twin.fit(x, y, verbose=0)
    for one, other in zip(student.get_weights(), twin.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("weight", [-0.5, float("nan")])
def test_label_weight_below_zero(weight):
    with pytest.raises(InputError, match="label_weight") as error:
        th.Distiller(cnn(), cnn(), [th.SoftTarget()], label_weight=weight)
    assert one_line(error)
