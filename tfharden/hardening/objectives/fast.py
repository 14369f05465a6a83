"""Adversarial training at the price of one gradient."""

import dataclasses

import tensorflow as tf

from tfharden.attacks import PGD, GradientAttack, ascend
from tfharden.attacks.core.criteria import Untargeted, criterion_value
from tfharden.attacks.gradient.ascent import SteepestAscent
from tfharden.hardening.objectives.base import Forward, check_least
from tfharden.hardening.objectives.madry import Madry
from tfharden.serialization import registered
from tfharden.threats import Threat


@registered
@dataclasses.dataclass(frozen=True)
class Fast(Madry):
    """Madry's loss on FGSM from a random start of the ball, projected (Wong, Rice, Kolter 2020).

    Prone to catastrophic overfitting, where a model learns to fool the one step: watch it with
    `CatastrophicOverfitting`.

    Args:
        threat: ball and box.
        stretch: length of the step in radii of the ball; 1.25 in the paper.
    """

    threat: Threat
    stretch: float = 1.25

    def __post_init__(self) -> None:
        super().__post_init__()
        check_least("stretch", self.stretch, 0)

    @property
    def attack(self) -> GradientAttack:  # noqa: D102
        # A ball of radius 0 needs no step, and PGD takes none of length 0.
        return PGD(self.threat, steps=1, step_size=self.stretch * self.threat.epsilon or None)

    def attacked(  # noqa: D102
        self, attack: GradientAttack, logits_fn: Forward, x: tf.Tensor, y: tf.Tensor, seed: tf.Tensor
    ) -> tf.Tensor:
        # The start may leave the box, as in the authors' code. Clipped, every start below black would be black itself.
        start = attack.threat.draw(x, seed)
        value_fn = criterion_value(logits_fn, Untargeted(y), attack.loss)
        return tf.stop_gradient(ascend(value_fn, start, attack.threat.projector(x), attack.rule, steps=1).x)


@registered
@dataclasses.dataclass(frozen=True)
class NFGSM(Madry):
    """Madry's loss on FGSM from a start in a larger ball, not projected (N-FGSM, de Jorge et al. 2022).

    Less prone to catastrophic overfitting than `Fast` at the same price. Training examples leave the ball, up to
    1 + `noise` radii, though never the box.

    Args:
        threat: ball and box.
        noise: radius of the start in radii of the ball; 2 in the paper.
        stretch: length of the step in radii of the ball; 1 in the paper.
    """

    threat: Threat
    noise: float = 2.0
    stretch: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_least("noise", self.noise, 0)
        check_least("stretch", self.stretch, 0)

    @property
    def attack(self) -> GradientAttack:  # noqa: D102
        return PGD(self.threat, steps=1)

    def attacked(  # noqa: D102
        self, attack: GradientAttack, logits_fn: Forward, x: tf.Tensor, y: tf.Tensor, seed: tf.Tensor
    ) -> tf.Tensor:
        threat = attack.threat
        start = threat.scaled(self.noise).random_start(x, seed)
        # In a ball that no such step leaves, so that only the box cuts.
        wide = SteepestAscent(threat.scaled(self.noise + self.stretch), self.stretch * threat.epsilon)
        value_fn = criterion_value(logits_fn, Untargeted(y), attack.loss)
        return tf.stop_gradient(ascend(value_fn, start, wide.threat.projector(x), wide, steps=1).x)
