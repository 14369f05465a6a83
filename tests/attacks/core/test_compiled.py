"""Compiled attacks: one graph serves all radii, step sizes and numbers of images."""

import numpy as np
import pytest

from tests._helpers.linear_problem import IMAGES, OFFSET, SHAPE, WEIGHTS, true_labels
from tfharden import attacks
from tfharden.classifiers import KerasClassifier
from tfharden.threats import L0, L1, L2, Linf

EXAMPLES = IMAGES[:20], true_labels()[:20]

# Each attack of an epsilon and of other numbers that depend on it.
KINDS = {
    "fgsm": lambda e, source: attacks.FGSM(Linf(e)),
    "bim": lambda e, source: attacks.BIM(Linf(e), steps=6),
    "pgd": lambda e, source: attacks.PGD(Linf(e), steps=6, step_size=e / 7, restarts=2, seed=int(100 * e)),
    "pgd-l2": lambda e, source: attacks.PGD(L2(e), steps=6),
    "mi-fgsm": lambda e, source: attacks.MIFGSM(Linf(e), steps=6, decay=e),
    "apgd": lambda e, source: attacks.APGD(Linf(e), steps=8),
    "apgd-l1": lambda e, source: attacks.APGD(L1(e), steps=8),
    "eot": lambda e, source: attacks.EoT(attacks.PGD(Linf(e), steps=2), samples=2),
    "deepfool": lambda e, source: attacks.DeepFool(L2(e), overshoot=e, steps=int(100 * e)),
    "fab": lambda e, source: attacks.FAB(Linf(e), steps=int(100 * e), restarts=2),
    "cw": lambda e, source: attacks.CarliniWagner(L2(e), steps=4, search_steps=2, confidence=e, learning_rate=e),
    "l-bfgs": lambda e, source: attacks.LBFGS(L2(e), steps=4, search_steps=2),
    "jsma": lambda e, source: attacks.JSMA(L0(100 * e), most=e),
    "diva": lambda e, source: attacks.DIVA(Linf(e), source, steps=6, restarts=1),
    "uap": lambda e, source: attacks.Universal(Linf(e), examples=EXAMPLES, epochs=1, classes=1, step_size=e / 3),
}


class Tracing(KerasClassifier):
    """Counts how often its graph is built."""

    def __init__(self, model):
        super().__init__(model)
        self.traces = 0

    def logits_fn(self, images):
        self.traces += 1
        return super().logits_fn(images)


@pytest.mark.parametrize("name", KINDS)
def test_other_numbers_and_batches_trace_nothing_again(two_classes, linear, name):
    classifier, source = Tracing(two_classes.model), linear(SHAPE, WEIGHTS, [0.1, OFFSET])
    x, y = IMAGES, classifier.predict(IMAGES)

    def run(epsilon, count):
        KINDS[name](epsilon, source)(classifier, x[:count], y[:count])
        return classifier.traces

    first = run(0.05, 30)
    assert first > 0
    for epsilon, count in ((0.1, 30), (0.07, 7), (0.06, 80)):
        assert run(epsilon, count) == first


def test_the_radius_of_a_compiled_attack_is_that_of_the_call(two_classes):
    y = true_labels()
    for threat in (Linf(0.1), Linf(0.2), L1(0.5), L1(1.0)):
        shared = attacks.APGD(threat, steps=12)(two_classes, IMAGES, y)
        alone = attacks.APGD(threat, steps=12)(KerasClassifier(two_classes.model), IMAGES, y)
        np.testing.assert_array_equal(shared.adversarial, alone.adversarial)
