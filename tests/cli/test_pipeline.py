"""tfharden-pipeline: one process that does everything, and what a second run repeats."""

import json
import re
import shutil

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import tfharden as th
from tests._helpers.processes import fast, run_tool
from tests._helpers.tools import run_here
from tfharden.cli import pipeline as tool
from tfharden.cli.pipeline import Pipeline
from tfharden.cli.resume import MARKER

MODELS = [f"{name}.keras" for name in ("baseline", "teacher", "student", "compressed")]
MODELS += [f"{name}.tflite" for name in ("student_float32", "student_int8", "compressed_int8")]


pytestmark = pytest.mark.slow


class Killed(Exception):
    pass


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    """A finished run: its folder and the process."""
    folder = tmp_path_factory.mktemp("pipeline") / "run"
    return folder, run_tool("pipeline", *fast(folder))


def report_of(folder):
    return json.loads((folder / "report" / "report.json").read_text())


def test_makes_models_files_and_report(pipeline):
    folder, done = pipeline
    assert done.returncode == 0, done.stderr
    assert all((folder / name).stat().st_size for name in MODELS)
    report = report_of(folder)
    assert [model["name"] for model in report["models"]] == MODELS
    assert report["data"]["num_examples"] == 60
    assert all(name in done.stdout for name in MODELS)
    assert str(folder / "report" / "report.html") in done.stdout
    assert {path.name for path in (folder / "report").iterdir()} == {"report.json", "report.csv", "report.html"}


def test_writes_nothing_but_progress_to_stderr(pipeline):
    _, done = pipeline
    assert all(re.fullmatch(r".* +\d+\.\d s.*", line) for line in done.stderr.splitlines())


def test_figures_are_those_of_the_files(pipeline):
    """Clean accuracy counted here, by Keras and by a bare interpreter, on the split that the seed gives."""
    folder, _ = pipeline
    digits = load_digits()
    split = train_test_split(digits.images, digits.target, test_size=400, stratify=digits.target, random_state=0)
    chosen = np.sort(np.random.default_rng(0).permutation(400)[:60])
    x, y = (split[1] / 16).astype(np.float32)[chosen, ..., None], split[3][chosen]
    told = {model["name"]: model["clean_accuracy"] for model in report_of(folder)["models"]}
    teacher = keras.saving.load_model(folder / "teacher.keras")
    assert told["teacher.keras"] == np.mean(teacher.predict(x, verbose=0).argmax(-1) == y)
    interpreter = Interpreter(str(folder / "student_int8.tflite"))
    interpreter.allocate_tensors()
    source, target = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    scale, zero_point = source["quantization"]
    assert source["dtype"] == target["dtype"] == np.int8
    assert list(source["shape"]) == [1, 8, 8, 1]
    right = 0
    for image, label in zip(x, y, strict=True):
        stored = np.clip(np.round(image / scale) + zero_point, -128, 127).astype(np.int8)
        interpreter.set_tensor(source["index"], stored[None])
        interpreter.invoke()
        right += interpreter.get_tensor(target["index"])[0].argmax() == label
    assert told["student_int8.tflite"] == right / 60


def test_worst_case_is_at_most_every_attack(pipeline):
    for model in report_of(pipeline[0])["models"]:
        attacked = [attack["robust_accuracy"] for attack in model["attacks"]]
        shares = model["worst_case"]["robust_accuracy"], min(attacked), model["clean_accuracy"]
        images = [round(60 * share) for share in shares]
        assert images == sorted(images)


def test_models_and_files_are_attacked_by_their_gradients_and_by_square(pipeline):
    for model in report_of(pipeline[0])["models"]:
        access = {attack["name"]: attack["access"] for attack in model["attacks"]}
        assert access == {"pgd": "white-box", "square": "score"}
        assert model["probes"].keys() == {"curve", "confidence"}
        if model["format"].startswith("tflite"):
            assert model["twin"]["logits_exact"] >= 0.999


def test_a_second_run_repeats_nothing_and_a_changed_flag_repeats_what_rests_on_it(pipeline, capsys, monkeypatch):
    folder, first = pipeline
    before = {name: (folder / name).stat().st_mtime_ns for name in MODELS}

    def evaluated(*_, **__):
        raise Killed

    monkeypatch.setattr(th, "evaluate", evaluated)
    run_here(tool, *fast(folder))
    told = capsys.readouterr()
    assert told.err.count("done before, kept") == 6
    assert told.out == first.stdout
    with pytest.raises(Killed):
        run_here(tool, *fast(folder), "--queries=25")
    assert capsys.readouterr().err.count("done before, kept") == 5
    assert {name: (folder / name).stat().st_mtime_ns for name in MODELS} == before


def test_goes_on_after_a_kill_and_makes_the_same_files(pipeline, tmp_path, capsys, monkeypatch):
    """From what a run leaves that was killed before the student, in another process than that of the whole run."""
    whole, folder = pipeline[0], tmp_path / "killed"
    shutil.copytree(whole, folder)
    for name in MODELS[2:]:
        (folder / name).unlink()
    record = json.loads((folder / MARKER).read_text())
    kept = ("train the baseline", "train the teacher")
    (folder / MARKER).write_text(json.dumps({name: record[name] for name in kept}))
    monkeypatch.setattr(Pipeline, "_evaluate", lambda self: None)
    run_here(tool, *fast(folder))
    told = capsys.readouterr().err
    assert told.count("done before, kept") == 2
    assert "train the student" in told
    for name in MODELS[2:4]:
        models = [keras.saving.load_model(place / name).get_weights() for place in (folder, whole)]
        for one, other in zip(*models, strict=True):
            np.testing.assert_array_equal(one, other)
    assert [(folder / name).read_bytes() == (whole / name).read_bytes() for name in MODELS[4:]] == [True] * 3


def test_a_folder_with_other_things_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(th.InputError, match="holds other things"):
        run_here(tool, *fast(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
