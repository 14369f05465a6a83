import json
import os
import pathlib
import random
import subprocess
import sys

import keras
import numpy as np
import pytest
from conftest import run_tool

TINY = ["--epochs=1", "--attack_steps=1", "--num_examples=40", "--width=4"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("tools")


@pytest.fixture(scope="module")
def teacher(folder):
    path = folder / "teacher.keras"
    done = run_tool("harden", *TINY, f"--output={path}", "--objective=goodfellow", "--alpha=1/4")
    assert done.returncode == 0, done.stderr
    assert f"{path}: " in done.stdout
    return path


@pytest.fixture(scope="module")
def int8(folder, teacher):
    path = folder / "teacher_int8.tflite"
    done = run_tool("export", f"--model={teacher}", "--calibration_examples=50", f"--output={path}")
    assert done.returncode == 0, done.stderr
    return path


def one_line(done, status):
    """The only line of a tool that refuses; no traceback, nothing on stdout."""
    assert (done.returncode, done.stdout) == (status, ""), done.stderr
    (line,) = done.stderr.splitlines()
    return line


def test_harden_writes_a_plain_model_that_continues(folder, teacher):
    model = keras.saving.load_model(teacher)
    assert model.output_shape == (None, 10)
    further = folder / "further.keras"
    done = run_tool("harden", "--epochs=1", f"--model={teacher}", "--objective=natural", f"--output={further}")
    assert done.returncode == 0, done.stderr
    assert keras.saving.load_model(further).count_params() == model.count_params()


def test_distill_teaches_a_smaller_model(folder, teacher):
    path = folder / "student.keras"
    flags = ["--width=2", "--features=conv3:conv3,conv2:conv2", "--temperature=2", "--label_weight=0.5"]
    done = run_tool("distill", *TINY, *flags, f"--teacher={teacher}", f"--output={path}")
    assert done.returncode == 0, done.stderr
    student = keras.saving.load_model(path)
    assert student.count_params() < keras.saving.load_model(teacher).count_params()
    assert {layer.name for layer in student.layers} >= {"conv1", "conv2", "conv3", "logits"}


def test_evaluate_attacks_a_model_and_its_file(folder, teacher, int8):
    out = folder / "report"
    flags = [f"--model={teacher}", f"--model={int8}", "--attacks=bim,square", "--steps=2", "--queries=5"]
    flags += ["--num_examples=30", "--epsilon=8/255", "--kernels=reference", f"--output_dir={out}"]
    done = run_tool("evaluate", *flags)
    assert done.returncode == 0, done.stderr
    report = json.loads((out / "report.json").read_text())
    assert report["threat"]["epsilon"] == 8 / 255
    assert [model["kernels"] for model in report["models"]] == [None, "reference"]
    line = one_line(run_tool("evaluate", *flags), 1)
    assert "exists already: give --overwrite" in line
    assert run_tool("evaluate", *flags, "--overwrite").returncode == 0


@pytest.mark.parametrize(
    ("tool", "flags", "expected"),
    [
        ("evaluate", ["--model=x.keras", "--epsilon=-0.1"], "epsilon"),
        ("evaluate", ["--model=x.keras", "--epsilon=nan"], "epsilon"),
        ("evaluate", ["--model=x.keras", "--attacks=pgd,magic"], "fgsm, bim, pgd, pgd-margin, square"),
        ("harden", ["--dataset=imagenet"], "digits, mnist, fashion_mnist, cifar10, npz:PATH"),
        ("harden", ["--model=vgg"], "cnn, mlp, depthwise, resnet"),
        ("harden", ["--no_such_flag"], "no_such_flag"),
        ("harden", ["stray"], "'stray' is no flag"),
        ("distill", [], "teacher"),
    ],
)
def test_bad_flags_are_named_in_one_line(tool, flags, expected):
    assert expected in one_line(run_tool(tool, *flags), 2)


def bad_inputs(folder, teacher, int8, npz):
    """Flags of evaluate and harden with input that is wrong in one way, and what the line has to say."""
    lambda_model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Lambda(lambda x: x)])
    lambda_model.save(folder / "lambda.keras")
    content = int8.read_bytes()
    (folder / "cut.tflite").write_bytes(content[: len(content) // 2])
    (folder / "noise.tflite").write_bytes(random.Random(0).randbytes(5000))
    (folder / "file").write_text("")
    images = np.random.default_rng(0).random((20, 8, 8, 1))
    return [
        (["--model=nowhere.keras"], "nowhere.keras: no such file"),
        ([f"--model={folder / 'lambda.keras'}"], "Lambda"),
        ([f"--model={folder / 'cut.tflite'}"], "cut.tflite"),
        ([f"--model={folder / 'noise.tflite'}"], "noise.tflite"),
        ([f"--model={int8}"], "--surrogate"),
        ([f"--model={teacher}", npz(x_test=images[:, :7])], "(7, 8, 1)"),
        ([f"--model={teacher}", npz(y_test=np.arange(20))], "labels"),
        ([f"--model={teacher}", npz(x_test=np.where(images > 0.9, np.nan, images))], "NaN"),
        ([f"--model={teacher}", npz(x_test=images * 255, x_train=np.repeat(images, 2, 0) * 255)], "--input_range"),
        ([f"--model={teacher}", npz(x_test=images[:0], y_test=np.zeros(0, int))], "empty"),
        ([f"--model={teacher}", "--epsilon=8"], "8/255"),
        ([f"--model={teacher}", f"--output_dir={folder / 'file' / 'report'}"], "can't write"),
    ]


@pytest.mark.parametrize("case", range(12))
def test_bad_input_is_named_in_one_line(case, folder, teacher, int8, npz):
    flags, expected = bad_inputs(folder, teacher, int8, npz)[case]
    out = folder / f"refused{case}"
    line = one_line(run_tool("evaluate", f"--output_dir={out}", *flags), 1)
    assert expected in line
    assert not out.exists() or not any(out.iterdir())


def test_an_output_that_cant_be_written_is_refused_before_training(folder):
    blocked = folder / "blocked"
    blocked.write_text("")
    line = one_line(run_tool("harden", "--epochs=100000", f"--output={blocked / 'model.keras'}"), 1)
    assert "can't write" in line
    assert blocked.read_text() == ""


@pytest.mark.parametrize("tool", ["harden", "distill", "export", "evaluate", "pipeline"])
def test_every_tool_is_installed_and_has_help(tool):
    done = subprocess.run([f"tfharden-{tool}", "--help"], capture_output=True, text=True, check=False, env=on_path())
    assert "--[no]overwrite" in done.stdout
    assert done.stderr == ""


def on_path():
    """The environment in which console scripts beside this interpreter are found."""
    return os.environ | {"PATH": f"{pathlib.Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
