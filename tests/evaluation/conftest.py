import json
import types

import pytest

import tfharden as th
from tests._helpers.linear_models import THREAT, examples, linear
from tests._helpers.pages import made_up
from tfharden.attacks import APGD, FAB, AutoAttack, Square
from tfharden.evaluation import checks


@pytest.fixture
def content():
    """What report.json might hold."""
    return made_up()


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    """A Keras file of a linear model, and its float and int8 exports."""
    folder, model = tmp_path_factory.mktemp("files"), linear()
    model.save(folder / "linear.keras")
    x, _ = examples(low=0.0, high=1.0)
    for recipe in ("float32", "int8"):
        th.export.to_tflite(model, recipe, calibration=x).save(folder / f"{recipe}.tflite")
    return folder


@pytest.fixture(scope="session")
def full(files, tmp_path_factory):
    """An evaluation with every part that a report has: of a Keras model and a file, with every kind of attack.

    Its report, the folder where that was saved, what report.json there holds, and what was told of the progress.
    """
    folder, told = tmp_path_factory.mktemp("full"), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AutoAttack, "members", property(lambda self: (Square(self.threat, queries=3), APGD(THREAT))))
        report = th.evaluate(
            [files / "linear.keras", files / "int8.tflite"],
            examples(60),
            THREAT,
            ["fgsm", "pgd", FAB(THREAT, steps=5), Square(THREAT, queries=20), "autoattack"],
            transfer="pgd",
            source=linear(name="source", bias=(0.1, 0.0)),
            probes=th.evaluation.PROBES,
            data_name="made",
            seed=5,
            progress=lambda label, share: told.append((label, share)),
        )
    report.save(folder)
    content = json.loads((folder / "report.json").read_text())
    return types.SimpleNamespace(report=report, folder=folder, content=content, told=told)


@pytest.fixture
def no_checks(monkeypatch):
    """For evaluations whose numbers alone are looked at."""
    monkeypatch.setattr(checks, "KNOWN", {})


@pytest.fixture
def no_charts(monkeypatch):
    """For pages whose text alone is looked at."""
    monkeypatch.setattr("tfharden.evaluation.report.cost_plots.accuracy_against", lambda cost, models: "")
    monkeypatch.setattr("tfharden.evaluation.report.plots.accuracy_by_attack", lambda models: "")


@pytest.fixture
def no_attack(monkeypatch):
    def attacked(*_, **__):
        raise AssertionError("an attack ran")

    monkeypatch.setattr("tfharden.attacks.core.attack.Attack.__call__", attacked)
