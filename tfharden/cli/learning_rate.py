"""Learning rates that rise and fall within a training."""

import keras
from keras import ops

from tfharden.cli.config import COSINE, LINEAR


def schedule(
    highest: float, rising: int, falling: int, decay: str = COSINE
) -> keras.optimizers.schedules.LearningRateSchedule:
    """The learning rate at each update.

    Args:
        highest: the highest.
        rising: updates in which it rises to that, evenly.
        falling: updates in which it falls to zero.
        decay: "cosine" or "linear", how it falls.
    """
    if decay == LINEAR:
        return Triangle(highest, rising, falling)
    return keras.optimizers.schedules.CosineDecay(
        0.0 if rising else highest, falling, warmup_target=highest if rising else None, warmup_steps=rising
    )


class Triangle(keras.optimizers.schedules.LearningRateSchedule):
    """Straight up for `rising` updates, straight down for `falling`."""

    def __init__(self, rate: float, rising: int, falling: int) -> None:
        self.rate = rate
        self.rising = rising
        self.falling = falling

    def __call__(self, step: int) -> object:
        """The rate at that update."""
        step = ops.cast(step, "float32")
        up = step / self.rising if self.rising else 1.0
        down = (self.rising + self.falling - step) / self.falling
        return self.rate * ops.maximum(0.0, ops.minimum(up, down))

    def get_config(self) -> dict[str, float]:
        """The constructor's arguments."""
        return {"rate": self.rate, "rising": self.rising, "falling": self.falling}
