import json

import keras
import numpy as np
import pytest

import tfharden as th
from tfharden import export
from tfharden.attacks import BIM, PGD, MultiTargeted, Square, Transfer
from tfharden.attacks.universal import Universal
from tfharden.classifiers import CallableClassifier, KerasClassifier
from tfharden.errors import InputError
from tfharden.evaluation.transfer import transfer_matrix

SHAPE = (3, 4, 1)
RNG = np.random.default_rng(0)
WEIGHTS = RNG.normal(size=(12, 3)).astype(np.float32)
OTHER = (WEIGHTS + RNG.normal(size=(12, 3))).astype(np.float32)
X = RNG.uniform(size=(60, *SHAPE)).astype(np.float32)
Y = np.where(RNG.random(60) < 0.1, 0, (X.reshape(60, -1) @ (WEIGHTS + OTHER)).argmax(axis=1))
THREAT = th.Linf(0.1)


def linear_model(weights, name):
    model = keras.Sequential([keras.Input(SHAPE), keras.layers.Flatten(), keras.layers.Dense(3)], name=name)
    model.set_weights([weights, np.zeros(3, np.float32)])
    return KerasClassifier(model)


@pytest.fixture(scope="module")
def shared():
    """Classifiers that all tests share, so that their graphs are traced once."""
    black = CallableClassifier(lambda x: x.reshape(len(x), -1) @ (WEIGHTS + OTHER), SHAPE, 3, "black box")
    return linear_model(WEIGHTS, "one"), linear_model(OTHER, "other"), black


@pytest.fixture
def models(shared):
    return list(shared)


class OnLattice(CallableClassifier):
    """Receives multiples of 1/20 only."""

    def restrict_threat(self, threat):
        return threat.restrict(threat.bounds, 1 / 20)


@pytest.mark.parametrize(
    "attack",
    [
        PGD(THREAT, steps=5, restarts=2),
        PGD(th.L2(0.3), steps=5),
        MultiTargeted(BIM(THREAT, steps=5)),
        Universal(THREAT, examples=(X[:30], Y[:30]), epochs=2),
    ],
    ids=["pgd", "pgd in L2", "bim-t", "uap"],
)
def test_entries_are_those_of_the_attack_and_of_its_transfer(models, attack):
    models = [*models, OnLattice(models[2].function, SHAPE, 3, "lattice")]
    matrix = transfer_matrix(models, (X, Y), attack)
    assert matrix.sources == ("one", "other")
    assert matrix.targets == ("one", "other", "black box", "lattice")
    for row, source in enumerate(models[:2]):
        for column, target in enumerate(models):
            way = attack if source is target else Transfer(attack, source)
            assert matrix.accuracy[row, column] == pytest.approx(way(target, X, Y).robust_accuracy), (row, column)
    assert len(np.unique(matrix.accuracy)) > 4


def test_what_stands_above_the_sources_is_counted_by_hand(models):
    lattice = OnLattice(models[2].function, SHAPE, 3, "lattice")
    matrix = transfer_matrix([*models, lattice], (X, Y), BIM(THREAT))
    clean = [np.mean(model.predict(X) == Y) for model in models] + [
        np.mean(lattice.predict(np.round(X * 20) / 20) == Y)
    ]
    np.testing.assert_allclose(matrix.clean, clean)
    # Noise of +-epsilon moves a logit by some epsilon |w|_2, a gradient by epsilon |w|_1.
    assert (matrix.noise <= matrix.clean).all()
    assert (matrix.noise[:2] > matrix.accuracy.diagonal() + 0.2).all()


def test_noise_is_as_long_as_the_perturbations():
    seen = []

    def keep(images):
        seen.append(images)
        return images.reshape(len(images), -1) @ WEIGHTS

    x = np.full((20, *SHAPE), 0.5, np.float32)
    transfer_matrix([CallableClassifier(keep, SHAPE, 3)], (x, np.zeros(20, int)), Square(THREAT, queries=1))
    assert len(np.unique(np.abs(seen[-1] - x).round(5))) == 1
    assert np.abs(seen[-1] - x).max() == pytest.approx(0.1)
    assert 0.4 < np.mean(seen[-1] > x) < 0.6


def test_score_based_attacks_start_from_black_boxes_too(models):
    matrix = transfer_matrix(models, (X, Y), Square(THREAT, queries=20))
    assert matrix.sources == matrix.targets == ("one", "other", "black box")
    assert matrix.accuracy[2, 2] == pytest.approx(Square(THREAT, queries=20)(models[2], X, Y).robust_accuracy)


@pytest.mark.slow
def test_each_source_attacks_once_for_all_who_receive_the_same(models, monkeypatch):
    runs = []
    prepare = BIM._prepare

    def counting(self, classifier):
        runs.append(classifier.name)
        return prepare(self, classifier)

    monkeypatch.setattr(BIM, "_prepare", counting)
    lattice = [OnLattice(models[2].function, SHAPE, 3, name) for name in ("a", "b")]
    transfer_matrix([*models, *lattice], (X, Y), BIM(THREAT, steps=2))
    # Itself, the other two floats, the two lattices.
    assert runs == ["one"] * 3 + ["other"] * 3


@pytest.mark.slow
def test_a_file_on_its_lattice(digits, digits_model, tmp_path):
    export.to_tflite(digits_model, "int8", calibration=digits.train[0][:100]).save(tmp_path / "int8.tflite")
    digits_model.save(tmp_path / "source.keras")
    source, file = tmp_path / "source.keras", tmp_path / "int8.tflite"
    x, y = digits.test[0][:50], digits.test[1][:50]
    attack = BIM(th.Linf(0.1), steps=5)
    matrix = transfer_matrix([source, file], (x, y), attack)
    direct = Transfer(attack, th.as_classifier(source))(th.as_classifier(file), x, y)
    assert matrix.accuracy[0, 1] == pytest.approx(direct.robust_accuracy)
    assert matrix.accuracy[0, 1] < matrix.clean[1] - 0.2
    assert matrix.accuracy[1, 1] == pytest.approx(attack(th.as_classifier(file), x, y).robust_accuracy)
    assert matrix.accuracy[1, 0] < matrix.clean[0] - 0.2
    assert matrix.sources == matrix.targets == ("source.keras", "int8.tflite")


def test_table_and_content(models):
    matrix = transfer_matrix(models, (X, Y), BIM(THREAT, steps=5))
    header, clean, noise, one, other = (line.split() for line in matrix.table().splitlines())
    assert header == ["bim", "on", "one", "other", "black", "box"]
    for line, shares in ((clean, matrix.clean), (noise, matrix.noise), (one, matrix.accuracy[0])):
        assert line[-3:] == [f"{100 * share:.1f}" for share in shares]
    assert (clean[0], noise[0], one[0], other[0]) == ("no", "random", "one", "other")
    told = json.loads(json.dumps(matrix.content))
    assert told["robust_accuracy"] == matrix.accuracy.tolist()
    assert told["clean_accuracy"] == matrix.clean.tolist()
    assert told["noise_accuracy"] == matrix.noise.tolist()
    assert told["parameters"]["steps"] == 5
    assert (told["attack"], told["sources"]) == ("bim", ["one", "other"])


def test_models_of_one_name_are_told_apart(models, monkeypatch):
    monkeypatch.setattr(models[1], "name", "one")
    assert transfer_matrix(models, (X, Y), BIM(THREAT, steps=1)).targets == ("one", "one #2", "black box")


def test_progress_ends_each_source(models):
    told = []
    transfer_matrix(
        models, (X, Y), BIM(THREAT, steps=1), progress=lambda label, share: told.append((label, round(share, 2)))
    )
    assert [label for label, share in told if share == 1] == ["transfer: bim on one", "transfer: bim on other"]


def test_what_cannot_be_transferred(models, linear):
    with pytest.raises(InputError, match="no model gives any"):
        transfer_matrix(models[2:], (X, Y), BIM(THREAT))
    with pytest.raises(InputError, match="nothing can be transferred"):
        transfer_matrix([*models, linear(SHAPE, WEIGHTS[:, :2])], (X, Y), BIM(THREAT))
    with pytest.raises(InputError, match="nothing to transfer"):
        transfer_matrix([], (X, Y), BIM(THREAT))
    with pytest.raises(InputError, match="span"):
        transfer_matrix(models, (X * 2, Y), BIM(THREAT))
