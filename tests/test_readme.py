"""Examples and figures of the README; examples run for fewer epochs and on fewer digits."""

import dataclasses
import json
import pathlib
import re

import tfharden as th
from tfharden import attacks
from tfharden.distillation import losses
from tfharden.distillation import objectives as distillation
from tfharden.hardening import objectives

README = (pathlib.Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def test_library_example(tmp_path, monkeypatch, digits):
    (code,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert len([line for line in code.splitlines() if line]) <= 20
    quick, changed = re.subn(r"epochs=\d+", "epochs=2", code)
    assert changed == 2
    monkeypatch.chdir(tmp_path)
    few = dataclasses.replace(digits, train=th.data.take(digits.train, 500), test=th.data.take(digits.test, 60))
    monkeypatch.setattr("tfharden.data.load", lambda name: few)
    exec(quick, {})
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert [model["format"] for model in report["models"]] == ["keras", "tflite-int8"]
    assert (tmp_path / "student_int8.tflite").stat().st_size == report["models"][1]["bytes"]


def rows_of(text):
    return [
        tuple(cell.strip() for cell in line.strip("|").split("|")) for line in text.splitlines() if line[:2] == "| "
    ]


def is_taken_from(row, whole):
    """The same label, and some of the other's cells in their order."""
    cells = iter(whole[1:])
    return row[0] == whole[0] and all(cell in cells for cell in row[1:])


def test_figures_are_those_of_the_benchmarks():
    """Rows with figures in the README's tables are those of the benchmarks' results, but for columns left out."""
    results = pathlib.Path(__file__).parents[1] / "benchmarks" / "results"
    told = [row for path in results.glob("*.md") for row in rows_of(path.read_text(encoding="utf-8"))]
    figures = [row for row in rows_of(README) if any(re.fullmatch(r"[\d.,]+", cell) for cell in row[1:])]
    assert len(figures) > 20
    assert not [row for row in figures if not any(is_taken_from(row, whole) for whole in told)]


def test_every_attack_method_and_loss_is_named():
    names = (*attacks.KNOWN, *objectives.KNOWN, *distillation.KNOWN, *losses.KNOWN)
    assert not [name for name in names if f"`{name}`" not in README]
