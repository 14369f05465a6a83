"""Evaluation: every model under every attack, counted on the model itself, told as a report."""

import dataclasses
import functools
import importlib.metadata
import platform
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tfharden import attacks as registry
from tfharden import data, files
from tfharden.attacks import Attack, AttackResult, Transfer
from tfharden.classifiers import Classifier, KerasClassifier, TFLiteClassifier, as_classifier
from tfharden.errors import InputError
from tfharden.evaluation import checks
from tfharden.evaluation.report import Panel, Report
from tfharden.evaluation.statistics import wilson
from tfharden.inputs import Examples, check_images, check_labels
from tfharden.threats import Threat

SCHEMA = "tfharden.report/1"
PACKAGES = ("tfharden", "tensorflow", "keras", "ai-edge-litert", "numpy")
# Examples that the report shows of each model: one of each class, as far as there are classes.
SHOWN = 10

Progress = Callable[[str, float], None]


def evaluate(
    models: Sequence[object],
    examples: Examples,
    threat: Threat,
    attacks: Sequence[str | Attack] = ("fgsm", "pgd", "pgd-margin", "square"),
    *,
    surrogate: object = None,
    data_name: str = "data",
    seed: int = 0,
    progress: Progress = lambda label, share: None,
) -> Report:
    """Attacks every model on the same examples.

    Robust accuracy is over all examples, so a clean error counts as an error; the worst case is for each example over
    all attacks. A white-box attack reaches a model without gradients, such as a .tflite, by transfer from `surrogate`.

    Args:
        models: Keras models, classifiers, paths of .keras and .tflite files.
        examples: images `[n, ...]` within the threat's bounds, and labels `[n]`.
        threat: what an adversary may do; each model meets it on the inputs that it can receive.
        attacks: names, or attacks (which bring their own settings and have to be under the same threat).
        surrogate: a differentiable model; by default the last one in `models`.
        data_name: what the report calls the examples.
        seed: of attacks given by name.
        progress: is told what goes on, and the share of it that is done.

    Raises:
        InputError: nothing to evaluate, examples that don't fit, an unknown attack, an attack that a model can't be
            reached by.
    """
    for name, given in (("models", models), ("attacks", attacks)):
        if not isinstance(given, list | tuple):
            raise InputError(f"{name} is a {type(given).__name__}: give a list of {name}, be it of one")
    if not models or not attacks:
        raise InputError("there is nothing to evaluate: give one model and one attack at least")
    chosen = [_attack(attack, threat, seed) for attack in attacks]
    classifiers = [as_classifier(model, threat.bounds) for model in models]
    source = _surrogate(surrogate, classifiers, threat)
    for classifier in classifiers if source is None else [*classifiers, source]:  # before any work is done
        x = check_images(examples[0], classifier.input_shape, threat.bounds)
        y = check_labels(examples[1], len(x), classifier.num_classes)
    examples = x, y
    plans = [(classifier, [_reaching(classifier, attack, source) for attack in chosen]) for classifier in classifiers]
    entries, panels = zip(*(_evaluate_one(*plan, examples, threat, progress) for plan in plans), strict=True)
    versions = {package: importlib.metadata.version(package) for package in PACKAGES}
    content = {
        "schema": SCHEMA,
        "versions": {"python": platform.python_version()} | versions,
        "seed": seed,
        "data": {"name": data_name, "num_examples": len(y), "sha256": data.sha256(examples)},
        "threat": {"norm": threat.norm} | dataclasses.asdict(threat),
        "models": list(entries),
        "transfer": {},
        "differential": {},
    }
    return Report(content, [panel for panel in panels if panel.clean.ndim == 4])  # noqa: PLR2004 - images


def _attack(attack: str | Attack, threat: Threat, seed: int) -> Attack:
    if isinstance(attack, str):
        return registry.fitting(attack, threat, {"seed": seed})
    if attack.threat != threat:
        raise InputError(f"{attack.name} is under {attack.threat}, the evaluation under {threat}: make them the same")
    return attack


def _surrogate(surrogate: object, classifiers: Sequence[Classifier], threat: Threat) -> Classifier | None:
    if surrogate is not None:
        source = as_classifier(surrogate, threat.bounds)
        if not source.differentiable:
            raise InputError(f"{source.name} gives no gradients to transfer: the surrogate has to be a Keras model")
        return source
    return next((classifier for classifier in reversed(classifiers) if classifier.differentiable), None)


def _reaching(classifier: Classifier, attack: Attack, source: Classifier | None) -> Attack:
    """The attack itself, or its transfer where the classifier gives no gradients."""
    if classifier.differentiable or attack.access != "white-box":
        return attack
    if source is None:
        raise InputError(
            f"{attack.name} needs gradients and {classifier.name} gives none: name a Keras model to transfer from "
            f"(--surrogate, surrogate=), or use square"
        )
    return Transfer(attack, source)


def _evaluate_one(
    classifier: Classifier, attacks: Sequence[Attack], examples: Examples, threat: Threat, progress: Progress
) -> tuple[dict[str, Any], Panel]:
    x, y = examples
    received = np.asarray(classifier.receive(threat).snap(x))
    clean = classifier.predict(received)
    right = clean == y
    results = []
    for attack in attacks:
        label = f"{classifier.name}: {attack.name}"
        progress(label, 0.0)
        # Short of 1.0, since successes are counted once more after the search.
        results.append(attack(classifier, x, y, progress=functools.partial(_tell, progress, label)))
        progress(label, 1.0)
    survived = np.logical_and.reduce([~result.success for result in results])
    strongest = min(results, key=lambda result: result.robust_accuracy)
    entry = _identity(classifier) | {
        "clean_accuracy": float(right.mean()),
        "clean_interval": _interval(right),
        "attacks": [_attack_entry(result, right) for result in results],
        "worst_case": {
            "robust_accuracy": float(survived.mean()),
            "interval": _interval(survived),
            "attacks": [result.name for result in results],
        },
        "checks": checks.run(classifier, results),
    }
    shown = _one_of_each(y)
    adversarial = strongest.adversarial[shown]
    panel = Panel(
        classifier.name,
        strongest.name,
        received[shown],
        adversarial,
        y[shown],
        clean[shown],
        classifier.predict(adversarial),
    )
    return entry, panel


def _tell(progress: Progress, label: str, done: int, total: int) -> None:
    progress(label, 0.99 * done / total)


def _attack_entry(result: AttackResult, right: np.ndarray) -> dict[str, Any]:
    """What report.json tells of one attack; rates and means are over the images that were right when clean."""
    attacked = right if right.any() else np.ones_like(right)
    return {
        "name": result.name,
        "access": result.access,
        "robust_accuracy": result.robust_accuracy,
        "interval": _interval(~result.success),
        "success_rate": float(result.success[right].mean()) if right.any() else None,
        "queries_mean": float(result.queries[attacked].mean()),
        "gradients_mean": float(result.gradients[attacked].mean()),
        "seconds": result.seconds,
        "parameters": result.parameters,
    }


def _identity(classifier: Classifier) -> dict[str, Any]:
    """What is known of the model and of the file that it came from."""
    about: dict[str, Any] = {"name": classifier.name, "path": None, "sha256": None, "bytes": None, "kernels": None}
    if isinstance(classifier, TFLiteClassifier):
        file = classifier.file
        kind = "float32" if file.input.dtype == np.float32 else file.input.dtype.name
        about |= {"path": str(file.path), "format": f"tflite-{kind}", "sha256": file.sha256, "bytes": len(file.content)}
        return about | {"parameters": file.parameters, "kernels": classifier.kernels}
    if isinstance(classifier, KerasClassifier):
        if classifier.path is not None:
            size = classifier.path.stat().st_size
            about |= {"path": str(classifier.path), "sha256": files.sha256(classifier.path), "bytes": size}
        return about | {"format": "keras", "parameters": classifier.model.count_params()}
    return about | {"format": "callable", "parameters": None}


def _interval(outcomes: np.ndarray) -> list[float]:
    return list(wilson(int(outcomes.sum()), len(outcomes)))


def _one_of_each(y: np.ndarray) -> np.ndarray:
    """Indices of the first example of each of the first classes."""
    _, first = np.unique(y, return_index=True)
    return first[:SHOWN]
