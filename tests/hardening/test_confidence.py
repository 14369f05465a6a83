import dataclasses

import numpy as np
import pytest

import tfharden as th
from tests._helpers.robust_examples import SHAPE, linear, one_line
from tfharden.attacks import FGSM, PGD, DeepFool, MarginPGD
from tfharden.errors import InputError
from tfharden.hardening.confidence_measure import AnswerConfidence, Confidence, confidence, confidence_table

RADIUS = 0.02
THREAT = th.Linf(RADIUS)


def balanced(**options):
    """Says either class about as often, and is right on half of the images of random labels."""
    model = linear(classes=2, **options)
    kernel, _ = model.get_weights()
    model.set_weights([kernel, -kernel.sum(axis=0) / 2])
    return model


@pytest.fixture
def model():
    return balanced()


def examples(count=40):
    """So far from the box that no perturbation meets it."""
    random = np.random.default_rng(0)
    return random.uniform(0.2, 0.8, (count, *SHAPE)).astype(np.float32), random.integers(0, 2, count).astype(np.int32)


def expected(model, x, y, radius):
    """Of two classes, the worst case is known: each value moves against the label by the whole radius."""
    kernel, bias = (weight.astype(np.float64) for weight in model.get_weights())
    slope = kernel[:, 1] - kernel[:, 0]
    margins = (2 * y - 1) * (x.reshape(len(x), -1) @ slope + bias[1] - bias[0]) - radius * np.abs(slope).sum()
    sure, right = 1 / (1 + np.exp(-np.abs(margins))), margins > 0
    return len(y), np.mean(~right), *(sure[where].mean() if where.any() else None for where in (right, ~right))


@pytest.mark.parametrize("attack", [FGSM(THREAT), PGD(THREAT, steps=5), MarginPGD(THREAT, steps=5, restarts=2)])
@pytest.mark.parametrize("softmax", [False, True])
def test_linear_model_in_closed_form(attack, softmax):
    model = balanced(softmax=softmax)
    x, y = examples()
    found = confidence(model, x, y, attack)
    assert dataclasses.astuple(found.clean) == pytest.approx(expected(model, x, y, 0), rel=1e-4)
    assert dataclasses.astuple(found.adversarial) == pytest.approx(expected(model, x, y, RADIUS), rel=1e-4)
    assert 0 < found.clean.wrong < found.adversarial.wrong


def test_an_attack_that_exits_early_would_understate(model):
    """Of an image that is wrong already, and of one that falls at the first step, the surest error counts."""
    x, y = examples()
    attack = PGD(th.Linf(0.15), steps=40, step_size=0.01)
    early = attack(th.classifiers.KerasClassifier(model), x, y)
    logits = model(early.adversarial[early.success]).numpy()
    stopped = (1 / (1 + np.exp(-np.abs(logits[:, 1] - logits[:, 0])))).mean()
    assert confidence(model, x, y, attack).adversarial.wrong_confidence > stopped + 0.01


def test_never_wrong_or_never_right(model):
    x, _ = examples()
    y = model(x).numpy().argmax(axis=-1)
    tiny = FGSM(th.Linf(1e-6))
    always, never = confidence(model, x, y, tiny), confidence(model, x, 1 - y, tiny)
    assert (always.clean.wrong, always.clean.wrong_confidence) == (0, None)
    assert (never.clean.wrong, never.clean.right_confidence) == (1, None)
    assert always.clean.right_confidence == pytest.approx(never.clean.wrong_confidence)


def test_answers_that_are_not_finite(model):
    x, y = examples()
    model.set_weights([np.full_like(weight, np.nan) for weight in model.get_weights()])
    assert confidence(model, x, y, FGSM(THREAT)).clean == AnswerConfidence(40, 1.0, None, None)


def test_table():
    before = Confidence(AnswerConfidence(100, 0.05, 0.987, 0.61), AnswerConfidence(100, 1.0, None, 0.972))
    after = Confidence(AnswerConfidence(100, 0.08, 0.9, 0.55), AnswerConfidence(100, 0.315, 0.8, 0.6))
    assert confidence_table({"before": before, "after": after}).splitlines() == [
        "confidence           images  wrong %  sure where right %  sure where wrong %",
        "before, clean           100      5.0                98.7                61.0",
        "before, adversarial     100    100.0                   –                97.2",
        "after, clean            100      8.0                90.0                55.0",
        "after, adversarial      100     31.5                80.0                60.0",
    ]


def test_refuses(model):
    x, y = examples()
    for arguments, says in (
        ((model, x, y, DeepFool(THREAT)), "deepfool may stop where the answer changes"),
        ((model, x, y + 5, FGSM(THREAT)), "labels span"),
        ((model, x - 3, y, FGSM(THREAT)), "images span"),
    ):
        with pytest.raises(InputError, match=says) as error:
            confidence(*arguments)
        assert one_line(error)
