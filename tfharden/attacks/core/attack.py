"""Attack: the base of all attacks, which holds a threat and runs a search on examples."""

import abc
import dataclasses
import functools
import time
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Self

import keras
import numpy as np

from tfharden import _io
from tfharden._deprecation import RenamedMembers, renamed_arguments
from tfharden._validation import check_number, check_whole_number
from tfharden.attacks.core.checkpoint import Checkpoint
from tfharden.attacks.core.criteria import Criterion, Targeted, Untargeted
from tfharden.attacks.core.result import AttackResult
from tfharden.attacks.core.search_state import Progress, SearchState
from tfharden.classifiers import Classifier, as_classifier, in_batches
from tfharden.data.examples import check_images, check_labels, check_targets
from tfharden.errors import InputError
from tfharden.serialization import Configurable
from tfharden.threats import Threat

# Examples that are searched for at a time: what a search needs beside the images doesn't grow with their number.
CHUNK = 1024


class Attack(RenamedMembers, Configurable, abc.ABC):
    """A search for images near clean ones on which a classifier errs; subclasses are frozen dataclasses.

    Attributes:
        threat: how near.
        name: what reports call it.
        access: what it needs of the classifier: "white-box", "score", "decision", "transfer" or "none".
        kind: how it searches: "one-step" or "ascent" for gradients followed once or several times, "minimum-norm" for
            the nearest image, "score", "decision", "noise", "universal" or "ensemble".
        norms: the norms in which it can search.
        targetable: whether it can search for one class.
        random_start: whether its first attempt starts at random already.
        minimises: whether it seeks the smallest perturbation, of any length.
    """

    threat: Threat
    name: ClassVar[str]
    access: ClassVar[str]
    kind: ClassVar[str] = ""
    norms: ClassVar[tuple[str, ...]] = ("Linf", "L2", "L1")
    targetable: ClassVar[bool] = True
    minimises: ClassVar[bool] = False
    random_start: ClassVar[bool] = False

    _renamed = {"within": "with_threat"}  # noqa: RUF012

    def __post_init__(self) -> None:
        if not isinstance(self.threat, Threat):
            raise InputError(f"{self.name} needs a threat such as Linf(0.1), not {self.threat!r}")
        if self.threat.norm not in self.norms:
            raise InputError(f"{self.name} searches {' and '.join(self.norms)} balls, not {self.threat.norm}")

    @renamed_arguments(notes="checkpoint")
    def __call__(
        self,
        classifier: Classifier | keras.Model | _io.Path,
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
            classifier: what is attacked: a classifier, or a Keras model or path that `as_classifier` makes one of.
            x: clean images.
            y: true classes.
            targets: classes that alone count as success, `[n]` or one for all; any error counts without.
            progress: is told how much is done, of how much.
            checkpoint: folder of files from which the same attack on the same images and model goes on where it was
                killed: after the last 1,024 images, or after the last of several attacks in a row on them. None for
                no files.

        Raises:
            InputError: images, labels or targets that don't fit the classifier, a classifier without what the attack
                needs, or a checkpoint that can't be read.
        """
        began = time.perf_counter()
        classifier = as_classifier(classifier, self.threat.bounds)
        threat = classifier.restrict_threat(self.threat)
        y = check_labels(y, len(x), classifier.num_classes)
        criterion: Criterion = Untargeted(y)
        if targets is not None:
            if not self.targetable:
                raise InputError(f"{self.name} has no targeted form: leave targets out")
            criterion = Targeted(y, check_targets(targets, y, classifier.num_classes))
        origin = in_batches(threat.received, check_images(x, classifier.input_shape, self.threat.bounds), CHUNK)
        search = SearchState.open(classifier, origin, criterion, progress)
        attack = self.with_threat(threat)
        run = attack._prepare(classifier) if threat.epsilon > 0 else None
        distance = np.zeros(len(y), np.float32)
        before = 0.0
        if checkpoint is not None:  # else nobody asks, and to hash all weights takes its time
            fingerprints = classifier.fingerprint(), *attack._fingerprints()
            description = " ".join([attack.name, str(attack.parameters()), *fingerprints])
        for first in range(0, len(y), CHUNK):
            chosen = slice(first, first + CHUNK)
            part = search.part(chosen, (first // CHUNK, -(-len(y) // CHUNK)))
            if checkpoint is not None:
                part.resume(resumed := Checkpoint(checkpoint, description, part.stream, part.inputs))
                before += resumed.seconds
            if run is not None and not (part.checkpoint and part.checkpoint.finished):
                run(part)
                part.save(finished=True)
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
            kind=self.kind,
        )

    def _prepare(self, classifier: Classifier) -> Callable[[SearchState], None]:
        """A function that searches, with all that is made once for a classifier (compiled functions) inside it."""
        return functools.partial(self._search, classifier)

    def _search(self, classifier: Classifier, search: SearchState) -> None:
        """Improves `search.adversarial` of the unsolved examples, and counts what it costs."""
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
            check_whole_number(f"{self.name}: {name}", getattr(self, name))

    def _check_number(self, name: str, **limits: Any) -> None:  # noqa: ANN401
        check_number(f"{self.name}: {name}", getattr(self, name), **limits)


def _plain(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, Attack):
        return {"name": value.name, **value.parameters()}
    if isinstance(value, Classifier | keras.Model):
        return value.name
    return getattr(value, "__name__", type(value).__name__) if callable(value) else value
