"""Plan of an evaluation: its models, attacks and probes, checked before any work is done."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from tfharden import attacks as attack_registry
from tfharden.attacks import Attack, GradientAttack, Transfer
from tfharden.classifiers import Classifier, TFLiteClassifier, as_classifier
from tfharden.data.examples import Examples, check_images, check_labels
from tfharden.errors import InputError
from tfharden.evaluation.differential import comparable
from tfharden.evaluation.formats import distinct
from tfharden.evaluation.probes.registry import check_probes
from tfharden.evaluation.transfer import can_run_on, sources_among
from tfharden.threats import Threat


@dataclasses.dataclass(frozen=True, eq=False)
class ModelPlan:
    """A model and its attacks, by their names in the report."""

    classifier: Classifier
    attacks: Mapping[str, Attack]


@dataclasses.dataclass(frozen=True, eq=False)
class EvaluationPlan:
    """Models with their attacks, and what else is evaluated.

    Attributes:
        models: the models, each with its attacks.
        examples: images and labels.
        threat: the threat of the evaluation.
        ascents: the attacks by gradient ascent, which the comparison with the source uses.
        transfer: the attack of the transfer matrix, if one was asked for.
        source: the model that the others were made from, if they are compared with it.
        compared: the models that are compared with the source.
    """

    models: Sequence[ModelPlan]
    examples: Examples
    threat: Threat
    ascents: Sequence[GradientAttack]
    transfer: Attack | None
    source: Classifier | None
    compared: Sequence[Classifier]

    @property
    def classifiers(self) -> list[Classifier]:
        """The models."""
        return [model.classifier for model in self.models]


def plan_evaluation(
    models: Sequence[object],
    examples: Examples,
    threat: Threat,
    attacks: Sequence[str | Attack],
    *,
    transfer: str | Attack | None,
    probes: Sequence[str],
    surrogate: object,
    source: object,
    training: Examples | None,
    seed: int,
) -> EvaluationPlan:
    """The plan for the arguments of `evaluate`, with the same errors."""
    for name, given in (("models", models), ("attacks", attacks), ("probes", probes)):
        if not isinstance(given, list | tuple):
            raise InputError(f"{name} is a {type(given).__name__}: give a list of {name}, be it of one")
    if not models or not (attacks or probes or transfer):
        raise InputError("there is nothing to evaluate: give one model and one attack at least")
    settings = {"seed": seed, "examples": training}
    chosen = [_chosen(attack, threat, settings) for attack in attacks]
    spread = None if transfer is None else _chosen(transfer, threat, settings)
    classifiers = [as_classifier(model, threat.bounds) for model in models]
    substitute = _surrogate(surrogate, classifiers, threat)
    origin = None if source is None else as_classifier(source, threat.bounds)
    compared = [] if origin is None else comparable(origin, classifiers)
    for classifier in [*classifiers, *filter(None, (substitute, origin))]:
        x = check_images(examples[0], classifier.input_shape, threat.bounds)
        y = check_labels(examples[1], len(x), classifier.num_classes)
    check_probes(probes, classifiers, threat)
    if spread is not None:
        sources_among(classifiers, spread)
    names = distinct([attack.name for attack in chosen])
    planned = []
    for classifier in classifiers:
        reaching = [_reaching(classifier, attack, substitute) for attack in chosen]
        planned.append(ModelPlan(classifier, dict(zip(names, reaching, strict=True))))
    ascents = [attack for attack in chosen if isinstance(attack, GradientAttack)]
    return EvaluationPlan(planned, (x, y), threat, ascents, spread, origin, compared)


def _chosen(attack: str | Attack, threat: Threat, settings: Mapping[str, Any]) -> Attack:
    if isinstance(attack, str):
        named = attack_registry.fitting(attack, threat, settings)
        if getattr(named, "examples", ()) is None:
            raise InputError(f"{attack} is fitted before it attacks: give the examples for that (training=)")
        return named
    if attack.threat != threat:
        raise InputError(f"{attack.name} is under {attack.threat}, the evaluation under {threat}: make them the same")
    return attack


def _surrogate(surrogate: object, classifiers: Sequence[Classifier], threat: Threat) -> Classifier | None:
    """The model that examples are transferred from: the given one, or else the last that gives gradients."""
    if surrogate is not None:
        chosen = as_classifier(surrogate, threat.bounds)
        if not chosen.differentiable:
            raise InputError(f"{chosen.name} gives no gradients to transfer: give a Keras model as surrogate")
        return chosen
    return next((classifier for classifier in reversed(classifiers) if classifier.differentiable), None)


def _reaching(classifier: Classifier, attack: Attack, surrogate: Classifier | None) -> Attack:
    """The attack itself, or its transfer where the classifier gives no gradients."""
    if can_run_on(attack, classifier):
        return attack
    if surrogate is None:
        why = f" ({classifier.opaque})" if isinstance(classifier, TFLiteClassifier) else ""
        raise InputError(
            f"{attack.name} needs gradients and {classifier.name} gives none{why}: name a Keras model to transfer from "
            f"(--surrogate, surrogate=), or use square"
        )
    return Transfer(attack, surrogate)
