"""Training monitor: a loss that is not finite, or that stays the loss of guessing."""

import math
import warnings
from typing import Any

import keras
import numpy as np

from tfharden.errors import TrainingError, TrainingWarning

# A loss this close to log(classes), relative to it, is that of a model that guesses.
GUESSING_TOLERANCE = 0.005
# Training steps before the warning.
PATIENCE_STEPS = 100


class TrainingMonitor(keras.callbacks.Callback):
    """Stops at a loss that is not finite, with the last good weights; warns of a loss that stays that of guessing.

    `RobustModel.fit` adds it. The good weights are those at the beginning of the epoch.

    Raises:
        TrainingError: the loss is not finite; tells epoch and step.
    """

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:  # noqa: D102
        self._warned = False
        self._good: list[np.ndarray] | None = None

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:  # noqa: D102
        self._epoch = epoch
        weights = self.model.get_weights()
        if all(np.isfinite(weight).all() for weight in weights):
            self._good = weights

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:  # noqa: D102
        loss = float(np.mean((logs or {}).get("loss", 0.0)))
        if math.isfinite(loss):
            return
        kept = "the weights were not finite before, and are left as they are"
        if self._good is not None:
            self.model.set_weights(self._good)
            kept = "the weights are those of the beginning of the epoch"
        raise TrainingError(
            f"the loss is {loss} in epoch {self._epoch + 1}, step {batch + 1}: {kept}; try a smaller learning rate, "
            f"or clipnorm= in the optimizer"
        )

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:  # noqa: D102
        loss, guessing = float((logs or {}).get("loss", 0.0)), math.log(self.model.model.output_shape[-1])
        early = self.model.attack is None or int(self.model.steps.numpy()) < PATIENCE_STEPS
        if self._warned or early or abs(loss - guessing) > GUESSING_TOLERANCE * guessing:
            return
        self._warned = True
        warnings.warn(
            f"after epoch {epoch + 1} the loss is {loss:.3f}, that of guessing ({guessing:.3f}): the model has "
            f"learnt nothing; let the radius grow (ramp_steps=, --ramp_epochs) or lower the learning rate",
            TrainingWarning,
            stacklevel=2,
        )
