"""What the README shows works as it stands there, but for fewer epochs."""

import json
import pathlib
import re
import subprocess
import sys

from tfharden import attacks
from tfharden.distillation import objectives as distillation
from tfharden.hardening import objectives
from tfharden.tools import teaching

README = (pathlib.Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def test_library_example(tmp_path):
    (code,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert len([line for line in code.splitlines() if line]) <= 20
    quick, changed = re.subn(r"epochs=\d+", "epochs=2", code)
    assert changed == 2
    done = subprocess.run([sys.executable, "-c", quick], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert [model["format"] for model in report["models"]] == ["keras", "tflite-int8"]
    assert (tmp_path / "student_int8.tflite").stat().st_size == report["models"][1]["bytes"]


def test_figures_are_those_of_the_benchmarks():
    """The README's tables stand in the benchmarks' results, word for word."""
    results = pathlib.Path(__file__).parents[1] / "benchmarks" / "results"
    told = [
        (results / name).read_text(encoding="utf-8") for name in ("pipeline.md", "attacks.md", "hardening_speed.md")
    ]
    rows = [line for line in README.splitlines() if line.startswith("| ")]
    of_models = [row for row in rows if ".keras` |" in row or ".tflite` |" in row]
    assert len(of_models) == 10
    assert all(row in told[0] for row in of_models)
    of_attacks = [row for row in rows if row.startswith(("| hardened |", "| natural |"))]
    assert len(of_attacks) == 11
    assert all(row in told[1] for row in of_attacks)
    of_training = [row for row in rows if row.startswith(("| tfharden, ", "| ART, "))]
    assert len(of_training) == 3
    assert all(row in told[2] for row in of_training)


def test_every_attack_method_and_loss_is_named():
    names = (*attacks.BY_NAME, *objectives.BY_NAME, *distillation.BY_NAME, *teaching.OF_LOGITS, *teaching.OF_FEATURES)
    assert not [name for name in names if f"`{name}`" not in README]
