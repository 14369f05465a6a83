"""The whole repository is clean by ruff's rules and the package by mypy's, as pyproject.toml sets them."""

import pathlib
import subprocess
import sys
import tempfile

import pytest

ROOT = pathlib.Path(__file__).parents[1]
# Kept between runs: mypy then reads what has changed only.
CACHE = pathlib.Path(tempfile.gettempdir()) / "tfharden-mypy-cache"


def failures(module, *arguments):
    command = [sys.executable, "-m", module, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr if done.returncode else ""


@pytest.mark.parametrize("command", [["check"], ["format", "--check"]])
def test_ruff(command):
    assert failures("ruff", *command, ROOT) == ""


def test_types():
    assert failures("mypy", "--cache-dir", CACHE) == ""


def test_names_of_the_package_have_types(tmp_path):
    """What a user's type checker knows of names that are imported lazily."""
    (tmp_path / "script.py").write_text(
        "import tfharden as th\nreveal_type(th.RobustModel)\nreveal_type(th.tflite.Twin)\nth.Linf(0.1)\nth.Linff(0.1)\n"
    )
    config = ["--config-file", ROOT / "pyproject.toml", "--cache-dir", CACHE]
    told = [line for line in failures("mypy", *config, tmp_path / "script.py").splitlines() if "script.py" in line]
    assert len(told) == 3
    assert 'Revealed type is "def (model: Any, attack: tfharden.' in told[0]
    assert "-> tfharden.tflite.twin.twin.Twin" in told[1]
    assert told[2].endswith('error: Module has no attribute "Linff"; maybe "Linf"?  [attr-defined]')
