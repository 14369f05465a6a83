"""Transfer: adversarial examples made on each model, tried on every other."""

from collections.abc import Callable, Sequence

import numpy as np

from tfharden import _io
from tfharden.attacks import Attack, Transfer
from tfharden.attacks.score.noise import add_noise
from tfharden.classifiers import Classifier, as_classifier
from tfharden.data.examples import Examples, check_images, check_labels
from tfharden.errors import InputError
from tfharden.evaluation.formats import distinct
from tfharden.evaluation.results import TransferResult
from tfharden.threats import Threat

Progress = Callable[[str, float], None]


def transfer_matrix(
    models: Sequence[object],
    examples: Examples,
    attack: Attack,
    *,
    checkpoint: _io.Path | None = None,
    progress: Progress = lambda label, share: None,
) -> TransferResult:
    """Makes examples on every model that the attack can be run on, and tries them on every model.

    An entry is the accuracy of the target under `Transfer(attack, source)`, on the diagonal under the attack itself.
    Clean errors of a target count as errors in every row.

    Args:
        models: Keras models, classifiers, paths of .keras and .tflite files, all of the same images and classes.
        examples: images `[n, ...]` and labels `[n]`.
        attack: the attack on the sources. Its threat is that of all models.
        checkpoint: folder in which attacks keep checkpoints.
        progress: is told the current task and the share of it that is done.

    Raises:
        InputError: no model that the attack can be run on, models of different images or classes, other examples.
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
                made[target.threat] = transfer(_Unbeatable(target), x, y, checkpoint=checkpoint).adversarial
            accuracy[row, column] = target.accuracy(made[target.threat])
        progress(label, 1.0)
    return TransferResult(
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
        InputError: none is, or classifiers of different images or classes.
    """
    if not classifiers:
        raise InputError("there is nothing to transfer between: give one model at least")
    for other in classifiers[1:]:
        check_same_task(classifiers[0], other, "nothing can be transferred between them")
    found = [index for index, classifier in enumerate(classifiers) if can_run_on(attack, classifier)]
    if not found:
        raise InputError(f"{attack.name} needs gradients and no model gives any: name a Keras model among them")
    return found


def check_same_task(one: Classifier, other: Classifier, consequence: str) -> None:
    """Refuses, by an `InputError` that names the consequence, classifiers of different images or classes."""
    if (one.input_shape, one.num_classes) != (other.input_shape, other.num_classes):
        raise InputError(
            f"{one.name} takes {one.input_shape} and knows {one.num_classes} classes, {other.name} takes "
            f"{other.input_shape} and knows {other.num_classes}: {consequence}"
        )


def can_run_on(attack: Attack, classifier: Classifier) -> bool:
    """Whether the classifier gives what the attack needs."""
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


class _Unbeatable(Classifier):
    """Replacement of all targets that receive the same images. It is never wrong, so that every image is attacked."""

    def __init__(self, target: _Target) -> None:
        self.name, self.input_shape = target.classifier.name, target.classifier.input_shape
        self.num_classes = target.classifier.num_classes
        self._threat, self._labels = target.threat, target.labels

    def logits(self, images: np.ndarray) -> np.ndarray:
        return np.eye(self.num_classes, dtype=np.float32)[self._labels]

    def restrict_threat(self, threat: Threat) -> Threat:
        return self._threat
