"""Attacks by gradient ascent: the two doors that FGSM, BIM and PGD share."""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf

from tfharden.attacks.ascent import LogitsFn, Memory, ascend
from tfharden.attacks.base import Attack, Search
from tfharden.classifiers import BATCH_SIZE, Classifier
from tfharden.errors import InputError
from tfharden.losses import Loss, cross_entropy
from tfharden.threats import Threat

# Steps between two looks at which examples have fallen: a look costs one synchronisation with the host.
STRIDE = 5


@dataclasses.dataclass(frozen=True)
class GradientAttack(Attack):
    """Projected gradient ascent on `loss` within `threat`; subclasses fix start, steps and step size.

    Args:
        threat: ball and box.
        loss: per-example loss that is climbed.
        seed: of the random starts at the evaluator's door.
        early_exit: drop an example as soon as it falls; without it every step is taken and the highest loss kept.
    """

    threat: Threat
    _: dataclasses.KW_ONLY
    loss: Loss = cross_entropy
    seed: int = 0
    early_exit: bool = True

    access = "white-box"
    steps: ClassVar[int] = 1
    restarts: ClassVar[int] = 1
    random_start: ClassVar[bool] = False

    @property
    def stride(self) -> float:
        """Length of one step, in the threat's norm."""
        return self.threat.epsilon

    def __post_init__(self) -> None:
        if not isinstance(self.threat, Threat):
            raise InputError(f"{self.name} needs a threat such as Linf(0.1), not {self.threat!r}")
        for name in ("steps", "restarts"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise InputError(f"{self.name}: {name}={value!r} has to be a whole number >= 1")

    def perturb(self, logits_fn: LogitsFn, x: tf.Tensor, y: tf.Tensor, seed: tf.Tensor | None = None) -> tf.Tensor:
        """The door for training: adversarial images for `x [batch, ...]`, labels `y [batch]`, in one graph.

        Takes the last iterate, as the training literature does: judging it would cost one more forward pass.

        Args:
            logits_fn: images to logits, in inference mode.
            x: clean images.
            y: true classes.
            seed: int32 [2] of the random start; the attack's own seed by default, the same at every call.
        """
        seed = tf.constant([self.seed, 0]) if seed is None else tf.cast(seed, tf.int32)
        start = self.threat.random_start(x, seed) if self.random_start else x
        x_adversarial, _ = self._ascend(logits_fn, start, x, y, self.steps)
        return tf.stop_gradient(x_adversarial)

    def _ascend(
        self,
        logits_fn: LogitsFn,
        x: tf.Tensor,
        origin: tf.Tensor,
        y: tf.Tensor,
        steps: int | tf.Tensor,
        memory: Memory | tuple[()] = (),
    ) -> tuple[tf.Tensor, Memory | tuple[()]]:
        settings = {"threat": self.threat, "loss": self.loss, "step_size": self.stride}
        return ascend(logits_fn, x, origin, y, steps=steps, memory=memory, **settings)

    def _search(self, classifier: Classifier, search: Search) -> None:
        if not classifier.differentiable:
            classifier.logits_fn(tf.constant(search.origin[:1]))  # says why, by its error
        run = _Evaluator(self, classifier)
        best = np.full(len(search.labels), -np.inf, np.float32)
        for restart in range(self.restarts):
            chosen = search.unsolved if self.early_exit else np.arange(len(search.labels))
            for first in range(0, len(chosen), BATCH_SIZE):
                run.climb(search, chosen[first : first + BATCH_SIZE], best, restart)
                search.report((restart + min(1.0, (first + BATCH_SIZE) / len(chosen))) / self.restarts)


class _Evaluator:
    """The compiled halves of one attack on one classifier; the batch axis is free, so each is traced once."""

    def __init__(self, attack: GradientAttack, classifier: Classifier) -> None:
        self.attack = attack
        images = tf.TensorSpec([None, *classifier.input_shape], tf.float32)
        labels = tf.TensorSpec([None], tf.int32)
        values, flags = tf.TensorSpec([None], tf.float32), tf.TensorSpec([None], tf.bool)
        memory = Memory(images, values, flags, labels)
        seed = tf.TensorSpec([2], tf.int32)

        def advance(
            x: tf.Tensor, origin: tf.Tensor, y: tf.Tensor, memory: Memory, steps: tf.Tensor
        ) -> tuple[tf.Tensor, Memory]:
            return attack._ascend(classifier.logits_fn, x, origin, y, steps, memory)

        def conclude(x: tf.Tensor, origin: tf.Tensor, y: tf.Tensor, memory: Memory) -> Memory:
            x = attack.threat.land(x, origin)
            logits = classifier.logits_fn(x)
            return memory.after(x, logits, attack.loss(logits, y), y)

        def compiled(function: Callable[..., Any], *signature: Any) -> Callable[..., Any]:  # noqa: ANN401
            return tf.function(function, input_signature=signature, autograph=False).get_concrete_function()

        self.start = compiled(attack.threat.random_start, images, seed)
        self.advance = compiled(advance, images, images, labels, memory, tf.TensorSpec([], tf.int32))
        self.conclude = compiled(conclude, images, images, labels, memory)

    def climb(self, search: Search, chosen: np.ndarray, best: np.ndarray, restart: int) -> None:
        """One restart on the examples `chosen`; survivors are packed at each look."""
        attack = self.attack
        origin, y = tf.constant(search.origin[chosen]), tf.constant(search.labels[chosen])
        seed = tf.constant([attack.seed, restart * len(search.labels) + int(chosen[0])])
        x = self.start(origin, seed) if attack.random_start else origin
        memory = Memory.empty(x)
        left = attack.steps
        while left and len(chosen):
            steps = min(left, STRIDE) if attack.early_exit else left
            left -= steps
            x, memory = self.advance(x, origin, y, memory, tf.constant(steps))
            search.gradients[chosen] += steps
            if not left:
                memory = self.conclude(x, origin, y, memory)
                search.queries[chosen] += 1
            done = memory.wrong.numpy() if attack.early_exit and left else np.full(len(chosen), not left)
            _settle(search, chosen[done], best, tf.nest.map_structure(lambda t, done=done: t.numpy()[done], memory))
            keep = np.flatnonzero(~done)
            chosen = chosen[keep]
            x, origin, y, memory = tf.nest.map_structure(
                lambda t, keep=keep: tf.gather(t, keep), (x, origin, y, memory)
            )


def _settle(search: Search, indices: np.ndarray, best: np.ndarray, memory: Memory) -> None:
    """Writes what one restart found into the search where it beats what earlier restarts found."""
    search.blind[indices] += memory.blind
    fell_before = search.solved[indices]
    better = np.where(memory.wrong == fell_before, memory.value > best[indices], memory.wrong)
    search.adversarial[indices[better]] = memory.x[better]
    best[indices[better]] = memory.value[better]
    search.solved[indices] |= memory.wrong
