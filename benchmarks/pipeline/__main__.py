"""The README's pipeline over several seeds, its Keras models attacked by a second library as well.

python -m benchmarks.pipeline --seeds=0,1,2

Each seed draws its own split, first weights and attacks. Foolbox's PGD gets the steps, step size and restarts of ours.
"""

import datetime
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
import time

import foolbox
import numpy as np
import tensorflow as tf
from absl import app, flags

import tfharden as th
from tfharden import _io

FLAGS = flags.FLAGS
flags.DEFINE_list("seeds", ["0", "1", "2"], "Seeds to run.")
flags.DEFINE_string("output", "benchmarks/results/pipeline.md", "Where the table goes.")

ROLES = {
    "baseline.keras": "natural CNN, `baseline.keras`",
    "teacher.keras": "hardened teacher, `teacher.keras`",
    "student.keras": "distilled student, `student.keras`",
    "compressed.keras": "the student in fake int8, `compressed.keras`",
    "student_float32.tflite": "the student, `student_float32.tflite`",
    "student_int8.tflite": "the student, `student_int8.tflite`",
    "compressed_int8.tflite": "the student in int8, trained for it, `compressed_int8.tflite`",
}
STEPS, RESTARTS = 50, 5


def run_pipeline(seed: str, folder: pathlib.Path) -> tuple[dict, float]:
    """The report of one run, and its seconds."""
    began = time.monotonic()
    tool = pathlib.Path(sys.executable).with_name("tfharden-pipeline")
    subprocess.run([tool, f"--seed={seed}", f"--output_dir={folder}"], check=True)
    return json.loads((folder / "report" / "report.json").read_text()), time.monotonic() - began


def foolbox_pgd(path: pathlib.Path, seed: int) -> float:
    """Robust accuracy that Foolbox's PGD leaves, best of the restarts for each image."""
    x, y = th.data.load("digits", seed=seed).test
    model = foolbox.TensorFlowModel(th.load_model(path), bounds=(0, 1), device="/CPU:0")
    tf.random.set_seed(seed)
    # Labels of its own integer type, or it calls what NumPy 2 no longer has.
    attack = foolbox.attacks.LinfPGD(steps=STEPS, abs_stepsize=2.5 * 0.15 / STEPS).repeat(RESTARTS)
    _, _, success = attack(model, tf.constant(x), tf.constant(y, tf.int64), epsilons=0.15)
    return float(1 - np.mean(success))


def first_seed(report: dict) -> list[str]:
    """A row a model: what each attack leaves."""
    lines = [
        "| | KB | parameters | clean % | FGSM % | PGD-50 % | margin PGD-50 % | Square % | worst case % |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for model, role in zip(report["models"], ROLES.values(), strict=True):
        worst = model["worst_case"]
        low, high = (100 * bound for bound in worst["interval"])
        accuracies = [model["clean_accuracy"], *(attack["robust_accuracy"] for attack in model["attacks"])]
        cells = [
            role,
            f"{model['bytes'] / 1024:.1f}",
            f"{model['parameters']:,}",
            *(f"{100 * accuracy:.1f}" for accuracy in accuracies),
            f"{100 * worst['robust_accuracy']:.1f} [{low:.1f}, {high:.1f}]",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def over_seeds(reports: list[dict], peers: list[dict[str, float]]) -> list[str]:
    """A row a model: mean and range of the worst case, and PGD of both libraries."""
    lines = [
        "| | clean %, mean | worst case %, mean (range) | PGD-50 %, mean | Foolbox PGD-50 %, mean |",
        "|---|---|---|---|---|",
    ]
    for index, (name, role) in enumerate(ROLES.items()):
        models = [report["models"][index] for report in reports]
        worst = [100 * model["worst_case"]["robust_accuracy"] for model in models]
        cells = [
            role,
            f"{statistics.mean(100 * model['clean_accuracy'] for model in models):.1f}",
            f"{statistics.mean(worst):.1f} ({min(worst):.1f} to {max(worst):.1f})",
            f"{statistics.mean(100 * model['attacks'][1]['robust_accuracy'] for model in models):.1f}",
            f"{statistics.mean(100 * peer[name] for peer in peers):.1f}" if name in peers[0] else "",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def main(argv: list[str]) -> None:
    """All seeds, one table."""
    del argv
    reports, seconds, peers = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        for seed in FLAGS.seeds:
            run = pathlib.Path(folder) / seed
            report, took = run_pipeline(seed, run)
            reports.append(report)
            seconds.append(took)
            peers.append({name: foolbox_pgd(run / name, int(seed)) for name in ROLES if name.endswith(".keras")})
    versions = ", ".join(f"{name} {version}" for name, version in reports[0]["versions"].items())
    lines = [
        "# The pipeline over seeds",
        "",
        f"{datetime.date.today()}, `python -m benchmarks.pipeline --seeds={','.join(FLAGS.seeds)}`; {versions}; "
        f"{platform.machine()}, {os.cpu_count()} cores.",
        "",
        "Linf, epsilon 0.15, digits, 400 stratified test images, the two iterated attacks with 5 restarts. Files are",
        "attacked by the gradients of their twins, and what fools them is counted on the interpreter.",
        "",
        f"Seed {FLAGS.seeds[0]}:",
        "",
        *first_seed(reports[0]),
        "",
        f"Seeds {', '.join(FLAGS.seeds)}:",
        "",
        *over_seeds(reports, peers),
        "",
        f"Seconds for the whole pipeline: {', '.join(f'{took:.0f}' for took in seconds)}.",
        "The recipe was chosen on the split of seed 0; the splits of the other seeds had no part in it.",
        "",
    ]
    _io.write_text(FLAGS.output, "\n".join(lines))
    print("\n".join(lines))


if __name__ == "__main__":
    app.run(main)
