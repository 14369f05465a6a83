import json

import keras
import numpy as np
import pytest
from keras import layers

import tfharden as th
from tests._helpers.linear_models import (
    SHAPE,
    THREAT,
    by_name,
    content,
    examples,
    linear,
    only,
    refused,
    weak_and_strong,
)
from tfharden.attacks import PGD, Square, registry
from tfharden.attacks.universal import Universal

PROBES = ("curve", "confidence", "linearity", "fooling-gradient", "fooling-evolution")


def test_probes_tell_of_each_model_what_it_allows(files, tmp_path):
    box = th.TFLiteClassifier(files / "float32.tflite")
    models = [files / "linear.keras", files / "int8.tflite", box]
    report = th.evaluate(models, examples(40), THREAT, ["fgsm"], probes=PROBES)
    keras_model, tflite, black = report.content["models"]
    assert tuple(keras_model["probes"]) == tuple(tflite["probes"]) == PROBES
    assert tuple(black["probes"]) == ("fooling-evolution",)
    line = keras_model["probes"]["linearity"]
    assert line["straightness"] == pytest.approx(1)
    assert line["num_examples"] == 40
    assert line["seconds"] > 0
    for name in PROBES[3:]:
        assert keras_model["probes"][name]["classes"] == [0, 1]
    assert keras_model["probes"]["fooling-gradient"]["gradients"] > 0
    assert tflite["probes"]["fooling-evolution"]["queries"] > 0
    assert [(one.model, one.probe) for one in report.fooling] == [
        ("linear.keras", "fooling-gradient"),
        ("linear.keras", "fooling-evolution"),
        ("int8.tflite", "fooling-gradient"),
        ("int8.tflite", "fooling-evolution"),
        ("float32.tflite", "fooling-evolution"),
    ]
    report.save(tmp_path)
    assert json.loads((tmp_path / "report.json").read_text())["models"][0]["probes"]["linearity"] == line


def test_transfer_tells_what_the_attacks_tell(files):
    models, data = (
        [linear(name="one"), th.TFLiteClassifier(files / "int8.tflite"), linear(bias=(0.3, 0.0), name="two")],
        examples(),
    )
    found = content(models, data, attacks=["pgd"], transfer="pgd", surrogate=models[0])
    matrix = found["transfer"]
    assert matrix["sources"] == ["one", "two"]
    assert matrix["targets"] == [model["name"] for model in found["models"]] == ["one", "int8.tflite", "two"]
    accuracy, clean = np.array(matrix["robust_accuracy"]), [model["clean_accuracy"] for model in found["models"]]
    direct = [by_name(model)["pgd"]["robust_accuracy"] for model in found["models"]]
    np.testing.assert_allclose(accuracy[[0, 0, 1], [0, 1, 2]], direct)
    np.testing.assert_allclose(matrix["clean_accuracy"], clean)
    assert (accuracy < np.array(clean)).all()


def test_attacks_that_are_fitted_get_the_training_examples(monkeypatch):
    monkeypatch.setitem(registry.BY_NAME, "uap", Universal)
    fitted = examples(50, seed=2)
    found = content([linear()], examples(60), attacks=["uap"], training=fitted, transfer="uap", seed=3)
    (uap,) = only(found)["attacks"]
    assert uap["parameters"]["examples"] == {"number": 50, "sha256": th.data.sha256(fitted)}
    assert uap["parameters"]["seed"] == 3
    assert found["transfer"]["parameters"] == uap["parameters"]
    assert found["data"]["sha256"] == th.data.sha256(examples(60))
    refused("training=", [linear()], examples(60), THREAT, ["uap"])


def test_probes_alone_leave_the_clean_accuracy(tmp_path):
    report = th.evaluate([linear()], examples(20), THREAT, [], probes=["fooling-evolution"])
    model = only(report.content)
    assert model["attacks"] == []
    assert model["worst_case"]["robust_accuracy"] == model["clean_accuracy"]
    assert model["worst_case"]["attacks"] == []
    report.save(tmp_path)


def test_progress_ends_each_piece_of_work_once():
    told = []
    content(
        [linear(name="one")],
        examples(20),
        attacks=["fgsm"],
        probes=PROBES,
        transfer="fgsm",
        progress=lambda label, share: told.append((label, share)),
    )
    labels = ["one: fgsm", "one: checks", *(f"one: {probe}" for probe in PROBES), "transfer: fgsm on one"]
    assert list(dict(told)) == labels
    for label in labels:
        shares = [share for name, share in told if name == label]
        assert shares == sorted(shares)
        assert (shares[0], shares[-1], shares.count(1.0)) == (0.0, 1.0, 1)


def test_probes_and_transfers_that_cannot_be(no_attack, files):
    path = th.TFLiteClassifier(files / "int8.tflite")
    other = keras.Sequential([keras.Input(SHAPE), layers.Flatten(), layers.Dense(3)])
    refused("'line'.*linearity.*fooling-gradient", [linear()], examples(20), THREAT, ["pgd"], probes=["line"])
    refused("list", [linear()], examples(20), THREAT, ["pgd"], probes="linearity")
    refused("fooling-gradient needs gradients", [path], examples(20), THREAT, ["square"], probes=["fooling-gradient"])
    refused("L0 has no dual", [linear()], examples(20), th.L0(2), [], probes=["linearity"])
    refused("epsilon 0", [linear()], examples(20), th.Linf(0.0), ["pgd"], probes=["linearity"])
    refused("'pdg'", [linear()], examples(20), THREAT, ["pgd"], transfer="pdg")
    refused("pgd needs gradients", [path], examples(20), THREAT, ["square"], transfer="pgd")
    refused("nothing can be transferred", [linear(), other], examples(20), THREAT, ["square"], transfer="pgd")
    refused("make them the same", [linear()], examples(20), THREAT, ["pgd"], transfer=PGD(th.Linf(0.1)))


class Nearest(Square):
    """A minimum-norm attack that finds what it was told to."""

    minimises = True

    def _search(self, classifier, search):
        found = np.array(self.told)
        search.minimum[:] = np.where(search.minimum > 0, found[: len(search.minimum)], 0)


@pytest.mark.parametrize(
    ("told", "median"), [([0.3, 0.1, 0.2, 9, 9], 0.2), ([0.3, np.inf, np.inf, 9, 9], None), ([0.3] * 5, 0.3)]
)
def test_minimum_norm_attacks_tell_the_median_over_what_was_right(told, median):
    model = linear()
    (x, y), _ = weak_and_strong(model, 5)
    y[3:] = 1 - y[3:]
    attack = type("nearest", (Nearest,), {"name": "nearest", "told": told})(THREAT)
    nearest, pgd = only(content([model], (x, y), attacks=[attack, "pgd"]))["attacks"]
    assert nearest["minimum_median"] == (None if median is None else pytest.approx(median))
    assert "minimum_median" not in pgd
