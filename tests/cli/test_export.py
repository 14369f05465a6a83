import json

import keras
import pytest
from ai_edge_litert.interpreter import Interpreter

import tfharden as th
from tests._helpers.processes import run_tool
from tests._helpers.tools import run_here
from tfharden.cli import export
from tfharden.export import ExportError, Manifest
from tfharden.tflite import read

FEW = ["--calibration_examples=20", "--num_examples=60"]


@pytest.fixture(scope="module")
def model(tmp_path_factory, digits):
    """A little network, fitted for seconds, as a file."""
    keras.utils.set_random_seed(0)
    path = tmp_path_factory.mktemp("export") / "model.keras"
    model = th.models.build("cnn", (8, 8, 1), 10, width=8)
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(*digits.train, epochs=4, verbose=0)
    model.save(path)
    return path


@pytest.fixture
def run(model, tmp_path):
    flags = [f"--model={model}", f"--output={tmp_path / 'out' / 'model.tflite'}", *FEW]
    return lambda *given: run_here(export, *flags, *given)


def made(tmp_path):
    folder = tmp_path / "out"
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["dynamic", "int8-float", "aeq-int8"])  # with and without calibration images
def test_a_recipe(recipe, run, tmp_path, capsys, digits):
    if th.export.RECIPES[recipe].quantizer:
        pytest.importorskip("ai_edge_quantizer", reason="needs pip install 'tfharden[quantizer]'")
    run(f"--recipe={recipe}")
    assert made(tmp_path) == ["model.json", "model.tflite"]
    path = tmp_path / "out" / "model.tflite"
    manifest, file = Manifest.load(path.with_suffix(".json")), read(path)
    assert manifest.recipe == file.metadata["recipe"] == recipe
    content = json.loads((tmp_path / "out" / "model.json").read_text())
    assert (content["schema"], content["latency"]["threads"]) == ("tfharden.manifest/1", 1)
    assert content["arena_bytes"] is None
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"{path}: {manifest.bytes / 1024:.1f} KB")
    assert f"{manifest.multiply_adds:,} multiply-adds" in line
    assert f"right on {manifest.evaluation['accuracy']:.1%} of 60 test images" in line
    assert manifest.evaluation["agreement"] > 0.9
    calibrated = 40 if recipe.startswith(("int", "aeq-int")) else None
    assert (manifest.calibration or {}).get("examples") == calibrated
    if recipe != "int8-float":
        return
    x, y = th.data.take(digits.test, 60, 0)
    interpreter = Interpreter(str(tmp_path / "out" / "model.tflite"))
    interpreter.allocate_tensors()
    runner = interpreter.get_signature_runner()
    right = sum(runner(image=image[None])["logits"].argmax() == label for image, label in zip(x, y, strict=True))
    assert manifest.evaluation["accuracy"] == right / 60


@pytest.mark.slow
def test_options(run, tmp_path):
    run("--dynamic_batch", "--per_tensor_dense")
    manifest = Manifest.load(tmp_path / "out" / "model.json")
    assert (manifest.dynamic_batch, manifest.per_channel_dense) == (True, False)
    run("--target=mcu", "--overwrite")
    manifest = Manifest.load(tmp_path / "out" / "model.json")
    assert (manifest.dynamic_batch, manifest.per_channel_dense) == (False, True)


@pytest.mark.parametrize(
    ("given", "match"),
    [
        (["--recipe=dynamic", "--target=mcu"], "dynamic doesn't run on microcontrollers"),
        (["--recipe=float16", "--target=mcu"], "float16 doesn't run on microcontrollers"),
        (["--dynamic_batch", "--target=mcu"], "dynamic batch doesn't fit"),
        (["--recipe=float32", "--per_tensor_dense"], "quantises no Dense layer"),
    ],
)
def test_recipes_that_do_not_fit_are_refused_before_any_work(given, match, run, tmp_path, monkeypatch):
    monkeypatch.setattr(th, "load_model", lambda *_: pytest.fail("it went to work"))
    with pytest.raises(th.InputError, match=match):
        run(*given)
    assert made(tmp_path) == []


def test_a_file_of_the_manifests_name_is_left_alone(run, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "model.json").write_text("years of work")
    with pytest.raises(th.InputError, match=r"model\.json exists already: give --overwrite"):
        run()
    assert (tmp_path / "out" / "model.json").read_text() == "years of work"
    assert made(tmp_path) == ["model.json"]


def test_an_export_that_fails_leaves_nothing(run, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise ExportError("no such luck")

    monkeypatch.setattr(th.export, "manifest", fail)
    with pytest.raises(ExportError):
        run()
    assert made(tmp_path) == []


@pytest.mark.slow
def test_a_process_tells_a_loop_in_one_line(tmp_path):
    """Where TensorFlow's calibrator would end it."""
    inputs = keras.Input((8, 8, 1))
    x = keras.layers.LSTM(4, name="memory")(keras.layers.Reshape((8, 8))(inputs))
    keras.Model(inputs, keras.layers.Dense(10)(x), name="recurrent").save(tmp_path / "model.keras")
    out = tmp_path / "out" / "model.tflite"
    done = run_tool("export", f"--model={tmp_path / 'model.keras'}", f"--output={out}", *FEW)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines() == [
        "export.py: recurrent has a loop in it (layer memory), which no built-in operator does: unroll=True unrolls it"
    ]
    assert made(tmp_path) == []


def test_images_on_another_scale_are_told(run, npz, tmp_path):
    """Images of 0 to 1 under a range of 0 to 255, as a forgotten division leaves them."""
    with pytest.raises(th.InputError, match=r"calibration images span \[0, .*the model takes \[0, 255\]"):
        run(npz(), "--input_range=0,255", "--epsilon=1", "--num_examples=20")
    assert made(tmp_path) == []
