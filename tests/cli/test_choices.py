"""The names that flags accept are those of the registries, which are not imported for them."""

import subprocess
import sys

import pytest

import tfharden as th
from tfharden import attacks, compression, distillation, evaluation, export, hardening, models, tflite, threats
from tfharden.cli import choices

TOOLS = ("harden", "distill", "compress", "export", "mcu", "evaluate", "pipeline")
BARE = f"""
import contextlib, io, sys
from tfharden.cli import {", ".join(TOOLS)}, flag_fields, runner
told = io.StringIO()
for wrong in ("--help", "--epsilon=-1", "--dataset=imagenet", "--nonsense"):
    flags = runner.flags.FLAGS
    for name in list(flags): delattr(flags, name)
    flag_fields.define(evaluate.Config)
    with contextlib.redirect_stdout(told), contextlib.redirect_stderr(told), contextlib.suppress(SystemExit):
        runner._parse("purpose", ["tool", "--model=x", wrong])
        sys.exit(f"{{wrong}} passed")
print(len(told.getvalue()), *({{"tensorflow", "keras"}} & {{*sys.modules}}))
"""


@pytest.mark.parametrize(
    ("stated", "registered"),
    [
        (choices.NORMS, threats.NORMS),
        (choices.DATASETS, th.data.NAMES),
        (choices.MODELS, models.KNOWN),
        (choices.ATTACKS, attacks.KNOWN),
        (choices.PROBES, evaluation.PROBES),
        (choices.KERNELS, tflite.KERNELS),
        (choices.OBJECTIVES, hardening.objectives.KNOWN),
        (choices.DISTILLATION_OBJECTIVES, distillation.objectives.KNOWN),
        (choices.LOGIT_LOSSES, distillation.losses.of_logits()),
        (choices.FEATURE_LOSSES, distillation.losses.of_features()),
        (choices.PATTERNS, compression.PATTERNS),
        (choices.INITIALISERS, compression.INITIALISERS),
        (choices.RECIPES, export.RECIPES),
        (choices.TARGETS, export.TARGETS),
    ],
)
def test_names_are_those_of_the_registry(stated, registered):
    assert [*stated] == [*registered]


def test_entry_points_are_those_that_datasets_are_loaded_from():
    assert choices.DATASET_GROUP == th.data.datasets.ENTRY_POINT_GROUP


def test_attacks():
    assert attacks.naming() == choices.KNOWN_ATTACKS
    assert [n for n, kind in attacks.KNOWN.items() if kind.minimises] == [*choices.MINIMUM_NORM_ATTACKS]
    assert all(choices.is_attack(name) and attacks.is_known(name) for name in ("pgd", "eot-pgd", "pgd-t"))
    assert not choices.is_attack("eot")
    assert not attacks.is_known("eot")
    assert choices.LEAST_AGREEMENT == export.LEAST_AGREEMENT


@pytest.mark.parametrize("setting", choices.ATTACKS_WITH)
def test_budgets_go_to_the_attacks_that_the_help_names(setting):
    getting = [
        name
        for name, kind in attacks.KNOWN.items()
        if getattr(attacks.fitting(name, threats.get(kind.norms[0], 1.0), {setting: 910}), setting, None) == 910
    ]
    assert [*choices.ATTACKS_WITH[setting]] == getting


def test_flags_are_refused_before_tensorflow_is_imported():
    done = subprocess.run([sys.executable, "-c", BARE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    length, *imported = done.stdout.split()
    assert int(length) > 1000
    assert imported == []
