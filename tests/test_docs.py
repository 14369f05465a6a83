"""Examples of the guides run as they stand; the first of each on small models and for one epoch."""

import pathlib
import re

import numpy as np
import pytest

import tfharden as th
from tfharden.data import datasets
from tfharden.tflite import ops

DOCS = pathlib.Path(__file__).parents[1] / "docs"
MADE = {"distillation": "student.keras", "compression": "small.tflite", "export": "student_int8.tflite"}


@pytest.mark.slow
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


EXTENSIONS = re.findall(
    r"^## (.*?)$.*?```python\n(.*?)```", (DOCS / "extending.md").read_text(), re.DOTALL | re.MULTILINE
)


@pytest.mark.slow
@pytest.mark.parametrize(("title", "code"), EXTENSIONS, ids=[title for title, _ in EXTENSIONS])
def test_extension(title, code, capsys):
    assert len(code.splitlines()) <= 40
    registries = th.attacks.KNOWN, th.objectives.KNOWN, ops.KNOWN, datasets._OWN
    before = [dict(registry) for registry in registries]
    try:
        exec(code, {"__name__": "__main__"})
    finally:
        for registry, known in zip(registries, before, strict=True):
            registry.clear()
            registry.update(known)
    printed = capsys.readouterr().out
    if title == "A layer that defends":
        pgd, square = (float(share) for share in re.findall(r"(\d+)%", printed))
        assert pgd <= square < 90
