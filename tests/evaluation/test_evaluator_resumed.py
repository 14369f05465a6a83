"""An evaluation that is killed again and again ends with the report of one that wasn't."""

import random

import numpy as np
import pytest

import tfharden as th
from tests._helpers.linear_models import THREAT, examples, linear, linear_classifier, without_seconds
from tfharden.attacks import PGD, AutoAttack, Square
from tfharden.attacks.core.attack import CHUNK


class _Killed(BaseException):
    pass


@pytest.fixture
def quick(monkeypatch):
    members = property(lambda self: (Square(self.threat, queries=20, seed=self.seed), PGD(self.threat, steps=5)))
    monkeypatch.setattr(AutoAttack, "members", members)


@pytest.fixture(scope="module")
def models(files):
    return [linear_classifier(), th.as_classifier(files / "int8.tflite")]


def evaluated(models, checkpoint, **options):
    options |= {"transfer": "pgd", "source": models[0], "checkpoints": checkpoint, "seed": 2}
    attacks = [PGD(THREAT, steps=10), Square(THREAT, queries=20), AutoAttack(THREAT)]
    return th.evaluate(models, examples(2 * CHUNK + 100), THREAT, attacks, **options).content


@pytest.mark.slow
def test_killed_at_random_moments(models, quick, no_checks, tmp_path):
    """Eight times, whenever progress is told; a signal would also hit native code, which may crash then.

    Checkpoints are kept, so that it ends at last.
    """
    whole, checkpoint, dice = evaluated(models, tmp_path / "whole"), tmp_path / "checkpoints", random.Random(0)
    kills = 0
    for _ in range(8):
        left = dice.randrange(1, 60)

        def progress(*_):
            nonlocal left
            left -= 1
            if not left:
                raise _Killed

        try:
            evaluated(models, checkpoint, progress=progress)
        except _Killed:
            kills += 1
    assert kills >= 4
    assert not list(checkpoint.glob("*.tmp"))
    assert without_seconds(evaluated(models, checkpoint)) == without_seconds(whole)


def test_images_that_were_attacked_are_not_attacked_again(monkeypatch, tmp_path):
    x, y = examples(2 * CHUNK + 10)
    classifier, attack, seen = linear_classifier(), PGD(THREAT, steps=5), []
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
