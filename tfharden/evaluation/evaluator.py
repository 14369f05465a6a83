"""Evaluation: every model under every attack, counted on the model itself, told as a report."""

import dataclasses
import functools
import importlib.metadata
import platform
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tfharden import _io, data
from tfharden import attacks as registry
from tfharden.attacks import Attack, AttackResult, Transfer
from tfharden.attacks.gradient.attack import GradientAttack
from tfharden.classifiers import Classifier, TFLiteClassifier, as_classifier
from tfharden.data.examples import Examples, check_images, check_labels
from tfharden.errors import InputError
from tfharden.evaluation import checks
from tfharden.evaluation.differential import comparable, differential
from tfharden.evaluation.entries import attack_entry, interval, model_entry, twin_entry
from tfharden.evaluation.names import distinct
from tfharden.evaluation.probes.registry import applies, check_probes, run_probe
from tfharden.evaluation.report.report import Fooling, Panel, Report
from tfharden.evaluation.transfer_matrix import can_run_on, sources_among, transfer_matrix
from tfharden.threats import Threat

SCHEMA = "tfharden.report/1"
PACKAGES = ("tfharden", "tensorflow", "keras", "ai-edge-litert", "numpy")
# Examples that the report shows of each model: one of each class, as far as there are classes.
SHOWN = 10
# Images, clean and of each attack, on which a twin is compared with the interpreter.
VERIFIED = 32
# Adversarial images of each attack that are kept for checks.
KEPT = 256

Progress = Callable[[str, float], None]
# A classifier, and what attacks it, by the names that the report has for the attacks.
Plan = tuple[Classifier, Mapping[str, Attack]]


def evaluate(
    models: Sequence[object],
    examples: Examples,
    threat: Threat,
    attacks: Sequence[str | Attack] = ("fgsm", "pgd", "pgd-margin", "square"),
    *,
    transfer: str | Attack | None = None,
    probes: Sequence[str] = (),
    surrogate: object = None,
    source: object = None,
    training: Examples | None = None,
    data_name: str = "data",
    seed: int = 0,
    checkpoints: _io.Path | None = None,
    progress: Progress = lambda label, share: None,
) -> Report:
    """Attacks every model on the same examples.

    Robust accuracy is over all examples, so a clean error counts as an error; the worst case is for each example over
    all attacks. A .tflite is climbed by the gradients of its twin, and counted on the interpreter; a model without
    gradients is reached by transfer from `surrogate`.

    Args:
        models: Keras models, classifiers, paths of .keras and .tflite files.
        examples: images `[n, ...]` within the threat's bounds, and labels `[n]`.
        threat: what an adversary may do; each model meets it on the inputs that it can receive.
        attacks: names, or attacks (which bring their own settings and have to be under the same threat); of several
            of one name the report numbers those after the first.
        transfer: an attack whose examples, made on each model, are tried on all the others.
        probes: what else to look at, any of "linearity", "fooling-gradient", "fooling-evolution"; models without
            gradients are left out of the first two.
        surrogate: a differentiable model, for those that aren't; by default the last one in `models`.
        source: a differentiable model, of `models` or not, that the models come from: they are compared with it by all
            white-box attacks in a ball, and by DIVA.
        training: examples for attacks that are fitted before they attack, if they are given by name.
        data_name: what the report calls the examples.
        seed: of attacks given by name.
        checkpoints: folder where attacks note what is done, so that the same evaluation goes on where it was killed; it
            stays until the caller removes it. None for none.
        progress: is told what goes on, and the share of it that is done.

    Raises:
        InputError: nothing to evaluate, examples that don't fit, an unknown attack or probe, an attack that a model
            can't be reached by.
    """
    for name, given in (("models", models), ("attacks", attacks), ("probes", probes)):
        if not isinstance(given, list | tuple):
            raise InputError(f"{name} is a {type(given).__name__}: give a list of {name}, be it of one")
    if not models or not (attacks or probes or transfer):
        raise InputError("there is nothing to evaluate: give one model and one attack at least")
    given = {"seed": seed, "examples": training}
    chosen = [_attack(attack, threat, given) for attack in attacks]
    spread = None if transfer is None else _attack(transfer, threat, given)
    classifiers = [as_classifier(model, threat.bounds) for model in models]
    substitute = _surrogate(surrogate, classifiers, threat)
    origin = None if source is None else as_classifier(source, threat.bounds)
    compared = [] if origin is None else comparable(origin, classifiers)
    others = [classifier for classifier in (substitute, origin) if classifier is not None]
    for classifier in [*classifiers, *others]:  # before any work is done
        x = check_images(examples[0], classifier.input_shape, threat.bounds)
        y = check_labels(examples[1], len(x), classifier.num_classes)
    examples = x, y
    check_probes(probes, classifiers, threat)
    if spread is not None:
        sources_among(classifiers, spread)
    names = distinct([attack.name for attack in chosen])
    plans = [
        (
            classifier,
            {name: _reaching(classifier, attack, substitute) for name, attack in zip(names, chosen, strict=True)},
        )
        for classifier in classifiers
    ]
    found = [_evaluate_one(*plan, examples, threat, seed, checkpoints, progress) for plan in plans]
    looks = [_probe(classifier, probes, examples, threat, seed, progress) for classifier in classifiers]
    told = {"checkpoint": checkpoints, "progress": progress}
    matrix = {} if spread is None else transfer_matrix(classifiers, examples, spread, **told).content
    beside = {}
    if origin is not None:
        climbing = [attack for attack in chosen if isinstance(attack, GradientAttack)]
        beside = differential(origin, compared, examples, threat, climbing, seed=seed, **told)
    versions = {package: importlib.metadata.version(package) for package in PACKAGES}
    content = {
        "schema": SCHEMA,
        "versions": {"python": platform.python_version()} | versions,
        "seed": seed,
        "data": {"name": data_name, "num_examples": len(y), "sha256": data.sha256(examples)},
        "threat": {"norm": threat.norm} | dataclasses.asdict(threat),
        "models": [entry | {"probes": told} for (entry, _), (told, _) in zip(found, looks, strict=True)],
        "transfer": matrix,
        "differential": beside,
    }
    if len(x.shape) != 4:  # noqa: PLR2004 - vectors can't be shown
        return Report(content)
    return Report(
        content, [panel for _, panel in found if panel is not None], [panel for _, made in looks for panel in made]
    )


def _attack(attack: str | Attack, threat: Threat, settings: Mapping[str, Any]) -> Attack:
    if isinstance(attack, str):
        named = registry.fitting(attack, threat, settings)
        if getattr(named, "examples", ()) is None:
            raise InputError(f"{attack} is fitted before it attacks: give the examples for that (training=)")
        return named
    if attack.threat != threat:
        raise InputError(f"{attack.name} is under {attack.threat}, the evaluation under {threat}: make them the same")
    return attack


def _surrogate(surrogate: object, classifiers: Sequence[Classifier], threat: Threat) -> Classifier | None:
    if surrogate is not None:
        source = as_classifier(surrogate, threat.bounds)
        if not source.differentiable:
            raise InputError(f"{source.name} gives no gradients to transfer: give a Keras model as surrogate")
        return source
    return next((classifier for classifier in reversed(classifiers) if classifier.differentiable), None)


def _reaching(classifier: Classifier, attack: Attack, source: Classifier | None) -> Attack:
    """The attack itself, or its transfer where the classifier gives no gradients."""
    if can_run_on(attack, classifier):
        return attack
    if source is None:
        why = f" ({classifier.opaque})" if isinstance(classifier, TFLiteClassifier) else ""
        raise InputError(
            f"{attack.name} needs gradients and {classifier.name} gives none{why}: name a Keras model to transfer from "
            f"(--surrogate, surrogate=), or use square"
        )
    return Transfer(attack, source)


def _evaluate_one(
    classifier: Classifier,
    attacks: Mapping[str, Attack],
    examples: Examples,
    threat: Threat,
    seed: int,
    checkpoint: _io.Path | None,
    progress: Progress,
) -> tuple[dict[str, Any], Panel | None]:
    x, y = examples
    received = np.asarray(classifier.restrict_threat(threat).round_to_lattice(x))
    clean = classifier.predict(received)
    right = clean == y
    shown = _one_of_each(y)
    results, samples = {}, {}
    for name, attack in attacks.items():
        label = f"{classifier.name}: {name}"
        progress(label, 0.0)
        # Short of 1.0, since successes are counted once more after the search.
        tell = functools.partial(_tell, progress, label)
        results[name], samples[name] = _leaner(attack(classifier, x, y, progress=tell, checkpoint=checkpoint), shown)
        progress(label, 1.0)
    tried = [received[:VERIFIED], *(result.adversarial[:VERIFIED] for result in results.values())]
    twin = twin_entry(classifier, np.concatenate(tried))
    survived = np.logical_and.reduce([~result.success for result in results.values()]) if results else right
    entry = model_entry(classifier, received) | {
        "clean_accuracy": float(right.mean()),
        "clean_interval": interval(right),
        "attacks": [attack_entry(name, result, right) for name, result in results.items()],
        "worst_case": {
            "robust_accuracy": float(survived.mean()),
            "interval": interval(survived),
            "attacks": list(results),
        },
        "twin": twin,
        "checks": _checked(classifier, list(results.values()), twin, (received, y), threat, seed, progress),
    }
    if not results:
        return entry, None
    strongest = min(results, key=lambda name: results[name].robust_accuracy)
    predicted = classifier.predict(samples[strongest])
    images = received[shown], samples[strongest]
    return entry, Panel(classifier.name, strongest, *images, y[shown], clean[shown], predicted)


def _leaner(result: AttackResult, shown: np.ndarray) -> tuple[AttackResult, np.ndarray]:
    """The result with some of its images, and those at `shown`: all images of all attacks would outgrow the memory."""
    return dataclasses.replace(result, adversarial=result.adversarial[:KEPT].copy()), result.adversarial[shown]


def _checked(
    classifier: Classifier,
    results: Sequence[AttackResult],
    twin: Mapping[str, Any] | None,
    examples: Examples,
    threat: Threat,
    seed: int,
    progress: Progress,
) -> list[dict[str, str]]:
    label = f"{classifier.name}: checks"
    progress(label, 0.0)
    tell = functools.partial(_tell, progress, label)
    found = checks.run(classifier, results, twin, examples, threat, seed=seed, progress=tell)
    progress(label, 1.0)
    return found


def _probe(
    classifier: Classifier, names: Sequence[str], examples: Examples, threat: Threat, seed: int, progress: Progress
) -> tuple[dict[str, Any], list[Fooling]]:
    """What the probes that apply to the classifier tell of it, and the images that they made."""
    told, made = {}, []
    for name in names:
        if applies(name, classifier):
            label = f"{classifier.name}: {name}"
            progress(label, 0.0)
            tell = functools.partial(_tell, progress, label, total=1)
            told[name], images = run_probe(name, classifier, examples, threat, seed, tell)
            progress(label, 1.0)
            made += [Fooling(classifier.name, name, images)] if images is not None else []
    return told, made


def _tell(progress: Progress, label: str, done: float, total: int) -> None:
    progress(label, 0.99 * done / total)


def _one_of_each(y: np.ndarray) -> np.ndarray:
    """Indices of the first example of each of the first classes."""
    _, first = np.unique(y, return_index=True)
    return first[:SHOWN]
