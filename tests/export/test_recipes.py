import re

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

import tfharden as th
from tests._helpers.exporting import SHAPE, centred, classifier, images, interpreted, one_line, softmax_dense
from tfharden.errors import InputError
from tfharden.export import ExportError, converter, recipes
from tfharden.tflite import parse

# Type of input and output, and the element types that a file may hold: INT64 is the biases of int16x8.
TYPES = {
    "float32": (np.float32, {"FLOAT32", "INT32"}),
    "float16": (np.float32, {"FLOAT32", "FLOAT16", "INT32"}),
    "dynamic": (np.float32, {"FLOAT32", "INT8", "INT32"}),
    "int8": (np.int8, {"INT8", "INT32"}),
    "int8-uint8": (np.uint8, {"INT8", "UINT8", "INT32"}),
    "int8-float": (np.float32, {"INT8", "FLOAT32", "INT32"}),
    "int16x8": (np.int16, {"INT16", "INT8", "INT32", "INT64"}),
}
# Largest error of a logit: noise of 2^-11 (half precision) or 2^-7 (8 bits) in each of four layers, which is twice that
# together, and four times that for the worst logit.
ERRORS = {"float32": 1e-4, "float16": 8 * 2**-11, "dynamic": 8 * 2**-7, "int16x8": 8 * 2**-7}


@pytest.fixture(scope="module")
def model():
    return classifier("cnn")


def pruned():
    model = classifier("cnn")
    for layer in model.layers[1:-1]:
        if layer.weights:
            kernel, *others = layer.get_weights()
            layer.set_weights([np.where(np.abs(kernel) < np.quantile(np.abs(kernel), 0.9), 0, kernel), *others])
    return model


@pytest.fixture(scope="module")
def artifacts(model):
    """Of one model, but for the recipe that needs one with zeros."""
    made = {recipe: th.export.to_tflite(model, recipe, images()) for recipe in TYPES}
    return made | {"sparse": th.export.to_tflite(pruned(), "sparse")}


def test_recipes_are_these():
    assert {name for name, recipe in th.export.RECIPES.items() if not recipe.quantizer} == {*TYPES, "sparse"}


@pytest.mark.slow
@pytest.mark.parametrize("recipe", TYPES)
def test_types_and_answers(recipe, model, artifacts):
    artifact, x = artifacts[recipe], images()
    io, elements = TYPES[recipe]
    got, stored = interpreted(artifact.file.content, x)
    assert (artifact.file.input.dtype, stored.dtype) == (io, io)
    assert set(artifact.file.dtypes) <= elements
    # Batch 1 throughout: only integers that have to become others, or float, are converted.
    converting = {"float16": {"DEQUANTIZE"}, "int8-uint8": {"QUANTIZE"}, "int8-float": {"QUANTIZE", "DEQUANTIZE"}}
    assert set(artifact.file.operators) & {"QUANTIZE", "DEQUANTIZE"} == converting.get(recipe, set())
    expected = model.predict(x, verbose=0)
    error = np.abs(centred(got) - centred(expected)).max() / np.abs(centred(expected)).max()
    assert error < ERRORS.get(recipe, 0.15)
    assert np.mean(got.argmax(axis=-1) == expected.argmax(axis=-1)) > 0.9
    np.testing.assert_array_equal(th.TFLiteClassifier(artifact.file).runtime.predict(x), got)


def test_sparse_leaves_out_the_zeros_and_answers_the_same(artifacts):
    whole, sparse = th.export.to_tflite(pruned(), "float32").file, artifacts["sparse"].file
    assert len(sparse.content) < 0.75 * len(whole.content)
    assert sparse.parameters == whole.parameters
    expected, got = (interpreted(file.content, images())[0] for file in (whole, sparse))
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


def test_sparse_needs_zeros(model):
    with pytest.raises(ExportError, match=r"leaves no zeros out.*prune it first") as error:
        th.export.to_tflite(model, "sparse")
    assert one_line(error)


@pytest.mark.parametrize("recipe", ["float16", "dynamic"])
def test_rounded_weights_are_smaller(recipe, artifacts):
    # 4,000 weights of 4 bytes, and a few kilobytes of everything else.
    assert len(artifacts[recipe].file.content) < 0.75 * len(artifacts["float32"].file.content)


@pytest.mark.parametrize("uint8", ["int8-uint8", "int8-float"])
def test_variants_of_the_ends_compute_the_same_inside(uint8, artifacts):
    x = images(seed=2)
    plain, _ = interpreted(artifacts["int8"].file.content, x)
    variant, _ = interpreted(artifacts[uint8].file.content, x)
    np.testing.assert_array_equal(variant, plain)


@pytest.mark.parametrize(
    ("name", "recipe"),
    [("threshold", "float16"), ("threshold", "dynamic"), ("depthwise", "int16x8"), ("resnet", "int8-float")],
)
def test_other_architectures(name, recipe):
    model, x = classifier(name), images(seed=1)
    artifact = th.export.to_tflite(model, recipe, images())
    got, _ = interpreted(artifact.file.content, x)
    assert np.mean(got.argmax(axis=-1) == model.predict(x, verbose=0).argmax(axis=-1)) > 0.85
    assert artifact.largest_error < 0.1


def test_float_recipes_need_no_images(model):
    for recipe in ("float16", "dynamic"):
        artifact = th.export.to_tflite(model, recipe)
        assert artifact.calibration is None
        assert artifact.largest_error < th.export.RECIPES[recipe].tolerance


@pytest.mark.parametrize("recipe", ["float16", "int8-float", "int16x8"])
def test_softmax_is_seen_through(recipe):
    artifact = th.export.to_tflite(softmax_dense(), recipe, images())
    assert artifact.agreement > 0.9


# Options.


def scales(artifact, opcode):
    """Numbers of scales of the weights of each operator of a kind."""
    operators = artifact.file.graph.operators
    return [len(operator.inputs[1].scales) for operator in operators if operator.opcode == opcode]


@pytest.mark.parametrize("recipe", ["int8", "int16x8"])
def test_dense_layers_per_channel_or_per_tensor(recipe, model):
    for per_channel, count in ((True, 4), (False, 1)):
        artifact = th.export.to_tflite(model, recipe, images(), per_channel_dense=per_channel)
        assert scales(artifact, "FULLY_CONNECTED") == [count]
        assert scales(artifact, "CONV_2D") == [8, 12, 16]
        assert artifact.per_channel_dense == artifact.file.metadata["per_channel_dense"] == per_channel


def test_dense_layers_per_tensor_in_a_dynamic_file():
    model = classifier("threshold")
    wide, narrow = (th.export.to_tflite(model, "dynamic", per_channel_dense=some) for some in (True, False))
    assert scales(narrow, "FULLY_CONNECTED")[0] == 1 < scales(wide, "FULLY_CONNECTED")[0]


@pytest.mark.parametrize("recipe", ["float32", "int8"])
def test_dynamic_batch(recipe, model):
    artifact, x = th.export.to_tflite(model, recipe, images(), dynamic_batch=True), images(5, seed=3)
    assert artifact.dynamic_batch
    interpreter = Interpreter(model_content=artifact.file.content)
    (source,) = interpreter.get_input_details()
    assert list(source["shape_signature"]) == [-1, *SHAPE]
    interpreter.resize_tensor_input(source["index"], x.shape)
    interpreter.allocate_tensors()
    stored = th.TFLiteClassifier(artifact.file).runtime.quantize(x)
    interpreter.set_tensor(source["index"], stored)
    interpreter.invoke()
    together = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    _, singly = interpreted(artifact.file.content, x)
    np.testing.assert_allclose(together, singly, rtol=1e-5, atol=1e-5)


def test_static_batch_by_default(artifacts):
    for artifact in artifacts.values():
        assert not {"SHAPE", "PACK", "STRIDED_SLICE"} & set(artifact.file.operators)
        assert not artifact.dynamic_batch


@pytest.mark.parametrize(
    ("recipe", "options", "match"),
    [
        ("float32", {"per_channel_dense": False}, "quantises no Dense layer.*dynamic, int8"),
        ("float16", {"per_channel_dense": False}, "quantises no Dense layer"),
        ("dynamic", {"target": "mcu"}, "dynamic doesn't run on microcontrollers.*float32, int8"),
        ("float16", {"target": "mcu"}, "float16 doesn't run on microcontrollers"),
        ("int8", {"target": "mcu", "dynamic_batch": True}, "dynamic batch doesn't fit"),
        ("int8", {"target": "phone"}, "unknown target 'phone': known are any, mcu"),
        ("int4", {}, "unknown recipe 'int4': known are float32"),
    ],
)
def test_options_that_do_not_fit(recipe, options, match, model):
    with pytest.raises(InputError, match=match) as error:
        th.export.to_tflite(model, recipe, images(), **options)
    assert one_line(error)


def test_microcontrollers_run_what_is_meant_for_them_and_nothing_else(model, artifacts):
    """Against tflite-micro itself: what is refused for it fails there, the rest answers within 1 of LiteRT."""
    runtime = pytest.importorskip("tflite_micro.python.tflite_micro.runtime")
    for name, artifact in artifacts.items():
        content, recipe = artifact.file.content, th.export.RECIPES[name]
        if not recipe.micro:
            with pytest.raises(RuntimeError, match="allocate tensors"):
                runtime.Interpreter.from_bytes(content)
            continue
        micro = runtime.Interpreter.from_bytes(content)
        classifier = th.TFLiteClassifier(artifact.file, kernels="reference")
        for image in classifier.runtime.quantize(images(4))[:, np.newaxis]:
            micro.set_input(image, 0)
            micro.invoke()
            got, expected = micro.get_output(0), classifier.runtime.predict_raw(image)
            np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1 if expected.dtype.kind != "f" else 1e-4)


# Files that aren't what they should be.


def test_recipe_that_changes_nothing():
    with pytest.raises(ExportError, match=r"dynamic file of mlp holds nothing in INT8.*1,024") as error:
        th.export.to_tflite(classifier("mlp"), "dynamic")
    assert one_line(error)


@pytest.mark.parametrize(("recipe", "factor"), [("float16", 1.05), ("dynamic", 1.5)])
def test_rounded_file_that_is_off_by_more_than_rounding(monkeypatch, recipe, factor):
    """Same classes everywhere: only the comparison of values can tell."""
    model, other = classifier(), classifier()
    other.layers[-1].set_weights([factor * w for w in other.layers[-1].get_weights()])
    content = th.export.to_tflite(other, recipe).file.content
    monkeypatch.setattr(converter, "_convert", lambda *_: content)
    with pytest.raises(ExportError, match=f"{recipe} file of cnn is off by"):
        th.export.to_tflite(model, recipe)


def test_weights_beyond_half_precision():
    model = classifier()
    first, last = model.layers[1], model.layers[-1]
    first.set_weights([1e6 * w for w in first.get_weights()])
    last.set_weights([1e-6 * last.get_weights()[0], last.get_weights()[1]])
    assert th.export.to_tflite(model, "float32").largest_error < 1e-3
    with pytest.raises(ExportError, match="float16 file of cnn is off by") as error:
        th.export.to_tflite(model, "float16")
    assert one_line(error)


@pytest.mark.parametrize("recipe", ["int8", "int8-uint8", "int8-float", "int16x8"])
def test_other_ends_are_refused(monkeypatch, recipe, model, artifacts):
    other = "int8" if recipe != "int8" else "int8-uint8"
    monkeypatch.setattr(converter, "_convert", lambda *_: artifacts[other].file.content)
    io = re.escape(recipes.get(recipe).io.name)
    with pytest.raises(ExportError, match=f"asked for {io} input and output"):
        th.export.to_tflite(model, recipe, images())


def test_no_flex_operators_in_any_recipe(artifacts):
    for artifact in artifacts.values():
        parse(artifact.file.content)  # refuses custom operators, which Flex ones are
        assert not any("Flex" in name or name == "CUSTOM" for name in artifact.file.operators)
