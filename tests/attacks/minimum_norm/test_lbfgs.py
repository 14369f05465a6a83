import threading

import keras
import numpy as np
import pytest
from scipy import optimize

from tests._helpers.linear_problem import FLAT, IMAGES, OFFSET, SLOPE, WIDE, true_labels, two_logits
from tfharden.attacks.minimum_norm import lbfgs
from tfharden.attacks.minimum_norm.batched_scipy import run_batched
from tfharden.attacks.minimum_norm.lbfgs import LBFGS
from tfharden.threats import L2


def test_batches_of_several_groups_are_kept_apart(two_classes, monkeypatch):
    expected = np.abs(FLAT @ SLOPE + OFFSET) / np.linalg.norm(SLOPE)
    monkeypatch.setattr(lbfgs, "GROUP_SIZE", 7)
    result = LBFGS(L2(10.0, WIDE))(two_classes, IMAGES[:30], true_labels()[:30])
    np.testing.assert_allclose(result.minimum, expected[:30], rtol=2e-3, atol=1e-5)


def test_books_of_a_model_without_slope():
    """Where the gradient is zero at the clean image, SciPy has nothing to ask after that."""
    classifier = two_logits(lambda x: 0 * keras.ops.sum(x, axis=1) - 1)
    x, y = np.full((3, 4, 4, 1), 0.3, np.float32), np.zeros(3, int)
    result = LBFGS(L2(4.0), search_steps=3)(classifier, x, y)
    np.testing.assert_array_equal(result.gradients, 1)
    np.testing.assert_array_equal(result.zero_gradients, 1)
    assert not result.queries.any()
    assert np.isinf(result.minimum).all()
    np.testing.assert_array_equal(result.adversarial, x)


def test_every_evaluation_is_in_the_books(two_classes, monkeypatch):
    evaluations = []
    minimize = optimize.minimize

    def counted(*arguments, **settings):
        found = minimize(*arguments, **settings)
        evaluations.append(found.nfev)
        return found

    monkeypatch.setattr(lbfgs.optimize, "minimize", counted)
    result = LBFGS(L2(10.0, WIDE), search_steps=4)(two_classes, IMAGES[:10], true_labels()[:10])
    assert len(evaluations) == 40
    # The look at the clean image is shared by the four runs of an image.
    assert result.gradients.sum() == sum(evaluations) - 40 + 10
    assert not result.zero_gradients.any()


def test_the_nearest_of_all_images_that_were_looked_at_counts(digits, digits_classifier, monkeypatch):
    looks = []

    def recording(tasks, answer):
        def remembered(indices, questions):
            looks.extend(zip(indices, seen := answer(indices, questions), strict=True))
            return seen

        return run_batched(tasks, remembered)

    monkeypatch.setattr(lbfgs, "run_batched", recording)
    x, y = digits.test[0][:12], digits.test[1][:12]
    result = LBFGS(L2(8.0), steps=10, search_steps=4)(digits_classifier, x, y)
    nearest = np.full(12, np.inf)
    for index, seen in looks:
        if seen.reached:
            assert digits_classifier.predict(seen.image[None]) != y[index]
            nearest[index] = min(nearest[index], -seen.score)
    np.testing.assert_allclose(result.minimum, nearest, rtol=1e-6)
    assert len(looks) == result.gradients.sum()


def test_the_rounded_hinge_is_smooth_and_close_to_the_hinge():
    width = lbfgs.HINGE_ROUNDING
    lacks = width * np.linspace(-2, 3, 2001)
    values, slopes = np.array([lbfgs._hinge(lack) for lack in lacks]).T
    np.testing.assert_allclose(np.gradient(values, lacks)[1:-1], slopes[1:-1], atol=2e-3)
    above = values - np.maximum(lacks, 0)
    assert ((above >= 0) & (above <= width / 2 + 1e-12)).all()
    assert not values[lacks <= -width].any()
    np.testing.assert_array_equal(slopes[lacks >= 0], 1)


def test_lockstep_answers_all_who_ask_together():
    batches = []

    def answer(indices, questions):
        batches.append(indices)
        return [10 * question for question in questions]

    def task(number):
        return lambda ask: [ask(number + step) for step in range(number)]

    results = run_batched([task(number) for number in (2, 0, 3, 1)], answer)
    assert results == [[20, 30], [], [30, 40, 50], [10]]
    assert batches == [[0, 2, 3], [0, 2], [2]]
    assert run_batched([], answer) == []


def test_lockstep_of_scipy_runs_equals_one_after_another():
    def task(centre):
        objective = lambda ask: lambda x: (ask((x, centre)), 4 * (x - centre) ** 3)  # noqa: E731
        return lambda ask: optimize.minimize(objective(ask), np.zeros(3), jac=True, method="L-BFGS-B").x

    def answer(_, questions):
        return [np.sum((x - centre) ** 4) for x, centre in questions]

    tasks = [task(np.array([centre, 1.0, -centre])) for centre in np.linspace(-3, 3, 20)]
    together = run_batched(tasks, answer)
    alone = [run_batched([one], answer)[0] for one in tasks]
    np.testing.assert_array_equal(together, alone)


@pytest.mark.parametrize("culprit", ["task", "answer", "number of answers"])
def test_lockstep_passes_errors_on_and_leaves_no_thread_behind(culprit):
    before = threading.active_count()

    def answer(indices, questions):
        if culprit == "answer":
            raise ValueError("answer broke")
        return questions[1:] if culprit == "number of answers" else questions

    def broken(ask):
        ask(1)
        raise ValueError("task broke")

    tasks = [lambda ask: [ask(0) for _ in range(5)]] * 3 + [broken] * (culprit == "task")
    with pytest.raises(ValueError, match={"number of answers": "shorter"}.get(culprit, f"{culprit} broke")):
        run_batched(tasks, answer)
    assert threading.active_count() == before
