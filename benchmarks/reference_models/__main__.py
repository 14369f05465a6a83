"""Puts a model that a benchmark made into saved_models/reference/, with a card.

    python -m benchmarks.reference_models --part=mnist --row=best --name=mnist_linf --data=MNIST.npz
    python -m benchmarks.reference_models --benchmark=distillation --part=mnist --row=ard --name=mnist_linf_student \
        --data=MNIST.npz

The card's figures are those of `tfharden-evaluate`, whose command stands in it.
"""

import datetime
import importlib.metadata
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

from absl import app, flags

from benchmarks.common import tables
from benchmarks.common.recipe_table import FIGURES, Recipe, Table
from benchmarks.distillation.recipes import RECIPES as STUDENTS
from benchmarks.hardening.recipes import RECIPES as HARDENED
from tfharden import _io

# Recipes, and what the names of their folders begin with.
MADE_BY = {
    "hardening": (HARDENED, ""),
    "distillation": (STUDENTS, "distil_"),
}

FLAGS = flags.FLAGS
flags.DEFINE_enum("benchmark", "hardening", list(MADE_BY), "Which made it.")
flags.DEFINE_enum("part", None, list(HARDENED), "Part of that benchmark.", required=True)
flags.DEFINE_string("row", None, "Recipe, of which seed 0 is taken.", required=True)
flags.DEFINE_string("name", None, "Name of the model and its card.", required=True)
flags.DEFINE_string("data", None, "Dataset, as the tools' --dataset names it, or MNIST as an .npz.", required=True)
flags.DEFINE_integer("images", 1000, "Test images.")
flags.DEFINE_string("folder", "saved_models/benchmark", "Where the benchmark keeps models.")

REFERENCE = pathlib.Path("saved_models/reference")
ATTACKS = {"fgsm": "FGSM", "pgd": "PGD-50, 5 restarts", "autoattack": "AutoAttack"}


def evaluated(model: pathlib.Path, epsilon: float) -> tuple[dict, str]:
    """What the report says of the model, and the command that asks."""
    command = [
        "tfharden-evaluate",
        f"--model={model}",
        f"--dataset={FLAGS.part}",
        f"--epsilon={epsilon:g}",
        f"--attacks={','.join(ATTACKS)}",
        f"--num_examples={FLAGS.images}",
    ]
    tool = str(pathlib.Path(sys.executable).with_name(command[0]))
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "report"
        subprocess.run([tool, *command[1:], f"--dataset={tables.named(FLAGS.data)}", f"--output_dir={out}"], check=True)
        (found,) = json.loads((out / "report.json").read_text())["models"]
    return found, " ".join(command)


def gradients(recipe: Recipe) -> int:
    """Input gradients and updates that a training image cost, in passes of the model itself."""
    given = " ".join(recipe.flags)
    epochs, steps = (int(re.search(rf"--{flag}=(\d+)", given)[1]) for flag in ("epochs", "attack_steps"))
    updates = 2 if re.search("--objective=(rslad|iad) ", given) else 1
    return epochs * (steps + updates)


def card(path: pathlib.Path, recipe: Recipe, folder: pathlib.Path, minutes: float | None) -> str:
    """Two columns."""
    found, command = evaluated(path, recipe.epsilon)
    robust = {attack["name"]: attack["robust_accuracy"] for attack in found["attacks"]}
    low, high = found["worst_case"]["interval"]
    given = " ".join(recipe.flags).format(folder=folder)
    trained = f"{recipe.tool} --dataset={FLAGS.part} {given} --output={path.name}"
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("tfharden", "tensorflow", "keras"))
    rows = {
        "file": path.name,
        "sha256": _io.sha256(path),
        "parameters": f"{found['parameters']:,}",
        "command": f"`{trained}`",
        "data": f"{FLAGS.part}, its 60,000 training images",
        "threat": f"Linf, epsilon {recipe.epsilon:g}, on images in [0, 1]",
        "seed": str(recipe.seed),
        "gradients a training image": str(gradients(recipe)),
        "minutes of training": "not known" if minutes is None else f"{minutes:.0f}, of at most 2 cores",
        "clean accuracy": f"{found['clean_accuracy']:.1%}",
        **{label: f"{robust[name]:.1%}" for name, label in ATTACKS.items()},
        "worst case": f"{found['worst_case']['robust_accuracy']:.1%}, 95% interval {low:.1%} to {high:.1%}",
        "evaluated by": f"`{command}`",
        "made": f"{datetime.date.today()}, {versions}",
    }
    table = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
    return f"# {path.stem}\n\n| | |\n|---|---|\n{table}\n\nAccuracies are over {FLAGS.images:,} test images.\n"


def main(argv: list[str]) -> None:
    """One model, one card."""
    del argv
    recipes, prefix = MADE_BY[FLAGS.benchmark]
    table = f"{prefix}{FLAGS.part}"
    made = Table(recipes[FLAGS.part], pathlib.Path(FLAGS.folder) / table, FIGURES / table, FLAGS.data, lambda *_: {})
    told = made.told(FLAGS.row)
    if told is None or not made.path(FLAGS.row).exists():
        raise SystemExit(f"{made.path(FLAGS.row)} isn't there, or was made by another recipe: run the benchmark again")
    REFERENCE.mkdir(parents=True, exist_ok=True)
    path = REFERENCE / f"{FLAGS.name}.keras"
    shutil.copy(made.path(FLAGS.row), path)
    text = card(path, made.recipes[FLAGS.row].seeded(0), made.folder, told["minutes"])
    _io.write_text(path.with_suffix(".md"), text)
    print(text)


if __name__ == "__main__":
    app.run(main)
