"""Honest models never fail a check; each of six broken defences fails the one that it was broken by."""

import keras
import numpy as np
import pytest

import tfharden as th
from tests._helpers import defences
from tfharden.attacks import FGSM, PGD, MarginPGD, Square
from tfharden.classifiers import CallableClassifier
from tfharden.evaluation import checks
from tfharden.evaluation.attack_run import AttackRun
from tfharden.evaluation.checks import CheckContext
from tfharden.evaluation.model_facts import twin_result

THREAT = th.Linf(0.1)
# What honest models may be warned of, and why.
ORDINARY = {
    # Cross entropy and margin aren't the same loss, and Square minimises the margin.
    "black box not stronger than white box",
    "cross entropy against margin",
    # The check climbs the margin as well, the attacks only cross entropy; and it starts elsewhere.
    "silent success",
    # Sign steps of constant length go to and fro between the faces of a cube.
    "complete optimisation",
}


def evaluated(model, digits, *, count=100, seed=0, attacks=None):
    classifier = th.as_classifier(model)
    x, y = (array[:count] for array in digits.test)
    attacks = attacks or [FGSM(THREAT), PGD(THREAT), Square(THREAT, queries=300)]
    runs = [AttackRun(attack.name, attack, attack(classifier, x, y)) for attack in attacks]
    received = np.asarray(classifier.restrict_threat(THREAT).round_to_lattice(x))
    twin = twin_result(classifier, received[:32])
    found = checks.run(CheckContext.of(classifier, runs, (received, y), THREAT, twin=twin, seed=seed))
    assert not any("\n" in check.detail for check in found)
    return {check.name: check for check in found}


def names(found, status):
    return {name for name, check in found.items() if check.status == status}


@pytest.fixture(scope="module")
def hardened(digits):
    keras.utils.set_random_seed(0)
    model = th.models.cnn((8, 8, 1), 10, width=8)
    trainer = th.RobustModel(model, PGD(THREAT, steps=7))
    trainer.compile(keras.optimizers.Adam(0.005))
    trainer.fit(*digits.train, epochs=4, batch_size=64, verbose=0)
    return model


@pytest.fixture(scope="module")
def file(hardened, digits):
    return th.export.to_tflite(hardened, "int8", digits.train[0][:200]).file


OWN = {
    *("randomness", "inference mode", "stable predictions", "noise finds nothing new", "gradients at the images"),
    *("complete optimisation", "unbounded attack", "accuracy falls with epsilon", "planted examples are found"),
    *("scores", "gradients", "lost examples", "one step not stronger than many", "silent success"),
    *("black box not stronger than white box", "cross entropy against margin"),
}


@pytest.mark.parametrize(
    "kind", ["natural", pytest.param("hardened", marks=pytest.mark.slow), pytest.param("int8", marks=pytest.mark.slow)]
)
def test_honest_models_do_not_fail(kind, digits, digits_model, request):
    model = (
        digits_model if kind == "natural" else request.getfixturevalue({"hardened": "hardened", "int8": "file"}[kind])
    )
    # As an evaluation attacks by default: cross entropy alone may leave more than Square does.
    attacks = [FGSM(THREAT), PGD(THREAT), MarginPGD(THREAT), Square(THREAT, queries=300)]
    found = evaluated(model, digits, attacks=attacks)
    assert found.keys() == OWN | ({"gradients of the file"} if kind == "int8" else set())
    assert names(found, "fail") == set()
    assert names(found, "warn") <= ORDINARY
    assert "finds 32 of 32" in found["planted examples are found"].detail
    assert ("ties" in found["scores"].detail) == (kind == "int8")


SHATTERED = {"black box not stronger than white box", "unbounded attack", "planted examples are found"}
DRAWN = {"randomness", "inference mode", "lost examples", "silent success"}
DEFENCES = {
    "staircase": SHATTERED | {"gradients"},
    # Nothing can be planted where the outputs don't change.
    "saturated": {"gradients", "gradients at the images", "unbounded attack", "black box not stronger than white box"},
    "resized": DRAWN,
    "noisy": DRAWN,
    "inspected": SHATTERED | {"gradients", "gradients at the images"},
    # The margin isn't flattened, so it finds what is planted, and whatever else there is.
    "squeezed": {"gradients", "gradients at the images", "cross entropy against margin"},
}


# Those that need training are slow; the others fail the same checks.
TRAINED = {"resized", "squeezed"}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name in TRAINED else []) for name in DEFENCES]
)
def test_broken_defences_fail(name, digits, digits_model):
    defended = getattr(defences, name)(digits_model, *([digits.train] if name in TRAINED else []))
    found = evaluated(defended, digits)
    assert DEFENCES[name] <= names(found, "fail")
    # None of them is broken in the eyes of somebody who only looks at accuracy.
    if name == "squeezed":
        assert "saturation" in found["gradients at the images"].detail
        assert found["planted examples are found"].status == "pass"


def test_random_models_may_be_attacked_on_average(digits, digits_model):
    attacks = [th.attacks.EoT(PGD(THREAT, steps=3), samples=2)]
    found = evaluated(defences.noisy(digits_model), digits, count=20, attacks=attacks)
    assert found["randomness"].status == "warn"


def test_black_boxes_are_asked_what_they_can_answer(digits, digits_model):
    def scores(images):
        return np.asarray(digits_model(images, training=False))

    classifier = CallableClassifier(scores, (8, 8, 1), 10)
    found = evaluated(classifier, digits, attacks=[Square(THREAT, queries=200)])
    asked = {"scores", "randomness", "inference mode", "stable predictions", "lost examples", "noise finds nothing new"}
    assert found.keys() == asked
    assert names(found, "fail") == set()
