"""Examples without labels, and teachers whose answers are kept on disk."""

import keras
import numpy as np
import pytest

import tfharden as th
from tests._helpers.teaching import SHAPE, THREAT, assert_identical, cnn, copies, distiller, examples, one_line
from tfharden.attacks import PGD
from tfharden.distillation.objectives import IAD, RSLAD, AdaAD
from tfharden.errors import InputError

ATTACK = PGD(THREAT, steps=2)


def trained(y, attack=None, losses=None, objective=None, x=None, **options):
    """History and weights of a small student after two epochs."""
    student, images = cnn(4), examples(16)[0] if x is None else x
    losses = th.SoftTarget(2.0) if losses is None else losses
    made = distiller(student, cnn(6, seed=1), losses, attack, objective, metrics=["accuracy"], **options)
    history = made.fit(images, y, batch_size=8, epochs=2, shuffle=False, verbose=0).history
    return history, student


@pytest.mark.parametrize("attack", [None, ATTACK], ids=["clean", "attacked"])
def test_the_teachers_classes_stand_for_missing_labels(attack):
    x, _ = examples(16)
    answers = cnn(6, seed=1)(x).numpy().argmax(axis=-1)
    (history, student), (expected, twin) = trained(None, attack), trained(answers, attack)
    for name, values in expected.items():
        assert history[name] == pytest.approx(values), name
    assert_identical(student, copies(twin))


def test_agreement_is_measured_without_labels():
    x, _ = examples(16)
    student, teacher = cnn(4), cnn(6, seed=1)
    logs = distiller(student, teacher, th.SoftTarget(), metrics=["accuracy"]).evaluate(x, return_dict=True, verbose=0)
    agree = student(x).numpy().argmax(axis=-1) == teacher(x).numpy().argmax(axis=-1)
    assert logs["accuracy"] == pytest.approx(agree.mean())


def test_labels_that_are_needed():
    with pytest.raises(InputError, match=r"label_weight=0.5 needs labels") as error:
        trained(None, label_weight=0.5)
    assert one_line(error)


@pytest.mark.parametrize("objective", [None, RSLAD()], ids=["ard", "rslad"])
def test_kept_answers_teach_as_the_teacher_does(objective, tmp_path):
    """Half precision leaves three digits of each logit."""
    (x, y), teacher = examples(16), cnn(6, seed=1)
    taught = th.CachedTeacher.by(teacher, x, y, folder=tmp_path)
    assert taught.logits.dtype == np.float16
    np.testing.assert_allclose(taught.logits, teacher(x), rtol=1e-3, atol=1e-3)
    (history, student), (expected, twin) = (trained(given, ATTACK, objective=objective) for given in (taught, y))
    for name, values in expected.items():
        assert history[name] == pytest.approx(values, rel=1e-2, abs=1e-3)
    for new, old in zip(student.get_weights(), twin.get_weights(), strict=True):
        np.testing.assert_allclose(new, old, atol=2e-3)


@pytest.mark.parametrize("objective", [None, RSLAD()], ids=["ard", "rslad"])
def test_the_teacher_is_not_asked_about_what_is_kept(objective, tmp_path):
    """It answers the check at the start of the training, and no batch."""
    (x, y), teacher, asked = examples(16), cnn(6, seed=1), []
    taught = th.CachedTeacher.by(teacher, x, y, folder=tmp_path)
    made = distiller(cnn(4), teacher, th.SoftTarget(), ATTACK, objective)
    ask = made._teacher_outputs
    made._teacher_outputs = lambda images, training: (asked.append(len(images)), ask(images, training))[1]
    assert np.isfinite(made.fit(x, taught, batch_size=8, epochs=2, verbose=0).history["loss"]).all()
    assert asked == [16]


def test_answers_are_kept_and_read_again(tmp_path, monkeypatch):
    (x, y), teacher = examples(16), cnn(6, seed=1)
    first = th.CachedTeacher.by(teacher, x, y, folder=tmp_path)
    monkeypatch.setattr(th.KerasClassifier, "logits", None)  # not to be asked
    again = th.CachedTeacher.by(teacher, x, folder=tmp_path)
    np.testing.assert_array_equal(again.logits, first.logits)
    np.testing.assert_array_equal(again.labels, first.logits.argmax(axis=-1))
    assert len(list(tmp_path.iterdir())) == 1


def test_another_teacher_or_other_images_are_asked_anew(tmp_path):
    x, y = examples(16)
    rescaled = keras.Sequential([keras.Input(SHAPE), keras.layers.Rescaling(0.5), cnn(6, seed=1)])
    more = keras.Sequential([keras.Input(SHAPE), keras.layers.Rescaling(0.25), cnn(6, seed=1)])
    for number, (teacher, images) in enumerate(
        [(cnn(6, seed=1), x), (cnn(6, seed=2), x), (cnn(6, seed=1), x[::-1]), (rescaled, x), (more, x)], start=1
    ):
        taught = th.CachedTeacher.by(teacher, images, y, folder=tmp_path)
        np.testing.assert_allclose(taught.logits, teacher(images), rtol=1e-3, atol=1e-3)
        assert len(list(tmp_path.iterdir())) == number


@pytest.mark.parametrize("broken", [b"", b"no array", "pickled", "short", "nan"])
def test_broken_files_are_made_again(broken, tmp_path):
    (x, y), teacher = examples(16), cnn(6, seed=1)
    good = th.CachedTeacher.by(teacher, x, y, folder=tmp_path).logits
    (path,) = tmp_path.iterdir()
    if isinstance(broken, bytes):
        path.write_bytes(broken)
    elif broken == "pickled":
        np.save(path, np.array([{"an": "object"}], object), allow_pickle=True)
    else:
        np.save(path, good[:-1] if broken == "short" else np.full_like(good, np.nan))
    np.testing.assert_array_equal(th.CachedTeacher.by(teacher, x, y, folder=tmp_path).logits, good)


@pytest.mark.parametrize("why", ["augmented", "another teacher", "another order"])
def test_answers_that_are_not_the_teachers(why, tmp_path):
    x, y = examples(16)
    taught = th.CachedTeacher.by(cnn(6, seed=2 if why == "another teacher" else 1), x, y, folder=tmp_path)
    images = {"augmented": np.roll(x, 1, axis=2), "another order": x[::-1]}.get(why, x)
    with pytest.raises(InputError, match="kept answers are off by up to") as error:
        trained(taught, x=np.ascontiguousarray(images))
    assert one_line(error)


@pytest.mark.parametrize("objective", [IAD(), AdaAD()])
def test_no_cache_of_answers_to_attacked_images(objective, tmp_path):
    x, y = examples(16)
    taught = th.CachedTeacher.by(cnn(6, seed=1), x, y, folder=tmp_path)
    with pytest.raises(InputError, match="cache, which has none for attacked images") as error:
        trained(taught, ATTACK, objective=objective)
    assert one_line(error)


def test_no_cache_of_features(tmp_path):
    x, y = examples(16)
    taught = th.CachedTeacher.by(cnn(6, seed=1), x, y, folder=tmp_path)
    with pytest.raises(InputError, match="hold no features") as error:
        trained(taught, losses=[th.SoftTarget(), th.Feature("conv1", "conv1")])
    assert one_line(error)
