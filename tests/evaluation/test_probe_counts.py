"""Probes that count images: accuracy against epsilon, and confidence; and the front of what robustness costs."""

import json

import numpy as np
import pytest

import tfharden as th
from tests._helpers.linear_models import EPSILON, THREAT, examples, linear, margins, refused, robust_by_hand
from tests._helpers.pages import saved_page
from tfharden.evaluation.probes.curve import SHARES
from tfharden.evaluation.report.cost_plots import SIZE, front
from tfharden.evaluation.statistics import wilson


@pytest.fixture(scope="module")
def report(files):
    return th.evaluate(
        [linear(name="one"), files / "int8.tflite"], examples(), THREAT, [], probes=["curve", "confidence"]
    )


def test_accuracy_at_each_epsilon_is_that_of_the_closed_form(report):
    x, y = examples()
    told = report.content["models"][0]["probes"]["curve"]
    np.testing.assert_allclose(told["epsilons"], np.array(SHARES) * EPSILON, rtol=1e-6)
    for epsilon, share, interval in zip(told["epsilons"], told["robust_accuracy"], told["intervals"], strict=True):
        assert share == pytest.approx(robust_by_hand(linear(), x, y, th.Linf(epsilon)).mean(), abs=0.006)
        assert interval == list(wilson(round(share * 200), 200))
    assert told["robust_accuracy"][0] > told["robust_accuracy"][-1] + 0.3


def test_confidence_counts_answers_by_their_probability(report):
    x, y = examples()
    told = report.content["models"][0]["probes"]["confidence"]
    margin, direction = margins(linear(), x, y)
    # Of the true class, clean and where the ball brings it down furthest; the box is out of reach.
    for kind, z in (("clean", margin), ("adversarial", margin - EPSILON * np.abs(direction).sum())):
        sure = np.maximum(1 / (1 + np.exp(-z)), 1 / (1 + np.exp(z)))
        for name, chosen in (("right", z > 0), ("wrong", z < 0)):
            expected = np.histogram(sure[chosen], 10, (0, 1))[0]
            assert np.abs(np.array(told[kind][name]) - expected).max() <= 2
            assert abs(sum(told[kind][name]) - chosen.sum()) <= 1
    assert sum(told["clean"]["right"]) > sum(told["adversarial"]["right"])


def test_page_has_charts_and_numbers(report, tmp_path):
    page = saved_page(report, tmp_path)
    text = " ".join(page.text)
    assert "Accuracy against epsilon" in text
    assert "Confidence" in text
    labels = [attributes["aria-label"] for _, attributes in page.tags if attributes.get("role") == "img"]
    assert sum("at several epsilons" in label for label in labels) == 1
    assert sum("by their probability" in label for label in labels) == 2
    (table,) = [table for table in page.tables if table[0][0] == "epsilon"]
    told = json.loads((tmp_path / "report.json").read_text())["models"][1]["probes"]["curve"]
    assert table[2][1:] == [f"{100 * share:.1f}" for share in told["robust_accuracy"]]


def test_refused(no_attack):
    refused("epsilon 0", [linear()], examples(20), th.Linf(0.0), ["square"], probes=["curve"])
    refused("curve needs gradients", [th.CallableClassifier(lambda x: x, (4, 4, 1), 2)], examples(20), THREAT,
            ["square"], probes=["curve"])  # fmt: skip
    refused("not L0", [linear()], examples(20), th.L0(2), [], probes=["confidence"])


def test_the_front_is_what_no_other_beats():
    def model(name, size, accuracy):
        return {"name": name, "bytes": size, "worst_case": {"robust_accuracy": accuracy}}

    models = [model("a", 10, 0.5), model("b", 20, 0.7), model("c", 30, 0.7), model("d", 40, 0.9), model("e", 20, 0.4)]
    assert front(SIZE, models) == {"a", "b", "d"}
    assert front(SIZE, [model("a", 10, 0.5), model("twin", 10, 0.5)]) == {"a", "twin"}
    assert front(SIZE, []) == set()
