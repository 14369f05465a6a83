import pytest

import tfharden as th
from tests._helpers.linear_models import examples, linear
from tests._helpers.pages import made_up


@pytest.fixture
def content():
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


@pytest.fixture
def no_attack(monkeypatch):
    def attacked(*_, **__):
        raise AssertionError("an attack ran")

    monkeypatch.setattr("tfharden.attacks.core.attack.Attack.__call__", attacked)
