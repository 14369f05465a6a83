"""Expectation over transformation: gradients of a randomised model, averaged over its draws."""

import dataclasses
from collections.abc import Callable

import tensorflow as tf

from tfharden.attacks.core.search_state import SearchState
from tfharden.attacks.core.value_and_gradient import LogitsFn
from tfharden.attacks.core.wrapper import Wrapper, computed
from tfharden.attacks.gradient.attack import GradientAttack
from tfharden.classifiers import Classifier
from tfharden.errors import InputError
from tfharden.serialization import registered


@registered
@dataclasses.dataclass(frozen=True)
class EoT(Wrapper):
    """A gradient attack that climbs the mean loss over several draws of a randomised model.

    One draw's gradient points where that draw errs, which the next draw need not do; averaging gradients, not logits,
    follows the expected loss (Athalye et al. 2018, arXiv:1802.00420). The draws are rows of one batch, so the model
    has to draw for each image on its own. What is counted in the end is a draw of the classifier itself.

    Args:
        attack: a gradient attack.
        samples: draws a gradient.
    """

    attack: GradientAttack
    samples: int = 20

    name = computed(lambda self: f"eot-{self.attack.name}")

    def __post_init__(self) -> None:
        if not isinstance(self.attack, GradientAttack):
            raise InputError(f"eot averages the gradients of an attack such as pgd, not of {self.attack!r:.60}")
        super().__post_init__()
        self._check_counts("samples")

    def perturb(
        self,
        logits_fn: LogitsFn,
        x: tf.Tensor,
        y: tf.Tensor,
        seed: tf.Tensor | None = None,
        targets: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Adversarial images for training, as `GradientAttack.perturb` makes them."""
        return self.attack.perturb(logits_fn, x, y, seed, targets, draws=self.samples)

    def _prepare(self, classifier: Classifier) -> Callable[[SearchState], None]:
        run = self.attack._prepare(classifier, draws=self.samples)

        def averaged(search: SearchState) -> None:
            before = search.gradients.copy()
            run(search)
            search.gradients += (self.samples - 1) * (search.gradients - before)

        return averaged
