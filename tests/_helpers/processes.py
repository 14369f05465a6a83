"""Tools as users run them: each in a process of its own."""

import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[2]


def run_tool(name, *flags):
    """The finished process of a tool."""
    command = [sys.executable, ROOT / "tools" / f"{name}.py", *flags]
    return subprocess.run(command, capture_output=True, text=True, timeout=1800, check=False)


def fast(folder):
    """Flags of a small budget that still goes through everything and learns something."""
    epochs = {"baseline_epochs": 3, "teacher_epochs": 8, "student_epochs": 6, "compressed_epochs": 2}
    widths = {"baseline_width": 8, "teacher_width": 12, "student_width": 8}
    budget = {"attack_steps": 2, "steps": 3, "restarts": 1, "queries": 20, "calibration_examples": 40}
    flags = {"output_dir": folder, "num_examples": 60, "attacks": "pgd,square"} | epochs | widths | budget
    return [f"--{name}={value}" for name, value in flags.items()]
