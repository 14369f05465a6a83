import json
import os
import re
import signal
import subprocess
import sys
import time

import keras
import numpy as np
from ai_edge_litert.interpreter import Interpreter
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from tests._helpers.processes import ROOT, fast, run_tool

MODELS = [f"{name}.keras" for name in ("baseline", "teacher", "student", "compressed")]
MODELS += [f"{name}.tflite" for name in ("student_float32", "student_int8", "compressed_int8")]


def report_of(folder):
    return json.loads((folder / "report" / "report.json").read_text())


def without_seconds(report):
    """What has to be the same for the same seed: all but the time it took and the place it was made in."""
    text = re.sub(r'"seconds": [0-9.e-]+', "", json.dumps(report["models"]))
    return re.sub(r'"(path|sha256)": "[^"]*"', "", text)


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
        assert model["worst_case"]["robust_accuracy"] <= min(attacked) <= model["clean_accuracy"]


def test_models_and_files_are_attacked_by_their_gradients_and_by_square(pipeline):
    for model in report_of(pipeline[0])["models"]:
        access = {attack["name"]: attack["access"] for attack in model["attacks"]}
        assert access == dict.fromkeys(("fgsm", "pgd", "pgd-margin"), "white-box") | {"square": "score"}
        assert model["probes"].keys() == {"curve", "confidence"}
        if model["format"].startswith("tflite"):
            assert model["twin"]["logits_exact"] >= 0.999


def test_a_second_run_repeats_nothing_and_a_changed_flag_repeats_what_rests_on_it(pipeline):
    folder, first = pipeline
    before = {name: (folder / name).stat().st_mtime_ns for name in MODELS}
    again = run_tool("pipeline", *fast(folder))
    assert again.returncode == 0, again.stderr
    assert again.stderr.count("done before, kept") == 6
    assert again.stdout == first.stdout
    more = run_tool("pipeline", *fast(folder), "--queries=25")
    assert more.stderr.count("done before, kept") == 5
    assert {name: (folder / name).stat().st_mtime_ns for name in MODELS} == before
    square = [attack for attack in report_of(folder)["models"][0]["attacks"] if attack["name"] == "square"]
    assert square[0]["parameters"]["queries"] == 25


def test_goes_on_after_a_kill_and_gives_the_same_numbers(pipeline, tmp_path):
    """Killed after the teacher; the seed then gives what an uninterrupted run gave."""
    folder = tmp_path / "killed"
    flags = [*fast(folder), "--queries=25"]
    process = subprocess.Popen(
        [sys.executable, ROOT / "tools" / "pipeline.py", *flags], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 900
    while not (folder / "teacher.keras").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (folder / "report").exists()
    resumed = run_tool("pipeline", *flags)
    assert resumed.returncode == 0, resumed.stderr
    assert "train the baseline" in resumed.stderr.split("done before, kept")[0]
    whole = run_tool("pipeline", *fast(pipeline[0]), "--queries=25")
    assert whole.returncode == 0
    assert without_seconds(report_of(folder)) == without_seconds(report_of(pipeline[0]))


def test_a_folder_with_other_things_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    done = run_tool("pipeline", *fast(tmp_path))
    assert done.returncode == 1
    assert "holds other things" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
