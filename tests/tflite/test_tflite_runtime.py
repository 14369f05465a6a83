import dataclasses

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from tfharden.errors import InputError
from tfharden.tflite import KERNELS, Runtime, read

RESOLVERS = {
    "xnnpack": OpResolverType.AUTO,
    "builtin": OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    "reference": OpResolverType.BUILTIN_REF,
}


def one_by_one(path, stored, kernels="xnnpack"):
    interpreter = Interpreter(str(path), experimental_op_resolver_type=RESOLVERS[kernels])
    interpreter.allocate_tensors()
    source, target = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    outputs = []
    for image in stored:
        interpreter.set_tensor(source, image[None])
        interpreter.invoke()
        outputs.append(interpreter.get_tensor(target))
    return np.concatenate(outputs)


def images(count):
    return np.random.default_rng(7).random((count, 8, 8, 1), np.float32)


@pytest.mark.parametrize("kernels", KERNELS)
def test_int8_agrees_with_the_bare_interpreter_to_the_bit(tflite_folder, kernels):
    path = tflite_folder / "int8.tflite"
    stored = np.random.default_rng(1).integers(-128, 128, (37, 8, 8, 1)).astype(np.int8)
    expected = one_by_one(path, stored, kernels)
    runtime = Runtime(read(path), kernels=kernels, batch_size=16)
    assert runtime.batched
    for count in (1, 5, 16, 37):  # alone, a part of a batch, a whole one, a ragged last one
        outputs = runtime.predict_raw(stored[:count])
        assert outputs.dtype == np.int8
        np.testing.assert_array_equal(outputs, expected[:count])
    assert len(np.unique(outputs)) > 3


@pytest.mark.parametrize("kernels", KERNELS)
def test_float_agrees_with_the_bare_interpreter(tflite_folder, kernels):
    path = tflite_folder / "float.tflite"
    runtime = Runtime(read(path), kernels=kernels, batch_size=16)
    assert runtime.batched
    np.testing.assert_allclose(runtime.predict(images(37)), one_by_one(path, images(37), kernels), rtol=1e-5, atol=1e-6)


def test_batches_of_changing_sizes_agree(tflite_folder):
    path = tflite_folder / "int8.tflite"
    runtime = Runtime(read(path), batch_size=8)
    expected = one_by_one(path, runtime.quantize(images(30)))
    for count in (30, 1, 9, 8, 0, 3, 30):
        np.testing.assert_array_equal(runtime.predict_raw(runtime.quantize(images(30)[:count])), expected[:count])


@pytest.mark.parametrize("file", ["int8.tflite", "uint8.tflite", "baked.tflite"])
@pytest.mark.parametrize("count", [1, 3, 100])
def test_threads_give_the_same_answers(tflite_folder, file, count):
    file = read(tflite_folder / file)
    alone, together = Runtime(file, batch_size=16), Runtime(file, batch_size=16, threads=3)
    np.testing.assert_array_equal(together.predict(images(count)), alone.predict(images(count)))


@pytest.mark.parametrize("name", ["baked.tflite", "mixed.tflite"])
def test_files_that_cannot_be_batched_run_one_by_one(tflite_folder, name):
    runtime = Runtime(read(tflite_folder / name), batch_size=4)
    assert not runtime.batched
    np.testing.assert_array_equal(runtime.predict(images(9)), one_by_one(tflite_folder / name, images(9)))


def test_real_files_agree(shared_models):
    for path in shared_models:
        runtime = Runtime(read(path), batch_size=5)
        low, high = (0, 255) if "mlperf" in path.name else (0, 1)
        x = np.random.default_rng(2).uniform(low, high, (7, *runtime.file.input.shape[1:])).astype(np.float32)
        expected = one_by_one(path, runtime.quantize(x))
        np.testing.assert_allclose(runtime.predict_raw(runtime.quantize(x)), expected, rtol=1e-4, atol=1e-6)


def with_input(runtime, dtype, scale, zero_point):
    """The same runtime for an input of other quantisation."""
    quantisation = {"scales": np.array([scale]), "zero_points": np.array([zero_point])}
    spec = dataclasses.replace(runtime.file.input, element=dtype.upper(), **quantisation)
    runtime._scale, runtime._zero_point = scale, zero_point
    runtime.file = dataclasses.replace(runtime.file, input=spec)
    return runtime


def test_quantize_rounds_half_to_even_and_saturates(tflite_folder):
    runtime = with_input(Runtime(read(tflite_folder / "int8.tflite")), "int8", 0.5, -3)
    x = np.array([0, 0.25, 0.75, 1.25, -0.25, -0.75, 0.3, 65.0, 65.5, 1e9, -62.5, -63.0, -1e9], np.float32)
    expected = [-3, -3, -1, -1, -3, -5, -2, 127, 127, 127, -128, -128, -128]
    np.testing.assert_array_equal(runtime.quantize(x), expected)
    assert runtime.quantize(x).dtype == np.int8


def test_quantize_refuses_what_is_not_finite(tflite_folder):
    runtime = Runtime(read(tflite_folder / "int8.tflite"))
    for value in (np.nan, np.inf, -np.inf):
        with pytest.raises(InputError, match="finite"):
            runtime.quantize(np.array([0, value], np.float32))


def test_dequantize(tflite_folder):
    file = read(tflite_folder / "int8.tflite")
    stored = np.array([[-128, 0, 127]], np.int8)
    expected = [[(q - file.output.zero_point) * file.output.scale for q in (-128, 0, 127)]]
    outputs = Runtime(file).dequantize(stored)
    assert outputs.dtype == np.float32
    np.testing.assert_allclose(outputs, expected, rtol=1e-6)


@pytest.mark.parametrize(("quantisation", "bounds", "expected"), [
    (("int8", 1 / 255, -128), (0.0, 1.0), (0.0, 1.0, 1 / 255)),
    (("int8", np.float32(1 / 255).item(), -128), (0.0, 1.0), (0.0, 1.0, 1 / 255)),  # stored as float32
    (("uint8", 1.0, 0), (0.5, 254.5), (1.0, 254.0, 1.0)),
    (("int8", 0.5, 0), (-1000.0, 1000.0), (-64.0, 63.5, 0.5)),  # as far as the type goes
    (("int8", 0.25, 10), (-0.3, 0.6), (-0.25, 0.5, 0.25)),
])  # fmt: skip
def test_receivable_values(tflite_folder, quantisation, bounds, expected):
    runtime = with_input(Runtime(read(tflite_folder / "int8.tflite")), *quantisation)
    low, high, spacing = runtime.receivable(*bounds)
    assert (low, high, spacing) == pytest.approx(expected, rel=1e-6)
    limits = np.array([low, high], np.float32)
    _, scale, zero_point = quantisation
    stored = runtime.quantize(limits).astype(float)
    np.testing.assert_allclose((stored - zero_point) * scale, limits, rtol=1e-6)


def test_receivable_of_a_float_input_is_everything(tflite_folder):
    assert Runtime(read(tflite_folder / "float.tflite")).receivable(0.0, 1.0) == (0.0, 1.0, None)


def test_receivable_of_an_empty_range(tflite_folder):
    with pytest.raises(InputError, match="no value between"):
        Runtime(read(tflite_folder / "int8.tflite")).receivable(0.0006, 0.0012)


def test_wrong_arguments(tflite_folder):
    file = read(tflite_folder / "int8.tflite")
    with pytest.raises(InputError, match="unknown kernels 'gpu', expected one of xnnpack"):
        Runtime(file, kernels="gpu")
    for arguments in ({"threads": 0}, {"batch_size": 0}):
        with pytest.raises(InputError, match="at least 1"):
            Runtime(file, **arguments)
    with pytest.raises(InputError, match="expected inputs"):
        Runtime(file).predict(np.zeros((2, 8, 8, 3), np.float32))
    with pytest.raises(InputError, match="expected inputs"):
        Runtime(file).predict_raw(np.zeros((2, 8, 8, 1), np.uint8))
