import numpy as np
import pytest
import tensorflow as tf

from tfharden.attacks import BIM, FGSM, PGD
from tfharden.classifiers import KerasClassifier
from tfharden.threats import L2, Linf

foolbox = pytest.importorskip("foolbox", reason="Foolbox comes with the extra [test]")
COUNT = 150


@pytest.fixture
def examples(digits):
    return digits.test[0][:COUNT], digits.test[1][:COUNT]


@pytest.fixture
def theirs(digits_model, examples):
    """Runs an attack of Foolbox: the images, and which of them fool the model."""
    model = foolbox.TensorFlowModel(digits_model, bounds=(0, 1))

    def run(attack, epsilon):
        x, y = (tf.constant(part) for part in examples)
        criterion = foolbox.criteria.Misclassification(tf.cast(y, tf.int64))  # the type of its argmax
        _, images, success = attack(model, x, criterion, epsilons=epsilon)
        return images.numpy(), success.numpy()

    return run


def _perturb(attack, model, examples):
    x, y = (tf.constant(part) for part in examples)
    return attack.perturb(KerasClassifier(model).logits_fn, x, y).numpy()


@pytest.mark.parametrize(
    ("threat", "attack"),
    [
        (Linf(0.1), lambda: foolbox.attacks.LinfFastGradientAttack(random_start=False)),
        (L2(0.8), lambda: foolbox.attacks.L2FastGradientAttack(random_start=False)),
    ],
    ids=["linf", "l2"],
)
def test_fgsm_makes_the_same_images(digits_model, examples, theirs, threat, attack):
    expected, _ = theirs(attack(), threat.epsilon)
    np.testing.assert_allclose(_perturb(FGSM(threat), digits_model, examples), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("threat", "attack"),
    [
        (Linf(0.1), lambda: foolbox.attacks.LinfBasicIterativeAttack(abs_stepsize=0.02, steps=10, random_start=False)),
        (L2(0.8), lambda: foolbox.attacks.L2BasicIterativeAttack(abs_stepsize=0.15, steps=10, random_start=False)),
        (Linf(0.1), lambda: foolbox.attacks.LinfPGD(abs_stepsize=0.02, steps=10, random_start=False)),
    ],
    ids=["linf-bim", "l2-bim", "linf-pgd"],
)
def test_bim_makes_the_same_images(digits_model, examples, theirs, threat, attack, digits_classifier):
    expected, success = theirs(attack(), threat.epsilon)
    step = 0.02 if threat.norm == "Linf" else 0.15
    found = _perturb(BIM(threat, steps=10, step_size=step), digits_model, examples)
    # Where a gradient is next to zero its sign is a matter of rounding: a few values may differ.
    assert (np.abs(found - expected) < 1e-4).mean() > 0.999
    logits = digits_classifier.logits(found)
    assert np.mean((logits.argmax(1) != examples[1]) != success) < 0.01
    assert success.mean() > 0.2


def test_fgsm_finds_at_least_what_foolbox_finds(digits_classifier, examples, theirs):
    _, success = theirs(foolbox.attacks.LinfFastGradientAttack(random_start=False), 0.1)
    result = FGSM(Linf(0.1))(digits_classifier, *examples)
    np.testing.assert_array_equal(result.success, success)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_pgd_is_as_strong_at_the_same_budget(digits_classifier, examples, theirs, norm):
    threat, step = (Linf(0.06), 0.01) if norm == "linf" else (L2(0.45), 0.08)
    kind = foolbox.attacks.LinfPGD if norm == "linf" else foolbox.attacks.L2PGD
    _, success = theirs(kind(abs_stepsize=step, steps=20, random_start=True), threat.epsilon)
    result = PGD(threat, steps=20, step_size=step)(digits_classifier, *examples)
    assert 0.1 < result.robust_accuracy < 0.9
    # Random starts decide on few examples: two of 150.
    assert result.robust_accuracy <= 1 - success.mean() + 2 / COUNT + 1e-9
