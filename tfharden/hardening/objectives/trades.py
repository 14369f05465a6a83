"""TRADES: a trade-off between accuracy and stability."""

import dataclasses

import tensorflow as tf

from tfharden._validation import check_number
from tfharden.attacks import GradientAttack, ascend
from tfharden.attacks.core.criteria import predicted_classes
from tfharden.hardening.objectives.base import Forward, Objective, on_both
from tfharden.hardening.trainer import Batch, Outcome, Trainer
from tfharden.losses import kl_divergence
from tfharden.serialization import registered
from tfharden.threats import Threat
from tfharden.threats.base import normal

# Standard deviation of the start: at the clean image itself the gradient of the divergence is zero.
START_DEVIATION = 1e-3


def noisy(threat: Threat, x: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """The images with a little noise on them, in ball and box."""
    return threat.project(x + START_DEVIATION * normal(tf.shape(x), seed, dtype=x.dtype), x)


def away(attack: GradientAttack, logits_fn: Forward, x: tf.Tensor, logits: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Images whose answer diverges from `logits`: up KL(softmax(logits) || p(x_adv)), from x and a little noise.

    The attack gives ball, steps and step rule; its own start and loss are left out.
    """
    logits = tf.stop_gradient(logits)

    def value_fn(images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        answer = logits_fn(images)
        return kl_divergence(logits, answer), predicted_classes(answer) != predicted_classes(logits)

    threat = attack.threat
    last = ascend(value_fn, noisy(threat, x, seed), threat.projector(x), attack.rule, attack.steps).x
    return tf.stop_gradient(last)


@registered
@dataclasses.dataclass(frozen=True)
class TRADES(Objective):
    """J(x, y) + beta * max KL(p(x) || p(x_adv)) (Zhang et al. 2019, arXiv:1901.08573).

    RobustModel's attack gives ball, steps and step rule; what it climbs is the divergence from the clean answer, from
    the clean image plus a little noise.

    Args:
        beta: weight of the divergence; 1 on MNIST and 6 on CIFAR-10 in the paper.
    """

    beta: float = 6.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("beta", self.beta, least=0)

    def attacked(self, trainer: Trainer, batch: Batch) -> tf.Tensor:  # noqa: D102
        attack = trainer.current_attack()
        if attack is None:
            return batch.x
        return away(attack, trainer.logits_fn, batch.x, trainer.logits_fn(batch.x), trainer.next_seed())

    def __call__(self, forward: Forward, x: tf.Tensor, x_adversarial: tf.Tensor, y: tf.Tensor) -> Outcome:  # noqa: D102
        clean, adversarial = on_both(forward, x, x_adversarial)
        loss = self.cross_entropy(clean, y) + self.beta * kl_divergence(clean, adversarial)
        return Outcome(loss, clean, adversarial)
