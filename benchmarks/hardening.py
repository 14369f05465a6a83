"""Adversarial training: its speed beside ART's, and what each method gives on MNIST and Fashion-MNIST, per minute.

    python benchmarks/hardening.py --part=speed --data=MNIST.npz
    python benchmarks/hardening.py --part=mnist --data=MNIST.npz
    python benchmarks/hardening.py --part=fashion_mnist --data=fashion_mnist

Each model is trained by the command that its row stands for, in a process of its own (`--rows` picks some of them), and
kept with its figures in saved_models/benchmark/, so that a benchmark that was killed goes on. Each part writes a table
to benchmarks/results/. ART is in the extra `bench`.
"""

import datetime
import importlib.metadata
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import mnist_models
import numpy as np
import training_speed
from absl import app, flags
from hardening_recipes import RECIPES, Recipe

import tfharden as th
from tfharden import attacks, files
from tfharden.inputs import Examples

FLAGS = flags.FLAGS
flags.DEFINE_enum("part", None, ["speed", *RECIPES], "Which table to make.", required=True)
flags.DEFINE_string("data", None, "Dataset, as the tools' --dataset names it, or MNIST as an .npz.", required=True)
flags.DEFINE_list("rows", [], "Recipes to run, all by default; the table holds all that were ever run.")
flags.DEFINE_integer("images", 1000, "Test images.")
flags.DEFINE_integer("speed_images", 2560, "Training images of an epoch whose time is taken.")
flags.DEFINE_integer("rounds", 9, "Epochs of each trainer whose time is taken.")
flags.DEFINE_string("folder", "saved_models/benchmark", "Where models and figures are kept.")

SEED = 0
PACKAGES = ("tfharden", "tensorflow", "keras", "adversarial-robustness-toolbox")
ATTACKS = ("fgsm", "pgd", "autoattack")


def header(what: str) -> list[str]:
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    command = f"python benchmarks/hardening.py --part={FLAGS.part} --data={pathlib.Path(FLAGS.data).name}"
    machine = f"{os.cpu_count()} cores, {platform.platform()}"
    return [f"# {what}", "", f"`{command}`, {datetime.date.today()}, {machine}, {versions}.", ""]


def table(*rows: list[str]) -> list[str]:
    first, *rest = rows
    return [f"| {' | '.join(row)} |" for row in (first, ["---"] * len(first), *rest)]


def dataset() -> th.data.Dataset:
    return th.data.load(f"npz:{FLAGS.data}" if FLAGS.data.endswith(".npz") else FLAGS.data)


def speed() -> list[str]:
    x, y = th.data.take(dataset().train, FLAGS.speed_images, SEED)
    rows = training_speed.rows((x, y), FLAGS.rounds)
    floors = [training_speed.CALLS, training_speed.GRAPH]
    return [
        *header("Speed of adversarial training"),
        f"PGD-{training_speed.STEPS} training on {len(y):,} MNIST images in batches of {training_speed.BATCH}; "
        f"{training_speed.network().count_params():,} parameters. Medians of {FLAGS.rounds}",
        "epochs, of ART 2 in turns of its own at the end, after one that compiles; the speed in that of each floor in",
        "the same turn.",
        "",
        *table(["trainer", "images/s", *(f"of {floor}" for floor in floors)], *rows),
        "",
    ]


def figures(name: str, recipe: Recipe, examples: Examples) -> dict:
    """Trains and attacks, unless that was done before by the same command."""
    folder = pathlib.Path(FLAGS.folder) / FLAGS.part
    folder.mkdir(parents=True, exist_ok=True)
    model, told = folder / f"{name}.keras", folder / f"{name}.json"
    if told.exists() and json.loads(told.read_text())["flags"] == list(recipe.flags):
        return json.loads(told.read_text())
    command = [f"--dataset={'npz:' * FLAGS.data.endswith('.npz')}{FLAGS.data}", f"--output={model}", "--overwrite"]
    if recipe.network == "wong":
        keras.utils.set_random_seed(recipe.seed)
        mnist_models.network(as_pytorch=True).save(folder / "wong.keras")
        command.append(f"--model={folder / 'wong.keras'}")
    tool = pathlib.Path(sys.executable).with_name("tfharden-harden")
    began = time.monotonic()
    subprocess.run([tool, *command, *recipe.flags], check=True)
    found = {"flags": list(recipe.flags), "minutes": (time.monotonic() - began) / 60}
    x, y = examples
    classifier = th.KerasClassifier(th.load_model(model))
    found |= {"parameters": classifier.model.count_params(), "clean": float(np.mean(classifier.predict(x) == y))}
    for attack in ATTACKS:
        result = attacks.get(attack, th.Linf(recipe.epsilon))(classifier, x, y)
        found[attack] = result.robust_accuracy
    files.write_text(told, json.dumps(found))
    return found


def methods() -> list[str]:
    """A row a recipe; recipes that differ by the seed alone share one."""
    x, y = th.data.take(dataset().test, FLAGS.images, SEED)
    recipes = RECIPES[FLAGS.part]
    rows, epsilon = [], next(iter(recipes.values())).epsilon
    for name, recipe in recipes.items():
        done = (pathlib.Path(FLAGS.folder) / FLAGS.part / f"{name}-0.json").exists()
        if not done and FLAGS.rows and name not in FLAGS.rows:
            continue
        found = [figures(f"{name}-{seed}", recipe.seeded(seed), (x, y)) for seed in range(recipe.seeds)]
        shares = [_spread([100 * each[figure] for each in found]) for figure in ("clean", *ATTACKS)]
        minutes = f"{statistics.mean(each['minutes'] for each in found):.1f}"
        rows.append([recipe.label, f"{found[0]['parameters']:,}", *shares, minutes])
        print(rows[-1], flush=True)
    return [
        *header(f"Adversarial training on {FLAGS.part}"),
        f"Linf {epsilon:g}, {len(y):,} test images; FGSM, PGD-40 and AutoAttack by their default settings, in percent.",
        "Several seeds: the mean, and the range. Minutes of the whole command, on the cores of this machine.",
        "",
        *table(["method", "parameters", "clean", "FGSM", "PGD-40", "AutoAttack", "minutes"], *rows),
        "",
        "Each row is `tfharden-harden` with",
        "",
        *(
            f"- {recipe.label}: `{' '.join(recipe.flags)}`"
            for recipe in recipes.values()
            if recipe.label in {row[0] for row in rows}
        ),
        "",
    ]


def _spread(values: list[float]) -> str:
    mean = f"{statistics.mean(values):.1f}"
    return mean if len(values) == 1 else f"{mean} ({min(values):.1f} to {max(values):.1f})"


def main(argv: list[str]) -> None:
    """One part, one table."""
    del argv
    lines = speed() if FLAGS.part == "speed" else methods()
    files.write_text(f"benchmarks/results/hardening_{FLAGS.part}.md", "\n".join(lines))
    print("\n".join(lines))


if __name__ == "__main__":
    app.run(main)
