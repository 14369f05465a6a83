"""Free adversarial training: one backward pass for both weights and images."""

import dataclasses
import functools

import keras
import tensorflow as tf

from tfharden._validation import check_whole_number
from tfharden.attacks import PGD, GradientAttack
from tfharden.errors import InputError
from tfharden.hardening.objectives.madry import Madry
from tfharden.hardening.trainer import Batch, Outcome, Trainer
from tfharden.serialization import registered
from tfharden.threats import Threat


@registered
@dataclasses.dataclass(frozen=True)
class Free(Madry):
    """Madry's loss on each batch several times; each backward pass updates the weights and the perturbation.

    Shafahi et al. 2019, arXiv:1904.12843. The perturbation goes on from one batch to the next, image by image of the
    batch, and steps by the whole radius. It is made in training mode, since it comes with the weights' own gradient.
    Each replay is an update of the weights, so train for epochs / replays, and let schedules of the learning rate count
    updates.

    Args:
        threat: ball and box.
        replays: times that a batch is trained on, m in the paper.
        batch_size: the largest batch, for the perturbations that are kept; a smaller batch uses the first of them.
    """

    threat: Threat
    replays: int = 8
    batch_size: int = 32

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole_number("replays", self.replays)
        check_whole_number("batch_size", self.batch_size)

    @property
    def attack(self) -> GradientAttack:  # noqa: D102
        return PGD(self.threat, steps=1)

    def build(self, trainer: Trainer) -> keras.Variable:
        """The perturbations, `[batch_size, ...]`."""
        return trainer.add_weight(
            shape=(self.batch_size, *trainer.model.input_shape[1:]),
            initializer="zeros",
            trainable=False,
            aggregation="none",
            name="perturbation",
        )

    def train_batch(self, trainer: Trainer, batch: Batch) -> tuple[tf.Tensor, Outcome]:  # noqa: D102
        x, threat, count = batch.x, trainer.require_attack().threat, tf.shape(batch.x)[0]
        if (x.shape[0] or 0) > self.batch_size:
            raise InputError(f"a batch of {x.shape[0]} images is larger than Free(batch_size={self.batch_size})")
        kept = tf.convert_to_tensor(trainer.objective_state)
        x_adversarial = threat.project(x + kept[:count], x)
        for _ in range(self.replays):
            compute = functools.partial(self.outcome, trainer, batch, x_adversarial)
            loss, outcome, (gradient,) = trainer.descend(batch, compute, by=[x_adversarial])
            x_adversarial = threat.project(threat.step(x_adversarial, gradient, threat.epsilon), x)
        trainer.objective_state.assign(tf.concat([x_adversarial - x, kept[count:]], axis=0))
        return loss, outcome
