import math

import pytest

from tfharden.errors import InputError
from tfharden.evaluation.statistics import wilson

Z2 = 1.959963984540054**2


@pytest.mark.parametrize(("successes", "trials"), [(5, 10), (281, 400), (1, 3), (399, 400), (7, 10**6)])
def test_bounds_solve_the_score_equation(successes, trials):
    ratio = successes / trials
    low, high = wilson(successes, trials)
    assert low < ratio < high
    for bound in (low, high):
        assert abs(ratio - bound) == pytest.approx(math.sqrt(Z2 * bound * (1 - bound) / trials), rel=1e-9)


@pytest.mark.parametrize("trials", [1, 10, 400])
def test_none_and_all_have_the_closed_form(trials):
    # p_hat = 0 leaves p^2 = z^2 p (1 - p) / n, so p = 0 or p = z^2 / (n + z^2).
    reach = Z2 / (trials + Z2)
    assert wilson(0, trials) == (0.0, pytest.approx(reach, rel=1e-12))
    assert wilson(trials, trials) == (pytest.approx(1 - reach, rel=1e-12), 1.0)


def test_published_value():
    # Newcombe, "Two-sided confidence intervals for the single proportion" (1998), table I, method 3: 81 of 263.
    assert wilson(81, 263) == (pytest.approx(0.2553, abs=5e-5), pytest.approx(0.3662, abs=5e-5))


@pytest.mark.parametrize("successes", [0, 1, 30, 57])
def test_mirrored_counts_mirror_the_interval(successes):
    low, high = wilson(successes, 57)
    assert wilson(57 - successes, 57) == (pytest.approx(1 - high), pytest.approx(1 - low))


@pytest.mark.parametrize(("successes", "trials"), [(0, 0), (0, -1), (-1, 10), (11, 10)])
def test_impossible_counts_are_input_errors(successes, trials):
    with pytest.raises(InputError):
        wilson(successes, trials)
