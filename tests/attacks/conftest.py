"""Classifiers that tests of attacks share, so that each attack is compiled once for all of them."""

import pytest

from tests._helpers.linear_problem import OFFSET, SHAPE, WEIGHTS, linear_classifier
from tfharden.classifiers import KerasClassifier


@pytest.fixture(scope="session")
def linear():
    """Makes a classifier whose logits are `images.reshape(n, -1) @ weights + bias`; equal ones are one and the same."""
    return linear_classifier


@pytest.fixture(scope="session")
def two_classes():
    return linear_classifier(SHAPE, WEIGHTS, [0, OFFSET])


@pytest.fixture(scope="session")
def digits_classifier(digits_model):
    return KerasClassifier(digits_model)
