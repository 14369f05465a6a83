"""Adversarial weight perturbation: the update is computed at the worst nearby weights."""

import dataclasses

import tensorflow as tf

from tfharden.configurable import Configurable, registered
from tfharden.errors import InputError


@registered
@dataclasses.dataclass(frozen=True)
class WeightPerturbation(Configurable):
    """Gradients are taken at w + gamma * |w| g / |g|, g the gradient at w, kernel by kernel (AWP, Wu et al. 2020).

    It flattens the loss over the weights, against robust overfitting, for one more forward and backward pass a step.
    Vectors (biases, normalisation) stay as they are.

    Args:
        gamma: length of the move, as a share of each kernel's own; 0.01 for Madry and 0.005 for TRADES in the paper.
        start: training steps before it begins.
    """

    gamma: float = 0.01
    start: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.gamma < 1:
            raise InputError(f"gamma={self.gamma} has to lie between 0 and 1")
        if not (isinstance(self.start, int) and self.start >= 0):
            raise InputError(f"start={self.start} has to be a whole number >= 0")

    def moved(self, weights: list[tf.Tensor], gradients: list[tf.Tensor], step: tf.Tensor) -> list[tf.Tensor]:
        """The weights moved up their gradients; where they are, before `start`."""
        gamma = self.gamma * tf.cast(step >= self.start, tf.float32)
        return [
            weight + tf.cast(gamma, weight.dtype) * tf.norm(weight) * tf.math.divide_no_nan(gradient, tf.norm(gradient))
            if weight.shape.rank > 1
            else weight
            for weight, gradient in zip(weights, gradients, strict=True)
        ]
