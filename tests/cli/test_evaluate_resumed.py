"""tfharden-evaluate, killed and started again."""

import json

import keras
import pytest

from tests._helpers.tools import run_here
from tfharden.attacks import APGD, AutoAttack, Square
from tfharden.attacks.core.checkpoint import Checkpoint
from tfharden.cli import evaluate
from tfharden.cli.resume import UNFINISHED


@pytest.fixture
def searched(monkeypatch):
    """An AutoAttack of two quick members, and the names of those that have searched."""
    names = []
    members = property(lambda self: (Square(self.threat, queries=3), APGD(self.threat, steps=3)))
    monkeypatch.setattr(AutoAttack, "members", members)
    for kind in (Square, APGD):

        def noting(self, classifier, prepare=kind._prepare):
            search_now = prepare(self, classifier)
            return lambda search: (names.append(self.name), search_now(search))

        monkeypatch.setattr(kind, "_prepare", noting)
    return names


@pytest.fixture
def models(tmp_path):
    """Two models of one file name, that know nothing of digits."""
    paths = [tmp_path / folder / "model.keras" for folder in ("a", "b")]
    for seed, path in enumerate(paths):
        keras.utils.set_random_seed(seed)
        path.parent.mkdir()
        layers = [keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(10)]
        keras.Sequential(layers).save(path)
    return paths


def told_by(folder):
    """What report.json says of the models, without the seconds."""
    text = (folder / "report.json").read_text()
    return json.loads(text, object_hook=lambda found: {key: found[key] for key in found if key != "seconds"})["models"]


def test_a_killed_run_goes_on_after_the_last_member_and_ends_the_same(searched, models, tmp_path, monkeypatch):
    command = [*(f"--model={path}" for path in models), "--attacks=autoattack", "--epsilon=0.02"]
    out, whole = tmp_path / "report", tmp_path / "whole"
    run_here(evaluate, *command, f"--output_dir={whole}")
    assert searched == ["square", "apgd-ce"] * 2
    searched.clear()

    def die(self, search, *, finished=False, save=Checkpoint.save):
        save(self, search, finished=finished)
        if len(searched) == 3:  # the first member, on the second model
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "save", die)
        with pytest.raises(KeyboardInterrupt):
            run_here(evaluate, *command, f"--output_dir={out}")
    assert searched == ["square", "apgd-ce", "square"]
    assert [path.name for path in out.iterdir()] == [UNFINISHED]
    assert [path.suffix for path in (out / UNFINISHED).iterdir()] == [".npz"] * 2
    searched.clear()
    run_here(evaluate, *command, f"--output_dir={out}")
    assert searched == ["apgd-ce"]
    assert told_by(out) == told_by(whole)
    assert {path.name for path in out.iterdir()} == {"report.json", "report.csv", "report.html"}
