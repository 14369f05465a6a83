"""What every attack is: a threat, and a door through which an evaluator sends examples."""

import abc
import dataclasses
import functools
import time
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Self

import keras
import numpy as np

from tfharden import _io
from tfharden.attacks.core.checkpoint import AttackStage, Checkpoint
from tfharden.attacks.core.criteria import Targeted, Untargeted
from tfharden.attacks.core.search_state import Progress, SearchState
from tfharden.classifiers import Classifier, in_batches
from tfharden.data.examples import check_images, check_labels, check_targets
from tfharden.errors import InputError
from tfharden.serialization import Configurable
from tfharden.threats import Threat

# Examples that are searched for at a time: what a search needs beside the images doesn't grow with their number.
CHUNK = 1024


@dataclasses.dataclass(frozen=True)
class AttackResult:
    """What an attack achieved, counted on the classifier itself.

    Attributes:
        name: the attack's name.
        access: what it needs of the classifier: "white-box", "score", "decision", "transfer" or "none".
        adversarial: images in ball, box and lattice, float32 `[n, ...]`; where `success` is false, the best attempt.
        success: whether the classifier errs on it (says the target, if targets were given), `[n]`; a clean error
            counts, so robust accuracy is their complement.
        distance: length of the perturbation in the threat's norm, `[n]`.
        queries: forward passes without gradient, `[n]`; neither the first nor the last look at an example counts.
        gradients: forward and backward passes, `[n]`.
        zero_gradients: gradients that were zero or not finite over the whole image, `[n]`.
        seconds: wall time, with that before it was killed.
        parameters: what the attack was, as its configuration tells it.
        lost: examples that the search took for solved, and that the classifier, asked again about what it can receive,
            gets right: what rounding undid, or gradients of a twin that answers otherwise, `[n]`.
        minimum: of a minimum-norm attack, the length of the smallest perturbation found that reaches the goal,
            whether it lies within epsilon or not, `[n]`: 0 where the clean image does, infinity where none was found.
        stages: of an attack that is several in a row, what each of them achieved.
    """

    name: str
    access: str
    adversarial: np.ndarray
    success: np.ndarray
    distance: np.ndarray
    queries: np.ndarray
    gradients: np.ndarray
    zero_gradients: np.ndarray
    seconds: float
    parameters: dict[str, Any]
    lost: np.ndarray
    minimum: np.ndarray | None = None
    stages: tuple[AttackStage, ...] = ()

    @property
    def robust_accuracy(self) -> float:
        """Share of all examples on which the attack fails."""
        return float(1 - self.success.mean())


class Attack(Configurable, abc.ABC):
    """A search for images near clean ones on which a classifier errs; subclasses are frozen dataclasses.

    Attributes:
        threat: how near.
        name: what reports call it.
        access: what it needs of the classifier: "white-box", "score", "decision", "transfer" or "none".
        norms: the norms in which it can search.
        targetable: whether it can search for one class.
        random_start: whether its first attempt starts at random already.
        minimises: whether it seeks the smallest perturbation, of any length.
    """

    threat: Threat
    name: ClassVar[str]
    access: ClassVar[str]
    norms: ClassVar[tuple[str, ...]] = ("Linf", "L2", "L1")
    targetable: ClassVar[bool] = True
    minimises: ClassVar[bool] = False
    random_start: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not isinstance(self.threat, Threat):
            raise InputError(f"{self.name} needs a threat such as Linf(0.1), not {self.threat!r}")
        if self.threat.norm not in self.norms:
            raise InputError(f"{self.name} searches {' and '.join(self.norms)} balls, not {self.threat.norm}")

    def __call__(
        self,
        classifier: Classifier,
        x: np.ndarray,
        y: np.ndarray,
        *,
        targets: np.ndarray | int | None = None,
        progress: Progress = lambda done, total: None,
        checkpoint: _io.Path | None = None,
    ) -> AttackResult:
        """Attacks `classifier` on images `x [n, ...]` with true classes `y [n]`.

        Examples that the classifier gets wrong when clean count as successes and are left alone, those that fall are
        dropped on the way (unless an attack is told not to exit early); every success is counted again on the
        classifier, on images that lie in ball, box and lattice.

        Args:
            classifier: what is attacked.
            x: clean images.
            y: true classes.
            targets: classes that alone count as success, `[n]` or one for all; any error counts without.
            progress: is told how much is done, of how much.
            checkpoint: folder of files from which the same attack on the same images and model goes on where it was
                killed: after the last 1,024 images, or after the last of several attacks in a row on them. None for
                no files.

        Raises:
            InputError: images, labels or targets that don't fit the classifier, a classifier without what the attack
                needs, or notes that can't be read.
        """
        began = time.perf_counter()
        threat = classifier.restrict_threat(self.threat)
        y = check_labels(y, len(x), classifier.num_classes)
        criterion = Untargeted(y)
        if targets is not None:
            if not self.targetable:
                raise InputError(f"{self.name} has no targeted form: leave targets out")
            criterion = Targeted(y, check_targets(targets, y, classifier.num_classes))
        origin = in_batches(
            lambda part: np.clip(np.asarray(threat.round_to_lattice(part)), *threat.bounds),
            check_images(x, classifier.input_shape, self.threat.bounds),
            CHUNK,
        )
        search = SearchState.open(classifier, origin, criterion, progress)
        attack = self.with_threat(threat)
        run = attack._prepare(classifier) if threat.epsilon > 0 else None
        distance = np.zeros(len(y), np.float32)
        told, before = (
            " ".join([attack.name, str(attack.parameters()), classifier.fingerprint(), *attack._fingerprints()]),
            0.0,
        )
        for first in range(0, len(y), CHUNK):
            chosen = slice(first, first + CHUNK)
            part = search.part(chosen, (first // CHUNK, -(-len(y) // CHUNK)))
            if checkpoint is not None:
                part.checkpoint = Checkpoint(checkpoint, told, part)
                part.checkpoint.restore(part)
                before += part.checkpoint.seconds
            if run is not None and not (part.checkpoint and part.checkpoint.finished):
                run(part)
                if part.checkpoint:
                    part.checkpoint.save(part, finished=True)
            part.adversarial[:] = threat.round_to_lattice_in_ball(part.adversarial, part.origin)
            violation = threat.violation(part.adversarial, part.origin)
            if violation > threat.tolerance:
                raise RuntimeError(f"{self.name} left its threat model by {violation:.2g}: a fault of the attack")
            distance[chosen] = threat.distance(part.adversarial, part.origin)
        success = np.asarray(criterion.reached(classifier.predict(search.adversarial)))
        return AttackResult(
            name=self.name,
            access=self.access,
            adversarial=search.adversarial,
            success=success,
            distance=distance,
            queries=search.queries,
            gradients=search.gradients,
            zero_gradients=search.zero_gradients,
            seconds=before + time.perf_counter() - began,
            parameters=attack.parameters(),
            lost=search.solved & ~success,
            minimum=search.minimum if self.minimises else None,
            stages=tuple(search.stages.values()),
        )

    def _prepare(self, classifier: Classifier) -> Callable[[SearchState], None]:
        """A function that searches, with all that is made once for a classifier (compiled functions) inside it."""
        return functools.partial(self._search, classifier)

    def _search(self, classifier: Classifier, search: SearchState) -> None:
        """Improves `search.adversarial` of the unsolved examples, and keeps the books."""
        raise NotImplementedError

    def with_threat(self, threat: Threat) -> Self:
        """The same attack under another threat."""
        return dataclasses.replace(self, threat=threat)

    def parameters(self) -> dict[str, Any]:
        """Everything that was chosen, in plain values."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        plain = {name: _plain(value) for name, value in fields.items() if name != "threat"}
        return plain | {"norm": self.threat.norm} | dataclasses.asdict(self.threat)

    def _fingerprints(self) -> Iterator[str]:
        """Of the classifiers that the attack has of its own, of which `parameters` tells the names."""
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Attack):
                yield from value._fingerprints()
            elif isinstance(value, Classifier):
                yield value.fingerprint()

    def _check_counts(self, *names: str) -> None:
        for name in names:
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise InputError(f"{self.name}: {name}={value!r} has to be a whole number >= 1")


def _plain(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, Attack):
        return {"name": value.name, **value.parameters()}
    if isinstance(value, Classifier | keras.Model):
        return value.name
    return getattr(value, "__name__", type(value).__name__) if callable(value) else value
