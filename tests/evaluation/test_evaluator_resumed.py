"""An evaluation that is killed again and again ends with the report of one that wasn't."""

import random
import signal

import numpy as np
import pytest

import tfharden as th
from tests._helpers.linear_models import THREAT, examples, linear
from tests.evaluation.test_evaluator_stages import comparable
from tfharden.attacks import PGD, AutoAttack, Square
from tfharden.attacks.core.attack import CHUNK


class _Killed(BaseException):
    pass


@pytest.fixture
def quick(monkeypatch):
    members = property(lambda self: (Square(self.threat, queries=20, seed=self.seed), PGD(self.threat, steps=5)))
    monkeypatch.setattr(AutoAttack, "members", members)


def evaluated(files, checkpoint):
    models = [linear(), files / "int8.tflite"]
    options = {"transfer": "pgd", "source": linear(), "checkpoints": checkpoint, "seed": 2}
    attacks = [PGD(THREAT, steps=10), Square(THREAT, queries=100), AutoAttack(THREAT)]
    return th.evaluate(models, examples(2 * CHUNK + 100), THREAT, attacks, **options).content


def test_killed_at_random_moments(files, quick, tmp_path):
    """By a signal that comes whenever it comes, twenty times; what is noted is kept, so that it ends at last."""
    whole, checkpoint, dice = evaluated(files, tmp_path / "whole"), tmp_path / "notes", random.Random(0)
    killed = []

    def kill(*_):
        killed.append(True)
        raise _Killed

    old = signal.signal(signal.SIGALRM, kill)
    try:
        for _ in range(20):
            killed.clear()
            signal.setitimer(signal.ITIMER_REAL, dice.uniform(0.05, 1.5))
            try:
                evaluated(files, checkpoint)
            except BaseException:  # native code on its way may tell it as an error of another kind
                if not killed:
                    raise
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
    finally:
        signal.signal(signal.SIGALRM, old)
    assert not list(checkpoint.glob("*.tmp"))
    assert comparable(evaluated(files, checkpoint)) == comparable(whole)


def test_images_that_were_attacked_are_not_attacked_again(monkeypatch, tmp_path):
    x, y = examples(2 * CHUNK + 10)
    classifier, attack, seen = th.KerasClassifier(linear()), PGD(THREAT, steps=5), []
    whole = attack(classifier, x, y)
    search = PGD._search_with

    def counted(self, ascent, part):
        if len(seen) == 1:
            seen.append(None)
            raise _Killed
        seen.append(len(part.solved))
        search(self, ascent, part)

    monkeypatch.setattr(PGD, "_search_with", counted)
    with pytest.raises(_Killed):
        attack(classifier, x, y, checkpoint=tmp_path)
    resumed = attack(classifier, x, y, checkpoint=tmp_path)
    assert seen == [CHUNK, None, CHUNK, 10]
    again = attack(classifier, x, y, checkpoint=tmp_path)
    assert len(seen) == 4
    for result in (resumed, again):
        for name in ("adversarial", "success", "distance", "queries", "gradients", "zero_gradients", "lost"):
            np.testing.assert_array_equal(getattr(result, name), getattr(whole, name), err_msg=name)
    assert again.seconds > resumed.seconds / 2


def test_notes_are_of_one_attack_and_of_the_models_within_it(tmp_path):
    """Attacks of the same settings, and transfers from surrogates of the same name, have notes of their own."""
    x, y = examples(30)
    target = th.KerasClassifier(linear(bias=(0.2, 0.0)))
    for surrogate in (linear(), linear(bias=(0.5, 0.0))):
        th.attacks.Transfer(PGD(THREAT, steps=3), th.KerasClassifier(surrogate))(target, x, y, checkpoint=tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
    for attack in (PGD(THREAT, steps=3), th.attacks.BIM(THREAT, steps=3), th.attacks.get("pgd-t", THREAT, steps=3)):
        attack(target, x, y, checkpoint=tmp_path)
    assert len(list(tmp_path.iterdir())) == 5
