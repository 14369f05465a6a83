"""Attacks that are several in a row: what a report tells of them, and how they go on after a kill."""

import json

import pytest

import tfharden as th
from tests._helpers.linear_models import THREAT, content, examples, linear, linear_classifier, only, without_seconds
from tfharden.attacks import APGD, AutoAttack, Square

pytestmark = pytest.mark.usefixtures("no_checks")


@pytest.fixture
def in_a_row(monkeypatch):
    """An AutoAttack whose members each have something to find."""
    members = property(lambda self: (Square(self.threat, queries=3, seed=self.seed), APGD(self.threat, steps=5)))
    monkeypatch.setattr(AutoAttack, "members", members)


def test_stages_tell_what_each_member_left(in_a_row, tmp_path):
    report = th.evaluate([linear_classifier()], examples(), THREAT, ["fgsm", "autoattack"])
    model = only(report.content)
    fgsm, attack = model["attacks"]
    assert "stages" not in fgsm
    square, apgd = attack["stages"]
    assert [square["name"], apgd["name"]] == ["square", "apgd-ce"]
    assert square["fell"] > 0
    assert apgd["fell"] > 0
    for stage, before in ((square, model["clean_accuracy"]), (apgd, square["robust_accuracy_after"])):
        assert stage.keys() == {"name", "fell", "robust_accuracy_after", "seconds"}
        assert stage["robust_accuracy_after"] == pytest.approx(before - stage["fell"] / 200)
    assert apgd["robust_accuracy_after"] == pytest.approx(attack["robust_accuracy"])
    assert attack["seconds"] >= square["seconds"] + apgd["seconds"]
    assert "checkpoint" not in attack["parameters"]
    report.save(tmp_path)
    assert json.loads((tmp_path / "report.json").read_text())["models"][0]["attacks"][1]["stages"] == attack["stages"]


class _Killed(Exception):
    pass


def searched(monkeypatch):
    """A list of the names of the attacks that search from now on."""
    names = []
    for kind in (Square, APGD):
        prepare = kind._prepare

        def noting(self, classifier, prepare=prepare):
            run = prepare(self, classifier)
            return lambda search: (names.append(self.name), run(search))

        monkeypatch.setattr(kind, "_prepare", noting)
    return names


def killed_in(label):
    """A progress that ends an evaluation in that attack, after its first member."""

    def progress(at, share):
        if at == label and share > 0.5:
            raise _Killed

    return progress


def test_a_killed_evaluation_goes_on_after_the_last_member(in_a_row, monkeypatch, tmp_path, files):
    """Two models of one name and one by transfer: each has a checkpoint of its own, and ends as if nothing had been."""
    models = [
        linear_classifier(),
        th.KerasClassifier(linear(bias=(0.2, 0.0))),
        th.TFLiteClassifier(files / "int8.tflite"),
    ]
    settings = {"attacks": ["autoattack"], "transfer": "autoattack"}
    whole = content(models, examples(), **settings)
    notes = tmp_path / "notes"
    names = searched(monkeypatch)
    with pytest.raises(_Killed):
        content(models, examples(), **settings, checkpoints=notes, progress=killed_in("transfer: autoattack on linear"))
    # Seven in all: on each model, and from each of two sources on the other and on the file. On themselves is noted.
    assert names == ["square", "apgd-ce"] * 4
    names.clear()
    resumed = content(models, examples(), **settings, checkpoints=notes)
    assert names == ["square", "apgd-ce"] * 3
    assert without_seconds(resumed) == without_seconds(whole)


def test_killed_after_the_first_member_and_not_searched_again(in_a_row, monkeypatch, tmp_path):
    whole = only(content([linear_classifier()], examples(), attacks=["autoattack"]))
    names = searched(monkeypatch)
    with pytest.raises(_Killed):
        content(
            [linear_classifier()],
            examples(),
            attacks=["autoattack"],
            checkpoints=tmp_path,
            progress=killed_in("linear: autoattack"),
        )
    assert names == ["square", "apgd-ce"]
    names.clear()
    resumed = only(content([linear_classifier()], examples(), attacks=["autoattack"], checkpoints=tmp_path))
    assert names == ["apgd-ce"]
    assert without_seconds(resumed) == without_seconds(whole)
    (stages,) = (attack["stages"] for attack in resumed["attacks"])
    assert resumed["attacks"][0]["seconds"] >= sum(stage["seconds"] for stage in stages)
