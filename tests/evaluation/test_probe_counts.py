"""Probes that count images: accuracy against epsilon, and confidence; and the front of what robustness costs."""

import types

import numpy as np
import pytest

import tfharden as th
from tests._helpers.linear_models import EPSILON, examples, linear, margins, robust_by_hand
from tests._helpers.pages import Page
from tfharden.evaluation.probes.curve import EPSILON_SHARES
from tfharden.evaluation.report.cost_plots import SIZE, front
from tfharden.evaluation.statistics import wilson


@pytest.fixture
def probes(full):
    """What the evaluation with every part tells of a linear model."""
    return full.content["models"][0]["probes"]


def test_accuracy_at_each_epsilon_is_that_of_the_closed_form(probes):
    x, y = examples(60)
    told = probes["curve"]
    np.testing.assert_allclose(told["epsilons"], np.array(EPSILON_SHARES) * EPSILON, rtol=1e-6)
    for epsilon, share, interval in zip(told["epsilons"], told["robust_accuracy"], told["intervals"], strict=True):
        assert share == pytest.approx(robust_by_hand(linear(), x, y, th.Linf(epsilon)).mean(), abs=1.1 / 60)
        assert interval == list(wilson(round(share * 60), 60))
    assert told["robust_accuracy"][0] > told["robust_accuracy"][-1] + 0.3


def test_confidence_counts_answers_by_their_probability(probes):
    x, y = examples(60)
    told = probes["confidence"]
    margin, direction = margins(linear(), x, y)
    # Of the true class, clean and where the ball brings it down furthest; the box is out of reach.
    for kind, z in (("clean", margin), ("adversarial", margin - EPSILON * np.abs(direction).sum())):
        sure = np.maximum(1 / (1 + np.exp(-z)), 1 / (1 + np.exp(z)))
        for name, chosen in (("right", z > 0), ("wrong", z < 0)):
            expected = np.histogram(sure[chosen], 10, (0, 1))[0]
            assert np.abs(np.array(told[kind][name]) - expected).max() <= 1
            assert abs(sum(told[kind][name]) - chosen.sum()) <= 1
    assert sum(told["clean"]["right"]) > sum(told["adversarial"]["right"])


def test_page_has_charts_and_numbers(full):
    page = Page((full.folder / "report.html").read_text(encoding="utf-8"))
    text = " ".join(page.text)
    assert "Accuracy against epsilon" in text
    assert "Confidence" in text
    labels = [attributes["aria-label"] for _, attributes in page.tags if attributes.get("role") == "img"]
    assert sum("at several epsilons" in label for label in labels) == 1
    assert sum("by their probability" in label for label in labels) == 2
    (table,) = [table for table in page.tables if table[0][0] == "epsilon"]
    told = full.content["models"][1]["probes"]["curve"]
    assert table[2][1:] == [f"{100 * share:.1f}" for share in told["robust_accuracy"]]


def test_the_front_is_what_no_other_beats():
    def model(name, size, accuracy):
        worst = types.SimpleNamespace(robust_accuracy=accuracy)
        return types.SimpleNamespace(name=name, bytes=size, worst_case=worst)

    models = [model("a", 10, 0.5), model("b", 20, 0.7), model("c", 30, 0.7), model("d", 40, 0.9), model("e", 20, 0.4)]
    assert front(SIZE, models) == {"a", "b", "d"}
    assert front(SIZE, [model("a", 10, 0.5), model("twin", 10, 0.5)]) == {"a", "twin"}
    assert front(SIZE, []) == set()
