"""Single checks against what can be told by hand, mostly on linear models."""

import itertools
import re

import keras
import numpy as np
import pytest

import tfharden as th
from tests._helpers.linear_models import EPSILON, SHAPE, THREAT, examples, linear, margins, robust_by_hand
from tests._helpers.results import result
from tfharden.attacks import BY_NAME, PGD
from tfharden.classifiers import CallableClassifier, KerasClassifier
from tfharden.errors import InputError
from tfharden.evaluation import checks
from tfharden.evaluation.checks import optimisation, planted
from tfharden.evaluation.checks.ascent_trace import AscentTrace, trace_ascent
from tfharden.evaluation.checks.context import Subject
from tfharden.losses import cross_entropy, margin

COUNT = 64


def subject(model=None, results=(), threat=THREAT, data=None):
    x, y = data or examples(COUNT, noise=0.0)
    return Subject(KerasClassifier(model or linear()), x, y, threat, results)


def run(classifier, results=(), data=None, threat=THREAT, **options):
    data = data or examples(COUNT, noise=0.0)
    classifier = KerasClassifier(classifier) if isinstance(classifier, keras.Model) else classifier
    found = checks.run(classifier, list(results), None, data, threat, **options)
    return {check["name"]: check for check in found}


def black_box(function):
    return CallableClassifier(function, SHAPE, 2)


def answers(images):
    return linear().predict(images, verbose=0)


def counts(check):
    return [
        int(number)
        for number in re.findall(r"(\d+) of (?:\d+) (?:clean |planted )?(?:images|examples)", check["detail"])
    ]


def robust():
    return robust_by_hand(linear(), *examples(COUNT, noise=0.0))


def missed_all(**parameters):
    return result("white-box", np.zeros(COUNT, bool), gradients=9, **parameters)


# What the classifier answers.


@pytest.mark.parametrize(("tied", "status"), [(0, "pass"), (3, "pass"), (4, "warn")])
def test_ties(tied, status):
    def function(images):
        return np.where(np.arange(len(images))[:, None] < tied, 0.5, answers(images))

    check = run(black_box(function))["scores"]
    assert check["status"] == status
    assert ("ties" in check["detail"]) == (tied > 0)
    assert counts(check) == ([tied] if tied else [])


def test_logits_that_are_no_numbers():
    def function(images):
        return np.where(np.arange(len(images))[:, None] < 5, np.nan, answers(images))

    check = run(black_box(function))["scores"]
    assert (check["status"], counts(check)) == ("fail", [5])


@pytest.mark.parametrize(("amount", "status"), [(0.0, "pass"), (1e-6, "pass"), (1e-2, "fail")])
def test_randomness(amount, status):
    calls = itertools.count()
    classifier = black_box(lambda images: [1.0, 1.0] + amount * (next(calls) % 2) * np.ones((len(images), 2)) * [1, -1])
    assert run(classifier)["randomness"]["status"] == status


@pytest.mark.parametrize(
    ("shift", "status"), [((0, 0), "pass"), ((0.1, 0.1), "warn"), ((9, -9), "fail"), ((-9, 9), "fail")]
)
def test_batch_that_an_image_sees(shift, status):
    """An image that comes alone is answered otherwise, with another class or without."""

    def function(images):
        return answers(images) + np.array(shift) * (len(images) == 1)

    assert run(black_box(function))["inference mode"]["status"] == status


@pytest.mark.parametrize(("constant", "change"), [(0.0, 2 * EPSILON / 20), (-0.5 + 1e-4, 1.0), (10.0, EPSILON / 210)])
def test_stability_of_one_pixel(constant, change):
    """The margin is x_0 + c at x_0 = 1/2, and E|u| = r / 2 for u uniform in [-r, r] with r = epsilon / 10."""
    kernel = np.zeros((16, 2))
    kernel[0, 0] = 1.0
    x, y = np.full((COUNT, *SHAPE), 0.5, np.float32), np.zeros(COUNT, np.int32)
    check = run(linear(kernel, (constant, 0.0)), data=(x, y))["stable predictions"]
    told = float(re.search(r"by ([\d.e-]+)%", check["detail"])[1]) / 100
    assert told == pytest.approx(change, rel=0.1)
    assert check["status"] == ("fail" if change == 1.0 else "pass")


# The check's own ascent.


@pytest.mark.parametrize("loss", [cross_entropy, margin])
@pytest.mark.parametrize("radius", [0.5, 1.0])
def test_walk_on_a_linear_model(loss, radius):
    model, made = linear(), trace_ascent(subject(), loss, radius=radius)
    x, y = examples(COUNT, noise=0.0)
    assert (made.succeeded == ~robust_by_hand(model, x, y, th.Linf(radius * EPSILON))).all()
    value, direction = margins(model, x, y)
    highest = -(value - radius * EPSILON * np.abs(direction).sum())
    expected = highest if loss is margin else np.logaddexp(0, highest)
    np.testing.assert_allclose(made.losses[-1], expected, rtol=1e-4, atol=1e-5)
    assert not made.zero_gradients.any()


def test_saturation_is_named():
    """exp(-104) is nothing in float32: from this margin on a softmax has no slope."""
    x, y = examples(COUNT, noise=0.0)
    value, _ = margins(linear(), x, y)
    steep = linear(np.asarray(linear().get_weights()[0]) * 120 / value.min())
    name = "gradients at the images"
    found = run(steep)[name]
    assert found["status"] == "fail"
    assert f"only the margin has one at {COUNT}: saturation" in found["detail"]
    assert run(steep, [missed_all(loss="margin")])[name]["status"] == "warn"
    assert run(linear())[name]["status"] == "pass"


def test_images_without_any_gradient():
    flat = linear(np.zeros((16, 2)), (1.0, 0.0))
    found = run(flat, data=(examples(COUNT)[0], np.zeros(COUNT, np.int32)))
    assert found["gradients at the images"]["status"] == "fail"
    assert found["unbounded attack"]["status"] == "fail"
    assert found["planted examples are found"]["status"] == "warn"
    assert counts(found["gradients at the images"]) == counts(found["unbounded attack"]) == [COUNT]


def test_silent_success_is_counted():
    """An attack that failed everywhere, where by hand so many images fall."""
    silent, noise = (run(linear(), [missed_all()])[name] for name in ("silent success", "noise finds nothing new"))
    assert (silent["status"], counts(silent)) == ("fail", [(~robust()).sum()])
    # Random signs don't get as far.
    assert counts(noise)[0] <= counts(silent)[0]
    honest = run(linear(), [result("white-box", ~robust(), gradients=9)])
    assert honest["silent success"]["status"] == honest["noise finds nothing new"]["status"] == "pass"


def test_noise_finds_what_hangs_on_one_pixel():
    """Each draw goes the right way with probability 1/2, so 100 draws find all."""
    kernel = np.zeros((16, 2))
    kernel[0] = [1.0, -1.0]
    model = linear(kernel, (-0.5, 0.5))
    x, y = examples(COUNT, model, noise=0.0, low=0.4, high=0.6)
    weak = ~robust_by_hand(model, x, y)
    check = run(model, [missed_all()], (x, y))["noise finds nothing new"]
    assert (check["status"], counts(check)) == ("fail", [weak.sum()])


@pytest.mark.parametrize(("crossings", "status"), [(0.5, "fail"), (4.0, "pass")])
def test_steps_too_short_to_arrive(crossings, status):
    """On what is robust by hand the loss climbs evenly for as long as the steps last."""
    used = missed_all(steps=40, step_size=crossings * EPSILON / 40)
    check = run(linear(), [used])["complete optimisation"]
    assert check["status"] == status
    assert counts(check)[0] >= robust().sum() if status == "fail" else counts(check) == [0]


def test_accuracy_at_each_radius():
    check = run(linear())["accuracy falls with epsilon"]
    x, y = examples(COUNT, noise=0.0)
    expected = [robust_by_hand(linear(), x, y, th.Linf(radius * EPSILON)).mean() for radius in (0, 0.25, 0.5, 1, 2)]
    told = [float(share) for share in re.findall(r"([\d.]+)% at", check["detail"])]
    assert told == [round(100 * share, 1) for share in expected]
    assert check["status"] == "pass"
    assert expected[0] == 1.0
    assert expected == sorted(expected, reverse=True)
    assert expected[-1] < expected[1]


@pytest.mark.parametrize(("more", "status"), [(0, "pass"), (2, "warn"), (3, "fail")])
def test_accuracy_that_rises(more, status, monkeypatch):
    left = {0.0: 60, 0.25: 50, 0.5: 40, 1.0: 30, 2.0: 30 + more}

    def made(_, __, *, radius, **___):
        return AscentTrace(np.zeros((1, COUNT)), np.arange(COUNT) >= left[radius], np.zeros(COUNT, int))

    monkeypatch.setattr(optimisation, "trace_ascent", made)
    assert optimisation.monotony(subject())["status"] == status


# What is planted.


def test_planted_examples_exist_and_are_found():
    about = subject()
    model, x = planted.plant(about)
    assert len(x) == planted.IMAGES
    assert (model.predict(x) == 0).all()
    np.testing.assert_allclose(model.logits(x), np.asarray(model.logits_fn(x)), rtol=1e-3, atol=1e-3)
    # Of a linear model the highest readout is known: the place lies lower, else nothing could find it.
    kernel = linear().get_weights()[0]
    slopes = np.abs(np.asarray(model.readouts, np.float64)[: len(x)] @ kernel.T).sum(axis=-1)
    assert (model.logits(x)[:, 1] + EPSILON * slopes > 0).all()
    assert planted.planted(about)["status"] == "pass"


@pytest.mark.parametrize(
    ("name", "parameters", "status"),
    [
        ("pgd", {"loss": "cross_entropy", "steps": 10, "step_size": None}, "pass"),
        ("pgd", {"loss": "cross_entropy", "steps": 10, "step_size": EPSILON / 100}, "fail"),
        ("apgd-dlr", {"loss": "difference_of_logits_ratio", "steps": 10}, "pass"),
        ("somebody's", {"loss": "cross_entropy", "steps": 1}, "pass"),
    ],
)
def test_the_attack_that_was_used_is_tried(name, parameters, status):
    check = planted.planted(subject(results=[missed_all(name=name, **parameters)]))
    assert check["status"] == status
    known = name in BY_NAME
    assert f"{name if known else 'pgd'} of {10 if known else 40} steps" in check["detail"]


def test_gradients_that_lead_nowhere_find_nothing():
    inputs = keras.Input(SHAPE)
    model = keras.Model(inputs, linear()(keras.ops.sign(inputs - 0.5)))
    check = planted.planted(subject(model, threat=th.Linf(0.1)))
    assert check["status"] == "fail"


def test_images_twice_are_no_obstacle():
    x, y = examples(COUNT, noise=0.0)
    about = subject(data=(np.repeat(x[: COUNT // 2], 2, axis=0), np.repeat(y[: COUNT // 2], 2)))
    model, chosen = planted.plant(about)
    found = PGD(THREAT)(model, chosen, np.zeros(len(chosen), np.int32))
    assert len(chosen) >= planted.IMAGES // 2
    assert found.success.all()


# What can't be checked.


def test_model_that_cuts_the_gradient_off():
    inputs = keras.Input(SHAPE)
    model = keras.Model(inputs, linear()(keras.ops.round(8 * inputs) / 8))
    found = run(model, [result("score", np.zeros(COUNT, bool))])
    assert found["gradients at the images"]["status"] == "fail"
    assert "no gradient" in found["gradients at the images"]["detail"]
    assert "planted examples are found" not in found


@pytest.mark.parametrize("threat", [th.Linf(0.0), th.threats.L0(3)])
def test_nothing_to_search(threat):
    assert run(linear(), threat=threat).keys() == {"scores", "randomness", "inference mode"}


@pytest.mark.parametrize("threat", [th.L2(0.1), th.L1(0.3)])
def test_other_norms(threat):
    found = run(linear(), threat=threat)
    assert {check["status"] for check in found.values()} == {"pass"}
    assert "planted examples are found" in found


def test_examples_of_another_evaluation():
    with pytest.raises(InputError, match="made up was made of 64 examples, not of these 10"):
        run(linear(), [missed_all()], examples(10))


def test_progress():
    told = []
    run(linear(), [missed_all()], progress=lambda done, total: told.append((done, total)))
    assert told == sorted(told)
    assert told[-1] == (checks.CHECKS, checks.CHECKS)
    assert len(told) <= checks.CHECKS + 1
