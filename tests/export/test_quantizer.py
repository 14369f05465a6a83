"""Files that ai-edge-quantizer makes, an extra: held to what those of TensorFlow's converter are held to."""

import importlib.util

import numpy as np
import pytest

import tfharden as th
from tests._helpers.exporting import QUANTIZER, SHAPE, classifier, images, interpreted, one_line
from tfharden.errors import InputError
from tfharden.export import ExportError, Manifest

# Type of input and output, the element types that a file may hold, and the recipe of the converter that it is like.
TYPES = {
    "aeq-int8": (np.int8, {"INT8", "INT32"}, "int8"),
    "aeq-dynamic": (np.float32, {"FLOAT32", "INT8", "INT32"}, "dynamic"),
    "aeq-weight-only": (np.float32, {"FLOAT32", "INT8", "INT32"}, "dynamic"),
}


@pytest.fixture(scope="module")
def model():
    return classifier("resnet")


@pytest.fixture(scope="module")
def artifacts(model):
    return {recipe: th.export.to_tflite(model, recipe, images()) for recipe in TYPES}


def test_recipes_are_these():
    assert {name for name, recipe in th.export.RECIPES.items() if recipe.quantizer} == set(TYPES)


@pytest.mark.slow
@QUANTIZER
@pytest.mark.parametrize("recipe", TYPES)
def test_types_and_answers(recipe, model, artifacts):
    artifact, x = artifacts[recipe], images()
    io, elements, like = TYPES[recipe]
    got, stored = interpreted(artifact.file.content, x)
    assert (artifact.file.input.dtype, stored.dtype) == (io, io)
    assert {"INT8"} <= set(artifact.file.dtypes) <= elements
    assert artifact.file.input.shape == (1, *SHAPE)
    assert artifact.agreement == np.mean(got.argmax(axis=-1) == model.predict(x, verbose=0).argmax(axis=-1))
    other = th.export.to_tflite(model, like, x)
    assert artifact.largest_error < 4 * other.largest_error
    # Every kernel is quantised, those of fewer than 1,024 weights too, which the converter leaves out.
    assert len(artifact.file.content) < 1.1 * len(other.file.content)


@QUANTIZER
def test_ranges_are_those_of_all_images(model, artifacts):
    """A moving average of the images' own ranges, the quantizer's default, would clip the largest."""
    x = images()
    assert artifacts["aeq-int8"].file.input.scale == pytest.approx((x.max() - x.min()) / 255, rel=0.01)
    one = th.export.to_tflite(model, "int8", x).file.output
    other = artifacts["aeq-int8"].file.output
    assert other.scale == pytest.approx(one.scale, rel=0.02)


@QUANTIZER
@pytest.mark.parametrize("recipe", TYPES)
def test_manifest_and_metadata(recipe, model, artifacts, tmp_path):
    artifact, x = artifacts[recipe], images(20)
    manifest = th.export.manifest(artifact, model, (x, np.zeros(20, int)), rounds=1)
    artifact.save(tmp_path / "model.tflite", manifest)
    assert Manifest.load(tmp_path / "model.json").recipe == artifact.file.metadata["recipe"] == recipe
    assert "ai-edge-quantizer" in manifest.versions
    assert (manifest.calibration or {}).get("examples") == (64 if recipe == "aeq-int8" else None)


@QUANTIZER
def test_dynamic_batch(model):
    artifact = th.export.to_tflite(model, "aeq-int8", images(), dynamic_batch=True)
    assert artifact.dynamic_batch
    assert artifact.agreement > 0.9


@QUANTIZER
def test_the_same_model_gives_the_same_bytes_and_says_nothing_on_the_terminal(model, artifacts, capfd):
    capfd.readouterr()
    assert th.export.to_tflite(model, "aeq-int8", images()).file.content == artifacts["aeq-int8"].file.content
    assert capfd.readouterr() == ("", "")


@QUANTIZER
def test_microcontrollers_run_it(model):
    runtime = pytest.importorskip("tflite_micro.python.tflite_micro.runtime")
    file = th.export.to_tflite(model, "aeq-int8", images(), target="mcu").file
    micro, reference = runtime.Interpreter.from_bytes(file.content), th.TFLiteClassifier(file, kernels="reference")
    for image in reference.runtime.quantize(images(4))[:, np.newaxis]:
        micro.set_input(image, 0)
        micro.invoke()
        np.testing.assert_allclose(micro.get_output(0), reference.runtime.predict_raw(image), atol=1)


@QUANTIZER
@pytest.mark.parametrize(
    ("recipe", "options", "match"),
    [
        ("aeq-int8", {"per_channel_dense": False}, "aeq-int8 gives each output of a Dense layer a scale of its own"),
        ("aeq-dynamic", {"target": "mcu"}, "aeq-dynamic doesn't run on microcontrollers"),
        ("aeq-weight-only", {"target": "mcu"}, "aeq-weight-only doesn't run on microcontrollers"),
        ("aeq-int8", {"calibration": None}, "aeq-int8 needs calibration images"),
    ],
)
def test_options_that_do_not_fit(recipe, options, match, model):
    with pytest.raises(InputError, match=match) as error:
        th.export.to_tflite(model, recipe, **{"calibration": images(), **options})
    assert one_line(error)


@QUANTIZER
def test_what_it_cannot_do_is_told_in_one_line(model, monkeypatch):
    from ai_edge_quantizer import quantizer as package  # noqa: PLC0415

    def fail(*_, **__):
        raise ValueError("no\nidea")

    monkeypatch.setattr(package.Quantizer, "quantize", fail)
    with pytest.raises(ExportError, match="ai-edge-quantizer can't make aeq-dynamic of it: no idea") as error:
        th.export.to_tflite(model, "aeq-dynamic")
    assert one_line(error)


@pytest.mark.parametrize("recipe", TYPES)
def test_without_the_package(recipe, model, monkeypatch):
    find = importlib.util.find_spec
    missing = "ai_edge_quantizer"
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *_: None if name == missing else find(name))
    with pytest.raises(InputError, match=r"needs ai-edge-quantizer: pip install 'tfharden\[quantizer\]'") as error:
        th.export.to_tflite(model, recipe, images())
    assert one_line(error)
