"""Catastrophic overfitting of single-step training: a model learns to fool the one step."""

import dataclasses
import warnings
from typing import Any, NamedTuple

import keras
import numpy as np

from tfharden._validation import check_number, check_whole_number
from tfharden.attacks import PGD
from tfharden.classifiers import KerasClassifier, shapes
from tfharden.data.examples import check_images, check_labels
from tfharden.errors import InputError, TrainingWarning
from tfharden.hardening.objectives.madry import Madry
from tfharden.threats import Threat

# What logs call the measured accuracy.
WATCHED_ACCURACY = "watched_robust_accuracy"
# A model has learnt to fool the one step if accuracy on its training examples is this far above that under PGD.
FOOLED_GAP = 0.5


class _EpochState(NamedTuple):
    """State at the end of an epoch without overfitting."""

    epoch: int
    threat: Threat
    weights: list[np.ndarray]
    optimizer: list[np.ndarray]


class CatastrophicOverfitting(keras.callbacks.Callback):
    """Goes back to the last good epoch when accuracy under PGD falls.

    Wong, Rice and Kolter 2020, arXiv:2001.03994. In single-step training it may fall to 0 within an epoch, while that
    under the single step rises. It is measured at each epoch's end, on the same examples with the same random starts,
    and logged as `watched_robust_accuracy`. When it falls, or lies far below the accuracy on what is trained on,
    weights, optimizer and the count of training steps (with it a radius that grows) become those of the end of the
    epoch before, and training stops there or goes on with PGD.

    While the radius grows (`ramp_steps`) it is measured at the radius that training has reached, and compared with what
    the weights of the epoch before reach under that same radius. The first epoch has none to be compared with, nor has
    the first of a training that is resumed, which also starts with the first attack again.

    Put it before `TensorBoard`, `BackupAndRestore` and whatever else is to see the value or the restored weights, and
    before `SwapEMAWeights` (which, with `swap_on_epoch=True`, leaves a training that stops early with the weights that
    are not averaged, whoever stops it; `BestEpoch` puts back what was validated).

    Args:
        x: a few hundred training examples, `[n, ...]`.
        y: their classes, `[n]`.
        drop: by how much accuracy may lie below the best of the earlier epochs, in [0, 1].
        steps: of PGD.
        fall_back: go on with PGD of `steps` steps under the same threat where training has taken fewer, and with
            Madry's loss where the objective brought its own attack; training stops all the same if that falls too.

    Raises:
        InputError: examples that don't fit, a training without an attack, or `fall_back` with an objective that keeps
            something in the trainer (Free, FixedSources).
    """

    def __init__(
        self, x: np.ndarray, y: np.ndarray, *, drop: float = 0.2, steps: int = 10, fall_back: bool = False
    ) -> None:
        super().__init__()
        check_number("drop", drop, least=0, most=1)
        check_whole_number("steps", steps)
        self.x, self.y = x, y
        self.drop, self.steps, self.fall_back = drop, steps, fall_back

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:  # noqa: D102
        trainer = self.model
        if trainer.attack is None:
            raise InputError("natural training can't overfit to an attack: leave CatastrophicOverfitting out")
        if self.fall_back and (trainer.objective_state is not None or trainer.sources):
            raise InputError(f"{type(trainer.objective).__name__} can't be left for PGD: leave fall_back out")
        shape, classes = shapes(trainer.model)
        bounds = trainer.attack.threat.bounds
        self._x = check_images(self.x, shape, bounds)
        self._y = check_labels(self.y, len(self._x), classes)
        self._classifier = KerasClassifier(trainer.model, bounds=bounds)
        self._good: _EpochState | None = None
        self._best = 0.0

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:  # noqa: D102
        trainer, good = self.model, self._good
        threat = trainer.current_attack().threat
        threat = dataclasses.replace(threat, epsilon=float(threat.epsilon))  # a tensor while it grows
        accuracy = self._accuracy(threat)
        if logs is not None:
            logs[WATCHED_ACCURACY] = accuracy
        if good is not None and threat != good.threat:
            self._best = self._accuracy(threat, good.weights)
        fooled = (logs or {}).get("robust_accuracy", 0.0) - accuracy > FOOLED_GAP
        if not fooled and (good is None or accuracy >= self._best - self.drop):
            self._best = max(self._best, accuracy)
            optimizer = [variable.numpy() for variable in trainer.optimizer.variables]
            self._good = _EpochState(epoch, threat, trainer.get_weights(), optimizer)
            return
        goes_on = self.fall_back and trainer.attack.steps < self.steps
        next_step = f"goes on with PGD of {self.steps} steps" if goes_on else "stops"
        warnings.warn(
            f"catastrophic overfitting in epoch {epoch + 1}: {self._evidence(accuracy, logs or {})}; "
            f"{self._restore()}, and training {next_step}",
            TrainingWarning,
            stacklevel=2,
        )
        if goes_on:
            self._take_up_pgd()
        else:
            trainer.stop_training = True

    def _evidence(self, accuracy: float, logs: dict[str, Any]) -> str:
        if self._good is not None and accuracy < self._best - self.drop:
            return f"accuracy under PGD fell from {self._best:.1%} to {accuracy:.1%}"
        return f"accuracy is {logs['robust_accuracy']:.1%} on what is trained on, and {accuracy:.1%} under PGD"

    def _restore(self) -> str:
        """Puts back what the last good epoch left, and says so."""
        if self._good is None:
            return "there is no good epoch to go back to (let the radius grow, or take another method)"
        self.model.set_weights(self._good.weights)
        for variable, value in zip(self.model.optimizer.variables, self._good.optimizer, strict=True):
            variable.assign(value)
        return f"the weights are those of epoch {self._good.epoch + 1} again"

    def _accuracy(self, threat: Threat, weights: list[np.ndarray] | None = None) -> float:
        """Share of the examples that PGD leaves right, with other weights than the trainer's if they are given."""
        attack = PGD(threat, steps=self.steps)
        if weights is None:
            return attack(self._classifier, self._x, self._y).robust_accuracy
        present = self.model.get_weights()
        self.model.set_weights(weights)
        accuracy = self._accuracy(threat)
        self.model.set_weights(present)
        return accuracy

    def _take_up_pgd(self) -> None:
        objective, attack = self.model.objective, self.model.attack
        if objective.attack is not None:
            objective = Madry(label_smoothing=objective.label_smoothing)
        self.model.retrain_with(PGD(attack.threat, steps=self.steps, loss=attack.loss), objective)
