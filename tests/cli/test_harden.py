"""tfharden-harden: every method from the command line, killed and started again, and what it refuses."""

import contextlib
import json
import os
import socket
import subprocess
import sys

import keras
import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import tfharden as th
from tests._helpers.processes import ROOT, run_tool
from tests._helpers.tools import configured, run_here
from tfharden.cli import adversarial_training, harden, training
from tfharden.errors import TrainingWarning
from tfharden.hardening import Affine

TINY = ["--epochs=2", "--attack_steps=2", "--num_examples=40", "--width=2", "--epsilon=0.1"]


def run(*flags):
    run_here(harden, *flags)


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "source.keras"
    th.models.build("cnn", (8, 8, 1), 10, 2, seed=7).save(path)
    return path


@pytest.mark.parametrize("name", ["natural", *th.objectives.KNOWN])
def test_every_method_by_name(name, source, digits):
    extra = ["--beta=2", "--alpha=0.25", "--replays=2", "--label_smoothing=0.1"]
    extra += [f"--sources={source}", "--itself"] if name == "fixed-sources" else []
    config = configured(harden, *TINY, *extra, f"--objective={name}")
    model = th.models.build("cnn", (8, 8, 1), 10, 2)
    trainer = adversarial_training.trainer(config, config.method, model, digits, 100)
    objective = trainer.objective
    if name == "natural":
        assert trainer.attack is None
        return
    assert isinstance(objective, th.objectives.KNOWN[name])
    assert objective.label_smoothing == 0.1
    expected = {"beta": 2.0, "alpha": 0.25, "replays": 2, "batch_size": 64, "itself": True}
    for setting, value in expected.items():
        assert getattr(objective, setting, value) == value
    assert trainer.evaluation_attack == th.attacks.PGD(th.Linf(0.1), steps=2)


@pytest.mark.slow
def test_what_surrounds_training(source, tmp_path, monkeypatch, capsys):
    """Held-out images, averaged weights, perturbed weights, a growing radius, TensorBoard, a model to go on from."""
    seen = {}
    monkeypatch.setattr(training, "train", lambda trainer, *arguments, train=training.train, **settings: (
        seen.update(settings, trainer=trainer), train(trainer, *arguments, **settings)))  # fmt: skip
    flags = ["--held_out=100", "--average=0.9", "--weight_perturbation=0.01", "--ramp_epochs=1.5"]
    flags += [f"--model={source}", f"--tensorboard_dir={tmp_path / 'board'}", f"--output={tmp_path / 'hardened.keras'}"]
    run(*TINY, *flags)
    trainer = seen["trainer"]
    assert trainer.weight_perturbation == th.WeightPerturbation(0.01)
    assert trainer.ramp_steps == round(1.5 * 21)  # 1,397 - 100 images in batches of 64
    assert int(trainer.steps) == 2 * 21
    assert len(seen["held_out"][1]) == 100
    assert trainer.optimizer.ema_momentum == 0.9
    out = tmp_path / "hardened.keras"
    for one, other in zip(th.load_model(out).get_weights(), trainer.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert not out.with_name("hardened.keras.unfinished").exists()
    told = capsys.readouterr().out
    assert f"{out}: {trainer.model.count_params()} parameters" in told
    assert "before, clean" in told
    assert "after, adversarial" in told
    board = EventAccumulator(str(tmp_path / "board" / "validation")).Reload()
    written = {*board.Tags()["tensors"]}
    assert {"epoch_accuracy", "epoch_robust_accuracy", "epoch_loss"} <= written
    assert len(board.Tensors("epoch_robust_accuracy")) == 2


class Killed(Exception):
    pass


@pytest.mark.slow
def test_a_killed_training_goes_on_and_ends_the_same(tmp_path, monkeypatch):
    out, whole = tmp_path / "killed.keras", tmp_path / "whole.keras"
    flags = [*TINY, "--epochs=5", "--objective=trades", "--average=0.9", "--ramp_epochs=2", "--held_out=50"]
    run(*flags, f"--output={whole}")

    begin = training._Epochs.on_epoch_begin

    def die(self, epoch, logs=None):
        begin(self, epoch)
        if epoch == 3:
            raise Killed

    with monkeypatch.context() as context:
        context.setattr(training._Epochs, "on_epoch_begin", die)
        with pytest.raises(Killed):
            run(*flags, f"--output={out}")
    assert not out.exists()
    epochs = []
    with monkeypatch.context() as context:
        context.setattr(
            training._Epochs,
            "on_epoch_begin",
            lambda self, epoch, logs=None: (epochs.append(epoch), begin(self, epoch)),
        )
        run(*flags, f"--output={out}")
    assert epochs == [3, 4]
    models = [keras.saving.load_model(path).get_weights() for path in (out, whole)]
    for one, other in zip(*models, strict=True):
        np.testing.assert_array_equal(one, other)


def test_only_the_same_command_goes_on(digits, tmp_path):
    def found(*flags):
        """What a killed command left, seen by the next one, which is killed as well."""
        config = configured(harden, *TINY, f"--output={tmp_path / 'model.keras'}", *flags)
        with contextlib.suppress(Killed), training.unfinished(config, digits) as folder:
            before = (folder / "epoch").exists()
            (folder / "epoch").touch()
            raise Killed
        return before

    runs = [[], [], ["--overwrite", "--num_examples=7"], ["--learning_rate=0.001"], [], ["--beta=5"], ["--norm=l2"]]
    assert [found(*flags) for flags in runs] == [False, True, True, False, False, False, False]


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--sources=a.keras"], "--sources belong to --objective=fixed-sources"),
        (["--objective=fixed-sources"], "source"),
        (["--objective=fixed-sources", "--sources=missing.keras"], "missing.keras: no such file"),
        (["--held_out=1397"], "--held_out=1397 leaves none of the 1397"),
        (["--objective=free", "--overfitting=fall_back"], "fall_back"),
    ],
)
def test_flags_that_do_not_go_together(flags, expected, tmp_path):
    out = tmp_path / "model.keras"
    with pytest.raises(th.InputError, match=expected) as error:
        run(*TINY, *flags, f"--output={out}")
    assert "\n" not in str(error.value)
    assert not out.exists()


@pytest.mark.slow
def test_a_training_that_diverges_ends_with_one_line(tmp_path):
    out = tmp_path / "model.keras"
    done = run_tool("harden", *TINY, "--learning_rate=1e30", f"--output={out}")
    assert (done.returncode, done.stdout) == (1, "")
    assert "the loss is" in done.stderr.splitlines()[-1]
    assert "epoch 1, step" in done.stderr.splitlines()[-1]
    assert not out.exists()


@pytest.mark.slow
def test_two_workers_write_one_model(tmp_path):
    """As two shells would start them."""
    ports = []
    with contextlib.ExitStack() as stack:
        for _ in range(2):
            listening = stack.enter_context(socket.socket())
            listening.bind(("127.0.0.1", 0))
            ports.append(listening.getsockname()[1])
    cluster = {"worker": [f"127.0.0.1:{port}" for port in ports]}
    outs = [tmp_path / f"{name}.keras" for name in ("first", "second")]
    flags = [*TINY, "--epochs=1", "--held_out=100", "--strategy=multiworker"]

    def start(index):
        environment = os.environ | {
            "TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}})
        }
        command = [
            sys.executable,
            ROOT / "tools" / "harden.py",
            *flags,
            "--strategy=multiworker",
            f"--output={outs[index]}",
        ]
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    workers = [start(index) for index in range(2)]
    try:
        told = [worker.communicate(timeout=600) for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
    assert [worker.returncode for worker in workers] == [0, 0], told
    assert f"{outs[0]}: " in told[0][0]
    assert told[1][0] == ""
    assert [path.exists() for path in outs] == [True, False]


def test_a_cluster_that_is_not_told(tmp_path, monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    with pytest.raises(th.InputError, match="TF_CONFIG"):
        run(*TINY, "--strategy=multiworker", f"--output={tmp_path / 'model.keras'}")


@pytest.mark.parametrize(
    ("decay", "warm", "expected"),
    [
        ("cosine", 0, [1.0, 0.75, 0.25]),
        ("cosine", 1, [0.0, 1.0, 0.5]),
        ("linear", 0, [1.0, 2 / 3, 1 / 3]),
        ("linear", 2, [0.0, 0.5, 1.0]),
    ],
)
def test_learning_rate_rises_and_falls(decay, warm, expected):
    """At the beginning of each of three epochs; along a cosine cos(60 degrees) and cos(120 degrees) are a half."""
    rate = training.learning_rate_schedule(1.0, 10 * warm, 10 * (3 - warm), decay)
    np.testing.assert_allclose([float(rate(step)) for step in (0, 10, 20)], expected, atol=1e-6)


def test_learning_rate_is_that_of_the_flags(digits):
    config = configured(
        harden, "--epochs=3", "--learning_rate=1", "--decay=linear", "--warmup_epochs=1", "--rotation=5"
    )
    settings = training.settings(config)
    assert settings.pop("augment") == Affine(rotation=5.0)
    trainer = th.RobustModel(th.models.build("mlp", (8, 8, 1), 10, 1))
    training.train(trainer, th.data.take(digits.train, 64), "x", **settings)
    rate = trainer.optimizer._learning_rate
    np.testing.assert_allclose([float(rate(step)) for step in range(4)], [0, 1, 0.5, 0], atol=1e-6)


@pytest.mark.parametrize(("average", "left"), [(0.999, "98%"), (0.6, None), (0.0, None)])
def test_averages_that_remember_the_first_weights_are_told_of(average, left, recwarn):
    """22 updates: 0.999^22 is 0.978, 0.6^22 is 0.00001."""
    model = th.models.build("mlp", (2, 2, 1), 2, 1)
    examples = np.zeros((22, 2, 2, 1), np.float32), np.zeros(22, np.int64)
    training.train(th.RobustModel(model), examples, "x", epochs=1, batch_size=1, learning_rate=0.1, average=average)
    told = [str(each.message) for each in recwarn if each.category is TrainingWarning]
    assert [f" {left} of the averaged weights are still the first ones" in line for line in told] == [True] * bool(left)
