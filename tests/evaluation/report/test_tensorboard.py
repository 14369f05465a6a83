import importlib.util

import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import tfharden as th
from tests._helpers.pages import panel
from tfharden.evaluation import Report, write_tensorboard


def boards(folder):
    return {path.name: EventAccumulator(str(path)).Reload() for path in sorted(folder.iterdir())}


def scalars(board):
    tags = [tag for tag in board.Tags()["tensors"] if tag.startswith("accuracy/")]
    return {tag: float(tf.make_ndarray(board.Tensors(tag)[0].tensor_proto)) for tag in tags}


def test_a_run_a_model_as_tensorboard_reads_it(content, tmp_path):
    shown = panel(model="teacher.keras")
    write_tensorboard(Report(content, [shown]), tmp_path)
    found = boards(tmp_path)
    assert list(found) == ["1-teacher.keras", "2-student.tflite"]
    expected = {"clean": 389, "fgsm": 331, "pgd": 281, "worst case": 279}
    assert scalars(found["1-teacher.keras"]) == {
        f"accuracy/{name}": pytest.approx(right / 400) for name, right in expected.items()
    }
    assert set(scalars(found["2-student.tflite"])) == {
        f"accuracy/{n}" for n in ("clean", "pgd", "square", "worst case")
    }
    text = tf.make_ndarray(found["1-teacher.keras"].Tensors("report")[0].tensor_proto)
    assert b"worst case" in text.item()
    _, _, first, *_ = tf.make_ndarray(found["1-teacher.keras"].Tensors("pgd/attacked")[0].tensor_proto)
    np.testing.assert_array_equal(tf.io.decode_png(first), np.round(255 * shown.adversarial[0]))
    assert "pgd/attacked" not in found["2-student.tflite"].Tags()["tensors"]


def test_a_name_can_not_leave_the_folder(content, tmp_path):
    content["models"][0]["name"] = "../../away"
    write_tensorboard(Report(content), tmp_path / "board")
    assert [path.name for path in tmp_path.iterdir()] == ["board"]
    assert "1-.._.._away" in boards(tmp_path / "board")


def test_without_the_package_it_says_so(content, tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(th.InputError, match=r"pip install 'tfharden\[tensorboard\]'"):
        write_tensorboard(Report(content), tmp_path)


def test_a_folder_that_can_not_be_made(content, tmp_path):
    (tmp_path / "board").write_text("a file")
    with pytest.raises(th.InputError, match="can't write"):
        write_tensorboard(Report(content), tmp_path / "board")
