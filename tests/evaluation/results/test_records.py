"""Records read back from a stranger's report.json."""

import copy
import math

import numpy as np
import pytest

from tests._helpers.pages import made_up
from tfharden.errors import InputError
from tfharden.evaluation.results import AttackSummary, EvaluationResult, TransferResult

MODEL, ATTACK = ("models", 0), ("models", 0, "attacks", 0)
LINE = {
    "reach": 2.0,
    "offsets": [-0.2, 0.0, 0.2],
    "margin_mean": [1.0, 0.0, -1.0],
    "example": {"label": 1, "logits": [[0.0, 1.0], [0.0, 0.0], [0.0, -1.0]]},
    **dict.fromkeys(("straightness", "rise_mean", "gamma_mean", "deviation"), 1.0),
    "num_examples": 3,
    "loss": "margin",
}
COUNTS = {"right": [1, 2], "wrong": [0, 1]}
CONFIDENCE = {"edges": [0, 0.5, 1], "clean": COUNTS, "adversarial": COUNTS, "attack": "pgd", "steps": 5,
              "num_examples": 4}  # fmt: skip
CURVE = {"epsilons": [0, 0.1], "robust_accuracy": [1, 0.5], "intervals": [[0.5, 1], [0, 1]], "attacks": ["pgd"],
         "steps": 5, "num_examples": 4}  # fmt: skip
MATRIX = {"attack": "pgd", "parameters": {}, "sources": ["a"], "targets": ["a", "b"], "robust_accuracy": [[0, 0.5]],
          "clean_accuracy": [1, 1], "noise_accuracy": [1, 0.75]}  # fmt: skip
BESIDE = {"source": "s", "models": [{"name": "a", "accuracy": 1, "source_accuracy": 1, "evasive_rate": 0,
          "evasive_interval": [0, 0.1], "kernels": {"builtin": 0}, "attacks": []}]}  # fmt: skip


def changed(path, value):
    """What an evaluation might have found, with another value in that place; without the entry if it is `...`."""
    content = made_up()
    content["models"][0]["probes"] = copy.deepcopy({"linearity": LINE, "confidence": CONFIDENCE, "curve": CURVE})
    content["transfer"], content["differential"] = copy.deepcopy(MATRIX), copy.deepcopy(BESIDE)
    *way, last = path
    place = content
    for step in way:
        place = place[step]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return content


def test_what_is_written_is_read_back():
    content = changed(("seed",), 7)
    assert EvaluationResult.from_json(content).to_json() == content


@pytest.mark.parametrize("path", [("later",), (*MODEL, "later"), (*ATTACK, "later"), (*MODEL, "probes", "later")])
def test_entries_of_a_later_version_are_kept(path):
    content = changed(path, {"some": [1, {"new": None}]})
    assert EvaluationResult.from_json(content).to_json() == content


def test_numpy_numbers_are_numbers():
    content = changed((*MODEL, "clean_accuracy"), np.float32(0.5))
    content["models"][0]["parameters"] = np.int64(160_010)
    content["transfer"]["robust_accuracy"] = np.array([[0.25, 0.5]])
    model = EvaluationResult.from_json(content).to_json()["models"][0]
    assert (model["clean_accuracy"], model["parameters"]) == (0.5, 160_010)
    assert {type(model["clean_accuracy"]), type(model["parameters"])} == {float, int}


@pytest.mark.parametrize("median", [0.25, None, ...])
def test_a_median_that_is_infinite_is_null(median):
    content = changed((*ATTACK, "minimum_median"), 0.25 if median is ... else median)["models"][0]["attacks"][0]
    if median is ...:
        del content["minimum_median"]
    attack = AttackSummary.from_json(content)
    assert attack.minimum_median == {None: math.inf, ...: None}.get(median, median)
    assert attack.to_json() == content


def nested(depth):
    value = {}
    for _ in range(depth):
        value = {"deeper": [value]}
    return value


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("schema",), "tfharden.report/2", "schema: one of tfharden.report/1 is expected"),
        (("schema",), ["x"], "schema"),
        (("seed",), ..., "seed is missing"),
        (("seed",), 1.5, "seed: a whole number"),
        (("seed",), True, "seed: a whole number"),
        (("seed",), 10**30, "seed: a whole number"),
        (("models",), {}, "models: a list"),
        (("models", 1), None, r"models\[1\]: an object"),
        (("threat", "bounds"), [0, 1, 2], "threat: bounds: a list of 2"),
        (("threat", "bounds"), [1, 0], "threat: bounds .* no range"),
        (("threat", "epsilon"), -1, "epsilon: a number from 0"),
        (("versions", "numpy"), 2, "versions.numpy: text"),
        ((*MODEL, "path"), None, r"models\[0\]: a model needs a name or a path"),
        ((*MODEL, "bytes"), -1, "bytes: a number from 0"),
        ((*MODEL, "clean_accuracy"), 1.5, "clean_accuracy: a number from 0 to 1"),
        ((*MODEL, "clean_accuracy"), "0.5", "clean_accuracy: a number"),
        ((*MODEL, "clean_interval"), [0.1], "clean_interval: a list of 2"),
        ((*MODEL, "checks", 0, "status"), "good", "status: one of pass, warn, fail"),
        ((*MODEL, "twin"), {"missing": None}, "twin: a twin that is not missing needs its numbers"),
        ((*MODEL, "latency"), {"seconds": 1}, "latency: threads is missing"),
        ((*ATTACK, "robust_accuracy"), None, r"models\[0\]: attacks\[0\]: robust_accuracy: a number"),
        ((*ATTACK, "parameters"), [], "parameters: an object"),
        ((*ATTACK, "parameters"), nested(40), "parameters.deeper: nested more than 32"),
        ((*ATTACK, "stages"), [{"name": "a", "fell": 1.5}], "fell: a whole number"),
        ((*MODEL, "probes", "curve", "epsilons"), [0.1], "different lengths: 1 of epsilons, 2 of accuracies"),
        ((*MODEL, "probes", "confidence", "edges"), [0, 1], "different lengths"),
        ((*MODEL, "probes", "confidence", "clean", "wrong"), [0], "different lengths"),
        ((*MODEL, "probes", "linearity", "offsets"), [0.1, 0.2], "different lengths"),
        ((*MODEL, "probes", "linearity", "offsets"), [[0.1], 0.2, 3], "offsets: lists of numbers, all of one shape"),
        ((*MODEL, "probes", "linearity", "offsets"), ["a", "b", "c"], "offsets: lists of numbers"),
        ((*MODEL, "probes", "linearity", "example", "label"), 2, "a label among the classes"),
        (("transfer", "robust_accuracy"), [[0.5]], "a row a source"),
        (("transfer", "noise_accuracy"), [1, 2], r"in \[0, 1\]"),
        (("differential", "models", 0, "kernels"), {"builtin": "all"}, "kernels.builtin: a number"),
    ],
)
def test_what_does_not_belong_is_refused_in_one_line(path, value, message):
    with pytest.raises(InputError, match=message) as error:
        EvaluationResult.from_json(changed(path, value))
    assert "\n" not in str(error.value)


def test_the_former_name_of_a_matrix_warns():
    import tfharden.evaluation  # noqa: PLC0415

    with pytest.warns(FutureWarning, match="TransferResult"):
        assert tfharden.evaluation.TransferMatrix is TransferResult
