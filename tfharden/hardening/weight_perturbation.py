"""Adversarial weight perturbation: the update is computed at the worst nearby weights."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from tfharden._validation import check_number, check_whole_number
from tfharden.serialization import Configurable, registered

# What is computed: the value that is differentiated, and what else is wanted of it.
Compute = Callable[[], tuple[tf.Tensor, Any]]


def differentiate(compute: Compute, sources: Sequence[tf.Tensor | keras.Variable]) -> tuple[Any, list[tf.Tensor]]:
    """What `compute` gives beside its value, and the gradients of that value by `sources`."""
    with tf.GradientTape() as tape:
        for source in sources:
            if isinstance(source, tf.Tensor):  # Keras' variables are watched by themselves
                tape.watch(source)
        value, rest = compute()
    return rest, tape.gradient(value, sources)


@registered
@dataclasses.dataclass(frozen=True)
class WeightPerturbation(Configurable):
    """Gradients are taken at w + gamma * |w| g / |g|, g the gradient at w, kernel by kernel.

    AWP, Wu et al. 2020, arXiv:2004.05884. It flattens the loss over the weights, against robust overfitting, for one
    more forward and backward pass a step. Vectors (biases, normalisation) stay as they are.

    Args:
        gamma: length of the move, as a share of each kernel's own; 0.01 for Madry and 0.005 for TRADES in the paper.
        start: training steps before it begins.
    """

    gamma: float = 0.01
    start: int = 0

    def __post_init__(self) -> None:
        check_number("gamma", self.gamma, above=0, below=1)
        check_whole_number("start", self.start, least=0)

    def differentiate(
        self,
        compute: Compute,
        variables: Sequence[keras.Variable],
        images: Sequence[tf.Tensor],
        states: Sequence[keras.Variable],
        step: tf.Tensor,
    ) -> tuple[Any, list[tf.Tensor]]:
        """As `differentiate` by variables and images, where the variables have been moved.

        The variables themselves keep their values: tensors stand for them while `compute` runs. `states`, such as the
        statistics of BatchNormalization, become what the second pass makes of them; the first leaves no trace.
        """
        weights = [tf.convert_to_tensor(variable) for variable in variables]
        with _standing_for(variables, weights):
            _, uphill = differentiate(compute, weights)
        weights = self._moved(weights, uphill, step)
        with _standing_for(variables, weights) as scope:
            rest, gradients = differentiate(compute, [*weights, *images])
        for state in states:
            if (value := scope.get_current_value(state)) is not None:
                state.assign(value)
        return rest, gradients

    def _moved(self, weights: list[tf.Tensor], gradients: list[tf.Tensor], step: tf.Tensor) -> list[tf.Tensor]:
        """The weights moved up their gradients; where they are, before `start`."""
        gamma = self.gamma * tf.cast(step >= self.start, tf.float32)
        return [
            weight + tf.cast(gamma, weight.dtype) * tf.norm(weight) * tf.math.divide_no_nan(gradient, tf.norm(gradient))
            if weight.shape.rank > 1
            else weight
            for weight, gradient in zip(weights, gradients, strict=True)
        ]


def _standing_for(variables: Sequence[keras.Variable], tensors: Sequence[tf.Tensor]) -> keras.StatelessScope:
    return keras.StatelessScope(list(zip(variables, tensors, strict=True)), collect_losses=True)
