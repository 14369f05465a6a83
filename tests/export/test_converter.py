import stat
import tempfile
import types

import keras
import numpy as np
import pytest
from keras import layers

import tfharden as th
from tests._helpers.exporting import CLASSES, SHAPE, centred, classifier, images, interpreted, one_line, softmax_dense
from tfharden.errors import InputError
from tfharden.export import ExportError, converter
from tfharden.tflite import read


@pytest.fixture(params=list(th.models.KNOWN))
def model(request):
    return classifier(request.param)


def test_float32(model, tmp_path):
    artifact = th.export.to_tflite(model, "float32")
    artifact.save(tmp_path / "model.tflite")
    file = read(tmp_path / "model.tflite")
    assert (file.input.shape, file.output.shape) == ((1, *SHAPE), (1, CLASSES))
    assert file.input.dtype == file.output.dtype == np.float32
    x = images(seed=1)
    got, _ = interpreted((tmp_path / "model.tflite").read_bytes(), x)
    expected = model.predict(x, verbose=0)
    np.testing.assert_allclose(got, expected, atol=1e-4 * np.abs(expected).max())
    assert artifact.recipe == "float32"
    assert artifact.agreement == 1
    assert artifact.largest_error < 1e-4


def test_int8(model, tmp_path):
    x = images()
    artifact = th.export.to_tflite(model, "int8", calibration=x)
    artifact.save(tmp_path / "model.tflite")
    file = read(tmp_path / "model.tflite")
    assert (file.input.shape, file.output.shape) == ((1, *SHAPE), (1, CLASSES))
    assert file.input.dtype == file.output.dtype == np.int8
    # INT32 holds biases and shapes. No FLOAT32 anywhere, nor an operator that would make one.
    assert set(file.dtypes) <= {"INT8", "INT32"}
    assert not {"QUANTIZE", "DEQUANTIZE"} & set(file.operators)
    # The input's lattice covers [0, 1] in 256 values.
    assert file.input.scale == pytest.approx(1 / 255, rel=0.02)
    got, stored = interpreted((tmp_path / "model.tflite").read_bytes(), x)
    expected = model.predict(x, verbose=0)
    assert artifact.agreement == pytest.approx(np.mean(got.argmax(axis=-1) == expected.argmax(axis=-1)))
    error = np.abs(centred(got) - centred(expected)).max() / np.abs(centred(expected)).max()
    assert artifact.largest_error == pytest.approx(error, rel=1e-4)
    assert error < 0.15
    assert len(np.unique(stored)) > 50
    # What the package's own runtime says of the file is what the bare interpreter says.
    np.testing.assert_array_equal(th.TFLiteClassifier(file).logits(x), got)


def test_softmax_stays_at_the_end_of_the_file(tmp_path):
    model, x = softmax_dense(), images()
    expected = model.predict(x, verbose=0)
    for recipe, atol in (("float32", 1e-5), ("int8", 0.05)):
        artifact = th.export.to_tflite(model, recipe, calibration=x)
        assert "SOFTMAX" in artifact.file.operators
        got, _ = interpreted(artifact.file.content, x)
        np.testing.assert_allclose(got, expected, atol=atol)


@pytest.mark.parametrize("recipe", ["float32", "int8"])
def test_sure_softmax_is_no_error_of_the_file(recipe):
    """Probabilities below what the file can tell say nothing against it: logits some 40 apart are common."""
    model, x = softmax_dense(scale=40.0), images()
    expected = model.predict(x, verbose=0)
    assert np.median(expected.min(axis=-1)) < 1e-9
    got, _ = interpreted(th.export.to_tflite(model, recipe, calibration=x).file.content, x)
    assert np.mean(got.argmax(axis=-1) == expected.argmax(axis=-1)) > 0.9


# Input that is refused.


@pytest.mark.parametrize(
    ("calibration", "match"),
    [
        (None, "calibration"),
        (np.zeros((0, *SHAPE), np.float32), "empty"),
        (images(shape=(8, 8, 3)), r"\(8, 8, 3\)"),
        (images()[0], "shape"),
        (255 * images(), "span"),
        (images() - 0.5, "span"),
        (np.where(images() > 0.9, np.nan, images()), "NaN"),
        (np.array(["cat"]), "numbers"),
    ],
    ids=["none", "empty", "channels", "one image", "0 to 255", "negative", "nan", "text"],
)
def test_calibration_that_does_not_fit(calibration, match):
    with pytest.raises(InputError, match=match) as error:
        th.export.to_tflite(classifier("mlp"), "int8", calibration=calibration)
    assert one_line(error)


def test_calibration_is_checked_where_it_is_not_needed():
    with pytest.raises(InputError, match="NaN"):
        th.export.to_tflite(classifier("mlp"), "float32", calibration=np.full((2, *SHAPE), np.nan))


def test_one_calibration_image_is_enough_to_run():
    x = images(1)
    model = classifier("mlp")
    got, _ = interpreted(th.export.to_tflite(model, "int8", calibration=x).file.content, x)
    assert got.argmax() == model.predict(x, verbose=0).argmax()


def test_model_that_tells_nothing_apart():
    model = classifier("mlp")
    model.layers[-1].set_weights([np.zeros_like(w) for w in model.layers[-1].get_weights()])
    with pytest.raises(InputError, match="same for every image") as error:
        th.export.to_tflite(model, "int8", calibration=images())
    assert one_line(error)


def test_unknown_recipe():
    with pytest.raises(InputError, match=r"'int4'.*float32.*int8") as error:
        th.export.to_tflite(classifier("mlp"), "int4")
    assert one_line(error)


def test_several_inputs():
    inputs = [keras.Input(SHAPE), keras.Input(SHAPE)]
    model = keras.Model(inputs, layers.Dense(CLASSES)(layers.Flatten()(layers.Add()(inputs))))
    with pytest.raises(InputError, match="one input") as error:
        th.export.to_tflite(model, "float32")
    assert one_line(error)


def test_other_input_range():
    x = 255 * images()
    keras.utils.set_random_seed(0)
    inputs = keras.Input(SHAPE)
    scaled = layers.Rescaling(1 / 127.5, offset=-1)(inputs)
    model = keras.Model(inputs, layers.Dense(CLASSES)(layers.Flatten()(scaled)))
    artifact = th.export.to_tflite(model, "int8", calibration=x, bounds=(0, 255))
    assert artifact.file.input.scale == pytest.approx(1.0, rel=0.02)
    got, _ = interpreted(artifact.file.content, x)
    assert np.mean(got.argmax(axis=-1) == model.predict(x, verbose=0).argmax(axis=-1)) > 0.9


# Files that aren't what they should be.


def other_file(monkeypatch, content):
    monkeypatch.setattr(converter, "_convert", lambda *_: content)


@pytest.mark.parametrize("recipe", ["float32", "int8"])
def test_file_of_another_model_is_refused(monkeypatch, recipe):
    other = th.export.to_tflite(classifier("mlp", seed=1), recipe, calibration=images())
    other_file(monkeypatch, other.file.content)
    with pytest.raises(ExportError, match=recipe) as error:
        th.export.to_tflite(classifier("mlp", seed=0), recipe, calibration=images())
    assert one_line(error)


def test_float_file_slightly_off_is_refused(monkeypatch):
    """Same classes everywhere, logits 1% too large: only the comparison of values can tell."""
    model, other = classifier("mlp"), classifier("mlp")
    other.layers[-1].set_weights([1.01 * w for w in other.layers[-1].get_weights()])
    other_file(monkeypatch, th.export.to_tflite(other, "float32").file.content)
    with pytest.raises(ExportError, match="off by"):
        th.export.to_tflite(model, "float32")


def test_file_of_another_type_is_refused(monkeypatch):
    model = classifier("mlp")
    other_file(monkeypatch, th.export.to_tflite(model, "float32").file.content)
    with pytest.raises(ExportError, match="int8") as error:
        th.export.to_tflite(model, "int8", calibration=images())
    assert one_line(error)


@pytest.mark.parametrize("content", [b"", b"no model at all, just some bytes"], ids=["empty", "noise"])
def test_broken_file_is_refused(monkeypatch, content):
    other_file(monkeypatch, content)
    with pytest.raises(ExportError) as error:
        th.export.to_tflite(classifier("mlp"), "float32")
    assert one_line(error)
    assert tempfile.gettempdir() not in str(error.value)


def test_nonsense_calibration_that_hurts_is_refused():
    """Ranges from black images clip everything else; compared on images that show it, the file must not pass."""
    model = classifier("cnn")
    black = np.zeros((50, *SHAPE), np.float32)
    mixed = np.concatenate([black, images(200)])
    with pytest.MonkeyPatch.context() as patch:
        convert = converter._convert
        patch.setattr(converter, "_convert", lambda model, shape, recipe, _: convert(model, shape, recipe, black))
        with pytest.raises(ExportError, match="calibration"):
            th.export.to_tflite(model, "int8", calibration=mixed)


@pytest.mark.parametrize(("message", "told"), [("first line\nsecond line", "first line"), ("", "RuntimeError")])
def test_failing_converter_is_told_in_one_line(monkeypatch, message, told):
    class Failing:
        target_spec = types.SimpleNamespace()

        def convert(self):
            raise RuntimeError(message)

    monkeypatch.setattr(converter.tf.lite.TFLiteConverter, "from_concrete_functions", lambda *_: Failing())
    with pytest.raises(ExportError, match=f"can't be converted to float32: {told}") as error:
        th.export.to_tflite(classifier("mlp"), "float32")
    assert one_line(error)


# Files on disk.


def test_save_replaces_whole_files_only(tmp_path, monkeypatch):
    artifact = th.export.to_tflite(classifier("mlp"), "float32")
    path = tmp_path / "made" / "model.tflite"
    artifact.save(path)
    assert path.read_bytes() == artifact.file.content
    assert not stat.S_IMODE(path.stat().st_mode) & stat.S_IXUSR
    path.write_bytes(b"old")

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.write_bytes", full)
        with pytest.raises(InputError, match="No space left") as error:
            artifact.save(path)
    assert one_line(error)
    assert path.read_bytes() == b"old"
    assert [file.name for file in path.parent.iterdir()] == ["model.tflite"]


def test_save_where_nothing_can_be_written(tmp_path):
    artifact = th.export.to_tflite(classifier("mlp"), "float32")
    (tmp_path / "file").write_text("in the way")
    for path in (tmp_path, tmp_path / "file" / "model.tflite"):
        with pytest.raises(InputError, match="can't write") as error:
            artifact.save(path)
        assert one_line(error)
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_no_temporary_files_are_left(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    model = classifier("mlp")
    th.export.to_tflite(model, "int8", calibration=images())
    with pytest.raises(InputError):
        th.export.to_tflite(model, "int8")
    assert list(tmp_path.iterdir()) == []


def test_export_changes_no_weight():
    model = classifier("resnet")
    before = [w.copy() for w in model.get_weights()]
    th.export.to_tflite(model, "int8", calibration=images(16))
    for one, other in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, other)
