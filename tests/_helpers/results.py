"""Runs of attacks of which only what checks look at is filled in."""

import numpy as np

from tfharden.attacks.core.result import AttackResult
from tfharden.evaluation.attack_run import AttackRun

SHAPE = (4, 4, 1)


def made_up_run(attack, success, *, gradients=0, zero_gradients=0, lost=0):
    """A run that succeeded where `success` says.

    Args:
        attack: what is said to have run.
        success: for each example.
        gradients: of each example.
        zero_gradients: of all examples together.
        lost: how many examples, the first ones, were lost to rounding.
    """
    success = np.array(success, bool)
    count = len(success)
    unseen = np.zeros(count, np.int64)
    unseen[: min(count, 1)] = zero_gradients
    result = AttackResult(
        name=attack.name,
        access=attack.access,
        adversarial=np.zeros((count, *SHAPE), np.float32),
        success=success,
        distance=np.zeros(count),
        queries=np.zeros(count, np.int64),
        gradients=np.full(count, gradients),
        zero_gradients=unseen,
        seconds=0.0,
        parameters=attack.parameters(),
        lost=np.arange(count) < lost,
    )
    return AttackRun(attack.name, attack, result)


def successes(share, count=1000, first=0):
    """The attack succeeded on `share` of the examples, from `first` on."""
    success = np.zeros(count, bool)
    success[first : first + round(share * count)] = True
    return success
