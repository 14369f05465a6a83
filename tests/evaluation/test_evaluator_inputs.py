"""Inputs that an evaluation refuses before any attack runs."""

import keras
import numpy as np
import pytest
from keras import layers

import tfharden as th
from tests._helpers.linear_models import EPSILON, SHAPE, THREAT, examples, linear, linear_classifier, refused
from tfharden.attacks import PGD


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda x, y: (x[:0], y[:0]), "empty"),
        (lambda x, y: (x[:, :3], y), "shape"),
        (lambda x, y: (x[0], y[:1]), "shape"),
        (lambda x, y: (x, y[:-1]), "labels"),
        (lambda x, y: (x, y + 1), "2 classes"),
        (lambda x, y: (x, y - 1), "2 classes"),
        (lambda x, y: (x, np.eye(2)[y]), "class number"),
        (lambda x, y: (x, y + 0.5), "whole"),
        (lambda x, y: (np.where(x > 0.7, np.nan, x), y), "NaN"),
        (lambda x, y: (255 * x, y), "scale the images"),
        (lambda x, y: (x - 1, y), "span"),
    ],
    ids=[
        "empty",
        "shape",
        "one image",
        "fewer labels",
        "high",
        "low",
        "one-hot",
        "fractions",
        "nan",
        "0-255",
        "below 0",
    ],
)
@pytest.mark.parametrize("kind", ["keras", "tflite"])
def test_examples_that_do_not_fit(no_attack, files, kind, change, match):
    model = linear_classifier() if kind == "keras" else files / "float32.tflite"
    refused(match, [model], change(*examples(20)), THREAT, ["square"])


def test_every_model_is_looked_at_first(no_attack):
    other = keras.Sequential([keras.Input((5, 5, 1)), layers.Flatten(), layers.Dense(2)])
    refused("shape", [linear(), other], examples(20), THREAT, ["pgd"])


def test_nothing_to_do(no_attack):
    refused("nothing to evaluate", [], examples(20), THREAT, ["pgd"])
    refused("nothing to evaluate", [linear_classifier()], examples(20), THREAT, [])


def test_unknown_attacks_and_models(no_attack, tmp_path):
    refused("'pdg'.*fgsm.*pgd.*square", [linear_classifier()], examples(20), THREAT, ["pdg"])
    refused("no such file", [tmp_path / "absent.keras"], examples(20), THREAT)
    refused("absent.tflite", [tmp_path / "absent.tflite"], examples(20), THREAT)
    refused("dict", [{}], examples(20), THREAT)


def test_threats_that_differ(no_attack):
    refused("0.1", [linear_classifier()], examples(20), THREAT, [PGD(th.Linf(0.1))])
    refused("L2", [linear_classifier()], examples(20), THREAT, [PGD(th.L2(EPSILON))])
    refused("L0", [linear_classifier()], examples(20), th.L0(2), ["pgd"])


def test_gradients_from_nowhere(no_attack, files):
    for model in (th.TFLiteClassifier(files / "int8.tflite"), th.CallableClassifier(lambda x: x, SHAPE, 2)):
        refused("surrogate", [model], examples(20), THREAT, ["square", "pgd"])


def test_surrogates_that_do_not_serve(no_attack, files):
    path, box = files / "int8.tflite", th.TFLiteClassifier(files / "float32.tflite")
    refused("gradients", [path], examples(20), THREAT, ["square", "pgd"], surrogate=box)
    other = keras.Sequential([keras.Input((5, 5, 1)), layers.Flatten(), layers.Dense(2)])
    refused("shape", [path], examples(20), THREAT, ["square", "pgd"], surrogate=other)


def test_model_or_attack_outside_a_list(no_attack):
    refused("list", linear_classifier(), examples(20), THREAT)
    refused("list", "model.tflite", examples(20), THREAT)
    refused("list", [linear_classifier()], examples(20), THREAT, "pgd")
