"""Adversarial training as a Keras model: the attack runs inside `train_step`, everything else is `fit`."""

import math
from collections.abc import Callable
from typing import Any, Self

import keras
import numpy as np
import tensorflow as tf

from tfharden.attacks import GradientAttack
from tfharden.classifiers import logits_of, shapes
from tfharden.configurable import registered
from tfharden.errors import InputError
from tfharden.hardening.objectives import Madry, Objective, Outcome
from tfharden.inputs import check_images, check_labels
from tfharden.losses import cross_entropy


@registered
class RobustModel(keras.Model):
    """A classifier that `fit` trains against an attack, and that `evaluate` measures clean and attacked.

    `compile(optimizer, metrics=[...])` takes no loss: the objective is the loss. Logs hold `loss` and
    `robust_accuracy`, and the compiled metrics on clean images wherever clean logits were computed: always in
    `evaluate` and validation, in training only if the objective uses them. They get logits, whatever the model ends in,
    and are unweighted, as `metrics` are in Keras.

    Args:
        model: built classifier to harden, `[batch, ...]` to logits or softmax; `.model` is what to keep.
        attack: makes the training examples, in inference mode, one restart a step; None is natural training, where
            the objective gets the clean images twice.
        objective: turns clean and adversarial images into a loss.
        seed: of the attack's random starts.
        name: name of the trainer.
    """

    def __init__(
        self,
        model: keras.Model,
        attack: GradientAttack | None,
        objective: Objective | None = None,
        *,
        seed: int = 0,
        name: str | None = None,
        **kwargs: Any,  # noqa: ANN401
    ) -> None:
        super().__init__(name=name or f"robust_{model.name}", **kwargs)
        self.model = model
        self.attack = attack
        self.objective = Madry() if objective is None else objective
        self.seed = seed
        self._bounds = (-math.inf, math.inf) if attack is None else attack.threat.bounds
        self._to_logits, _ = logits_of(model, (0.0, 1.0) if attack is None else attack.threat.bounds)
        self._seeds = keras.random.SeedGenerator(seed)
        self._robust_accuracy = keras.metrics.SparseCategoricalAccuracy(name="robust_accuracy")
        self.built = True

    def compile(self, optimizer: Any = "adam", loss: Any = None, **kwargs: Any) -> None:  # noqa: ANN401
        """Keras' `compile` without a loss.

        Raises:
            InputError: a loss was given.
        """
        if loss is not None:
            raise InputError("compile() takes no loss here: give RobustModel an objective instead")
        super().compile(optimizer=optimizer, **kwargs)
        if self._compile_metrics is not None:
            # Keras would build them at the first update, which an objective without clean logits never makes.
            _, classes = self.model.output_shape
            self._compile_metrics.build(keras.KerasTensor((None,), "int32"), keras.KerasTensor((None, classes)))

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compiles a loaded trainer as the saved one was, so that training can go on."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        self.optimizer.build(self.trainable_variables)

    def fit(self, x: Any = None, y: Any = None, **kwargs: Any) -> keras.callbacks.History:  # noqa: ANN401
        """Keras' `fit`, once images and labels are known to fit the model and the threat.

        Raises:
            InputError: images of another shape or outside the threat's bounds, NaN, labels outside the classes.
        """
        self._check(x, y)
        return super().fit(x, y, **kwargs)

    def evaluate(self, x: Any = None, y: Any = None, **kwargs: Any) -> Any:  # noqa: ANN401
        """Keras' `evaluate`, with the checks of `fit`."""
        self._check(x, y)
        return super().evaluate(x, y, **kwargs)

    def _check(self, x: Any, y: Any) -> None:  # noqa: ANN401
        """Looks at arrays as a whole, at datasets of TensorFlow's by their first batch; generators can't be rewound."""
        if isinstance(x, tf.data.Dataset):
            x, y, _ = keras.utils.unpack_x_y_sample_weight(next(iter(x.take(1)), (None, None)))
        if isinstance(x, np.ndarray | tf.Tensor) and isinstance(y, np.ndarray | tf.Tensor):
            shape, classes = shapes(self.model)
            check_images(np.asarray(x), shape, self._bounds)
            check_labels(np.asarray(y), len(x), classes)

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        """The plain model's own outputs."""
        return self.model(x, training=training)

    def logits_fn(self, x: tf.Tensor) -> tf.Tensor:
        """Logits in inference mode, as the attack sees them."""
        return self._to_logits(self.model(x, training=False))

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:  # noqa: ANN401
        """One attack, one descent."""
        x, y, sample_weight = _unpack(data)
        x_adversarial = x if self.attack is None else self.attack.perturb(self.logits_fn, x, y, self._seeds.next())
        with tf.GradientTape() as tape:
            outcome = self.objective_outcome(x, x_adversarial, y)
            loss = self._reduce(outcome.loss, sample_weight)
            # Gradients are summed over replicas, and the loss of all is the mean of their losses.
            replicas = tf.distribute.get_strategy().num_replicas_in_sync
            scaled = self.optimizer.scale_loss(loss / replicas)
        variables = self.trainable_weights
        self.optimizer.apply_gradients(zip(tape.gradient(scaled, variables), variables, strict=True))
        return self._logs(loss, outcome, y, sample_weight)

    def test_step(self, data: Any) -> dict[str, tf.Tensor]:  # noqa: ANN401
        """Cross entropy on attacked images, and accuracy on clean and attacked ones; the same at every call."""
        x, y, sample_weight = _unpack(data)
        clean = adversarial = self.logits_fn(x)
        if self.attack is not None:
            adversarial = self.logits_fn(self.attack.perturb(self.logits_fn, x, y))
        outcome = Outcome(cross_entropy(adversarial, y), clean, adversarial)
        return self._logs(self._reduce(outcome.loss, sample_weight), outcome, y, sample_weight)

    def objective_outcome(self, x: tf.Tensor, x_adversarial: tf.Tensor, y: tf.Tensor) -> Outcome:
        """Loss and logits of one training step; what trainers with more than an objective override."""

        def forward(images: tf.Tensor) -> tf.Tensor:
            return self._to_logits(self.model(images, training=True))

        return self.objective(forward, x, x_adversarial, y)

    def _reduce(self, loss: tf.Tensor, sample_weight: tf.Tensor | None) -> tf.Tensor:
        """Sum over the batch by its size, as Keras' losses do, and the model's own regularisers."""
        if sample_weight is not None:
            loss = loss * tf.cast(sample_weight, loss.dtype)
        return tf.add_n([tf.reduce_mean(loss), *self.model.losses])

    def _logs(
        self, loss: tf.Tensor, outcome: Outcome, y: tf.Tensor, sample_weight: tf.Tensor | None
    ) -> dict[str, tf.Tensor]:
        self._loss_tracker.update_state(loss, sample_weight=tf.shape(y)[0])
        logs = {"loss": self._loss_tracker.result()}
        clean, adversarial = outcome.clean_logits, outcome.adversarial_logits
        if self.attack is None:
            clean, adversarial = (adversarial if clean is None else clean), None
        if clean is not None and self._compile_metrics is not None:
            self._compile_metrics.update_state(y, clean, sample_weight)
            logs |= self._compile_metrics.result()
        if adversarial is not None:
            self._robust_accuracy.update_state(y, adversarial)
            logs["robust_accuracy"] = self._robust_accuracy.result()
        return logs

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        parts = {"model": self.model, "attack": self.attack, "objective": self.objective}
        return {name: keras.saving.serialize_keras_object(part) for name, part in parts.items()} | {
            "seed": self.seed,
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Callable] | None = None) -> Self:
        """The trainer that `get_config` described."""
        del custom_objects
        return cls(**{name: keras.saving.deserialize_keras_object(value) for name, value in config.items()})


def _unpack(data: Any) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor | None]:  # noqa: ANN401
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
    if y is None:
        raise InputError("adversarial training needs labels: give fit() x and y")
    if len(y.shape) == 2 and y.shape[-1] == 1:  # noqa: PLR2004 - a column of labels
        y = y[:, 0]
    if len(y.shape) != 1:
        raise InputError(f"labels have the shape {y.shape}: give one class number an image, not one-hot rows")
    if sample_weight is not None:
        sample_weight = tf.reshape(sample_weight, [-1])  # a column times the losses would be a matrix
    return tf.cast(x, tf.float32), tf.cast(y, tf.int32), sample_weight
