"""Attacks against their peers, on MNIST: speed, strength, AutoAttack and memory, in one run.

    python -m benchmarks.attacks --data=MNIST.npz [--autoattack=CHECKOUT]

Peers are those of the extra `bench`; the original AutoAttack is not on PyPI, so a checkout of it is named. Writes
benchmarks/results/attacks.md. The two networks are trained at the first run and kept in saved_models/benchmark/.
"""

import datetime
import functools
import importlib.metadata
import os
import pathlib
import platform
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
import torch
from absl import app, flags

import tfharden as th
from benchmarks.attacks import peers
from benchmarks.attacks.torch_twin import torch_twin
from benchmarks.common import mnist_models
from tfharden import _io, attacks, losses
from tfharden.data.examples import Examples

FLAGS = flags.FLAGS
flags.DEFINE_string("data", None, "MNIST as an .npz with x_train, y_train, x_test, y_test.", required=True)
flags.DEFINE_string("autoattack", None, "Folder of a checkout of the original AutoAttack; left out if not given.")
flags.DEFINE_integer("images", 1000, "Test images.")
flags.DEFINE_integer("rounds", 5, "Repetitions of a timing; medians are told.")
flags.DEFINE_string("models", "saved_models/benchmark", "Folder where the two networks are kept.")
flags.DEFINE_string("output", "benchmarks/results/attacks.md", "Where the tables go.")
flags.DEFINE_integer("memory_of", None, "Attacks so many images and prints the peak of memory: for the run itself.")

EPSILON = mnist_models.EPSILON
STEPS, STEP_SIZE, RESTARTS = 40, 0.02, 10
PACKAGES = ("tfharden", "tensorflow", "keras", "torch", "foolbox", "adversarial-robustness-toolbox", "cleverhans",
            "torchattacks")  # fmt: skip
Row = list[str]
CALLS, LOOP = "bare gradients, a call each", "bare gradients, in one loop"
PLAIN, XLA = "bare steps, in one loop", "bare steps, by XLA"


def floors(classifier: th.Classifier) -> dict[str, Callable[[np.ndarray, np.ndarray], None]]:
    """What no PGD can be faster than: its gradients of the cross entropy, and its steps without any book-keeping."""

    def gradient(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(x)
            values = losses.cross_entropy(classifier.logits_fn(x), y)
        return tape.gradient(values, x)

    def loop(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        settings = {"maximum_iterations": STEPS, "parallel_iterations": 1}
        return tf.while_loop(lambda _: True, lambda _: (gradient(x, y),), (tf.zeros_like(x),), **settings)[0]

    def steps(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        low, high = tf.maximum(x - EPSILON, 0.0), tf.minimum(x + EPSILON, 1.0)

        def step(moved: tf.Tensor) -> tuple[tf.Tensor]:
            return (tf.clip_by_value(moved + STEP_SIZE * tf.sign(gradient(moved, y)), low, high),)

        return tf.while_loop(lambda _: True, step, (x,), maximum_iterations=STEPS)[0]

    def in_batches(run: Callable[..., tf.Tensor], times: int, x: np.ndarray, y: np.ndarray) -> None:
        for first in range(0, len(x), 256):
            batch = tf.constant(x[first : first + 256]), tf.constant(y[first : first + 256])
            for _ in range(times):
                found = run(*batch)
            found.numpy()

    signature = [tf.TensorSpec([None, 28, 28, 1]), tf.TensorSpec([None], tf.int64)]
    kinds = {CALLS: (gradient, STEPS, False), LOOP: (loop, 1, False), PLAIN: (steps, 1, False), XLA: (steps, 1, True)}
    return {
        label: functools.partial(
            in_batches, tf.function(run, input_signature=signature, autograph=False, jit_compile=xla), times
        )
        for label, (run, times, xla) in kinds.items()
    }


def speed(models: dict[str, keras.Model], examples: Examples) -> list[Row]:
    """PGD-40 by every library, in turns, against the floor of the same turn."""
    x, y = examples
    threat = th.Linf(EPSILON)
    rows = []
    for name, model in models.items():
        classifier, twin = th.KerasClassifier(model), torch_twin(model)
        pgd = attacks.PGD(threat, steps=STEPS, step_size=STEP_SIZE)
        every = functools.partial(attacks.PGD(threat, steps=STEPS, step_size=STEP_SIZE, early_exit=False), classifier)
        budget = {"steps": STEPS, "step_size": STEP_SIZE}
        runs: dict[str, Callable[[], object]] = {
            **{label: functools.partial(run, x, y) for label, run in floors(classifier).items()},
            "tfharden, all steps": lambda every=every: every(x, y).adversarial,
            "tfharden, early exit": lambda classifier=classifier, pgd=pgd: pgd(classifier, x, y).adversarial,
            "CleverHans": functools.partial(peers.cleverhans_pgd, model, x, y, EPSILON, **budget),
            "Foolbox": functools.partial(peers.foolbox_pgd, model, x, y, EPSILON, **budget),
            "ART": functools.partial(peers.art_pgd, model, x, y, EPSILON, **budget),
            "torchattacks (PyTorch)": functools.partial(peers.torchattacks_pgd, twin, x, y, EPSILON, **budget),
        }
        found = {label: run() for label, run in runs.items()}  # compiles, and says what the attack is worth
        seconds: dict[str, list[float]] = {label: [] for label in runs}
        for _ in range(FLAGS.rounds):
            for label, run in runs.items():
                seconds[label].append(_seconds(run))
        for label, times in seconds.items():
            ratios = [
                f"{statistics.median(spent / base for spent, base in zip(times, seconds[floor], strict=True)):.2f}"
                for floor in (CALLS, LOOP)
            ]
            robust = ""
            if label not in (CALLS, LOOP, PLAIN, XLA):
                robust = f"{100 * peers.verdict(model, x, found[label], y, EPSILON)[0]:.1f}"
            rows.append([name, label, f"{statistics.median(times):.2f}", *ratios, robust])
            print(rows[-1], flush=True)
    return rows


def cascade(models: dict[str, keras.Model], examples: Examples) -> list[Row]:
    """AutoAttack, ours and the original, member by member."""
    x, y = examples
    rows = []
    for name, model in models.items():
        result = attacks.AutoAttack(th.Linf(EPSILON))(th.KerasClassifier(model), x, y)
        left = [float(np.mean(model.predict(x, batch_size=1000, verbose=0).argmax(1) == y))]
        for stage in result.stages:
            left.append(left[-1] - stage.succeeded / len(x))
        ours = {stage.name: (share, stage.seconds) for stage, share in zip(result.stages, left[1:], strict=True)}
        ours["all"] = (result.robust_accuracy, result.seconds)
        restarted = attacks.PGD(th.Linf(EPSILON), steps=STEPS, step_size=STEP_SIZE, restarts=RESTARTS)
        pgd = restarted(th.KerasClassifier(model), x, y)
        ours[f"PGD-{STEPS} x {RESTARTS}"] = (pgd.robust_accuracy, pgd.seconds)
        theirs: dict[str, tuple[float, float]] = {}
        if FLAGS.autoattack:
            seconds, robust = {}, {}
            peers.autoattack(torch_twin(model), x, y, EPSILON, seconds=seconds, robust=robust)
            theirs = {member: (robust[member], seconds[member]) for member in seconds}
            theirs["all"] = (min(robust.values()), sum(seconds.values()))
        names = dict(zip(("apgd-ce", "apgd-dlr-t", "fab-t", "square", "all"), (*peers.STANDARD, "all"), strict=True))
        names[f"PGD-{STEPS} x {RESTARTS}"] = ""
        for ours_name, theirs_name in names.items():
            row = [name, ours_name]
            for entry in (ours.get(ours_name), theirs.get(theirs_name)):
                row += [f"{100 * entry[0]:.1f}", f"{entry[1]:.1f}"] if entry else ["", ""]
            comparable = ours_name in ours and theirs_name in theirs
            ratio = ours[ours_name][1] / theirs[theirs_name][1] if comparable else None
            rows.append([*row, f"{ratio:.2f}" if ratio else ""])
            print(rows[-1], flush=True)
    return rows


def members(models: dict[str, keras.Model], examples: Examples) -> list[Row]:
    """Each attack alone and its counterpart at the same budget."""
    x, y = (part[::5] for part in examples)  # they are in the order of their classes
    threat, l2 = th.Linf(EPSILON), th.L2(1.5)
    model = models["hardened"]
    twin, classifier = torch_twin(model), th.KerasClassifier(model)
    original = peers.autoattack if FLAGS.autoattack else None
    pgd, square = attacks.PGD(threat, steps=40, step_size=0.02), attacks.Square(threat, queries=5000, stretch=False)
    apgd, apgd_t, fab_t = (attacks.get(name, threat) for name in ("apgd-ce", "apgd-dlr-t", "fab-t"))
    pairs: list[tuple[attacks.Attack, str, Callable[..., np.ndarray] | None, object, dict[str, object]]] = [
        (pgd, "Foolbox PGD", peers.foolbox_pgd, model, {}),
        (pgd, "ART PGD", peers.art_pgd, model, {}),
        (pgd, "CleverHans PGD", peers.cleverhans_pgd, model, {}),
        (apgd, "torchattacks APGD", peers.torchattacks_apgd, twin, {}),
        (apgd_t, "torchattacks APGDT", peers.torchattacks_apgdt, twin, {}),
        (fab_t, "torchattacks FAB-T", peers.torchattacks_fab, twin, {"targeted": True}),
        (square, "torchattacks Square", peers.torchattacks_square, twin, {}),
        (apgd, "original APGD-CE", original, twin, {"members": ("apgd-ce",)}),
        (attacks.APGDDLR(threat), "original APGD-DLR", original, twin, {"members": ("apgd-dlr",)}),
        (apgd_t, "original APGD-T", original, twin, {"members": ("apgd-t",)}),
        (attacks.FAB(threat), "original FAB", original, twin, {"members": ("fab",)}),
        (fab_t, "original FAB-T", original, twin, {"members": ("fab-t",)}),
        (square, "original Square", original, twin, {"members": ("square",)}),
        (attacks.DeepFool(threat), "Foolbox DeepFool", peers.foolbox_deepfool, model, {}),
        (attacks.DeepFool(l2), "Foolbox DeepFool", peers.foolbox_deepfool, model, {"norm": "L2"}),
        (attacks.CarliniWagner(l2), "Foolbox CW", peers.foolbox_cw, model, {}),
        (attacks.HopSkipJump(l2, queries=1000), "Foolbox HopSkipJump", peers.foolbox_hop_skip_jump, model, {}),
    ]
    rows = []
    for attack, label, peer, on, settings in pairs:
        if peer is None:
            continue
        norm, radius = attack.threat.norm, attack.threat.epsilon
        began = time.perf_counter()
        theirs = peers.verdict(model, x, peer(on, x, y, radius, **settings), y, radius, norm)[0]
        spent = time.perf_counter() - began
        result = attack(classifier, x, y)
        numbers = [100 * result.robust_accuracy, result.seconds, 100 * theirs, spent]
        rows.append([attack.name, label, f"{norm} {radius:g}", *(f"{number:.1f}" for number in numbers)])
        print(rows[-1], flush=True)
    return rows


def memory() -> list[Row]:
    """Peak of memory of processes that attack more and more images."""
    rows = []
    for count in (1000, 10_000):
        command = [
            sys.executable,
            "-m",
            "benchmarks.attacks",
            f"--data={FLAGS.data}",
            f"--models={FLAGS.models}",
            f"--memory_of={count}",
        ]
        peak = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1]
        rows.append([str(count), peak])
        print(rows[-1], flush=True)
    return rows


def peak_of(count: int, data: th.data.Dataset, models: dict[str, keras.Model]) -> float:
    """Mebibytes that this process had at most, once it has attacked `count` images in several ways."""
    x, y = mnist_models.test_images(data, count)
    classifier = th.KerasClassifier(models["hardened"])
    for name, settings in (("pgd", {"steps": 10}), ("apgd-dlr-t", {"steps": 5}), ("fab", {"steps": 3}),
                           ("square", {"queries": 50})):  # fmt: skip
        attacks.get(name, th.Linf(EPSILON), **settings)(classifier, x, y)
    # Not ru_maxrss, which a child process takes over from its parent.
    (peak,) = re.findall(r"VmHWM:\s*(\d+) kB", pathlib.Path("/proc/self/status").read_text())
    return int(peak) / 1024


def _seconds(run: Callable[[], object]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def table(header: str, rows: list[Row]) -> str:
    """A Markdown table; the header's cells are separated by bars."""
    cells = header.split("|")
    lines = [cells, ["---"] * len(cells), *rows]
    return "\n".join("| " + " | ".join(cell.strip() for cell in line) + " |" for line in lines)


def main(_: list[str]) -> None:
    data = th.data.load(f"npz:{FLAGS.data}")
    models = mnist_models.load_or_train(pathlib.Path(FLAGS.models), data)
    if FLAGS.memory_of:
        print(f"{peak_of(FLAGS.memory_of, data, models):.0f}")
        return
    if FLAGS.autoattack:
        sys.path.insert(0, FLAGS.autoattack)
    torch.set_num_threads(os.cpu_count() or 1)
    examples = mnist_models.test_images(data, FLAGS.images)
    versions = ", ".join(f"{package} {importlib.metadata.version(package)}" for package in PACKAGES)
    began = time.monotonic()
    original = " --autoattack=CHECKOUT" if FLAGS.autoattack else ""
    accuracy = {
        name: np.mean(th.KerasClassifier(model).predict(examples[0]) == examples[1]) for name, model in models.items()
    }
    clean = {name: f"{100 * share:.1f}%" for name, share in accuracy.items()}
    parameters = models["natural"].count_params()
    text = f"""# Attacks and their peers

`python -m benchmarks.attacks --data=MNIST.npz{original}`, {datetime.date.today()}, {os.cpu_count()} cores,
{platform.platform(terse=True)}, {versions}.

MNIST, {FLAGS.images} test images, Linf {EPSILON}, seed 0. Network of Wong et al. (2020), {parameters:,} parameters:
natural ({clean["natural"]} clean) and trained by PGD-{mnist_models.STEPS} ({clean["hardened"]} clean).

## Speed: PGD-{STEPS}, step {STEP_SIZE}

Medians of {FLAGS.rounds} turns; ratios are those to the {STEPS} bare gradients of the same turn: a compiled call each,
and all in one compiled loop. Compiling is done before. Bare steps start at the clean image and judge nothing; compiled
by XLA they are slower on this processor, so tfharden leaves XLA alone.

{table("model | library | seconds | of calls | of the loop | robust %", speed(models, examples))}

## AutoAttack, standard version

Robust accuracy after each member, and its seconds; compiling is part of them. Below, PGD-{STEPS} with {RESTARTS}
restarts. Two halves of the images in two threads took 0.96 (PGD), 0.90 (APGD), 1.12 (FAB) and 0.86 (Square) of the time
of one after the other when it was tried by hand: too little for what it would ask of models that aren't thread-safe.

{table("model | member | tfharden % | s | original % | s | time ratio", cascade(models, examples))}

## Each attack alone, on every fifth image and the hardened network

Foolbox's HopSkipJump divides the normals of a whole batch by their common length, which costs it most of its strength
in large ones. Tried by hand on 25 of these images, one at a time, it leaves 88.0% and tfharden 84.0%.

{table("attack | counterpart | threat | tfharden % | s | counterpart % | s", members(models, examples))}

## Memory

Peak of a process that runs PGD, targeted APGD, FAB and Square. Images as given, as received and as attacked are held
for as long as an attack runs: 27 MiB each for 9,000 more.

{table("images | MiB", memory())}

The whole run took {(time.monotonic() - began) / 60:.0f} minutes.
"""
    _io.write_text(FLAGS.output, text)
    print(text)


if __name__ == "__main__":
    app.run(main)
