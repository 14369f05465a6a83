"""The ensemble: its cascade, its fit to few classes, and its state after a kill."""

import keras
import numpy as np
import pytest

from tests._helpers.linear_problem import FLAT, IMAGES, SHAPE, true_labels, two_logits
from tfharden import losses
from tfharden.attacks import APGD, FAB, PGD, AutoAttack, MultiTargeted, Square
from tfharden.classifiers import KerasClassifier
from tfharden.errors import InputError
from tfharden.threats import L1, L2, Linf


@pytest.fixture
def quick(monkeypatch):
    """The members with budgets that a test has time for."""

    def members(self):
        threat, seed = self.threat, self.seed
        return (
            APGD(threat, steps=20, seed=seed),
            MultiTargeted(APGD(threat, steps=20, loss=losses.difference_of_logits_ratio, seed=seed)),
            MultiTargeted(FAB(threat, steps=10, early_exit=True, seed=seed)),
            Square(threat, queries=100, stretch=False, seed=seed),
        )

    monkeypatch.setattr(AutoAttack, "members", property(members))


def test_the_standard_members_are_the_papers():
    first, targeted, fab, square = AutoAttack(Linf(0.1), seed=3).members
    assert (first.name, first.steps, first.restarts, first.loss) == ("apgd-ce", 100, 1, losses.cross_entropy)
    assert (targeted.name, targeted.classes, targeted.attack.steps) == ("apgd-dlr-t", 9, 100)
    assert (fab.name, fab.classes, fab.attack.steps, fab.attack.restarts) == ("fab-t", 9, 100, 1)
    assert (square.queries, square.stretch) == (5000, False)
    sparse = AutoAttack(L1(5.0)).members
    assert (sparse[0].restarts, sparse[1].classes, sparse[2].classes) == (5, 5, 9)
    assert {member.seed for member in (first, targeted.attack, fab.attack, square)} == {3}


@pytest.mark.parametrize(("classes", "threat"), [(2, Linf(0.1)), (3, L2(0.25)), (4, L1(0.6)), (10, Linf(0.1))])
def test_models_of_any_number_of_classes(linear, quick, classes, threat):
    weights = np.random.default_rng(classes).normal(size=(12, classes)).astype(np.float32)
    classifier = linear(SHAPE, weights, -FLAT.mean(0) @ weights)
    y = classifier.predict(IMAGES)
    result = AutoAttack(threat)(classifier, IMAGES, y)
    assert result.success.sum() > 0
    strongest = PGD(threat, loss=losses.margin, restarts=3)(classifier, IMAGES, y)
    assert result.robust_accuracy <= strongest.robust_accuracy
    assert threat.violation(result.adversarial, IMAGES) <= threat.tolerance
    assert sum(stage.succeeded for stage in result.stages) == result.success.sum()


def test_a_softmax_at_the_end_is_seen_through(linear, quick):
    weights = 60 * np.random.default_rng(4).normal(size=(12, 4)).astype(np.float32)
    plain = linear(SHAPE, weights, -FLAT.mean(0) @ weights)
    y = plain.predict(IMAGES)
    ended = KerasClassifier(keras.Sequential([plain.model, keras.layers.Softmax()]))
    verdicts = [AutoAttack(Linf(0.05))(classifier, IMAGES, y).success for classifier in (plain, ended)]
    assert np.mean(verdicts[0] != verdicts[1]) <= 0.03


def test_shattered_gradients_fall_to_square_though_not_to_the_others(quick):
    """Rounding has no slope: every gradient is zero, so only a search by scores sees the way."""

    @keras.saving.register_keras_serializable("test")
    class Rounded(keras.layers.Layer):
        def call(self, x):
            return keras.ops.round(8 * x) / 8 + 0 * x

    classifier = two_logits(lambda x: keras.ops.mean(Rounded()(x), axis=1) - 0.56)
    x, y = np.full((30, 4, 4, 1), 0.5, np.float32), np.zeros(30, int)
    pgd = PGD(Linf(0.1), steps=10)(classifier, x, y)
    assert not pgd.success.any()
    np.testing.assert_array_equal(pgd.zero_gradients, pgd.gradients)
    result = AutoAttack(Linf(0.1))(classifier, x, y)
    assert result.success.all()
    assert result.stages[-1].succeeded > 25


class _Killed(Exception):
    pass


def _kill_after(stages):
    """A progress that interrupts an ensemble in the member after so many."""

    def progress(done, total):
        if done / total > (stages + 0.5) / 4:
            raise _Killed

    return progress


def _without_seconds(result):
    return [(stage.name, stage.succeeded) for stage in result.stages]


@pytest.fixture
def problem(linear):
    weights = np.random.default_rng(7).normal(size=(12, 5)).astype(np.float32)
    classifier = linear(SHAPE, weights, -FLAT.mean(0) @ weights)
    return classifier, IMAGES, classifier.predict(IMAGES)


def test_what_was_killed_goes_on_where_it_was_and_ends_the_same(problem, quick, tmp_path, monkeypatch):
    whole = AutoAttack(Linf(0.06))(*problem)
    attack, checkpoint = AutoAttack(Linf(0.06)), tmp_path / "notes"
    with pytest.raises(_Killed):
        attack(*problem, progress=_kill_after(2), checkpoint=checkpoint)
    (state,) = checkpoint.iterdir()
    with monkeypatch.context() as patch:  # what is done is not done again
        patch.setattr(APGD, "_search_with", lambda *_: pytest.fail("it was done already"))
        resumed = attack(*problem, checkpoint=checkpoint)
    np.testing.assert_array_equal(resumed.adversarial, whole.adversarial)
    np.testing.assert_array_equal(resumed.queries, whole.queries)
    np.testing.assert_array_equal(resumed.gradients, whole.gradients)
    assert _without_seconds(resumed) == _without_seconds(whole)
    with monkeypatch.context() as patch:
        patch.setattr(AutoAttack, "members", ())
        again = attack(*problem, checkpoint=checkpoint)
    np.testing.assert_array_equal(again.success, whole.success)
    assert again.stages == resumed.stages
    assert state.exists()


def test_a_state_is_of_one_attack_on_one_model_and_its_images(problem, quick, tmp_path, linear):
    classifier, x, y = problem
    AutoAttack(Linf(0.06))(*problem, checkpoint=tmp_path)
    assert len(list(tmp_path.iterdir())) == 1
    other = linear(SHAPE, np.random.default_rng(8).normal(size=(12, 5)).astype(np.float32))
    AutoAttack(Linf(0.06))(other, x, y, checkpoint=tmp_path)
    AutoAttack(Linf(0.05))(*problem, checkpoint=tmp_path)
    AutoAttack(Linf(0.06), seed=1)(*problem, checkpoint=tmp_path)
    AutoAttack(Linf(0.06))(classifier, x[::-1].copy(), y[::-1].copy(), checkpoint=tmp_path)
    assert len(list(tmp_path.iterdir())) == 5


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(b"no archive"),
        lambda path: path.write_bytes(path.read_bytes()[:200]),
        lambda path: np.savez(path, adversarial=np.zeros(3)),
        lambda path: np.savez(path, **{**dict(np.load(path)), "adversarial": np.zeros((2, 2))}),
        lambda path: np.savez(path, **{**dict(np.load(path)), "stages": "[1, 2]"}),
        lambda path: np.savez(path, **{**dict(np.load(path)), "solved": np.array([print], dtype=object)}),
    ],
)
def test_a_broken_state_is_refused_and_left_alone(problem, quick, tmp_path, spoil):
    attack = AutoAttack(Linf(0.06))
    attack(*problem, checkpoint=tmp_path)
    (path,) = tmp_path.iterdir()
    spoil(path)
    content = path.read_bytes()
    with pytest.raises(InputError, match=r"no checkpoint of an attack .*: remove it to begin anew") as caught:
        attack(*problem, checkpoint=tmp_path)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == content


def test_the_ensemble_wants_any_error(two_classes):
    y = true_labels()
    with pytest.raises(InputError, match="autoattack has no targeted form"):
        AutoAttack(Linf(0.1))(two_classes, IMAGES, y, targets=1 - y)
