"""Transfer: examples made on one model, counted on another."""

import dataclasses
from collections.abc import Callable

import numpy as np

from tfharden.attacks.core.search_state import SearchState
from tfharden.attacks.core.wrapper import Wrapper
from tfharden.attacks.gradient.attack import GradientAttack
from tfharden.classifiers import Classifier
from tfharden.errors import InputError


@dataclasses.dataclass(frozen=True)
class Transfer(Wrapper):
    """Examples that an attack makes on `surrogate`, tried on the classifier (Papernot et al. 2016, arXiv:1605.07277).

    A gradient attack takes all its steps and keeps the highest loss: an example that stops at the surrogate's boundary
    would seldom cross another model's. The report calls it by the attack's own name; `access` tells that it came by
    transfer.

    Args:
        attack: what is run on the surrogate; its threat is this attack's too.
        surrogate: a classifier that the attack can be run on.
    """

    surrogate: Classifier

    access = "transfer"
    minimises = False

    def _prepare(self, classifier: Classifier) -> Callable[[SearchState], None]:
        mine, other = ((model.input_shape, model.num_classes) for model in (classifier, self.surrogate))
        if mine != other:
            raise InputError(
                f"{self.surrogate.name} takes {other[0]} and knows {other[1]} classes, "
                f"{classifier.name} takes {mine[0]} and knows {mine[1]}: nothing can be transferred between them"
            )
        whole = {"early_exit": False} if isinstance(self.attack, GradientAttack) else {}
        run = dataclasses.replace(self.attack, **whole)._prepare(self.surrogate)

        def transfer(search: SearchState) -> None:
            made = SearchState.open(self.surrogate, search.origin, search.criterion, search.progress)
            # What the surrogate gets wrong when clean has to be moved as well: the classifier may get it right.
            made.solved[:], made.minimum[:] = False, np.inf
            made.stream = search.stream
            if search.checkpoint is not None:
                made.resume(search.checkpoint.within(made.stream, made.inputs))
            run(made)
            left = search.unsolved
            search.adversarial[left] = made.adversarial[left]
            search.gradients += made.gradients
            search.zero_gradients += made.zero_gradients

        return transfer
