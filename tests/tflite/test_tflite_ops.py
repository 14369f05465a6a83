"""Specs of operators, and those of users."""

import numpy as np
import pytest
import tensorflow as tf

from tests._helpers.hostile_files import file
from tfharden import tflite
from tfharden.errors import InputError
from tfharden.tflite import OperatorSpec, ops, register

ROW = ((1, 6), np.float32)


@pytest.fixture
def specs():
    """Those of the library, also after the test."""
    before = dict(ops.KNOWN)
    yield ops.KNOWN
    ops.KNOWN.clear()
    ops.KNOWN.update(before)


def content(opcode):
    return file({"in": ROW, "out": ROW}, [(opcode, "in", "out", None)], "in", "out")


def test_an_operator_of_ones_own(specs):
    """SIGN has no kernel in the twin, and a file must not have RIGHT_SHIFT at all."""
    with pytest.raises(InputError, match="the twin doesn't know SIGN"):
        tflite.Twin(tflite.parse(content("SIGN")))
    spec = OperatorSpec("SIGN", "d -> d", lambda call: call.shapes[0], kernel=lambda operator, kernels: tf.sign)
    with pytest.raises(InputError, match=r"SIGN.*already"):
        register(spec)
    register(spec, replace=True)
    images = np.linspace(-1, 1, 18, dtype=np.float32).reshape(3, 6)
    np.testing.assert_array_equal(tflite.Twin(tflite.parse(content("SIGN"))).logits(images), np.sign(images))
    with pytest.raises(InputError, match="operator RIGHT_SHIFT isn't supported"):
        tflite.verify(content("RIGHT_SHIFT"))
    register(OperatorSpec("RIGHT_SHIFT", "d -> d", lambda call: call.shapes[0]))
    tflite.verify(content("RIGHT_SHIFT"))


def test_every_spec_is_whole():
    for spec in ops.KNOWN.values():
        assert all(set(inputs + outputs) <= set("dwbiInNmqsa*") for inputs, outputs in spec.signatures), spec
        assert not spec.keeps_integers or spec.kernel is not None, spec


def test_former_names_warn():
    with pytest.warns(FutureWarning, match="check is now called tfharden.tflite.verify"):
        tflite.check(content("SIGN"))
    with pytest.warns(FutureWarning, match="Tensor"):
        assert tflite.TensorSpec is tflite.Tensor
