"""Single checks against what can be told by hand, mostly on linear models."""

import functools
import itertools
import re

import keras
import numpy as np
import pytest

import tfharden as th
from tests._helpers.linear_models import EPSILON, SHAPE, THREAT, examples, linear, margins, robust_by_hand
from tests._helpers.results import made_up_run
from tfharden.attacks import APGDDLR, BIM, PGD, MarginPGD, Square
from tfharden.classifiers import CallableClassifier, KerasClassifier
from tfharden.errors import InputError
from tfharden.evaluation import checks
from tfharden.evaluation.checks import CheckContext, optimisation, planted
from tfharden.evaluation.checks.ascent_trace import AscentTrace, trace_ascent
from tfharden.losses import cross_entropy, margin

COUNT = 64
DATA = functools.cache(lambda: examples(COUNT, noise=0.0))


@functools.cache
def linear_classifier():
    """One for all tests, so that its graphs are traced once."""
    return KerasClassifier(linear())


def context(model=None, runs=(), *, data=None, threat=THREAT, seed=0):
    classifier = model if isinstance(model, th.Classifier) else KerasClassifier(model) if model else linear_classifier()
    return CheckContext.of(classifier, runs, data or DATA(), threat, seed=seed)


def verdict(name, *arguments, **options):
    return checks.KNOWN[name](context(*arguments, **options))


def black_box(function):
    return CallableClassifier(function, SHAPE, 2)


def answers(images):
    return linear_classifier().logits(images)


def counts(found):
    pattern = r"(\d+) of (?:\d+) (?:clean |planted )?(?:images|examples)"
    return [int(number) for number in re.findall(pattern, found.detail)]


@functools.cache
def robust():
    return robust_by_hand(linear(), *DATA())


def missed_all(attack=None):
    return made_up_run(attack or PGD(THREAT), np.zeros(COUNT, bool), gradients=9)


# What the classifier answers.


@pytest.mark.parametrize(("tied", "status"), [(0, "pass"), (3, "pass"), (4, "warn")])
def test_ties(tied, status):
    def function(images):
        return np.where(np.arange(len(images))[:, None] < tied, 0.5, answers(images))

    found = verdict("scores", black_box(function))
    assert found.status == status
    assert ("ties" in found.detail) == (tied > 0)
    assert counts(found) == ([tied] if tied else [])


def test_logits_that_are_no_numbers():
    def function(images):
        return np.where(np.arange(len(images))[:, None] < 5, np.nan, answers(images))

    found = verdict("scores", black_box(function))
    assert (found.status, counts(found)) == ("fail", [5])


@pytest.mark.parametrize(("amount", "status"), [(0.0, "pass"), (1e-6, "pass"), (1e-2, "fail")])
def test_randomness(amount, status):
    calls = itertools.count()
    classifier = black_box(lambda images: [1.0, 1.0] + amount * (next(calls) % 2) * np.ones((len(images), 2)) * [1, -1])
    assert verdict("randomness", classifier).status == status


@pytest.mark.parametrize(
    ("shift", "status"), [((0, 0), "pass"), ((0.1, 0.1), "warn"), ((9, -9), "fail"), ((-9, 9), "fail")]
)
def test_batch_that_an_image_sees(shift, status):
    """An image that comes alone is answered otherwise, with another class or without."""

    def function(images):
        return answers(images) + np.array(shift) * (len(images) == 1)

    assert verdict("inference mode", black_box(function)).status == status


@pytest.mark.parametrize(("constant", "change"), [(0.0, 2 * EPSILON / 20), (-0.5 + 1e-4, 1.0), (10.0, EPSILON / 210)])
def test_stability_of_one_pixel(constant, change):
    """The margin is x_0 + c at x_0 = 1/2, and E|u| = r / 2 for u uniform in [-r, r] with r = epsilon / 10."""
    x, y = np.full((COUNT, *SHAPE), 0.5, np.float32), np.zeros(COUNT, np.int32)
    one_pixel = black_box(lambda images: np.stack([images[:, 0, 0, 0] + constant, np.zeros(len(images))], axis=1))
    found, again, other = (verdict("stable predictions", one_pixel, data=(x, y), seed=seed) for seed in (0, 0, 1))
    told = float(re.search(r"by ([\d.e-]+)%", found.detail)[1]) / 100
    assert told == pytest.approx(change, rel=0.1)
    assert found.status == ("fail" if change == 1.0 else "pass")
    assert found == again
    assert found != other


# The check's own ascent.


@pytest.mark.parametrize("loss", [cross_entropy, margin])
@pytest.mark.parametrize("radius", [0.5, 1.0])
def test_trace_on_a_linear_model(loss, radius):
    model, trace = linear(), trace_ascent(context(), loss, radius=radius)
    x, y = DATA()
    assert (trace.succeeded == ~robust_by_hand(model, x, y, th.Linf(radius * EPSILON))).all()
    value, direction = margins(model, x, y)
    highest = -(value - radius * EPSILON * np.abs(direction).sum())
    expected = highest if loss is margin else np.logaddexp(0, highest)
    np.testing.assert_allclose(trace.losses[-1], expected, rtol=1e-4, atol=1e-5)
    assert not trace.zero_gradients.any()


def test_one_graph_of_each_loss_serves_all_checks(monkeypatch):
    """Radii, steps and images are numbers to the graph."""
    classifier, traced = KerasClassifier(linear()), []
    logits_fn = classifier.logits_fn
    monkeypatch.setattr(classifier, "logits_fn", lambda images: traced.append(images.shape) or logits_fn(images))
    whole = context(classifier)
    for name in ("gradients at the images", "complete optimisation", "unbounded attack", "accuracy falls with epsilon"):
        assert checks.KNOWN[name](whole)
    assert len(traced) == 2


def test_saturation_is_named():
    """exp(-104) is nothing in float32: from this margin on a softmax has no slope."""
    value, _ = margins(linear(), *DATA())
    steep = KerasClassifier(linear(np.asarray(linear().get_weights()[0]) * 120 / value.min()))
    name = "gradients at the images"
    found = verdict(name, steep)
    assert found.status == "fail"
    assert f"only the margin has one at {COUNT}: saturation" in found.detail
    assert verdict(name, steep, [missed_all(MarginPGD(THREAT))]).status == "warn"
    assert verdict(name).status == "pass"


def test_images_without_any_gradient():
    flat = context(linear(np.zeros((16, 2)), (1.0, 0.0)), data=(examples(COUNT)[0], np.zeros(COUNT, np.int32)))
    gradients, unbounded = (checks.KNOWN[name](flat) for name in ("gradients at the images", "unbounded attack"))
    assert gradients.status == unbounded.status == "fail"
    assert counts(gradients) == counts(unbounded) == [COUNT]
    assert planted.planted(flat).status == "warn"


def test_silent_success_is_counted():
    """An attack that failed everywhere, where by hand so many images fall."""
    names = "silent success", "noise finds nothing new"
    silent, noise = (verdict(name, None, [missed_all()]) for name in names)
    assert (silent.status, counts(silent)) == ("fail", [(~robust()).sum()])
    # Random signs don't get as far.
    assert counts(noise)[0] <= counts(silent)[0]
    honest = [made_up_run(PGD(THREAT), ~robust(), gradients=9)]
    assert [verdict(name, None, honest).status for name in names] == ["pass", "pass"]


def test_noise_finds_what_hangs_on_one_pixel():
    """Each draw goes the right way with probability 1/2, so 100 draws find all."""
    kernel = np.zeros((16, 2))
    kernel[0] = [1.0, -1.0]
    model = linear(kernel, (-0.5, 0.5))
    x, y = examples(COUNT, model, noise=0.0, low=0.4, high=0.6)
    weak = ~robust_by_hand(model, x, y)
    found = verdict("noise finds nothing new", model, [missed_all()], data=(x, y))
    assert (found.status, counts(found)) == ("fail", [weak.sum()])


@pytest.mark.parametrize(("crossings", "status"), [(0.5, "fail"), (4.0, "pass")])
def test_steps_too_short_to_arrive(crossings, status):
    """On what is robust by hand the loss climbs evenly for as long as the steps last."""
    used = missed_all(BIM(THREAT, steps=40, step_size=crossings * EPSILON / 40))
    found = verdict("complete optimisation", None, [used])
    assert found.status == status
    assert counts(found)[0] >= robust().sum() if status == "fail" else counts(found) == [0]


def test_accuracy_at_each_radius():
    found = verdict("accuracy falls with epsilon")
    expected = [robust_by_hand(linear(), *DATA(), th.Linf(radius * EPSILON)).mean() for radius in (0, 0.25, 0.5, 1, 2)]
    told = [float(share) for share in re.findall(r"([\d.]+)% at", found.detail)]
    assert told == [round(100 * share, 1) for share in expected]
    assert found.status == "pass"
    assert expected[0] == 1.0
    assert expected == sorted(expected, reverse=True)
    assert expected[-1] < expected[1]


@pytest.mark.parametrize(("more", "status"), [(0, "pass"), (2, "warn"), (3, "fail")])
def test_accuracy_that_rises(more, status, monkeypatch):
    left = {0.0: 60, 0.25: 50, 0.5: 40, 1.0: 30, 2.0: 30 + more}

    def made(_, __, *, radius, **___):
        return AscentTrace(np.zeros((1, COUNT)), np.arange(COUNT) >= left[radius], np.zeros(COUNT, int))

    whole = context()
    assert whole.traces
    monkeypatch.setattr(optimisation, "trace_ascent", made)
    assert optimisation.monotony(whole).status == status


# What is planted.


def test_planted_examples_exist_and_are_found():
    whole = context()
    model, x = planted.plant(whole)
    assert len(x) == planted.PLANTED_IMAGES
    assert (model.predict(x) == 0).all()
    np.testing.assert_allclose(model.logits(x), np.asarray(model.logits_fn(x)), rtol=1e-3, atol=1e-3)
    # Of a linear model the highest readout is known: the place lies lower, else nothing could find it.
    kernel = linear().get_weights()[0]
    slopes = np.abs(np.asarray(model.readouts, np.float64)[: len(x)] @ kernel.T).sum(axis=-1)
    assert (model.logits(x)[:, 1] + EPSILON * slopes > 0).all()
    assert planted.planted(whole).status == "pass"


@pytest.mark.parametrize("block_values", [1, 2**22])
def test_the_nearest_image_has_its_readout(monkeypatch, block_values):
    """However many images' differences are held at a time."""
    monkeypatch.setattr(planted, "BLOCK_VALUES", block_values)
    x = DATA()[0][:5]
    model = planted.Planted(linear_classifier(), THREAT, x, np.eye(5, 2) + np.arange(5)[:, None], np.zeros(5))
    nearby = x[[3, 1, 1, 4]] + np.float32(0.01)
    score = np.sum(np.asarray(model.readouts)[[3, 1, 1, 4]] * answers(nearby), axis=-1)
    np.testing.assert_allclose(model.logits(nearby)[:, 1], score, rtol=1e-5)


@pytest.mark.parametrize(
    ("attack", "status"),
    [
        (PGD(THREAT, steps=10), "pass"),
        (PGD(THREAT, steps=10, step_size=EPSILON / 100), "fail"),
        (APGDDLR(THREAT, steps=10), "pass"),
        (type("Own", (PGD,), {"name": "own"})(THREAT, steps=10), "pass"),
        (Square(THREAT), "pass"),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_the_attack_that_was_used_is_tried(attack, status):
    found = planted.planted(context(runs=[missed_all(attack)]))
    assert found.status == status
    assert f"{'pgd of 40' if attack.name == 'square' else f'{attack.name} of 10'} steps" in found.detail


def test_gradients_that_lead_nowhere_find_nothing():
    inputs = keras.Input(SHAPE)
    model = keras.Model(inputs, linear()(keras.ops.sign(inputs - 0.5)))
    assert planted.planted(context(model, threat=th.Linf(0.1))).status == "fail"


def test_images_twice_are_no_obstacle():
    x, y = DATA()
    whole = context(data=(np.repeat(x[: COUNT // 2], 2, axis=0), np.repeat(y[: COUNT // 2], 2)))
    model, chosen = planted.plant(whole)
    found = PGD(THREAT)(model, chosen, np.zeros(len(chosen), np.int32))
    assert len(chosen) >= planted.PLANTED_IMAGES // 2
    assert found.success.all()


# All of them.


def run(*arguments, **options):
    found = checks.run(context(*arguments, **options))
    assert len({check.name for check in found}) == len(found)
    assert not any("\n" in check.detail for check in found)
    return {check.name: check for check in found}


def test_model_that_cuts_the_gradient_off():
    inputs = keras.Input(SHAPE)
    model = keras.Model(inputs, linear()(keras.ops.round(8 * inputs) / 8))
    found = run(model, [missed_all(Square(THREAT))])
    assert found["gradients at the images"].status == "fail"
    assert "no gradient" in found["gradients at the images"].detail
    assert "planted examples are found" not in found


@pytest.mark.parametrize("threat", [th.Linf(0.0), th.threats.L0(3)])
def test_nothing_to_search(threat):
    assert run(threat=threat).keys() == {"scores", "randomness", "inference mode"}


@pytest.mark.slow
@pytest.mark.parametrize("threat", [th.L2(0.1), th.L1(0.3)])
def test_other_norms(threat):
    found = run(threat=threat)
    assert {check.status for check in found.values()} == {"pass"}
    assert "planted examples are found" in found


def test_examples_of_another_evaluation():
    with pytest.raises(InputError, match="pgd was made of 64 examples, not of these 10"):
        context(runs=[missed_all()], data=examples(10))
