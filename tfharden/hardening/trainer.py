"""Trainer: one update of a classifier's weights, and the state that is saved with a training."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from tfharden._validation import check_whole_number
from tfharden.attacks import GradientAttack
from tfharden.classifiers import logits_of
from tfharden.errors import InputError
from tfharden.hardening.multi_worker import DistributedModel
from tfharden.hardening.weight_perturbation import WeightPerturbation, differentiate


class Outcome(NamedTuple):
    """What one training step computed.

    Attributes:
        loss: one value an example, `[batch]`.
        clean_logits: `[batch, classes]`, None where the objective has no use for them.
        adversarial_logits: likewise.
    """

    loss: tf.Tensor
    clean_logits: tf.Tensor | None = None
    adversarial_logits: tf.Tensor | None = None


class Batch(NamedTuple):
    """What `fit` brings in one step.

    Attributes:
        x: clean images, float32 `[batch, ...]`.
        y: true classes, int32 `[batch]`.
        sample_weight: `[batch]`, or None.
        extra: what a trainer of another kind adds: a Distiller its `TeachingStep`.
    """

    x: tf.Tensor
    y: tf.Tensor
    sample_weight: tf.Tensor | None = None
    extra: Any = None


class Trainer(DistributedModel):
    """A Keras model round the classifier that it trains, as an objective sees it.

    `RobustModel` adds the objective and what `fit` and `evaluate` do.

    Args:
        model: built classifier, `[batch, ...]` to logits or softmax.
        attack: makes training examples; None for natural training.
        weight_perturbation: compute updates at the worst nearby weights.
        ramp_steps: training steps in which the radius grows evenly from zero to the attack's own.
        seed: of the attack's random starts.
        name: name of the trainer.

    Attributes:
        steps: int32 variable, the training steps taken.
        objective_state: what the objective's `build` returned, saved with the trainer.

    Raises:
        InputError: no classifier, a negative number of steps.
    """

    def __init__(
        self,
        model: keras.Model,
        attack: GradientAttack | None,
        *,
        weight_perturbation: WeightPerturbation | None,
        ramp_steps: int,
        seed: int,
        name: str,
        **kwargs: Any,  # noqa: ANN401
    ) -> None:
        super().__init__(name=name, **kwargs)
        check_whole_number("ramp_steps", ramp_steps, least=0)
        self.model = model
        self.attack = attack
        self.weight_perturbation = weight_perturbation
        self.ramp_steps = ramp_steps
        self.seed = seed
        self.objective_state: Any = None
        self._bounds = (-math.inf, math.inf) if attack is None else attack.threat.bounds
        self._to_logits, self._outputs_are = logits_of(model, (0.0, 1.0) if attack is None else self._bounds)
        self.steps = self.add_weight(
            (), "zeros", "int32", trainable=False, aggregation="only_first_replica", name="steps"
        )

    @property
    def trained(self) -> keras.Model:
        """The model whose weights descend."""
        return self.model

    @property
    def trainable_variables(self) -> list[keras.Variable]:
        """The model's own: what else the trainer keeps, fixed models among it, is not trained."""
        return self.trained.trainable_variables

    @property
    def trainable_weights(self) -> list[keras.Variable]:
        """The same as `trainable_variables`."""
        return self.trainable_variables

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        """The plain model's own outputs."""
        return self.model(x, training=training)

    def forward(self, x: tf.Tensor) -> tf.Tensor:
        """Logits in training mode."""
        return self._to_logits(self.model(x, training=True))

    def logits_fn(self, x: tf.Tensor) -> tf.Tensor:
        """Logits in inference mode, as the attack sees them."""
        return self._to_logits(self.model(x, training=False))

    def outputs_of(self, logits: tf.Tensor) -> tf.Tensor:
        """What the model gives where its logits are these: probabilities if it ends in a softmax."""
        return logits if self._outputs_are == "logits" else tf.nn.softmax(logits)

    def current_attack(self) -> GradientAttack | None:
        """The training attack, with the radius that this step has."""
        if self.attack is None or not self.ramp_steps:
            return self.attack
        return self.attack.scaled(tf.minimum(1.0, (tf.cast(self.steps, tf.float32) + 1) / self.ramp_steps))

    def require_attack(self) -> GradientAttack:
        """`current_attack`, for methods that need one.

        Raises:
            InputError: natural training.
        """
        attack = self.current_attack()
        if attack is None:
            raise InputError("this objective trains on attacked images: give the trainer an attack")
        return attack

    def next_seed(self) -> tf.Tensor:
        """int32 [2], another at every step and on every replica; the same again for a training that is resumed."""
        replica = tf.distribute.get_replica_context()
        count = replica.num_replicas_in_sync
        return tf.stack([self.seed, count * tf.convert_to_tensor(self.steps) + replica.replica_id_in_sync_group])

    def descend(
        self, batch: Batch, compute: Callable[[], Outcome], by: Sequence[tf.Tensor] = ()
    ) -> tuple[tf.Tensor, Outcome, list[tf.Tensor]]:
        """One update of the weights.

        Args:
            batch: its sample weights count.
            compute: the forward pass, whose mean loss descends; with weight perturbation it is called twice.
            by: images that the loss is differentiated by too.

        Returns:
            The loss, what `compute` returned, and the gradients by the images, in arbitrary units.
        """

        def scaled() -> tuple[tf.Tensor, tuple[tf.Tensor, Outcome]]:
            outcome = compute()
            loss = self.mean_loss(outcome.loss, batch)
            # Gradients are summed over replicas, and the loss of all is the mean of their losses.
            replicas = tf.distribute.get_strategy().num_replicas_in_sync
            return self.optimizer.scale_loss(loss / replicas), (loss, outcome)

        variables = self.trainable_variables
        if self.weight_perturbation is None:
            (loss, outcome), gradients = differentiate(scaled, [*variables, *by])
        else:
            (loss, outcome), gradients = self.weight_perturbation.differentiate(
                scaled, variables, by, states=self.non_trainable_variables, step=tf.convert_to_tensor(self.steps)
            )
        count = len(variables)
        self.optimizer.apply_gradients(zip(gradients[:count], variables, strict=True))
        return loss, outcome, gradients[count:]

    def mean_loss(self, losses: tf.Tensor, batch: Batch) -> tf.Tensor:
        """Sum over the batch by its size, as Keras' losses do, and the model's own regularisers."""
        if batch.sample_weight is not None:
            losses = losses * tf.cast(batch.sample_weight, losses.dtype)
        return tf.add_n([tf.reduce_mean(losses), *self.trained.losses])

    def save_own_variables(self, store: Any) -> None:  # noqa: ANN401
        """As in Keras, and the state of every Dropout's generator, so that a resumed training draws as it would have.

        Keras saves no generator with weights.
        """
        super().save_own_variables(store)
        for name, state in self._generators().items():
            store[name] = state.numpy()

    def load_own_variables(self, store: Any) -> None:  # noqa: ANN401
        """What `save_own_variables` saved."""
        generators = self._generators()
        super().load_own_variables({name: store[name] for name in store.keys() if name not in generators})  # noqa: SIM118
        for name, state in generators.items():
            state.assign(store[name])

    def _generators(self) -> dict[str, keras.Variable]:
        states = [v for v in self.trained.non_trainable_variables if v.name == "seed_generator_state"]
        return {f"generator_{index}": state for index, state in enumerate(states)}
