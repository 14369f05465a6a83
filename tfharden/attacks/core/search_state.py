"""Search state: the best image found so far for each example, and what the search has cost."""

import dataclasses
from collections.abc import Callable
from typing import Self

import numpy as np
import tensorflow as tf

from tfharden.attacks.core.checkpoint import Checkpoint
from tfharden.attacks.core.criteria import Criterion, subset
from tfharden.attacks.core.result import AttackStage
from tfharden.classifiers import Classifier

Progress = Callable[[int, int], None]
PROGRESS_TICKS = 1000
# What a search has found and spent, and so what has to be known to go on with it.
SAVED_FIELDS = ("adversarial", "solved", "queries", "gradients", "zero_gradients", "minimum")


@dataclasses.dataclass
class SearchState:
    """An attack on a set of examples under way.

    Attributes:
        origin: clean images as the classifier receives them, float32 `[n, ...]`.
        criterion: true classes, and targets if there are any.
        adversarial: the best image found for each example, `[n, ...]`.
        solved: examples that need no more work, `[n]`.
        queries: forward passes without gradient, `[n]`.
        gradients: forward and backward passes, `[n]`.
        zero_gradients: gradients that were zero or not finite over the whole image, `[n]`.
        minimum: length of the smallest perturbation found that reaches the criterion, be it longer than epsilon, `[n]`.
        progress: is told how much is done, of how much.
        stages: what the attacks in a row achieved, by name, if there are several.
        stream: tells the random draws of this search from those of others of the same attack.
        checkpoint: file that is written on the way; None for none.
    """

    origin: np.ndarray
    criterion: Criterion
    adversarial: np.ndarray
    solved: np.ndarray
    queries: np.ndarray
    gradients: np.ndarray
    zero_gradients: np.ndarray
    minimum: np.ndarray
    progress: Progress
    stages: dict[str, AttackStage] = dataclasses.field(default_factory=dict)
    stream: tuple[int, ...] = ()
    checkpoint: Checkpoint | None = None

    @classmethod
    def open(cls, classifier: Classifier, origin: np.ndarray, criterion: Criterion, progress: Progress) -> Self:
        """A search in which nothing is done but to look at the clean images."""
        solved = np.asarray(criterion.reached(classifier.predict(origin)))
        queries, gradients, zero_gradients = (np.zeros(len(origin), np.int64) for _ in range(3))
        minimum = np.where(solved, 0.0, np.inf).astype(np.float32)
        return cls(origin, criterion, origin.copy(), solved, queries, gradients, zero_gradients, minimum, progress)

    @property
    def unsolved(self) -> np.ndarray:
        """Indices of the examples still to be worked on."""
        return np.flatnonzero(~self.solved)

    def part(self, chosen: slice, place: tuple[int, int]) -> Self:
        """Some of the examples, as views of the same arrays; `place` says which part it is, of how many."""
        index, count = place

        def progress(done: int, total: int) -> None:
            self.progress(round(PROGRESS_TICKS * (index + done / total) / count), PROGRESS_TICKS)

        arrays = {
            field.name: getattr(self, field.name)[chosen]
            for field in dataclasses.fields(self)
            if isinstance(getattr(self, field.name), np.ndarray)
        }
        return dataclasses.replace(
            self,
            **arrays,
            criterion=subset(self.criterion, chosen),
            progress=progress,
            stream=(*self.stream, index),
        )

    def report(self, done: float) -> None:
        """Tells the caller how far the attack has come, from 0 to 1."""
        self.progress(round(PROGRESS_TICKS * done), PROGRESS_TICKS)

    def enter(self, stage: AttackStage) -> None:
        """Adds what an attack in a row achieved on these examples to what it achieved on others."""
        self._count(stage)
        if self.checkpoint is not None:
            self.checkpoint.stages.append(stage)

    @property
    def inputs(self) -> tuple[np.ndarray, ...]:
        """What a search depends on beside attack and classifier."""
        return (self.origin, *self.criterion, self.solved)

    def resume(self, checkpoint: Checkpoint) -> None:
        """Goes on from a checkpoint, which `save` keeps up to date.

        Raises:
            InputError: its file is no such checkpoint.
        """
        self.checkpoint = checkpoint
        checkpoint.load(self._saved)
        for stage in checkpoint.stages:
            self._count(stage)

    def save(self, *, finished: bool = False) -> None:
        """Writes the checkpoint, if there is one."""
        if self.checkpoint is not None:
            self.checkpoint.save(self._saved, finished=finished)

    @property
    def _saved(self) -> dict[str, np.ndarray]:
        return {name: getattr(self, name) for name in SAVED_FIELDS}

    def _count(self, stage: AttackStage) -> None:
        _, succeeded, seconds = self.stages.get(stage.name, AttackStage(stage.name, 0, 0.0))
        self.stages[stage.name] = AttackStage(stage.name, succeeded + stage.succeeded, seconds + stage.seconds)

    def generator(self, *key: int) -> np.random.Generator:
        """Random numbers of this search's own; equal keys give equal numbers."""
        return np.random.default_rng(self._entropy(key))

    def seed(self, *key: int) -> tf.Tensor:
        """A seed of this search's own for TensorFlow's stateless random numbers, int32 `[2]`."""
        return tf.constant((self._entropy(key).generate_state(2) >> 1).astype(np.int32))

    def _entropy(self, key: tuple[int, ...]) -> np.random.SeedSequence:
        return np.random.SeedSequence([number % 2**32 for number in (*self.stream, len(self.stream), *key)])
