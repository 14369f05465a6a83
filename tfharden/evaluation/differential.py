"""Comparison of models with their source: transfer between the two, and examples that fool one of them alone."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from tfharden import _io
from tfharden.attacks import DIVA, Attack, Transfer
from tfharden.classifiers import Classifier, TFLiteClassifier
from tfharden.data.examples import Examples
from tfharden.errors import InputError
from tfharden.evaluation.formats import distinct
from tfharden.evaluation.results import ComparedModel, DifferentialAttack, DifferentialResult
from tfharden.evaluation.statistics import share_interval
from tfharden.evaluation.transfer import Progress, check_same_task
from tfharden.tflite import KERNELS
from tfharden.threats import Threat

# Epsilons of the attacks, as shares of the threat's.
EPSILON_SHARES = (0.25, 0.5, 1.0)


def differential(
    source: Classifier,
    models: Sequence[Classifier],
    examples: Examples,
    threat: Threat,
    attacks: Sequence[Attack],
    *,
    seed: int = 0,
    checkpoint: _io.Path | None = None,
    progress: Progress = lambda label, share: None,
) -> DifferentialResult:
    """Compares models with the one that they were made from.

    An example is evasive if the model errs on it and the source is right. Tests of the source alone do not show it. DIVA
    (Hao et al. 2022, arXiv:2204.10933) searches for such examples. Attacks on the model alone find some of them.

    Args:
        source: differentiable.
        models: differentiable, such as files exported from it.
        examples: images `[n, ...]` and labels `[n]`.
        threat: the largest; smaller ones are tried too (`EPSILON_SHARES`).
        attacks: of white-box access.
        seed: of DIVA.
        checkpoint: folder in which attacks keep checkpoints.
        progress: is told what goes on, and the share of it that is done.
    """
    names = distinct([model.name for model in models])
    chosen = [*attacks, DIVA(threat, source, seed=seed)]
    compared = [
        _compared(name, source, model, examples, threat, chosen, checkpoint, progress)
        for name, model in zip(names, models, strict=True)
    ]
    return DifferentialResult(source=source.name, models=tuple(compared))


def comparable(source: Classifier, classifiers: Sequence[Classifier]) -> list[Classifier]:
    """The classifiers to compare with the source: all but itself.

    Raises:
        InputError: none is left, one has no gradients, or has other images or classes than the source.
    """
    chosen = [model for model in classifiers if model.fingerprint() != source.fingerprint()]
    if not chosen:
        raise InputError(f"there is nothing to compare {source.name} with: name a model that was made from it")
    for model in [source, *chosen]:
        check_same_task(model, source, "they can't be compared")
        if not model.differentiable:
            raise InputError(f"{model.name} gives no gradients, which a comparison with its source needs")
    return chosen


def _compared(
    name: str,
    source: Classifier,
    model: Classifier,
    examples: Examples,
    threat: Threat,
    attacks: Sequence[Attack],
    checkpoint: _io.Path | None,
    progress: Progress,
) -> ComparedModel:
    x, y = examples
    received = model.restrict_threat(threat).received(x)
    others = _on_other_kernels(model)
    rows, label = [], f"{model.name} against {source.name}"
    pairs = list(itertools.product(attacks, EPSILON_SHARES))
    for done, (attack, share) in enumerate(pairs):
        progress(label, done / len(pairs))
        scaled = attack.with_threat(threat.scaled(share))
        result = scaled(model, x, y, checkpoint=checkpoint)
        # DIVA attacks both models at once.
        crossed = _NOT_CROSSED if isinstance(attack, DIVA) else _crossed(scaled, source, model, examples, checkpoint)
        rows.append(
            DifferentialAttack(
                attack=attack.name,
                epsilon=scaled.threat.epsilon,
                robust_accuracy=result.robust_accuracy,
                **crossed,
                **_evasion(source, model, result.adversarial, y),
                kernels=_disagreement(others, model, result.adversarial),
                parameters=result.parameters,
            )
        )
    progress(label, 1.0)
    return ComparedModel(
        name=name,
        accuracy=float(np.mean(model.predict(received) == y)),
        source_accuracy=float(np.mean(source.predict(received) == y)),
        **_evasion(source, model, received, y),
        kernels=_disagreement(others, model, received),
        attacks=tuple(rows),
    )


_NOT_CROSSED = dict.fromkeys(("source_robust_accuracy", "from_source", "to_source"))


def _crossed(
    attack: Attack, source: Classifier, model: Classifier, examples: Examples, checkpoint: _io.Path | None
) -> dict[str, float]:
    return {
        "source_robust_accuracy": attack(source, *examples, checkpoint=checkpoint).robust_accuracy,
        "from_source": Transfer(attack, source)(model, *examples, checkpoint=checkpoint).robust_accuracy,
        "to_source": Transfer(attack, model)(source, *examples, checkpoint=checkpoint).robust_accuracy,
    }


def _evasion(source: Classifier, model: Classifier, images: np.ndarray, y: np.ndarray) -> dict[str, Any]:
    evaded = (model.predict(images) != y) & (source.predict(images) == y)
    return {"evasive_rate": float(evaded.mean()), "evasive_interval": share_interval(evaded)}


def _on_other_kernels(model: Classifier) -> dict[str, TFLiteClassifier]:
    """The same file on all other kernels."""
    if not isinstance(model, TFLiteClassifier):
        return {}
    return {name: TFLiteClassifier(model.file, kernels=name) for name in KERNELS if name != model.kernels}


def _disagreement(others: dict[str, TFLiteClassifier], model: Classifier, images: np.ndarray) -> dict[str, float]:
    """Share of the images that other kernels put into another class."""
    own = model.predict(images)
    return {name: float(np.mean(other.predict(images) != own)) for name, other in others.items()}
