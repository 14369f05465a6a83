"""Which model's adversarial examples fool which: every source against every target."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tfharden import _io
from tfharden.attacks import Attack, Transfer
from tfharden.attacks.score.noise import add_noise
from tfharden.classifiers import Classifier, as_classifier
from tfharden.data.examples import Examples, check_images, check_labels
from tfharden.errors import InputError
from tfharden.evaluation.names import distinct
from tfharden.threats import Threat

Progress = Callable[[str, float], None]


@dataclasses.dataclass(frozen=True, eq=False)
class TransferMatrix:
    """Accuracy of every target on the examples made on every source, over all images.

    Attributes:
        attack: name of the attack.
        parameters: what it was, as its configuration tells it.
        sources: names of the models that examples were made on, those that the attack can be run on.
        targets: names of all models.
        accuracy: `[sources, targets]`; where both are one model, what the attack itself leaves of it.
        clean: accuracy without an attack, `[targets]`.
        noise: accuracy under random noise as long as the perturbations may be, `[targets]`.
    """

    attack: str
    parameters: dict[str, Any]
    sources: tuple[str, ...]
    targets: tuple[str, ...]
    accuracy: np.ndarray
    clean: np.ndarray
    noise: np.ndarray

    @property
    def content(self) -> dict[str, Any]:
        """What report.json holds of it."""
        return {
            "attack": self.attack,
            "parameters": self.parameters,
            "sources": list(self.sources),
            "targets": list(self.targets),
            "robust_accuracy": self.accuracy.tolist(),
            "clean_accuracy": self.clean.tolist(),
            "noise_accuracy": self.noise.tolist(),
        }

    def table(self) -> str:
        """The matrix in percent as aligned text: a row a source, above them one without change and one of noise."""
        return as_table(self.content)


def as_table(content: Mapping[str, Any]) -> str:
    """What `TransferMatrix.content` says as aligned text."""
    rows = [[f"{content['attack']} on", *content["targets"]]]
    for name, shares in (
        ("no change", content["clean_accuracy"]),
        ("random noise", content["noise_accuracy"]),
        *zip(content["sources"], content["robust_accuracy"], strict=True),
    ):
        rows.append([name, *(f"{100 * share:.1f}" for share in shares)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows)


def transfer_matrix(
    models: Sequence[object],
    examples: Examples,
    attack: Attack,
    *,
    checkpoint: _io.Path | None = None,
    progress: Progress = lambda label, share: None,
) -> TransferMatrix:
    """Makes examples on every model that the attack can be run on, and tries them on every model.

    Entries are what `Transfer(attack, source)` does to each target; on the diagonal, what the attack does to its own
    source. A target's clean errors count as errors in every row.

    Args:
        models: Keras models, classifiers, paths of .keras and .tflite files, all of the same images and classes.
        examples: images `[n, ...]` and labels `[n]`.
        attack: what is run on the sources; its threat is everybody's.
        checkpoint: folder where attacks note what is done, as they do.
        progress: is told what goes on, and the share of it that is done.

    Raises:
        InputError: what `sources_among` refuses, or examples that don't fit.
    """
    classifiers = [as_classifier(model, attack.threat.bounds) for model in models]
    sources = sources_among(classifiers, attack)
    x = check_images(examples[0], classifiers[0].input_shape, attack.threat.bounds)
    y = check_labels(examples[1], len(x), classifiers[0].num_classes)
    targets = [_Target(classifier, attack.threat, x, y) for classifier in classifiers]
    names = distinct([classifier.name for classifier in classifiers])
    accuracy = np.empty((len(sources), len(targets)))
    for row, source in enumerate(sources):
        label = f"transfer: {attack.name} on {names[source]}"
        made: dict[Threat, np.ndarray] = {}
        for column, target in enumerate(targets):
            progress(label, column / len(targets))
            if column == source:
                accuracy[row, column] = attack(target.classifier, x, y, checkpoint=checkpoint).robust_accuracy
                continue
            if target.threat not in made:
                transfer = Transfer(attack, classifiers[source])
                made[target.threat] = transfer(_Unbeaten(target), x, y, checkpoint=checkpoint).adversarial
            accuracy[row, column] = target.accuracy(made[target.threat])
        progress(label, 1.0)
    return TransferMatrix(
        attack=attack.name,
        parameters=attack.parameters(),
        sources=tuple(names[source] for source in sources),
        targets=tuple(names),
        accuracy=accuracy,
        clean=np.array([target.accuracy(target.origin) for target in targets]),
        noise=np.array([target.accuracy(target.noisy()) for target in targets]),
    )


def sources_among(classifiers: Sequence[Classifier], attack: Attack) -> list[int]:
    """Indices of the classifiers that the attack can be run on.

    Raises:
        InputError: no classifiers or none such, or classifiers of different images or classes.
    """
    if not classifiers:
        raise InputError("there is nothing to transfer between: give one model at least")
    first, *others = classifiers
    for other in others:
        if (first.input_shape, first.num_classes) != (other.input_shape, other.num_classes):
            raise InputError(
                f"{first.name} takes {first.input_shape} and knows {first.num_classes} classes, {other.name} takes "
                f"{other.input_shape} and knows {other.num_classes}: nothing can be transferred between them"
            )
    found = [index for index, classifier in enumerate(classifiers) if can_run_on(attack, classifier)]
    if not found:
        raise InputError(f"{attack.name} needs gradients and no model gives any: name a Keras model among them")
    return found


def can_run_on(attack: Attack, classifier: Classifier) -> bool:
    """Whether the attack gets of the classifier what it needs."""
    return classifier.differentiable or attack.access != "white-box"


class _Target:
    """A classifier, the images as it receives them, and which of them it gets right."""

    def __init__(self, classifier: Classifier, threat: Threat, x: np.ndarray, y: np.ndarray) -> None:
        self.classifier, self.threat, self.labels = classifier, classifier.restrict_threat(threat), y
        self.origin = self.threat.received(x)
        self._right = classifier.predict(self.origin) == y

    def accuracy(self, images: np.ndarray) -> float:
        return float(np.mean(self._right & (self.classifier.predict(images) == self.labels)))

    def noisy(self) -> np.ndarray:
        return add_noise(self.threat, self.origin, np.random.default_rng(0))


class _Unbeaten(Classifier):
    """Stands in for all targets that receive the same: it is never wrong, so that every image is attacked."""

    def __init__(self, target: _Target) -> None:
        self.name, self.input_shape = target.classifier.name, target.classifier.input_shape
        self.num_classes = target.classifier.num_classes
        self._threat, self._labels = target.threat, target.labels

    def logits(self, images: np.ndarray) -> np.ndarray:
        return np.eye(self.num_classes, dtype=np.float32)[self._labels]

    def restrict_threat(self, threat: Threat) -> Threat:
        return self._threat
