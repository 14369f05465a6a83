"""The books of an attack under way: the best found so far for each example, and what it has cost."""

import dataclasses
from collections.abc import Callable
from typing import Self

import numpy as np
import tensorflow as tf

from tfharden.attacks.goals import Goal
from tfharden.attacks.notes import Notes, Stage
from tfharden.classifiers import Classifier

Progress = Callable[[int, int], None]
TICKS = 1000


@dataclasses.dataclass
class Search:
    """An attack on a set of examples under way.

    Attributes:
        origin: clean images as the classifier receives them, float32 `[n, ...]`.
        goal: true classes, and targets if there are any.
        adversarial: the best image found for each example, `[n, ...]`.
        solved: examples that need no more work, `[n]`.
        queries: forward passes without gradient, `[n]`.
        gradients: forward and backward passes, `[n]`.
        blind: gradients that were zero or not finite over the whole image, `[n]`.
        minimum: length of the smallest perturbation found that reaches the goal, be it longer than epsilon, `[n]`.
        progress: is told how much is done, of how much.
        stages: what the attacks in a row achieved, by name, if there are several.
        stream: tells the random draws of this search from those of others of the same attack.
        notes: where it is noted what is done; None for nowhere.
    """

    origin: np.ndarray
    goal: Goal
    adversarial: np.ndarray
    solved: np.ndarray
    queries: np.ndarray
    gradients: np.ndarray
    blind: np.ndarray
    minimum: np.ndarray
    progress: Progress
    stages: dict[str, Stage] = dataclasses.field(default_factory=dict)
    stream: tuple[int, ...] = ()
    notes: Notes | None = None

    @classmethod
    def open(cls, classifier: Classifier, origin: np.ndarray, goal: Goal, progress: Progress) -> Self:
        """A search in which nothing is done but to look at the clean images."""
        solved = np.asarray(goal.reached(classifier.predict(origin)))
        books = {name: np.zeros(len(origin), np.int64) for name in ("queries", "gradients", "blind")}
        minimum = np.where(solved, 0.0, np.inf).astype(np.float32)
        return cls(origin, goal, origin.copy(), solved, **books, minimum=minimum, progress=progress)

    @property
    def unsolved(self) -> np.ndarray:
        """Indices of the examples still to be worked on."""
        return np.flatnonzero(~self.solved)

    def part(self, chosen: slice, place: tuple[int, int]) -> Self:
        """Some of the examples, in the same books; `place` says which part it is, of how many."""
        index, count = place

        def progress(done: int, total: int) -> None:
            self.progress(round(TICKS * (index + done / total) / count), TICKS)

        arrays = {
            field.name: getattr(self, field.name)[chosen]
            for field in dataclasses.fields(self)
            if isinstance(getattr(self, field.name), np.ndarray)
        }
        return dataclasses.replace(
            self,
            **arrays,
            goal=tf.nest.map_structure(lambda array: array[chosen], self.goal),
            progress=progress,
            stream=(*self.stream, index),
        )

    def report(self, done: float) -> None:
        """Tells the caller how far the attack has come, from 0 to 1."""
        self.progress(round(TICKS * done), TICKS)

    def enter(self, stage: Stage) -> None:
        """Adds what an attack in a row achieved on these examples to what it achieved on others."""
        _, fell, seconds = self.stages.get(stage.name, Stage(stage.name, 0, 0.0))
        self.stages[stage.name] = Stage(stage.name, fell + stage.fell, seconds + stage.seconds)
        if self.notes is not None:
            self.notes.stages.append(stage)

    def generator(self, *key: int) -> np.random.Generator:
        """Random numbers of this search's own; equal keys give equal numbers."""
        return np.random.default_rng(self._entropy(key))

    def seed(self, *key: int) -> tf.Tensor:
        """A seed of this search's own for TensorFlow's stateless random numbers, int32 `[2]`."""
        return tf.constant((self._entropy(key).generate_state(2) >> 1).astype(np.int32))

    def _entropy(self, key: tuple[int, ...]) -> np.random.SeedSequence:
        return np.random.SeedSequence([number % 2**32 for number in (*self.stream, len(self.stream), *key)])
