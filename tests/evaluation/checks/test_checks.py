"""Checks that the results alone allow."""

import pytest

import tfharden as th
from tests._helpers.results import SHAPE, fell, result
from tfharden.evaluation import checks


class Stub(th.Classifier):
    def __init__(self, scores="logits"):
        self.scores, self.name, self.input_shape, self.num_classes = scores, "stub", SHAPE, 2

    def logits(self, images):
        raise NotImplementedError


def made(results, scores="logits", twin=None):
    found = checks.run(Stub(scores), results, twin)
    assert all(check.keys() == {"name", "status", "detail"} and "\n" not in check["detail"] for check in found)
    assert len({check["name"] for check in found}) == len(found)
    return {check["name"]: check for check in found}


def status(name, results, **options):
    return made(results, **options)[name]["status"]


BLACK, TRANSFER = (f"{kind} not stronger than white box" for kind in ("black box", "transfer"))
STEPS, LOSSES, LOST = "one step not stronger than many", "cross entropy against margin", "lost examples"


@pytest.mark.parametrize(
    ("scores", "expected"),
    [("logits", "pass"), ("logits before the last activation", "pass"), ("log of probabilities", "warn")],
)
def test_scores(scores, expected):
    assert {name: check["status"] for name, check in made([], scores).items()} == {"scores": expected}


@pytest.mark.parametrize(
    ("exact", "classes", "expected"),
    [(1.0, 1.0, "pass"), (0.99, 1.0, "warn"), (1.0, 0.99, "warn"), (1.0, 0.97, "fail")],
)
def test_twin(exact, classes, expected):
    twin = {"missing": None, "num_examples": 100, "logits_exact": exact, "classes": classes}
    assert status("gradients of the file", [], twin=twin) == expected


def test_file_without_a_twin():
    found = made([], twin={"missing": "an operator is unknown"})["gradients of the file"]
    assert (found["status"], found["detail"]) == ("warn", "it has no twin: an operator is unknown")


@pytest.mark.parametrize(
    ("zero_gradients", "expected"), [(0, "pass"), (1, "warn"), (199, "warn"), (200, "fail"), (10_000, "fail")]
)
def test_gradients(zero_gradients, expected):
    """A share of 1,000 examples * 10 gradients each; 2% of them is 200."""
    assert (
        status("gradients", [result("white-box", fell(0.5), gradients=10, zero_gradients=zero_gradients)]) == expected
    )


def test_one_gradient_of_many_is_not_told_as_none():
    found = made([result("white-box", fell(0.5), gradients=1000, zero_gradients=1)])["gradients"]
    assert found["detail"] == "1 of 1000000 gradients (0.0001%) were zero or not finite"


def test_gradients_that_were_never_taken_are_none_lost():
    assert status("gradients", [result("white-box", fell(1.0), gradients=0)]) == "pass"


@pytest.mark.parametrize(
    ("one", "many", "expected"),
    [(0.5, 0.6, "pass"), (0.5, 0.5, "pass"), (0.501, 0.5, "fail"), (0.51, 0.5, "fail")],
)
def test_one_step_against_many(one, many, expected):
    results = [result("white-box", fell(one), gradients=1), result("white-box", fell(many), gradients=20)]
    assert status(STEPS, results) == expected


@pytest.mark.parametrize(("access", "name"), [("score", BLACK), ("decision", BLACK), ("transfer", TRANSFER)])
@pytest.mark.parametrize(
    ("share", "expected"), [(0.5, "pass"), (0.509, "pass"), (0.51, "warn"), (0.519, "warn"), (0.52, "fail")]
)
def test_attacks_that_see_less(access, name, share, expected):
    """Shares of the examples that only these brought down, of 1% and 2%."""
    results = [result("white-box", fell(0.5), gradients=20), result(access, fell(share), gradients=20)]
    assert status(name, results) == expected


def test_black_box_is_compared_example_by_example():
    """The same accuracy, on other examples, is no agreement."""
    results = [result("white-box", fell(0.5), gradients=20), result("score", fell(0.5, first=500))]
    assert status(BLACK, results) == "fail"
    # What another white-box attack brings down counts for the white box.
    results.append(result("white-box", fell(0.5, first=500), gradients=20))
    assert status(BLACK, results) == "pass"


@pytest.mark.parametrize(
    ("entropy", "margin", "expected"),
    [(0.5, 0.52, "pass"), (0.52, 0.5, "pass"), (0.5, 0.53, "warn"), (0.5, 0.65, "fail"), (0.65, 0.5, "fail")],
)
@pytest.mark.parametrize("rival", ["margin", "difference_of_logits_ratio"])
def test_losses(entropy, margin, rival, expected):
    results = [
        result("white-box", fell(entropy), gradients=20, loss="cross_entropy"),
        result("white-box", fell(margin), gradients=20, loss=rival),
        result("white-box", fell(0.9), gradients=1, loss=rival),
    ]
    assert status(LOSSES, results) == expected
    assert LOSSES not in made(results[:1])


@pytest.mark.parametrize(("count", "expected"), [(0, "pass"), (20, "pass"), (21, "warn"), (99, "warn"), (100, "fail")])
def test_lost(count, expected):
    results = [result("white-box", fell(0.5), gradients=20, lost=0), result("score", fell(0.5), lost=count)]
    assert status(LOST, results) == expected


def test_checks_without_their_data_are_not_made():
    assert made([result("white-box", fell(0.5), gradients=1)]).keys() == {"scores", "gradients", LOST}
    results = [result("score", fell(0.5)), result("transfer", fell(0.2), gradients=9)]
    assert made(results).keys() == {"scores", LOST}
