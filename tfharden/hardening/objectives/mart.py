"""MART: adversarial training that weighs misclassified examples."""

import dataclasses

import tensorflow as tf

from tfharden._validation import check_number
from tfharden.hardening.objectives.base import Forward, Objective, on_both
from tfharden.hardening.trainer import Outcome
from tfharden.losses import kl_divergence
from tfharden.serialization import registered

# Keeps the logarithm finite where the model is certain of a wrong class, as in the authors' code.
ALMOST_ONE = 1.0001


@registered
@dataclasses.dataclass(frozen=True)
class MART(Objective):
    """J(x_adv, y) - log(1 - max_{k != y} p_k(x_adv)) + beta * KL(p(x) || p(x_adv)) * (1 - p_y(x)) (Wang et al. 2020).

    The paper is https://openreview.net/forum?id=rklOg6EFwS. The second term widens the margin, the third weighs
    stability by the probability that the model gives the other classes of the clean image.

    Args:
        beta: weight of the third term; 6 in the authors' code.
    """

    beta: float = 6.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("beta", self.beta, least=0)

    def __call__(self, forward: Forward, x: tf.Tensor, x_adversarial: tf.Tensor, y: tf.Tensor) -> Outcome:  # noqa: D102
        clean, adversarial = on_both(forward, x, x_adversarial)
        truth = tf.one_hot(y, clean.shape[-1])
        wrong = tf.reduce_max(tf.nn.softmax(adversarial) * (1 - truth), axis=-1)
        doubt = 1 - tf.reduce_sum(tf.nn.softmax(clean) * truth, axis=-1)
        boosted = self.cross_entropy(adversarial, y) - tf.math.log(ALMOST_ONE - wrong)
        return Outcome(boosted + self.beta * kl_divergence(clean, adversarial) * doubt, clean, adversarial)
