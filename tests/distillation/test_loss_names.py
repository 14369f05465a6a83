"""Distillation losses and objectives by name."""

import dataclasses

import keras
import pytest

import tfharden as th
from tfharden.distillation import losses, objectives
from tfharden.errors import InputError


def test_losses_by_name():
    assert losses.get("soft-target", 4.0) == th.SoftTarget(4.0)
    assert losses.get("feature", "conv1", "conv2", weight=2.0) == th.Feature("conv1", "conv2", 2.0)
    with pytest.raises(InputError, match="unknown distillation loss 'hints': known are soft-target, decoupled-target"):
        losses.get("hints")


def test_what_losses_compare():
    between_examples = ["relational-distance", "relational-angle", "similarity"]
    assert losses.of_logits() == ["soft-target", "decoupled-target", *between_examples]
    assert losses.of_features() == ["feature", "attention", *between_examples]


def test_a_loss_of_ones_own():
    @dataclasses.dataclass(frozen=True)
    class Mine(losses.PerExampleLoss):
        weight: float = 1.0

        def per_example(self, teacher_outputs, student_outputs):
            return teacher_outputs[:, 0] - student_outputs[:, 0]

    try:
        losses.register("mine")(Mine)
        losses.register("keras")(keras.distillation.LogitsDistillation)
        assert losses.get("mine", weight=2.0) == Mine(2.0)
        assert {"mine", "keras"} <= set(losses.of_logits())
        assert not {"mine", "keras"} & set(losses.of_features())
    finally:
        for name in ("mine", "keras"):
            losses.KNOWN.pop(name, None)


def test_objectives_by_name():
    assert objectives.get("rslad", robust_share=0.5) == objectives.RSLAD(0.5)
    with pytest.raises(InputError, match="objective of distillation 'trades': known are ard, rslad, iad, adaad"):
        objectives.get("trades")
