"""Parts of one evaluation that has them all: probes, transfer, checks, progress, files."""

import csv

import numpy as np
import pytest

import tfharden as th
from tests._helpers.linear_models import (
    EPSILON,
    SHAPE,
    THREAT,
    by_name,
    content,
    examples,
    linear_classifier,
    only,
    refused,
)
from tfharden.attacks import PGD, registry
from tfharden.attacks.universal import Universal

ATTACKS = ["fgsm", "pgd", "fab", "square", "autoattack"]
MODEL_KEYS = {
    *("name", "path", "format", "sha256", "bytes", "parameters", "kernels", "twin", "latency"),
    *("clean_accuracy", "clean_interval", "attacks", "worst_case", "checks", "probes"),
}
ATTACK_KEYS = {
    *("name", "access", "robust_accuracy", "interval", "success_rate", "queries_mean", "gradients_mean"),
    *("seconds", "parameters", "lost_to_rounding"),
}
OPTIONAL_KEYS = {"fab": {"minimum_median"}, "autoattack": {"stages"}}


@pytest.mark.slow
def test_schema(full):
    found = full.content
    assert {file.name for file in full.folder.iterdir()} == {"report.json", "report.csv", "report.html"}
    keys = ["schema", "versions", "seed", "data", "threat", "models", "transfer", "differential"]
    assert list(found) == keys
    assert found["schema"] == "tfharden.report/1"
    assert found["threat"] == {"norm": "Linf", "epsilon": EPSILON, "bounds": [0.0, 1.0], "lattice": None}
    assert list(found["data"]) == ["name", "num_examples", "sha256"]
    assert (found["data"]["name"], found["data"]["num_examples"], found["seed"]) == ("made", 60, 5)
    assert {"python", "tfharden", "tensorflow", "keras"} <= found["versions"].keys()
    for model in found["models"]:
        assert model.keys() == MODEL_KEYS
        assert list(by_name(model)) == model["worst_case"]["attacks"] == ATTACKS
        assert model["worst_case"].keys() == {"robust_accuracy", "interval", "attacks"}
        for attack in model["attacks"]:
            assert attack.keys() == ATTACK_KEYS | OPTIONAL_KEYS.get(attack["name"], set())
            assert attack["access"] == ("score" if attack["name"] == "square" else "white-box")
            assert attack["parameters"]["epsilon"] == EPSILON
        for check in model["checks"]:
            assert check.keys() == {"name", "status", "detail"}
            assert check["status"] in {"pass", "warn", "fail"}
    # The converter drops a bias of zeros.
    assert [model["parameters"] for model in found["models"]] == [34, 32]
    assert [model["format"] for model in found["models"]] == ["keras", "tflite-int8"]
    with open(full.folder / "report.csv", newline="") as file:
        assert len(list(csv.DictReader(file))) == 2 * (1 + len(ATTACKS) + 1)


def test_progress_ends_each_piece_of_work_once(full):
    names = "linear.keras", "int8.tflite"
    labels = [
        *(f"{name}: {work}" for name in names for work in (*ATTACKS, "checks")),
        *(f"{name}: {probe}" for name in names for probe in th.evaluation.PROBES),
        *(f"transfer: pgd on {name}" for name in names),
        *(f"{name} against source" for name in names),
    ]
    assert list(dict(full.told)) == labels
    for label in labels:
        shares = [share for name, share in full.told if name == label]
        assert shares == sorted(shares)
        assert (shares[0], shares[-1], shares.count(1.0)) == (0.0, 1.0, 1)


def test_transfer_tells_what_the_attacks_tell(full):
    matrix, models = full.content["transfer"], full.content["models"]
    assert matrix["sources"] == matrix["targets"] == [model["name"] for model in models]
    accuracy, clean = np.array(matrix["robust_accuracy"]), [model["clean_accuracy"] for model in models]
    direct = [by_name(model)["pgd"]["robust_accuracy"] for model in models]
    np.testing.assert_allclose(accuracy.diagonal(), direct)
    np.testing.assert_allclose(matrix["clean_accuracy"], clean)
    assert (accuracy < np.array(clean)).all()


def test_probes_tell_of_each_model(full):
    for model in full.report.result.models:
        assert tuple(model.probes) == th.evaluation.PROBES
        line = model.probes["linearity"]
        # Integers make steps.
        assert line.straightness == pytest.approx(1, abs=1e-6 if model.format == "keras" else 0.5)
        assert line.num_examples == 60
        assert line.seconds > 0
        assert model.probes["fooling-gradient"].classes == model.probes["fooling-evolution"].classes == (0, 1)
        assert model.probes["fooling-gradient"].gradients > 0
        assert model.probes["fooling-evolution"].queries > 0
    assert [(one.model, one.probe) for one in full.report.fooling] == [
        ("linear.keras", "fooling-gradient"),
        ("linear.keras", "fooling-evolution"),
        ("int8.tflite", "fooling-gradient"),
        ("int8.tflite", "fooling-evolution"),
    ]


def test_models_without_gradients_are_left_out_of_probes_that_need_them(no_checks, files):
    models = [linear_classifier(), th.TFLiteClassifier(files / "float32.tflite")]
    settings = {"attacks": [], "probes": ["confidence", "fooling-evolution"]}
    found = [list(model["probes"]) for model in content(models, examples(20), **settings)["models"]]
    assert found == [["confidence", "fooling-evolution"], ["fooling-evolution"]]


def test_attacks_that_are_fitted_get_the_training_examples(no_checks, monkeypatch):
    monkeypatch.setitem(registry.KNOWN, "uap", Universal)
    fitted = examples(50, seed=2)
    found = content([linear_classifier()], examples(60), attacks=["uap"], training=fitted, transfer="uap", seed=3)
    (uap,) = only(found)["attacks"]
    assert uap["parameters"]["examples"] == {"number": 50, "sha256": th.data.sha256(fitted)}
    assert uap["parameters"]["seed"] == 3
    assert found["transfer"]["parameters"] == uap["parameters"]
    assert found["data"]["sha256"] == th.data.sha256(examples(60))
    refused("training=", [linear_classifier()], examples(60), THREAT, ["uap"])


def test_probes_and_transfers_that_cannot_be(no_attack, files):
    path, model = th.TFLiteClassifier(files / "int8.tflite"), linear_classifier()
    other = th.CallableClassifier(lambda x: x, SHAPE, 3)
    refused("'line'.*linearity.*fooling-gradient", [model], examples(20), THREAT, ["pgd"], probes=["line"])
    refused("list", [model], examples(20), THREAT, ["pgd"], probes="linearity")
    refused("fooling-gradient needs gradients", [path], examples(20), THREAT, ["square"], probes=["fooling-gradient"])
    refused("curve needs gradients", [other], examples(20), THREAT, ["square"], probes=["curve"])
    refused("L0 has no dual", [model], examples(20), th.L0(2), [], probes=["linearity"])
    refused("not L0", [model], examples(20), th.L0(2), [], probes=["confidence"])
    refused("epsilon 0", [model], examples(20), th.Linf(0.0), ["pgd"], probes=["linearity"])
    refused("epsilon 0", [model], examples(20), th.Linf(0.0), ["square"], probes=["curve"])
    refused("'pdg'", [model], examples(20), THREAT, ["pgd"], transfer="pdg")
    refused("pgd needs gradients", [path], examples(20), THREAT, ["square"], transfer="pgd")
    refused("nothing can be transferred", [model, other], examples(20), THREAT, ["square"], transfer="pgd")
    refused("make them the same", [model], examples(20), THREAT, ["pgd"], transfer=PGD(th.Linf(0.1)))
