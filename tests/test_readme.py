"""What the README shows works as it stands there, but for fewer epochs."""

import json
import pathlib
import re
import subprocess
import sys

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


def test_figures_are_those_of_the_benchmark():
    """The README's tables stand in the benchmark's results, word for word."""
    results = (pathlib.Path(__file__).parents[1] / "benchmarks" / "results" / "pipeline.md").read_text(encoding="utf-8")
    rows = [
        line for line in README.splitlines() if line.startswith("| ") and (".keras` |" in line or ".tflite` |" in line)
    ]
    assert len(rows) == 10
    assert all(row in results for row in rows)
