"""Checks that the attacks' results alone allow."""

import numpy as np
import pytest

import tfharden as th
from tests._helpers.linear_models import THREAT
from tests._helpers.results import SHAPE, made_up_run, successes
from tfharden.attacks import FGSM, PGD, HopSkipJump, MarginPGD, MultiTargeted, Square, Transfer, Universal
from tfharden.evaluation import checks
from tfharden.evaluation.attack_run import AttackRun
from tfharden.evaluation.checks import CheckContext, Verdict
from tfharden.evaluation.results import TwinResult
from tfharden.losses import difference_of_logits_ratio


class Stub(th.Classifier):
    """Gives no gradients, and the same logits for everything."""

    def __init__(self, scores="logits"):
        self.scores, self.name, self.input_shape, self.num_classes = scores, "stub", SHAPE, 2

    def logits(self, images):
        return np.tile([1.0, 0.0], (len(images), 1))


ONE, MANY, RIVAL = FGSM(THREAT), PGD(THREAT), MarginPGD(THREAT)
SCORE, DECISION, BY_TRANSFER = Square(THREAT), HopSkipJump(THREAT), Transfer(MANY, Stub())
BLACK_BOX, TRANSFER = (f"{kind} not stronger than white box" for kind in ("black box", "transfer"))
STEPS, LOSSES, LOST = "one step not stronger than many", "cross entropy against margin", "lost examples"


def context(runs=(), *, classifier=None, twin=None):
    x, y = np.zeros((4, *SHAPE), np.float32), np.zeros(4, np.int32)
    return CheckContext(classifier or Stub(), x, y, THREAT, 0, runs, twin)


def verdict(name, runs=(), **options):
    found = checks.KNOWN[name](context(runs, **options))
    assert found is None or "\n" not in found.detail
    return found


def status(name, runs=(), **options):
    return verdict(name, runs, **options).status


@pytest.mark.parametrize(
    ("scores", "expected"),
    [("logits", "pass"), ("logits before the last activation", "pass"), ("log of probabilities", "warn")],
)
def test_scores(scores, expected):
    assert status("scores", classifier=Stub(scores)) == expected


@pytest.mark.parametrize(
    ("exact", "classes", "expected"),
    [(1.0, 1.0, "pass"), (0.99, 1.0, "warn"), (1.0, 0.99, "warn"), (1.0, 0.97, "fail")],
)
def test_twin(exact, classes, expected):
    twin = TwinResult(missing=None, num_examples=100, logits_exact=exact, classes=classes)
    assert status("gradients of the file", twin=twin) == expected


def test_file_without_a_twin():
    twin = TwinResult(missing="an operator is unknown")
    assert verdict("gradients of the file", twin=twin) == ("warn", "it has no twin: an operator is unknown")


@pytest.mark.parametrize(
    ("zero_gradients", "expected"), [(0, "pass"), (1, "warn"), (199, "warn"), (200, "fail"), (10_000, "fail")]
)
def test_gradients(zero_gradients, expected):
    """A share of 1,000 examples * 10 gradients each; 2% of them is 200."""
    runs = [made_up_run(MANY, successes(0.5), gradients=10, zero_gradients=zero_gradients)]
    assert status("gradients", runs) == expected


def test_one_gradient_of_many_is_not_told_as_none():
    found = verdict("gradients", [made_up_run(MANY, successes(0.5), gradients=1000, zero_gradients=1)])
    assert found.detail == "1 of 1000000 gradients (0.0001%) were zero or not finite"


def test_gradients_that_were_never_taken_are_none_lost():
    assert status("gradients", [made_up_run(MANY, successes(1.0), gradients=0)]) == "pass"


@pytest.mark.parametrize(
    ("one", "many", "expected"),
    [(0.5, 0.6, "pass"), (0.5, 0.5, "pass"), (0.501, 0.5, "fail"), (0.51, 0.5, "fail")],
)
def test_one_step_against_many(one, many, expected):
    assert status(STEPS, [made_up_run(ONE, successes(one)), made_up_run(MANY, successes(many))]) == expected


@pytest.mark.parametrize(("attack", "name"), [(SCORE, BLACK_BOX), (DECISION, BLACK_BOX), (BY_TRANSFER, TRANSFER)])
@pytest.mark.parametrize(
    ("share", "expected"), [(0.5, "pass"), (0.509, "pass"), (0.51, "warn"), (0.519, "warn"), (0.52, "fail")]
)
def test_attacks_that_see_less(attack, name, share, expected):
    """Shares of the examples that only these brought down, of 1% and 2%."""
    assert status(name, [made_up_run(MANY, successes(0.5)), made_up_run(attack, successes(share))]) == expected


def test_black_box_is_compared_example_by_example():
    """The same accuracy, on other examples, is no agreement."""
    runs = [made_up_run(MANY, successes(0.5)), made_up_run(SCORE, successes(0.5, first=500))]
    assert status(BLACK_BOX, runs) == "fail"
    # What another white-box attack brings down counts for the white box.
    assert status(BLACK_BOX, [*runs, made_up_run(ONE, successes(0.5, first=500))]) == "pass"


@pytest.mark.parametrize(
    ("entropy", "margin", "expected"),
    [(0.5, 0.52, "pass"), (0.52, 0.5, "pass"), (0.5, 0.53, "warn"), (0.5, 0.65, "fail"), (0.65, 0.5, "fail")],
)
@pytest.mark.parametrize("rival", [RIVAL, PGD(THREAT, loss=difference_of_logits_ratio)], ids=["margin", "dlr"])
def test_losses(entropy, margin, rival, expected):
    runs = [
        made_up_run(MANY, successes(entropy)),
        made_up_run(rival, successes(margin)),
        made_up_run(FGSM(THREAT, loss=rival.loss), successes(0.9)),
    ]
    assert status(LOSSES, runs) == expected
    assert verdict(LOSSES, runs[:1]) is None


@pytest.mark.parametrize(("count", "expected"), [(0, "pass"), (20, "pass"), (21, "warn"), (99, "warn"), (100, "fail")])
def test_lost(count, expected):
    assert status(LOST, [made_up_run(MANY, successes(0.5)), made_up_run(SCORE, successes(0.5), lost=count)]) == expected


def test_checks_without_their_data_are_not_made():
    def made(runs):
        names = {"gradients", LOST, STEPS, BLACK_BOX, TRANSFER, LOSSES, "gradients of the file"}
        return {name for name in names if verdict(name, runs)}

    assert made([]) == set()
    assert made([made_up_run(ONE, successes(0.5))]) == {"gradients", LOST}
    assert made([made_up_run(SCORE, successes(0.5)), made_up_run(BY_TRANSFER, successes(0.2))]) == {LOST}


def test_the_kind_of_an_attack_is_what_its_class_declares():
    fitted = Universal(THREAT, examples=(np.zeros((1, *SHAPE), np.float32), np.zeros(1, int)))
    attacks = [
        ONE,
        PGD(THREAT, steps=1),
        MANY,
        FGSM(THREAT, restarts=2),
        MultiTargeted(ONE),
        fitted,
        SCORE,
        BY_TRANSFER,
    ]
    runs = [AttackRun("", attack, None) for attack in attacks]
    assert [run.takes_one_step for run in runs] == [True, True] + [False] * 6
    assert [run.takes_many_steps for run in runs] == [False, False, True, True, True, False, False, False]
    averaged = th.attacks.EoT(MANY)
    assert [AttackRun("", attack, None).is_averaged for attack in (averaged, MultiTargeted(averaged), MANY)] == [
        *(True, True, False)
    ]
    assert AttackRun("", PGD(THREAT, steps=4, step_size=0.5), None).path_length == 2
    assert AttackRun("", MANY, None).path_length is None


def test_a_check_of_ones_own(monkeypatch):
    monkeypatch.setattr(checks, "KNOWN", type(checks.KNOWN)("check"))
    checks.KNOWN.register("mine")(lambda context: Verdict("warn", f"{len(context.y)} images"))
    checks.KNOWN.register("never")(lambda context: None)
    told = []
    (found,) = checks.run(context(), lambda done, total: told.append((done, total)))
    assert found.to_json() == {"name": "mine", "status": "warn", "detail": "4 images"}
    assert told == [(1, 2), (2, 2)]
