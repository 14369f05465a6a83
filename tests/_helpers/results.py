"""Results of attacks of which only what checks look at is filled in."""

import numpy as np

from tfharden.attacks.core.attack import AttackResult

SHAPE = (4, 4, 1)


def result(access, success, *, gradients=0, zero_gradients=0, lost=0, name="made up", **parameters):
    """`blind` counts over all examples, `lost` are the first ones."""
    success = np.array(success, bool)
    count = len(success)
    unseen = np.zeros(count, np.int64)
    unseen[: min(count, 1)] = zero_gradients
    return AttackResult(
        name=name,
        access=access,
        adversarial=np.zeros((count, *SHAPE), np.float32),
        success=success,
        distance=np.zeros(count),
        queries=np.zeros(count, np.int64),
        gradients=np.full(count, gradients),
        zero_gradients=unseen,
        seconds=0.0,
        parameters=parameters,
        lost=np.arange(count) < lost,
    )


def fell(share, count=1000, first=0):
    """`share` of the examples fell, from `first` on."""
    success = np.zeros(count, bool)
    success[first : first + round(share * count)] = True
    return success
