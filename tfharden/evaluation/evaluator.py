"""Evaluation: every model under every attack, counted on the model itself, as a report."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from tfharden import _io, data
from tfharden._text import versions
from tfharden.attacks import Attack
from tfharden.classifiers import Classifier
from tfharden.data.examples import Examples
from tfharden.evaluation import checks
from tfharden.evaluation.attack_run import AttackRun
from tfharden.evaluation.checks import CheckContext
from tfharden.evaluation.differential import differential
from tfharden.evaluation.model_facts import model_facts, twin_result
from tfharden.evaluation.plan import EvaluationPlan, ModelPlan, plan_evaluation
from tfharden.evaluation.probes.probe import ProbeContext, ProbeFinding
from tfharden.evaluation.probes.registry import KNOWN as KNOWN_PROBES
from tfharden.evaluation.report.panels import Fooling, Panel
from tfharden.evaluation.report.report import Report
from tfharden.evaluation.results import DataFacts, EvaluationResult, ModelResult, ThreatFacts, WorstCase
from tfharden.evaluation.statistics import share_interval
from tfharden.evaluation.transfer import Progress, transfer_matrix
from tfharden.threats import Threat

PACKAGES = ("tfharden", "tensorflow", "keras", "ai-edge-litert", "numpy")
# Examples that the report shows of each model, of different classes.
GALLERY_IMAGES = 10
# Images, clean and of each attack, on which a twin is compared with the interpreter.
VERIFIED_IMAGES = 32
# Adversarial images of each attack that are kept for checks. All images of all attacks would not fit into memory.
KEPT_IMAGES = 256
IMAGE_RANK = 4


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
    all attacks. A .tflite is attacked by the gradients of its twin, and counted on the interpreter; a model without
    gradients is attacked by transfer from `surrogate`.

    Args:
        models: Keras models, classifiers, paths of .keras and .tflite files.
        examples: images `[n, ...]` within the threat's bounds, and labels `[n]`.
        threat: the threat, restricted for each model to the inputs that it can receive.
        attacks: names, or attacks (with their own settings, under the same threat). Attacks of the same name are
            numbered in the report.
        transfer: an attack whose examples, made on each model, are tried on all others.
        probes: further measurements, any of "curve" (accuracy against epsilon), "confidence" (of right and wrong
            answers), "linearity", "fooling-gradient", "fooling-evolution". Models without gradients are left out of
            all but the last.
        surrogate: a differentiable model, for those that aren't; by default the last one in `models`.
        source: a differentiable model, of `models` or not, that the models come from: they are compared with it by all
            white-box attacks in a ball, and by DIVA.
        training: examples for attacks that are fitted before they attack, if they are given by name.
        data_name: what the report calls the examples.
        seed: of attacks given by name, and of probes.
        checkpoints: folder in which attacks keep checkpoints, so that an interrupted evaluation can be resumed. The
            caller removes it. None for no checkpoints.
        progress: is told the current task and the share of it that is done.

    Raises:
        InputError: nothing to evaluate, examples that don't fit, an unknown attack or probe, an attack that can't be
            run on a model.

    Example:
        report = th.evaluate(["model.keras", "model.tflite"], photos.test, th.Linf(8 / 255), probes=["curve"])
        report.save("report")
    """
    plan = plan_evaluation(
        models,
        examples,
        threat,
        attacks,
        transfer=transfer,
        probes=probes,
        surrogate=surrogate,
        source=source,
        training=training,
        seed=seed,
    )
    evaluation = _Evaluation(plan, seed, checkpoints, progress)
    evaluated = [evaluation.of_model(model) for model in plan.models]
    probed = [evaluation.by_probes(classifier, probes) for classifier in plan.classifiers]
    options: dict[str, Any] = {"checkpoint": checkpoints, "progress": progress}
    matrix = beside = None
    if plan.transfer is not None:
        matrix = transfer_matrix(plan.classifiers, plan.examples, plan.transfer, **options)
    if plan.source is not None:
        beside = differential(plan.source, plan.compared, plan.examples, threat, plan.ascents, seed=seed, **options)
    result = EvaluationResult(
        versions=versions(PACKAGES, python=True),
        seed=seed,
        data=DataFacts(name=data_name, num_examples=len(plan.examples[1]), sha256=data.sha256(plan.examples)),
        threat=ThreatFacts(norm=threat.norm, epsilon=threat.epsilon, bounds=threat.bounds, lattice=threat.lattice),
        models=tuple(
            dataclasses.replace(model, probes={name: finding.result for name, finding in findings.items()})
            for (model, _), findings in zip(evaluated, probed, strict=True)
        ),
        transfer=matrix,
        differential=beside,
    )
    if plan.examples[0].ndim != IMAGE_RANK:  # vectors can't be shown
        return Report(result)
    gallery = [panel for _, panel in evaluated if panel is not None]
    fooling = [
        Fooling(classifier.name, name, finding.images)
        for classifier, findings in zip(plan.classifiers, probed, strict=True)
        for name, finding in findings.items()
        if finding.images is not None
    ]
    return Report(result, gallery, fooling)


@dataclasses.dataclass(frozen=True, eq=False)
class _Evaluation:
    """An evaluation in progress."""

    plan: EvaluationPlan
    seed: int
    checkpoints: _io.Path | None
    progress: Progress

    def of_model(self, model: ModelPlan) -> tuple[ModelResult, Panel | None]:
        """One model under all its attacks, and the panel of its examples for the page."""
        classifier, (x, y) = model.classifier, self.plan.examples
        received = classifier.restrict_threat(self.plan.threat).received(x)
        clean = classifier.predict(received)
        right, chosen = clean == y, _one_of_each(y)
        runs, samples = [], {}
        for name, attack in model.attacks.items():
            with self._told(f"{classifier.name}: {name}") as tell:
                result = attack(classifier, x, y, progress=tell, checkpoint=self.checkpoints)
                samples[name] = result.adversarial[chosen]
                kept = dataclasses.replace(result, adversarial=result.adversarial[:KEPT_IMAGES].copy())
                runs.append(AttackRun(name, attack, kept))
        tried = [received[:VERIFIED_IMAGES], *(run.result.adversarial[:VERIFIED_IMAGES] for run in runs)]
        twin = twin_result(classifier, np.concatenate(tried))
        with self._told(f"{classifier.name}: checks") as tell:
            context = CheckContext.of(classifier, runs, (received, y), self.plan.threat, twin=twin, seed=self.seed)
            checked = checks.run(context, tell)
        survived = np.logical_and.reduce([~run.result.success for run in runs]) if runs else right
        found = ModelResult(
            **vars(model_facts(classifier, received)),
            clean_accuracy=float(right.mean()),
            clean_interval=share_interval(right),
            attacks=tuple(run.summary(right) for run in runs),
            worst_case=WorstCase(
                robust_accuracy=float(survived.mean()), interval=share_interval(survived), attacks=tuple(model.attacks)
            ),
            twin=twin,
            checks=tuple(checked),
        )
        if not runs:
            return found, None
        strongest = min(runs, key=lambda run: run.result.robust_accuracy).name
        adversarial = samples[strongest]
        predictions = clean[chosen], classifier.predict(adversarial)
        return found, Panel(classifier.name, strongest, received[chosen], adversarial, y[chosen], *predictions)

    def by_probes(self, classifier: Classifier, names: Sequence[str]) -> dict[str, ProbeFinding]:
        """Findings of the probes that apply to a model, by their names."""
        found = {}
        for name in names:
            probe = KNOWN_PROBES.find(name)
            if probe.applies(classifier):
                with self._told(f"{classifier.name}: {name}") as tell:
                    context = ProbeContext(classifier, self.plan.examples, self.plan.threat, self.seed, tell)
                    found[name] = probe.run(context)
        return found

    @contextlib.contextmanager
    def _told(self, label: str) -> Iterator[Callable[..., None]]:
        """Tells when a piece of work begins and ends. Yields a function that tells (done, total) of it in between."""
        self.progress(label, 0.0)
        # Less than 1, since an attack counts its successes once more after the search.
        yield lambda done, total=1: self.progress(label, 0.99 * done / total)
        self.progress(label, 1.0)


def _one_of_each(y: np.ndarray) -> np.ndarray:
    """Indices of the first example of each of the first classes."""
    _, first = np.unique(y, return_index=True)
    return first[:GALLERY_IMAGES]
