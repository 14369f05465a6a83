"""Adversarial training as a Keras model: the attack runs inside `train_step`, everything else is `fit`."""

from collections.abc import Callable, Sequence
from typing import Any, Self

import keras
import tensorflow as tf

from tfharden.attacks import PGD, GradientAttack
from tfharden.errors import InputError
from tfharden.hardening.callbacks.training_monitor import TrainingMonitor
from tfharden.hardening.input_pipeline import check_examples, unpack
from tfharden.hardening.objectives.base import Objective
from tfharden.hardening.objectives.madry import Madry
from tfharden.hardening.trainer import Batch, Outcome, Trainer
from tfharden.hardening.weight_perturbation import WeightPerturbation
from tfharden.losses import cross_entropy
from tfharden.serialization import registered

# Steps of the attack that evaluates a model whose training attack takes only one.
EVALUATION_STEPS = 10


@registered
class RobustModel(Trainer):
    """A classifier that `fit` trains against an attack, and that `evaluate` measures clean and attacked.

    `compile(optimizer, metrics=[...])` takes no loss: the objective is the loss. Logs hold `loss` and
    `robust_accuracy`, and the compiled metrics on clean images wherever clean logits were computed: always in
    `evaluate` and validation, in training only if the objective uses them. Metrics receive what the model itself
    outputs, logits or probabilities, and are unweighted, as `metrics` are in Keras.

    Args:
        model: built classifier to harden, `[batch, ...]` to logits or softmax; `.model` is what to keep.
        attack: makes the training examples, in inference mode, one restart a step; left out where the objective
            brings its own, and for natural training, where the objective gets the clean images twice.
        objective: the method: turns clean and adversarial images into a loss. Madry's by default.
        evaluation_attack: what `evaluate` and validation attack with; by default the training attack if it takes
            several steps, or else PGD with 10, since one step is what a model may learn to fool.
        weight_perturbation: compute updates at the worst nearby weights (AWP).
        ramp_steps: training steps in which the radius grows evenly from zero to the attack's own; a large radius from
            the start (0.3 on MNIST) may keep the model from learning anything.
        seed: of the attack's random starts.
        name: name of the trainer.

    Raises:
        InputError: no classifier, an attack beside an objective that brings its own.

    Example:
        robust = RobustModel(model, PGD(Linf(0.1), steps=7), TRADES(beta=6.0))
        robust.compile("adam", metrics=["accuracy"])
        robust.fit(x, y, epochs=20)
        robust.model.save("robust.keras")
    """

    def __init__(
        self,
        model: keras.Model,
        attack: GradientAttack | None = None,
        objective: Objective | None = None,
        *,
        evaluation_attack: GradientAttack | None = None,
        weight_perturbation: WeightPerturbation | None = None,
        ramp_steps: int = 0,
        seed: int = 0,
        name: str | None = None,
        **kwargs: Any,  # noqa: ANN401
    ) -> None:
        objective = Madry() if objective is None else objective
        if attack is not None and objective.attack is not None:
            raise InputError(f"{type(objective).__name__} brings its own attack: leave the other out")
        super().__init__(
            model,
            attack or objective.attack,
            weight_perturbation=weight_perturbation,
            ramp_steps=ramp_steps,
            seed=seed,
            name=name or f"robust_{model.name}",
            **kwargs,
        )
        self.objective = objective
        self.evaluation_attack = evaluation_attack or _for_evaluation(self.attack)
        self._given_attack, self._given_evaluation = attack, evaluation_attack
        self._robust_accuracy = keras.metrics.SparseCategoricalAccuracy(name="robust_accuracy")
        self.sources = list(objective.fixed_models)  # layers of the trainer, so that Keras saves them with it
        self.objective_state = objective.build(self)
        self.built = True

    def compile(  # type: ignore[override]
        self,
        optimizer: Any = "adam",  # noqa: ANN401
        loss: Any = None,  # noqa: ANN401
        **kwargs: Any,  # noqa: ANN401
    ) -> None:
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

    def fit(
        self,
        x: Any = None,  # noqa: ANN401
        y: Any = None,  # noqa: ANN401
        *,
        callbacks: Sequence[keras.callbacks.Callback] | None = None,
        **kwargs: Any,  # noqa: ANN401
    ) -> keras.callbacks.History:
        """Keras' `fit`, once images and labels are known to fit the model and the threat, under `TrainingMonitor`.

        Raises:
            InputError: images of another shape or outside the threat's bounds, NaN, labels outside the classes.
            TrainingError: the loss is not finite any more.
        """
        self.check(x, y)
        callbacks = list(callbacks) if isinstance(callbacks, Sequence) else [callbacks] if callbacks else []
        # First, so that no other callback saves or averages what it would refuse.
        return super().fit(x, y, callbacks=[TrainingMonitor(), *callbacks], **kwargs)

    def evaluate(self, x: Any = None, y: Any = None, **kwargs: Any) -> Any:  # noqa: ANN401
        """Keras' `evaluate`, with the checks of `fit`."""
        self.check(x, y)
        return super().evaluate(x, y, **kwargs)

    def check(self, x: Any, y: Any) -> None:  # noqa: ANN401
        """Looks at what `fit` and `evaluate` are given.

        Raises:
            InputError: images or labels that don't fit the model and the threat.
        """
        check_examples(x, y, self.model, self._bounds)

    def unpack(self, data: Any) -> Batch:  # noqa: ANN401
        """One step's batch, from what `fit` hands to `train_step`."""
        return unpack(data)

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:  # noqa: ANN401
        """One step of the objective: mostly one attack, one descent."""
        batch = self.unpack(data)
        loss, outcome = self.objective.train_batch(self, batch)
        self.steps.assign_add(1)
        return self._logs(loss, outcome, batch)

    def test_step(self, data: Any) -> dict[str, tf.Tensor]:  # noqa: ANN401
        """Cross entropy on attacked images, and accuracy on clean and attacked ones; the same at every call."""
        batch = self.unpack(data)
        clean = adversarial = self.logits_fn(batch.x)
        if self.evaluation_attack is not None:
            adversarial = self.logits_fn(self.evaluation_attack.perturb(self.logits_fn, batch.x, batch.y))
        outcome = Outcome(cross_entropy(adversarial, batch.y), clean, adversarial)
        return self._logs(self.mean_loss(outcome.loss, batch), outcome, batch)

    def retrain_with(self, attack: GradientAttack | None, objective: Objective) -> None:
        """Goes on with another attack and another objective, which keeps nothing in the trainer."""
        self.attack = self._given_attack = attack
        self.objective = objective
        # What evaluation attacks with stays, so that its numbers can be compared, in a loaded trainer too.
        self._given_evaluation = self.evaluation_attack
        self.make_train_function(force=True)

    def _logs(self, loss: tf.Tensor, outcome: Outcome, batch: Batch) -> dict[str, tf.Tensor]:
        # A replica that gets none of the last images has NaN for their mean, which no weight makes nothing.
        loss = tf.where(tf.size(batch.y) > 0, loss, tf.zeros_like(loss))
        self._loss_tracker.update_state(loss, sample_weight=tf.shape(batch.y)[0])
        logs = {"loss": self._loss_tracker.result()}
        clean, adversarial = outcome.clean_logits, outcome.adversarial_logits
        if self.attack is None:
            clean, adversarial = (adversarial if clean is None else clean), None
        if clean is not None and self._compile_metrics is not None:
            self._compile_metrics.update_state(batch.y, self.outputs_of(clean), batch.sample_weight)
            logs |= self._compile_metrics.result()
        if adversarial is not None:
            self._robust_accuracy.update_state(batch.y, adversarial)
            logs["robust_accuracy"] = self._robust_accuracy.result()
        return logs

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        parts = {
            "model": self.model,
            "attack": self._given_attack,
            "objective": self.objective,
            "evaluation_attack": self._given_evaluation,
            "weight_perturbation": self.weight_perturbation,
        }
        return {name: keras.saving.serialize_keras_object(part) for name, part in parts.items()} | {
            "ramp_steps": self.ramp_steps,
            "seed": self.seed,
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Callable] | None = None) -> Self:
        """The trainer that `get_config` described."""
        del custom_objects
        return cls(**{name: keras.saving.deserialize_keras_object(value) for name, value in config.items()})


def _for_evaluation(attack: GradientAttack | None) -> GradientAttack | None:
    if attack is None or attack.steps > 1:
        return attack
    return PGD(attack.threat, steps=EVALUATION_STEPS, loss=attack.loss)
