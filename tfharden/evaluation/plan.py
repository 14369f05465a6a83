"""Plan of an evaluation: everything that was asked for, checked before any work is done."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from tfharden import attacks as attack_registry
from tfharden.attacks import Attack, GradientAttack, Transfer
from tfharden.classifiers import Classifier, TFLiteClassifier, as_classifier
from tfharden.data.examples import Examples, check_images, check_labels
from tfharden.errors import InputError
from tfharden.evaluation.differential import comparable
from tfharden.evaluation.names import distinct
from tfharden.evaluation.probes.registry import check_probes
from tfharden.evaluation.transfer import can_run_on, sources_among
from tfharden.threats import Threat


@dataclasses.dataclass(frozen=True, eq=False)
class ModelPlan:
    """A model, and what attacks it.

    Attributes:
        classifier: the model.
        attacks: by the names that the report has for them.
    """

    classifier: Classifier
    attacks: Mapping[str, Attack]


@dataclasses.dataclass(frozen=True, eq=False)
class EvaluationPlan:
    """What an evaluation does.

    Attributes:
        models: the models, each with its attacks.
        examples: images and labels.
        threat: what an adversary may do.
        ascents: the attacks by gradient ascent, which models are compared with their source by.
        transfer: what is run on each model and tried on the others, if anything is.
        source: what the models were made from, if they are compared with it.
        compared: the models that are.
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
    """The plan of what `evaluate` was asked for, by its arguments.

    Raises:
        InputError: as `evaluate` says.
    """
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
    planned = [
        ModelPlan(
            classifier,
            {name: _reaching(classifier, attack, substitute) for name, attack in zip(names, chosen, strict=True)},
        )
        for classifier in classifiers
    ]
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
    """What examples are transferred from: the model that was named, or else the last that gives gradients."""
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
