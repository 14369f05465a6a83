"""What every attack is: a threat, and a door through which an evaluator sends examples."""

import abc
import dataclasses
import time
from collections.abc import Callable
from typing import Any, ClassVar, Self

import keras
import numpy as np

from tfharden.classifiers import Classifier
from tfharden.configurable import Configurable
from tfharden.inputs import check_images, check_labels
from tfharden.threats import Threat

Progress = Callable[[int, int], None]


@dataclasses.dataclass
class Search:
    """An attack on a set of examples under way: the best found so far, and what it has cost.

    Attributes:
        origin: clean images as the classifier receives them, float32 `[n, ...]`.
        labels: true classes, `[n]`.
        adversarial: the best image found for each example, `[n, ...]`.
        solved: examples that need no more work, `[n]`.
        queries: forward passes without gradient, `[n]`.
        gradients: forward and backward passes, `[n]`.
        blind: gradients that were zero or not finite over the whole image, `[n]`.
    """

    origin: np.ndarray
    labels: np.ndarray
    adversarial: np.ndarray
    solved: np.ndarray
    queries: np.ndarray
    gradients: np.ndarray
    blind: np.ndarray
    progress: Progress

    @property
    def unsolved(self) -> np.ndarray:
        """Indices of the examples still to be worked on."""
        return np.flatnonzero(~self.solved)

    def report(self, done: float) -> None:
        """Tells the caller how far the attack has come, from 0 to 1."""
        self.progress(round(1000 * done), 1000)


@dataclasses.dataclass(frozen=True)
class AttackResult:
    """What an attack achieved, counted on the classifier itself.

    Attributes:
        name: the attack's name.
        access: what it needs of the classifier: "white-box", "score", "decision" or "transfer".
        adversarial: images in ball, box and lattice, float32 `[n, ...]`; where `success` is false, the best attempt.
        success: whether the classifier errs on it, `[n]`; a clean error counts, so robust accuracy is their complement.
        distance: length of the perturbation in the threat's norm, `[n]`.
        queries: forward passes without gradient, `[n]`; neither the first nor the last look at an example counts.
        gradients: forward and backward passes, `[n]`.
        blind: gradients that were zero or not finite over the whole image, `[n]`.
        seconds: wall time.
        parameters: what the attack was, as its configuration tells it.
    """

    name: str
    access: str
    adversarial: np.ndarray
    success: np.ndarray
    distance: np.ndarray
    queries: np.ndarray
    gradients: np.ndarray
    blind: np.ndarray
    seconds: float
    parameters: dict[str, Any]

    @property
    def robust_accuracy(self) -> float:
        """Share of all examples that the classifier still gets right."""
        return float(1 - self.success.mean())


class Attack(Configurable, abc.ABC):
    """A search for images near clean ones on which a classifier errs; subclasses are frozen dataclasses.

    Attributes:
        threat: how near.
        name: what reports call it.
        access: what it needs of the classifier: "white-box", "score", "decision" or "transfer".
    """

    threat: Threat
    name: ClassVar[str]
    access: ClassVar[str]

    def __call__(
        self, classifier: Classifier, x: np.ndarray, y: np.ndarray, *, progress: Progress = lambda done, total: None
    ) -> AttackResult:
        """Attacks `classifier` on images `x [n, ...]` with true classes `y [n]`.

        Examples that the classifier gets wrong when clean count as successes and are left alone, those that fall are
        dropped on the way (unless an attack is told not to exit early); every success is counted again on the
        classifier, on images that lie in ball, box and lattice.

        Raises:
            InputError: images or labels that don't fit the classifier, or a classifier without what the attack needs.
        """
        began = time.perf_counter()
        threat = classifier.receive(self.threat)
        y = check_labels(y, len(x), classifier.num_classes)
        origin = threat.snap(check_images(x, classifier.input_shape, self.threat.bounds))
        origin = np.clip(np.asarray(origin), *threat.bounds)
        search = self._open(classifier, origin, y, progress)
        if threat.epsilon > 0:
            self.within(threat)._search(classifier, search)
        adversarial = np.asarray(threat.land(search.adversarial, origin))
        violation = threat.violation(adversarial, origin)
        if violation > threat.tolerance:
            raise RuntimeError(f"{self.name} left its threat model by {violation:.2g}: a fault of the attack")
        return AttackResult(
            name=self.name,
            access=self.access,
            adversarial=adversarial,
            success=classifier.predict(adversarial) != y,
            distance=np.asarray(threat.distance(adversarial, origin)),
            queries=search.queries,
            gradients=search.gradients,
            blind=search.blind,
            seconds=time.perf_counter() - began,
            parameters=self.within(threat).parameters(),
        )

    @abc.abstractmethod
    def _search(self, classifier: Classifier, search: Search) -> None:
        """Improves `search.adversarial` of the unsolved examples, and keeps the books."""

    def within(self, threat: Threat) -> Self:
        """The same attack under another threat."""
        return dataclasses.replace(self, threat=threat)

    def _open(self, classifier: Classifier, origin: np.ndarray, y: np.ndarray, progress: Progress) -> Search:
        count = np.zeros(len(y), np.int64)
        return Search(
            origin=origin,
            labels=y,
            adversarial=origin.copy(),
            solved=classifier.predict(origin) != y,
            queries=count.copy(),
            gradients=count.copy(),
            blind=count.copy(),
            progress=progress,
        )

    def parameters(self) -> dict[str, Any]:
        """Everything that was chosen, in plain values."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        plain = {name: _plain(value) for name, value in fields.items() if name != "threat"}
        return plain | {"norm": self.threat.norm} | dataclasses.asdict(self.threat)


def _plain(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, Attack):
        return {"name": value.name, **value.parameters()}
    if isinstance(value, Classifier | keras.Model):
        return value.name
    return getattr(value, "__name__", type(value).__name__) if callable(value) else value
