import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).parents[2]


def run_tool(name, *flags, **options):
    """Runs a tool as a user does, in a process of its own."""
    return subprocess.run(
        [sys.executable, ROOT / "tools" / f"{name}.py", *flags],
        capture_output=True, text=True, timeout=300, env=os.environ | {"CUDA_VISIBLE_DEVICES": ""}, **options,
    )  # fmt: skip


def fast(folder):
    """Flags of the smallest budget that still goes through everything."""
    return [
        f"--output_dir={folder}", "--num_examples=60", "--baseline_epochs=3", "--teacher_epochs=8", "--student_epochs=6",
        "--baseline_width=8", "--teacher_width=12", "--student_width=8", "--attack_steps=2", "--steps=3", "--restarts=1",
        "--queries=20", "--calibration_examples=40",
    ]  # fmt: skip


@pytest.fixture(scope="session")
def pipeline(tmp_path_factory):
    """A finished run of the pipeline on a tiny budget: its folder and the finished process."""
    folder = tmp_path_factory.mktemp("pipeline") / "run"
    return folder, run_tool("pipeline", *fast(folder))


@pytest.fixture
def npz(tmp_path):
    """Writes a dataset file and returns its --dataset flag."""

    def write(**replaced):
        rng = np.random.default_rng(0)
        arrays = {"x_train": rng.random((40, 8, 8, 1)), "y_train": np.arange(40) % 10}
        arrays |= {"x_test": rng.random((20, 8, 8, 1)), "y_test": np.arange(20) % 10}
        path = tmp_path / "data.npz"
        np.savez(path, **arrays | replaced)
        return f"--dataset=npz:{path}"

    return write
