"""Fast adversarial training: FGSM from a random start."""

import dataclasses

import tensorflow as tf

from tfharden._validation import check_number
from tfharden.attacks import PGD, GradientAttack, ascend
from tfharden.attacks.core.criteria import Untargeted, criterion_value
from tfharden.hardening.objectives.madry import Madry
from tfharden.hardening.trainer import Batch, Trainer
from tfharden.serialization import registered
from tfharden.threats import Threat


@registered
@dataclasses.dataclass(frozen=True)
class Fast(Madry):
    """Madry's loss on FGSM from a random start of the ball, projected (Wong, Rice, Kolter 2020, arXiv:2001.03994).

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
        check_number("stretch", self.stretch, least=0)

    @property
    def attack(self) -> GradientAttack:  # noqa: D102
        # A ball of radius 0 needs no step, and PGD takes none of length 0.
        return PGD(self.threat, steps=1, step_size=self.stretch * self.threat.epsilon or None)

    def attacked(self, trainer: Trainer, batch: Batch) -> tf.Tensor:  # noqa: D102
        attack, logits_fn, x, y = trainer.require_attack(), trainer.logits_fn, batch.x, batch.y
        # The start may leave the box, as in the authors' code. Clipped, every start below black would be black itself.
        start = attack.threat.draw(x, trainer.next_seed())
        value_fn = criterion_value(logits_fn, Untargeted(y), attack.loss)
        return tf.stop_gradient(ascend(value_fn, start, attack.threat.projector(x), attack.rule, steps=1).x)
