"""What the guides show runs as it stands there, on small models and for one epoch."""

import pathlib
import re

import numpy as np
import pytest

import tfharden as th

DOCS = pathlib.Path(__file__).parents[1] / "docs"
MADE = {"distillation": "student.keras", "compression": "small.tflite", "export": "student_int8.tflite"}


@pytest.mark.parametrize("guide", MADE)
def test_first_example(guide, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = re.search(r"```\n(.*?)```", (DOCS / f"{guide}.md").read_text(encoding="utf-8"), flags=re.DOTALL)[1]
    quick, changed = re.subn(r"epochs=\d+", "epochs=1", code)
    assert changed or "fit(" not in code
    x, y = th.data.load("digits").train
    given = {"th": th, "np": np, "threat": th.Linf(0.1), "x": x[:200], "y": y[:200], "attacked": x[:200]}
    for name, width in (("model", 4), ("student", 4), ("teacher", 6)):
        given[name] = th.models.build("cnn", (8, 8, 1), 10, width)
    exec(quick, given)
    assert (tmp_path / MADE[guide]).stat().st_size > 1000
