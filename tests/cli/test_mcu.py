import json
import re

import numpy as np
import pytest

import tfharden as th
from tests._helpers.tools import run_here
from tfharden.cli import mcu


@pytest.fixture(scope="module")
def int8(tmp_path_factory, digits, digits_model):
    path = tmp_path_factory.mktemp("file") / "digits_int8.tflite"
    th.export.to_tflite(digits_model, "int8", calibration=digits.train[0][:100]).save(path)
    return path


def test_kit_is_made_and_replaced(int8, tmp_path, capsys):
    folder = tmp_path / "kit"
    flags = [f"--model={int8}", f"--output_dir={folder}", "--num_examples=50"]
    run_here(mcu, *flags)
    told = capsys.readouterr().out
    record = json.loads((folder / "kit.json").read_text())
    assert record["model"]["name"] == "digits_int8.tflite"
    assert f"{folder}: reserves an arena of {record['arena']['bytes'] // 1024} KB" in told
    if record["arena"]["measured"]:
        agreement = record["tflite_micro"]["agreement"]
        assert f"{record['arena']['measured']['least']:,} bytes are enough" in told
        assert f"of 50 images, tflite-micro answers as LiteRT's reference kernels: {agreement['identical']}" in told
    else:
        assert "pip install 'tfharden[micro]'" in told
    with pytest.raises(th.InputError, match="--overwrite"):
        run_here(mcu, *flags)
    before = (folder / "golden.h").read_text()
    run_here(mcu, *flags, "--seed=1", "--overwrite")
    assert (folder / "golden.h").read_text() != before


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--num_examples=9"], "9 different images are too few"),
        (["--input_range=0,255"], "--input_range"),
        (["--model=absent.tflite"], "can't read absent.tflite"),
        ([f"--model={__file__}"], "test_mcu.py: "),
    ],
)
def test_bad_input_is_named(flags, told, int8, tmp_path):
    with pytest.raises(th.InputError, match=re.escape(told)) as error:
        run_here(mcu, f"--model={int8}", f"--output_dir={tmp_path / 'kit'}", *flags)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_images_of_another_shape(int8, tmp_path, npz):
    images = np.zeros((20, 7, 8, 1))
    dataset = npz(x_test=images, x_train=images, y_train=np.arange(20) % 10)
    with pytest.raises(th.InputError, match=r"\(7, 8, 1\)"):
        run_here(mcu, f"--model={int8}", dataset, f"--output_dir={tmp_path / 'kit'}")
    assert not (tmp_path / "kit").exists()


def test_folder_with_other_things_is_left_alone(int8, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(th.InputError, match="holds other things"):
        run_here(mcu, f"--model={int8}", f"--output_dir={tmp_path}", "--overwrite")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
