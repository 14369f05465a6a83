import pytest

from tests._helpers.linear_problem import OFFSET, SHAPE, WEIGHTS


@pytest.fixture
def two_classes(linear):
    return linear(SHAPE, WEIGHTS, [0, OFFSET])
