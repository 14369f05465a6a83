"""How a training goes: the course of the learning rate and of the radius, averaged weights, moved images."""

from typing import Any

import keras
from absl import flags
from keras import ops

import tfharden as th
from tfharden.cli import options
from tfharden.hardening.augmentation import Affine

FLAGS = flags.FLAGS
COSINE, LINEAR = DECAYS = ("cosine", "linear")


def define_flags() -> None:
    """--weight_perturbation, --ramp_epochs, --warmup_epochs, --decay, --average, and those that move images."""
    options.define_number(
        "weight_perturbation", 0.0, "Gamma of adversarial weight perturbation (0.005 to 0.01); 0 for none.", most=0.99
    )
    options.define_number("ramp_epochs", 0.0, "Epochs in which the radius grows from zero to --epsilon.")
    options.define_number("warmup_epochs", 0.0, "Epochs in which the learning rate rises from zero.")
    flags.DEFINE_enum("decay", COSINE, DECAYS, "How the learning rate falls to zero afterwards.")
    options.define_number(
        "average",
        0.0,
        "Momentum m of the averaged weights: about the last 1/(1 - m) updates count; 0 for none.",
        most=0.9999,
    )
    options.define_number("rotation", 0.0, "Training images are turned at random by up to so many degrees.")
    for name, what in (("zoom", "zoomed"), ("shear", "sheared"), ("shift", "shifted")):
        options.define_number(name, 0.0, f"Training images are {what} at random by up to this share.", most=1.0)
    options.define_number("contrast", 1.0, "Factor that gives images the contrast back which moving them takes.")


def settings() -> dict[str, Any]:
    """What `training.train` takes of these flags."""
    return {name: FLAGS[name].value for name in ("warmup_epochs", "decay", "average")} | {"augment": augmentation()}


def augmentation() -> Affine | None:
    """What --rotation, --zoom, --shear, --shift and --contrast say."""
    limits = {name: FLAGS[name].value for name in ("rotation", "zoom", "shear", "shift")}
    return Affine(**limits, contrast=FLAGS.contrast) if any(limits.values()) else None


def trainer_settings(count: int) -> dict[str, Any]:
    """What every trainer takes of them, for `count` training images."""
    return {
        "weight_perturbation": th.WeightPerturbation(FLAGS.weight_perturbation) if FLAGS.weight_perturbation else None,
        "ramp_steps": round(FLAGS.ramp_epochs * -(-count // min(FLAGS.batch_size, count))),
        "seed": FLAGS.seed,
    }


def rate(
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
