"""Models beside their source: linear ones by hand, and a file that was exported from one."""

import numpy as np
import pytest

import tfharden as th
from tests._helpers.linear_models import EPSILON, SHAPE, THREAT, examples, linear, refused, robust_by_hand
from tests._helpers.pages import Page
from tfharden.attacks import FGSM, Square, Transfer
from tfharden.evaluation.differential import EPSILON_SHARES
from tfharden.tflite import KERNELS

ATTACKS = ["fgsm", Square(THREAT, queries=10)]


@pytest.fixture(autouse=True)
def quick(no_checks):
    pass


def found(models, source, data):
    return th.evaluate(models, data, THREAT, ATTACKS, source=source)


@pytest.fixture(scope="module")
def tilted():
    """Another model than `linear()`, of nearly the same opinion."""
    kernel = linear().get_weights()[0]
    return linear(kernel + 0.1 * np.random.default_rng(3).normal(size=kernel.shape), name="tilted")


@pytest.mark.slow
def test_four_numbers_for_each_attack_and_epsilon(tilted):
    source, (x, y) = linear(name="source"), examples(300)
    content = found([source, tilted], source, (x, y)).content["differential"]
    (entry,) = content["models"]  # the source isn't compared with itself
    assert (content["source"], entry["name"]) == ("source", "tilted")
    predicted = {model: model.predict(x, verbose=0).argmax(axis=1) for model in (source, tilted)}
    assert entry["source_accuracy"] == np.mean(predicted[source] == y)
    assert entry["evasive_rate"] == np.mean((predicted[tilted] != y) & (predicted[source] == y))
    assert entry["kernels"] == {}
    rows = entry["attacks"]
    assert [(row["attack"], row["epsilon"]) for row in rows] == [
        (name, pytest.approx(share * EPSILON)) for name in ("fgsm", "diva") for share in EPSILON_SHARES
    ]
    for row, share in zip(rows, EPSILON_SHARES, strict=False):
        threat = th.Linf(share * EPSILON)
        # One step is the best there is on a linear model.
        assert row["robust_accuracy"] == pytest.approx(robust_by_hand(tilted, x, y, threat).mean(), abs=0.004)
        assert row["source_robust_accuracy"] == pytest.approx(robust_by_hand(source, x, y, threat).mean(), abs=0.004)
        one, other = (th.KerasClassifier(model) for model in (source, tilted))
        assert row["from_source"] == Transfer(FGSM(threat), one)(other, x, y).robust_accuracy
        assert row["to_source"] == Transfer(FGSM(threat), other)(one, x, y).robust_accuracy
    by_fgsm, by_diva = (rows[at]["evasive_rate"] for at in (len(EPSILON_SHARES) - 1, -1))
    assert by_diva > by_fgsm
    assert rows[-1]["evasive_rate"] >= rows[-2]["evasive_rate"] >= rows[-3]["evasive_rate"] > 0


@pytest.mark.slow
def test_a_float_file_does_not_evade_its_source_and_kernels_agree(files):
    models = [files / "float32.tflite", files / "int8.tflite"]
    exact, rounded = found(models, files / "linear.keras", examples(100)).content["differential"]["models"]
    for entry in (exact, rounded):
        for row in [entry, *entry["attacks"]]:
            assert row["kernels"].keys() == set(KERNELS) - {"xnnpack"}
            assert max(row["kernels"].values()) <= 0.05
            low, high = row["evasive_interval"]
            assert low <= row["evasive_rate"] <= high
    assert {row["evasive_rate"] for row in exact["attacks"]} == {0}


def test_kernels_that_disagree_are_told(files, monkeypatch):
    """A kernel set that answers the other class disagrees on everything."""
    honest = th.TFLiteClassifier.predict
    monkeypatch.setattr(th.TFLiteClassifier, "predict", lambda self, x: honest(self, x) ^ (self.kernels == "reference"))
    (entry,) = found([files / "int8.tflite"], linear(), examples(40)).content["differential"]["models"]
    assert entry["kernels"] == {"builtin": 0, "reference": 1}
    assert all(row["kernels"]["reference"] == 1 for row in entry["attacks"])


def test_page_terminal_and_json_tell_it(full):
    assert "wrong where source is right %, linear.keras: " in full.report.table()
    page = Page((full.folder / "report.html").read_text(encoding="utf-8"))
    assert "Beside source" in " ".join(page.text)
    tables = [table for table in page.tables if any("evades" in cell for cell in table[0])]
    # FGSM, PGD and DIVA.
    assert [len(table) for table in tables] == [2 + 1 + 3 * len(EPSILON_SHARES)] * 2
    assert tables[1][1][-2:] == ["builtin", "reference"]
    told = full.content["differential"]["models"][0]["attacks"][-1]
    assert tables[0][-1][0] == "diva"
    assert tables[0][-1][6].startswith(f"{100 * told['evasive_rate']:.1f}")


def test_refused_before_any_work(no_attack, files):
    data = examples(20)
    refused("nothing to compare", [linear()], data, THREAT, ["pgd"], source=linear())
    box = th.TFLiteClassifier(files / "int8.tflite")
    refused("gives no gradients", [box], data, THREAT, ["square"], source=linear())
    refused("gives no gradients", [linear()], data, THREAT, ["square"], source=box)
    other = th.CallableClassifier(lambda x: x.reshape(len(x), -1)[:, :3], SHAPE, 3, name="three")
    refused("three .* can't be compared", [other], data, THREAT, ["square"], source=linear())
