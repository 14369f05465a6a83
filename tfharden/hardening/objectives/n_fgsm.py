"""N-FGSM: one step from a start in a larger ball, which is not projected."""

import dataclasses

import tensorflow as tf

from tfharden._validation import check_number
from tfharden.attacks import PGD, GradientAttack, ascend
from tfharden.attacks.core.criteria import Untargeted, criterion_value
from tfharden.attacks.gradient.ascent import SteepestAscent
from tfharden.hardening.objectives.madry import Madry
from tfharden.hardening.trainer import Batch, Trainer
from tfharden.serialization import registered
from tfharden.threats import Threat


@registered
@dataclasses.dataclass(frozen=True)
class NFGSM(Madry):
    """Madry's loss on FGSM from a start in a larger ball, not projected.

    N-FGSM, de Jorge et al. 2022, arXiv:2202.01181. Less prone to catastrophic overfitting than `Fast` at the same
    price. Training examples leave the ball, up to 1 + `noise` radii, though never the box.

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
        check_number("noise", self.noise, least=0)
        check_number("stretch", self.stretch, least=0)

    @property
    def attack(self) -> GradientAttack:  # noqa: D102
        return PGD(self.threat, steps=1)

    def attacked(self, trainer: Trainer, batch: Batch) -> tf.Tensor:  # noqa: D102
        attack, logits_fn, x, y = trainer.require_attack(), trainer.logits_fn, batch.x, batch.y
        threat = attack.threat
        start = threat.scaled(self.noise).random_start(x, trainer.next_seed())
        # In a ball that no such step leaves, so that only the box cuts.
        wide = SteepestAscent(threat.scaled(self.noise + self.stretch), self.stretch * threat.epsilon)
        value_fn = criterion_value(logits_fn, Untargeted(y), attack.loss)
        return tf.stop_gradient(ascend(value_fn, start, wide.threat.projector(x), wide, steps=1).x)
