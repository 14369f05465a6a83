"""The tools one after another, and what they refuse."""

import importlib.metadata
import json
import random
import types

import keras
import numpy as np
import pytest
from absl import flags as absl_flags

import tfharden as th
from tests._helpers.processes import run_tool
from tests._helpers.tools import configured, run_here
from tfharden.cli import distill, evaluate, export, harden, pipeline

TINY = ["--epochs=2", "--attack_steps=1", "--num_examples=40", "--width=4"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("tools")


@pytest.fixture(scope="module")
def teacher(folder):
    path = folder / "teacher.keras"
    run_here(harden, *TINY, f"--output={path}", "--objective=goodfellow", "--alpha=1/4")
    return path


@pytest.fixture(scope="module")
def int8(folder, teacher):
    path = folder / "teacher_int8.tflite"
    run_here(export, f"--model={teacher}", "--calibration_examples=50", f"--output={path}")
    return path


def one_line(done, status):
    """The only line of a tool that refuses; no traceback, nothing on stdout."""
    assert (done.returncode, done.stdout) == (status, ""), done.stderr
    (line,) = done.stderr.splitlines()
    return line


@pytest.mark.slow
def test_distill_teaches_a_smaller_model(folder, teacher):
    path = folder / "student.keras"
    flags = ["--width=2", "--features=conv3:conv3,conv2:conv2", "--temperature=2", "--label_weight=0.5"]
    run_here(distill, *TINY, *flags, f"--teacher={teacher}", f"--output={path}")
    student, model = keras.saving.load_model(path), keras.saving.load_model(teacher)
    assert student.count_params() < model.count_params()
    assert student.output_shape == model.output_shape == (None, 10)


@pytest.mark.slow
def test_evaluate_attacks_a_model_and_its_file(folder, teacher, int8, capsys):
    out = folder / "report"
    flags = [f"--model={teacher}", f"--model={int8}", "--attacks=bim,linearity,square", "--steps=2", "--queries=5"]
    flags += ["--num_examples=30", "--epsilon=8/255", "--kernels=reference", "--transfer=bim", f"--output_dir={out}"]
    flags += [f"--tensorboard_dir={folder / 'board'}"]
    run_here(evaluate, *flags)
    report = json.loads((out / "report.json").read_text())
    assert report["threat"]["epsilon"] == 8 / 255
    assert [model["kernels"] for model in report["models"]] == [None, "reference"]
    assert [[attack["name"] for attack in model["attacks"]] for model in report["models"]] == [["bim", "square"]] * 2
    assert [list(model["probes"]) for model in report["models"]] == [["linearity"]] * 2
    assert report["transfer"]["parameters"]["steps"] == 2
    assert report["transfer"]["targets"] == ["teacher.keras", "teacher_int8.tflite"]
    assert "teacher_int8.tflite" in capsys.readouterr().out.split("bim on")[1]
    assert {path.name for path in (folder / "board").iterdir()} == {"1-teacher.keras", "2-teacher_int8.tflite"}
    with pytest.raises(th.InputError, match="exists already: give --overwrite"):
        run_here(evaluate, *flags)


@pytest.mark.parametrize(
    ("tool", "flags", "expected"),
    [
        (evaluate, ["--model=x.keras", "--epsilon=-0.1"], "--epsilon has to be a number >= 0"),
        (evaluate, ["--model=x.keras", "--epsilon=nan"], "epsilon"),
        (evaluate, ["--model=x.keras", "--attacks=pgd,magic"], "fgsm, bim, pgd, pgd-margin"),
        (evaluate, ["--model=x.keras", "--attacks=pgd,lines"], "linearity, fooling-gradient, fooling-evolution"),
        (evaluate, ["--model=x.keras", "--transfer=linearity"], "fgsm, bim, pgd"),
        (evaluate, ["--model=x.keras", "--input_range=1,0"], "low,high with low < high"),
        (pipeline, ["--attacks=pgd,linearity"], "fgsm, bim, pgd"),
        (harden, ["--dataset=imagenet"], "digits, mnist, fashion_mnist, cifar10, npz:PATH"),
        (harden, ["--model=vgg"], "known are cnn, threshold, strided, strided_threshold, mlp, depthwise, resnet"),
        (distill, ["--teacher=x.keras", "--losses=magic"], "known are soft-target"),
        (distill, ["--teacher=x.keras", "--temperature=1,1"], "numbers > 0"),
        (export, [], "--model"),
    ],
)
def test_bad_flags_are_named(tool, flags, expected):
    with pytest.raises(absl_flags.Error) as error:
        configured(tool, *flags)
    assert expected in str(error.value)


@pytest.mark.slow
def test_a_process_tells_bad_flags_and_bad_input_in_one_line(tmp_path):
    assert "epsilon" in one_line(run_tool("evaluate", "--model=x.keras", "--epsilon=-0.1"), 2)
    assert "'stray' is no flag" in one_line(run_tool("harden", "stray"), 2)
    (tmp_path / "noise.tflite").write_bytes(random.Random(0).randbytes(5000))
    done = run_tool("evaluate", f"--model={tmp_path / 'noise.tflite'}", f"--output_dir={tmp_path / 'out'}")
    assert "noise.tflite" in one_line(done, 1)
    assert not [*(tmp_path / "out").iterdir()]


def test_a_configuration_is_frozen_and_holds_every_flag():
    config = configured(distill, "--teacher=a.keras", "--losses=similarity:1/2", "--temperature=1,2", "--features=")
    assert config.losses == (("similarity", 0.5),)
    assert (config.temperature, config.features, config.data.input_range) == ((1.0, 2.0), (), (0.0, 1.0))
    assert config == configured(
        distill, "--teacher=a.keras", "--losses=similarity:.5", "--temperature=1,2", "--features="
    )
    with pytest.raises(AttributeError):
        config.epochs = 3


def lambda_model(folder):
    model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Lambda(lambda x: x)])
    model.save(folder / "lambda.keras")
    return folder / "lambda.keras"


def cut_file(folder, int8):
    content = int8.read_bytes()
    (folder / "cut.tflite").write_bytes(content[: len(content) // 2])
    return folder / "cut.tflite"


IMAGES = np.random.default_rng(0).random((20, 8, 8, 1))


# What is wrong with the input of evaluate, made from the fixtures, and what the line has to say.
@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda f: f"--model={lambda_model(f.folder)}", "Lambda"),
        (lambda f: f"--model={cut_file(f.folder, f.int8)}", "cut.tflite"),
        (lambda f: f.npz(x_test=IMAGES[:, :7], x_train=IMAGES[:, :7], y_train=np.arange(20) % 10), "(7, 8, 1)"),
        (lambda f: f.npz(y_test=np.arange(20)), "labels"),
        (lambda f: f.npz(x_test=np.where(IMAGES > 0.9, np.nan, IMAGES)), "NaN"),
        (lambda f: f.npz(x_test=IMAGES * 255, x_train=np.repeat(IMAGES, 2, axis=0) * 255), "--input_range"),
        (lambda f: f.npz(x_test=IMAGES[:0], y_test=np.zeros(0, int)), "empty"),
        (lambda f: "--epsilon=8", "8/255"),
    ],
    ids=["lambda", "cut", "shape", "labels", "nan", "range", "empty", "epsilon"],
)
def test_bad_input_is_named_in_one_line(make, expected, folder, teacher, int8, npz, request):
    fixtures = types.SimpleNamespace(folder=folder, int8=int8, npz=npz)
    flag, out = make(fixtures), folder / f"refused-{request.node.callspec.id}"
    model = [] if flag.startswith("--model") else [f"--model={teacher}"]
    with pytest.raises(th.InputError) as error:
        run_here(evaluate, f"--output_dir={out}", *model, flag)
    assert expected in str(error.value)
    assert "\n" not in str(error.value)
    assert not out.exists() or not any(out.iterdir())


@pytest.mark.slow
def test_a_file_is_attacked_alone_where_its_kernels_have_a_twin(folder, int8):
    flags = [f"--model={int8}", "--attacks=pgd", "--steps=2", "--num_examples=30", f"--output_dir={folder / 'alone'}"]
    with pytest.raises(th.InputError, match="--surrogate"):
        run_here(evaluate, *flags, "--kernels=builtin")
    run_here(evaluate, *flags)
    (model,) = json.loads((folder / "alone" / "report.json").read_text())["models"]
    assert [attack["access"] for attack in model["attacks"]] == ["white-box"]
    assert model["twin"]["logits_exact"] == 1


def test_an_output_that_cant_be_written_is_refused_before_training(folder):
    blocked = folder / "blocked"
    blocked.write_text("")
    with pytest.raises(th.InputError, match="can't write"):
        run_here(harden, "--epochs=100000", f"--output={blocked / 'model.keras'}")
    assert blocked.read_text() == ""


def test_help_tells_purpose_and_flags():
    done = run_tool("pipeline", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("The whole way")
    assert "--teacher_epochs\n" in done.stdout


def test_every_tool_is_installed():
    scripts = importlib.metadata.distribution("tfharden").entry_points.select(group="console_scripts")
    assert {script.name for script in scripts} == {
        f"tfharden-{tool}" for tool in ("harden", "distill", "compress", "export", "mcu", "evaluate", "pipeline")
    }
    assert all(callable(script.load()) for script in scripts)


def test_a_dataset_that_another_package_brings(tmp_path, monkeypatch):
    """By an entry point of the group tfharden.datasets."""
    (tmp_path / "squares.py").write_text(
        "import numpy as np\n"
        "def load(seed):\n"
        "    images, labels = np.zeros((20, 8, 8), np.uint8), np.arange(20) % 2\n"
        "    return (images, labels), (images, labels)\n"
    )
    folder = tmp_path / "squares-1.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: squares\nVersion: 1\n")
    (folder / "entry_points.txt").write_text("[tfharden.datasets]\nsquares = squares:load\n")
    monkeypatch.syspath_prepend(tmp_path)
    loaded = configured(harden, "--dataset=squares").data.load()
    assert repr(loaded) == "<Dataset squares: 20 training and 20 test images of 8x8x1 in [0, 1], 2 classes>"
