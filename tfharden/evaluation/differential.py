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

    An example is evasive if the model errs on it and the source is right. Tests of the source alone do not show it.
    DIVA (Hao et al. 2022, arXiv:2204.10933) searches for such examples. Attacks on the model alone find some of them.

    Args:
        source: differentiable.
        models: differentiable, such as files exported from it.
        examples: images `[n, ...]` and labels `[n]`.
        threat: the largest; smaller ones are tried too (`EPSILON_SHARES`).
        attacks: of white-box access.
        seed: of DIVA.
        checkpoint: folder in which attacks keep checkpoints.
        progress: is told the current task and the share of it that is done.
    """
    names = distinct([model.name for model in models])
    chosen = [*attacks, DIVA(threat, source, seed=seed)]
    compared = []
    for name, model in zip(names, models, strict=True):
        pair = _Pair(source, model, examples, checkpoint)
        found = []
        for done, (attack, share) in enumerate(runs := list(itertools.product(chosen, EPSILON_SHARES))):
            progress(f"{model.name} against {source.name}", done / len(runs))
            found.append(pair.under(attack.with_threat(threat.scaled(share))))
        progress(f"{model.name} against {source.name}", 1.0)
        compared.append(pair.without_attack(name, model.restrict_threat(threat).received(examples[0]), found))
    return DifferentialResult(source=source.name, models=tuple(compared))


def comparable(source: Classifier, classifiers: Sequence[Classifier]) -> list[Classifier]:
    """The classifiers to compare with the source: all except the source itself.

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


class _Pair:
    """A source and a model that was made from it, on the same examples."""

    def __init__(self, source: Classifier, model: Classifier, examples: Examples, checkpoint: _io.Path | None) -> None:
        self.source, self.model, self.examples, self.checkpoint = source, model, examples, checkpoint
        self.on_other_kernels: dict[str, TFLiteClassifier] = {}
        if isinstance(model, TFLiteClassifier):
            others = (name for name in KERNELS if name != model.kernels)
            self.on_other_kernels = {name: TFLiteClassifier(model.file, kernels=name) for name in others}

    def under(self, attack: Attack) -> DifferentialAttack:
        """Accuracies under one attack."""
        result = attack(self.model, *self.examples, checkpoint=self.checkpoint)
        # DIVA attacks both models at once.
        crossing: dict[str, Any] = dict.fromkeys(("source_robust_accuracy", "from_source", "to_source"))
        if not isinstance(attack, DIVA):
            crossing = {
                "source_robust_accuracy": self._accuracy(self.source, attack),
                "from_source": self._accuracy(self.model, Transfer(attack, self.source)),
                "to_source": self._accuracy(self.source, Transfer(attack, self.model)),
            }
        return DifferentialAttack(
            attack=attack.name,
            epsilon=attack.threat.epsilon,
            robust_accuracy=result.robust_accuracy,
            **crossing,
            **self._differences(result.adversarial),
            parameters=result.parameters,
        )

    def without_attack(self, name: str, received: np.ndarray, attacks: Sequence[DifferentialAttack]) -> ComparedModel:
        """The comparison, with accuracies on the images as the model receives them."""
        y = self.examples[1]
        return ComparedModel(
            name=name,
            accuracy=float(np.mean(self.model.predict(received) == y)),
            source_accuracy=float(np.mean(self.source.predict(received) == y)),
            **self._differences(received),
            attacks=tuple(attacks),
        )

    def _accuracy(self, classifier: Classifier, attack: Attack) -> float:
        return attack(classifier, *self.examples, checkpoint=self.checkpoint).robust_accuracy

    def _differences(self, images: np.ndarray) -> dict[str, Any]:
        """Shares of images that the model alone gets wrong, and that other kernels put into another class."""
        own, y = self.model.predict(images), self.examples[1]
        evaded = (own != y) & (self.source.predict(images) == y)
        return {
            "evasive_rate": float(evaded.mean()),
            "evasive_interval": share_interval(evaded),
            "kernels": {
                name: float(np.mean(other.predict(images) != own)) for name, other in self.on_other_kernels.items()
            },
        }
