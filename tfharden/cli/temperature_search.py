"""Choice of a temperature: short trainings, each measured on images that were held out."""

import json
import pathlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import keras
import matplotlib.figure
import numpy as np

import tfharden as th
from tfharden import _io, _text

# Steps of the PGD that held-out images are attacked with.
PGD_STEPS = 20


class Trial(NamedTuple):
    """Result of a short training at one temperature.

    Attributes:
        temperature: of the soft targets.
        clean: accuracy on held-out images.
        robust: accuracy on them under PGD.
    """

    temperature: float
    clean: float
    robust: float


def sweep(
    train: Callable[[float], keras.Model],
    temperatures: Sequence[float],
    held_out: th.data.Examples,
    threat: th.Threat,
    checkpoint: pathlib.Path,
) -> list[Trial]:
    """Trains a student at each temperature and measures it; trials that the checkpoint knows are not made again."""
    record = checkpoint / "temperatures.json"
    known = [Trial(*trial) for trial in json.loads(record.read_text())] if record.is_file() else []
    x, y = held_out
    for temperature in temperatures[len(known) :]:
        classifier = th.KerasClassifier(train(temperature), bounds=threat.bounds)
        robust = th.attacks.PGD(threat, steps=PGD_STEPS)(classifier, x, y).robust_accuracy
        known.append(Trial(temperature, float(np.mean(classifier.predict(x) == y)), float(robust)))
        _io.write_text(record, json.dumps(known))
    return known


def best(trials: Sequence[Trial], by: str) -> Trial:
    """The trial of the highest accuracy, "clean" or "robust"; among equals the other one decides."""
    other = "clean" if by == "robust" else "robust"
    return max(trials, key=lambda trial: (getattr(trial, by), getattr(trial, other)))


def table(trials: Sequence[Trial], chosen: Trial) -> str:
    """The trials as lines of text."""
    rows = [["temperature", "clean %", "robust %"]]
    rows += [[f"{trial.temperature:g}", f"{100 * trial.clean:.1f}", f"{100 * trial.robust:.1f}"] for trial in trials]
    lines = _text.aligned(rows, left=0).splitlines()
    lines[1 + trials.index(chosen)] += " <"
    return "\n".join(lines)


def draw(trials: Sequence[Trial], chosen: Trial, count: int, path: _io.Path) -> None:
    """Both accuracies over the temperature, with 95% intervals for `count` images, as PNG."""
    figure = matplotlib.figure.Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot(xlabel="temperature", ylabel="accuracy on held-out images, %", xscale="log")
    temperatures = [trial.temperature for trial in trials]
    for name in ("clean", "robust"):
        shares = np.array([getattr(trial, name) for trial in trials])
        spans = np.array([th.evaluation.wilson(round(share * count), count) for share in shares]).T
        axes.errorbar(
            temperatures, 100 * shares, 100 * np.abs(spans - shares), marker="o", capsize=3, label=name, linewidth=1.5
        )
    axes.axvline(chosen.temperature, color="grey", linestyle=":", label="chosen")
    axes.set_xticks(temperatures, [f"{temperature:g}" for temperature in temperatures])
    axes.minorticks_off()
    axes.margins(x=0.1)
    axes.legend()
    with _io.replacing(path) as beside:
        figure.savefig(beside, dpi=120)
