"""Training on adversarial examples that were made against other models."""

import dataclasses
import functools
from collections.abc import Sequence

import keras
import tensorflow as tf

from tfharden.attacks import GradientAttack
from tfharden.classifiers import logits_of, shapes
from tfharden.errors import InputError
from tfharden.hardening.objectives.base import Forward
from tfharden.hardening.objectives.goodfellow import Goodfellow
from tfharden.hardening.trainer import Batch, Trainer
from tfharden.serialization import registered
from tfharden.threats.base import uniform


@registered
@dataclasses.dataclass(frozen=True, eq=False)
class FixedSources(Goodfellow):
    """Goodfellow's loss on examples made against fixed models, one of them drawn for each batch.

    With one source, the original model's examples as in Goodfellow, Shlens and Szegedy 2015 (arXiv:1412.6572); with
    several and `itself`, ensemble adversarial training (Tramer et al. 2018, arXiv:1705.07204). It teaches to resist
    transferred examples: a model trained on fixed examples alone falls to its own gradients as an untrained one does.

    Args:
        alpha: weight of the clean loss, in [0, 1].
        make: the attack on the sources.
        sources: built classifiers for the same images and classes; never changed.
        itself: also draw the model in training, which then is one source among the others.
    """

    _: dataclasses.KW_ONLY
    make: GradientAttack
    sources: Sequence[keras.Model]
    itself: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "sources", tuple(self.sources))
        if not self.sources:
            raise InputError("there is no source of adversarial examples: give at least one model")

    @property
    def attack(self) -> GradientAttack:  # noqa: D102
        return self.make

    @property
    def fixed_models(self) -> tuple[keras.Model, ...]:  # noqa: D102
        return tuple(self.sources)

    @functools.cached_property
    def _logits_fns(self) -> list[Forward]:
        return [_logits_fn(source, self.make.threat.bounds) for source in self.sources]

    def build(self, trainer: Trainer) -> None:  # noqa: D102
        for source in self.sources:
            if shapes(source) != shapes(trainer.model):
                raise InputError(
                    f"source and model differ in image shape or classes: {shapes(source)} and {shapes(trainer.model)}"
                )
        _ = self._logits_fns  # looks at outputs, which a graph can't

    def attacked(self, trainer: Trainer, batch: Batch) -> tf.Tensor:  # noqa: D102
        attack, seed = trainer.require_attack(), trainer.next_seed()
        makers = [*self._logits_fns, trainer.logits_fn] if self.itself else self._logits_fns
        drawn = tf.cast(len(makers) * uniform([], seed + 1), tf.int32)
        branches = [lambda maker=maker: attack.perturb(maker, batch.x, batch.y, seed) for maker in makers]
        return tf.switch_case(drawn, branches)


def _logits_fn(source: keras.Model, bounds: tuple[float, float]) -> Forward:
    to_logits, _ = logits_of(source, bounds)
    return lambda images: to_logits(source(images, training=False))
