import numpy as np
import pytest

import tfharden as th
from tests._helpers.teaching import cnn, examples, one_line
from tfharden.attacks import FGSM
from tfharden.errors import InputError

ATTACK = FGSM(th.Linf(0.3))


def right(model, x):
    """Labels that a model gets right."""
    return model(x).numpy().argmax(axis=-1)


def likeness(student):
    """Its weights, a little off: it agrees on many images, not on all."""
    twin, random = cnn(4, name="likeness"), np.random.default_rng(0)
    twin.set_weights([w + 0.1 * random.standard_normal(w.shape) for w in student.get_weights()])
    return twin


def probabilities(model, x):
    scores = np.exp(model(x).numpy())
    return scores / scores.sum(axis=-1, keepdims=True)


def test_every_example_transfers_to_the_model_itself():
    student, (x, _) = cnn(4), examples(60)
    found = th.transferability(student, student, ATTACK, x, right(student, x))
    assert found.count == 60
    assert 0 < found.fooled_student < 1
    assert found.fooled_teacher == 1


def test_shares_by_hand():
    student, (x, _) = cnn(4), examples(200)
    teacher = likeness(student)
    y = right(student, x)
    both = right(teacher, x) == y
    assert 0 < both.sum() < 200
    attacked = ATTACK(th.KerasClassifier(student), x[both], y[both]).adversarial
    fell = right(student, attacked) != y[both]
    p, q = probabilities(teacher, x[both]), probabilities(teacher, attacked)
    found = th.transferability(student, teacher, ATTACK, x, y)
    assert found.count == both.sum()
    assert found.fooled_student == pytest.approx(fell.mean())
    assert found.fooled_teacher == pytest.approx((right(teacher, attacked) != y[both])[fell].mean())
    assert found.shift == pytest.approx(np.abs(p - q).sum(axis=-1)[fell].mean() / 2, rel=1e-3)
    assert f"of {both.sum()} images" in str(found)
    assert "\n" not in str(found)


def test_a_teacher_that_never_moves():
    """One whose logits don't depend on the image falls for nothing that it had right."""
    student, (x, _) = cnn(4), examples(60)
    y, blind = right(student, x), likeness(student)
    kernel, bias = blind.get_layer("logits").get_weights()
    blind.get_layer("logits").set_weights([0 * kernel, bias + np.eye(3)[np.bincount(y).argmax()]])
    found = th.transferability(student, blind, FGSM(th.Linf(0.9)), x, y)
    assert found.count == np.bincount(y).max()
    assert found.fooled_student > 0
    assert (found.fooled_teacher, found.shift) == (0.0, 0.0)


def test_nothing_that_both_get_right():
    student, (x, _) = cnn(4), examples()
    with pytest.raises(InputError, match="train the student a little first") as error:
        th.transferability(student, student, ATTACK, x, (right(student, x) + 1) % 3)
    assert one_line(error)
