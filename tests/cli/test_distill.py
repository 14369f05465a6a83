"""tfharden-distill: teachers, methods and losses from the command line, and the choice of a temperature."""

import json

import keras
import numpy as np
import pytest

import tfharden as th
from tfharden.cli import distill, students, temperature, training
from tfharden.distillation import objectives

TINY = ["--epochs=2", "--attack_steps=1", "--num_examples=40", "--width=2", "--epsilon=0.1"]


class Killed(Exception):
    pass


@pytest.fixture
def run(run_here, monkeypatch):
    monkeypatch.setattr(students, "EPOCHS", 1)
    return run_here(distill)


@pytest.fixture
def teacher(tmp_path):
    path = tmp_path / "teacher.keras"
    th.models.build("cnn", (8, 8, 1), 10, 4, seed=7).save(path)
    return path


@pytest.fixture
def made(monkeypatch):
    """The Distillers that are trained, and what on."""
    seen = []
    monkeypatch.setattr(training, "train", lambda trainer, examples, *_, train=training.train, **settings: (
        seen.append((trainer, examples)), train(trainer, examples, *_, **settings)))  # fmt: skip
    return seen


@pytest.mark.parametrize("name", ["natural", *objectives.KNOWN])
def test_every_method_by_name(name, run, teacher, made, tmp_path, capsys):
    out = tmp_path / "student.keras"
    run(*TINY, f"--teacher={teacher}", f"--objective={name}", "--robust_share=1/4", "--trust=0.5", f"--output={out}")
    ((distiller, _),) = made
    assert (distiller.attack is None) == (name == "natural")
    assert isinstance(distiller.objective, objectives.KNOWN["ard" if name == "natural" else name])
    assert getattr(distiller.objective, "robust_share", 0.25) == 0.25
    assert getattr(distiller.objective, "trust", 0.5) == 0.5
    told = capsys.readouterr().out
    assert ("before training: " in told) == (name != "natural")
    for one, other in zip(th.load_model(out).get_weights(), distiller.student.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_losses_and_schedule(run, teacher, made, tmp_path):
    flags = ["--losses=decoupled-target:1/2,similarity:300", "--features=conv2:conv2", "--feature_loss=attention"]
    flags += ["--temperature=4", "--feature_weight=3", "--label_weight=0.5", "--ramp_epochs=1", "--average=0.9"]
    flags += ["--weight_perturbation=0.01", "--rotation=5"]
    run(*TINY, *flags, f"--teacher={teacher}", f"--output={tmp_path / 'student.keras'}")
    ((distiller, _),) = made
    assert distiller.losses_distilled == (
        th.DecoupledTarget(temperature=4.0, weight=0.5),
        th.SimilarityPreserving(weight=300.0),
        th.AttentionTransfer("conv2", "conv2", weight=3.0),
    )
    assert distiller.label_weight == 0.5
    assert distiller.weight_perturbation == th.WeightPerturbation(0.01)
    assert distiller.ramp_steps == -(-1397 // 64)
    assert distiller.optimizer.ema_momentum == 0.9


def test_several_teachers_are_an_ensemble(run, teacher, made, tmp_path):
    flags = ["--features=", "--temperature=4", "--teacher_weights=3,1", f"--output={tmp_path / 'student.keras'}"]
    run(*TINY, f"--teacher={teacher}", f"--teacher={teacher}", *flags)
    ((distiller, _),) = made
    x = th.data.load("digits").test[0][:5]
    one = keras.saving.load_model(teacher)(x).numpy()
    # Twice the same has that one's opinion, whatever the weights.
    given, wanted = (np.exp(z / 4) / np.exp(z / 4).sum(axis=-1, keepdims=True) for z in (distiller.teacher(x), one))
    np.testing.assert_allclose(given, wanted, rtol=1e-5)


def test_labels_and_answers(run, teacher, made, tmp_path):
    """Unused labels; a teacher that was asked once, and whose answers serve the next training."""
    flags = [*TINY, "--features=", f"--teacher={teacher}", f"--answers={tmp_path / 'answers'}", "--overwrite"]
    run(*flags, "--unlabelled", f"--output={tmp_path / 'student.keras'}")
    (kept,) = (tmp_path / "answers").iterdir()
    before = kept.stat().st_mtime_ns
    run(*flags, f"--output={tmp_path / 'student.keras'}")
    assert [path.stat().st_mtime_ns for path in (tmp_path / "answers").iterdir()] == [before]
    (_, (x, unlabelled)), (_, (_, labelled)) = made
    answers = keras.saving.load_model(teacher).predict(x, verbose=0).argmax(axis=-1)
    assert np.mean(unlabelled.labels == answers) > 0.99  # half precision may make ties
    np.testing.assert_array_equal(labelled.labels, th.data.load("digits").train[1])


def test_the_best_temperature_is_taken(run, teacher, made, tmp_path, capsys, monkeypatch):
    """The sweep is killed after its first trial, and goes on from there."""
    accuracies = {1.0: 0.2, 2.0: 0.6, 4.0: 0.4}
    tried = []

    def sweep(train, temperatures, held_out, threat, checkpoint, sweep=temperature.sweep):
        def noting(at):
            if at == 2.0 and len(tried) == 1:
                tried.append("killed")
                raise Killed
            tried.append(at)
            return train(at)

        measured = sweep(noting, temperatures, held_out, threat, checkpoint)
        assert len(held_out[1]) == 140  # a tenth of the 1,397
        return [trial._replace(robust=accuracies[trial.temperature]) for trial in measured]

    monkeypatch.setattr(temperature, "sweep", sweep)
    out = tmp_path / "student.keras"
    flags = [*TINY, "--temperature=1,2,4", "--sweep_epochs=1", f"--teacher={teacher}", f"--output={out}"]
    with pytest.raises(Killed):
        run(*flags)
    assert not out.exists()
    run(*flags)
    assert tried == [1.0, "killed", 2.0, 4.0]
    assert [trainer.losses_distilled[0].temperature for trainer, _ in made] == [1.0, 2.0, 4.0, 2.0]
    assert [len(examples[1]) for _, examples in made] == [1257] * 3 + [1397]
    picture = tmp_path / "student.temperature.png"
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "student.keras",
        "student.temperature.png",
        "teacher.keras",
    ]
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if line.endswith("<")] == ["2"]


def test_trials_are_measured_on_what_was_held_out(tmp_path):
    x, y = th.data.load("digits").test
    model = th.models.build("cnn", (8, 8, 1), 10, 2, seed=0)
    (trial,) = temperature.sweep(lambda _: model, [3.0], (x, y), th.Linf(0.0), tmp_path)
    accuracy = np.mean(model.predict(x, verbose=0).argmax(axis=-1) == y)
    assert trial == (3.0, pytest.approx(accuracy), pytest.approx(accuracy))
    assert json.loads((tmp_path / "temperatures.json").read_text()) == [list(trial)]


def test_the_better_of_equals():
    trials = [temperature.Trial(1, 0.9, 0.5), temperature.Trial(2, 0.8, 0.6), temperature.Trial(4, 0.85, 0.6)]
    assert [temperature.best(trials, by).temperature for by in ("clean", "robust")] == [1, 4]


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--teacher=missing.keras"], "missing.keras: no such file"),
        (["--teacher={teacher}", "--features=conv9:conv1"], "no layer 'conv9'"),
        (["--teacher={teacher}", "--teacher={teacher}", "--teacher_weights=1"], "weights has 1 entries for 2 members"),
        (["--teacher={teacher}", "--teacher={teacher}", "--teacher_weights=1,x"], "--teacher_weights: 'x' is not"),
        (["--teacher={teacher}", "--unlabelled", "--label_weight=1", "--features="], "needs labels"),
        (["--teacher={teacher}", "--answers={teacher}.d", "--rotation=5"], "--answers keeps answers to the images"),
        (
            ["--teacher={teacher}", "--answers={teacher}.d", "--features=", "--objective=iad"],
            "none for attacked images",
        ),
        (["--teacher={teacher}", "--temperature=1,2", "--held_out=1397"], "--held_out=1397 leaves none"),
    ],
)
def test_what_does_not_go_together(flags, expected, run, teacher, tmp_path):
    out = tmp_path / "student.keras"
    with pytest.raises(th.InputError, match=expected) as error:
        run(*TINY, *(flag.format(teacher=teacher) for flag in flags), f"--output={out}")
    assert "\n" not in str(error.value)
    assert not out.exists()
