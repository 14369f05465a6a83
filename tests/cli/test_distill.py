"""tfharden-distill: teachers, methods and losses from the command line, and the choice of a temperature."""

import json

import keras
import numpy as np
import pytest

import tfharden as th
from tests._helpers.tools import configured, run_here
from tfharden.cli import distill, distillation, temperature_search, training
from tfharden.distillation import objectives

TINY = ["--epochs=2", "--attack_steps=1", "--num_examples=40", "--width=2", "--epsilon=0.1"]


class Killed(Exception):
    pass


def run(*flags):
    run_here(distill, *flags)


@pytest.fixture(autouse=True)
def _short_look_ahead(monkeypatch):
    monkeypatch.setattr(distillation, "LIKENESS_EPOCHS", 1)


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


@pytest.fixture
def student():
    return th.models.build("cnn", (8, 8, 1), 10, 2)


def make(teacher, student, digits, *flags, temperature=1.0):
    """The Distiller that the flags describe."""
    config = configured(distill, *TINY, f"--teacher={teacher}", *flags)
    loaded = distillation.load_teacher(config, digits, temperature)
    return distillation.distiller(config, student, loaded, temperature, len(digits.train[1]))


@pytest.mark.parametrize("name", ["natural", *objectives.KNOWN])
def test_every_method_by_name(name, teacher, student, digits):
    distiller = make(teacher, student, digits, f"--objective={name}", "--robust_share=1/4", "--trust=0.5")
    assert (distiller.attack is None) == (name == "natural")
    assert isinstance(distiller.objective, objectives.KNOWN["ard" if name == "natural" else name])
    assert getattr(distiller.objective, "robust_share", 0.25) == 0.25
    assert getattr(distiller.objective, "trust", 0.5) == 0.5


def test_losses_and_schedule(teacher, student, digits):
    flags = ["--losses=decoupled-target:1/2,similarity:300", "--features=conv2:conv2", "--feature_loss=attention"]
    flags += ["--feature_weight=3", "--label_weight=0.5", "--ramp_epochs=1", "--weight_perturbation=0.01"]
    distiller = make(teacher, student, digits, *flags, temperature=4.0)
    assert distiller.losses_distilled == (
        th.DecoupledTarget(temperature=4.0, weight=0.5),
        th.SimilarityPreserving(weight=300.0),
        th.AttentionTransfer("conv2", "conv2", weight=3.0),
    )
    assert distiller.label_weight == 0.5
    assert distiller.weight_perturbation == th.WeightPerturbation(0.01)
    assert distiller.ramp_steps == -(-1397 // 64)


def test_several_teachers_are_an_ensemble(teacher, student, digits):
    flags = [f"--teacher={teacher}", "--features=", "--teacher_weights=3,1"]
    distiller = make(teacher, student, digits, *flags, temperature=4.0)
    x = digits.test[0][:5]
    one = keras.saving.load_model(teacher)(x).numpy()
    # Twice the same has that one's opinion, whatever the weights.
    given, expected = (np.exp(z / 4) / np.exp(z / 4).sum(axis=-1, keepdims=True) for z in (distiller.teacher(x), one))
    np.testing.assert_allclose(given, expected, rtol=1e-5)


def test_labels_and_answers(teacher, digits, tmp_path):
    """Unused labels; a teacher that was asked once, and whose answers serve the next training."""
    flags = [f"--teacher={teacher}", "--features=", f"--answers={tmp_path / 'answers'}"]
    model = keras.saving.load_model(teacher)

    def examples(*more):
        return distillation.training_examples(configured(distill, *flags, *more), model, digits.train, digits.bounds)

    x, unlabelled = examples("--unlabelled")
    (kept,) = (tmp_path / "answers").iterdir()
    before = kept.stat().st_mtime_ns
    _, labelled = examples()
    assert [path.stat().st_mtime_ns for path in (tmp_path / "answers").iterdir()] == [before]
    answers = model.predict(x, verbose=0).argmax(axis=-1)
    assert np.mean(unlabelled.labels == answers) > 0.99  # half precision may make ties
    np.testing.assert_array_equal(labelled.labels, digits.train[1])


@pytest.mark.slow
def test_the_best_temperature_is_taken(teacher, made, tmp_path, capsys, monkeypatch):
    """The sweep is killed after its first trial, and goes on from there."""
    accuracies = {1.0: 0.2, 2.0: 0.6}
    tried = []

    def sweep(train, temperatures, held_out, threat, checkpoint, sweep=temperature_search.sweep):
        def noting(at):
            if at == 2.0 and len(tried) == 1:
                tried.append("killed")
                raise Killed
            tried.append(at)
            return train(at)

        measured = sweep(noting, temperatures, held_out, threat, checkpoint)
        assert len(held_out[1]) == 140  # a tenth of the 1,397
        return [trial._replace(robust=accuracies[trial.temperature]) for trial in measured]

    monkeypatch.setattr(temperature_search, "sweep", sweep)
    out = tmp_path / "student.keras"
    flags = [*TINY, "--temperature=1,2", "--sweep_epochs=1", f"--teacher={teacher}", f"--output={out}"]
    with pytest.raises(Killed):
        run(*flags)
    assert not out.exists()
    run(*flags)
    assert tried == [1.0, "killed", 2.0]
    assert [trainer.losses_distilled[0].temperature for trainer, _ in made] == [1.0, 2.0, 2.0]
    assert [len(examples[1]) for _, examples in made] == [1257] * 2 + [1397]
    picture = tmp_path / "student.temperature.png"
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "student.keras",
        "student.temperature.png",
        "teacher.keras",
    ]
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("before training: ") for line in lines) == 2
    assert [line.split()[0] for line in lines if line.endswith("<")] == ["2"]


def test_trials_are_measured_on_what_was_held_out(tmp_path):
    x, y = th.data.load("digits").test
    model = th.models.build("cnn", (8, 8, 1), 10, 2, seed=0)
    (trial,) = temperature_search.sweep(lambda _: model, [3.0], (x, y), th.Linf(0.0), tmp_path)
    accuracy = np.mean(model.predict(x, verbose=0).argmax(axis=-1) == y)
    assert trial == (3.0, pytest.approx(accuracy), pytest.approx(accuracy))
    assert json.loads((tmp_path / "temperatures.json").read_text()) == [list(trial)]


def test_the_better_of_equals():
    trials = [
        temperature_search.Trial(1, 0.9, 0.5),
        temperature_search.Trial(2, 0.8, 0.6),
        temperature_search.Trial(4, 0.85, 0.6),
    ]
    assert [temperature_search.best(trials, by).temperature for by in ("clean", "robust")] == [1, 4]


@pytest.mark.slow
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
def test_what_does_not_go_together(flags, expected, teacher, tmp_path):
    out = tmp_path / "student.keras"
    with pytest.raises(th.InputError, match=expected) as error:
        run(*TINY, *(flag.format(teacher=teacher) for flag in flags), f"--output={out}")
    assert "\n" not in str(error.value)
    assert not out.exists()
