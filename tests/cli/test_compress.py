"""tfharden-compress: each way of making a model smaller, after one another, killed and started again."""

import keras
import numpy as np
import pytest

import tfharden as th
from tests._helpers.tools import run_here
from tfharden.cli import compress, training
from tfharden.compression.fake_quantization import ActivationRange
from tfharden.compression.kernels import kernels

TINY = ["--epochs=2", "--attack_steps=1", "--num_examples=40", "--epsilon=0.1", "--calibration_examples=20"]


class Killed(Exception):
    pass


@pytest.fixture(scope="module")
def few(tmp_path_factory, digits):
    """A flag: the first digits as a dataset."""
    path = tmp_path_factory.mktemp("few") / "digits.npz"
    arrays = {"x_train": digits.train[0][:160], "y_train": digits.train[1][:160]}
    np.savez(path, **arrays, x_test=digits.test[0][:50], y_test=digits.test[1][:50])
    return f"--dataset=npz:{path}"


@pytest.fixture
def run(few):
    return lambda *flags: run_here(compress, few, *flags)


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "source.keras"
    th.models.build("cnn", (8, 8, 1), 10, 4, seed=7).save(path)
    return path


def zeros(model):
    return [float(np.mean(np.asarray(kernel) == 0)) for kernel in kernels(model).values()]


def values(model):
    return [len(np.unique(kernel)) for kernel in kernels(model).values()]


@pytest.mark.slow
def test_all_of_it(run, source, tmp_path, capsys):
    """Pruned and clustered kernels stay so in the quantised model, whose file is of integers."""
    out = tmp_path / "compressed.keras"
    run(*TINY, f"--model={source}", "--sparsity=0.5", "--clusters=8", "--quantize", f"--output={out}")
    model = th.load_model(out)
    assert min(zeros(model)) >= 0.48
    assert max(values(model)) <= 8
    assert any(isinstance(layer, ActivationRange) for layer in model.layers)
    x = th.data.load("digits").test[0][:100]
    assert th.export.to_tflite(model, "int8", x).file.input.dtype == np.int8
    told = capsys.readouterr().out
    assert "conv1/conv1/kernel" in told
    assert f"{out}: " in told
    assert not out.with_name("compressed.keras.unfinished").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "check"),
    [
        (["--sparsity=3/4", "--objective=natural"], lambda model: zeros(model) == pytest.approx([0.75] * 4, abs=0.02)),
        (
            ["--pattern=2:4", "--objective=natural"],
            lambda model: zeros(model) == pytest.approx([0, 1 / 2, 1 / 3, 1 / 2], abs=0.01),
        ),
        (["--clusters=4", "--initialiser=linear", "--objective=natural"], lambda model: max(values(model)) == 4),
        (["--quantize", "--objective=natural"], lambda model: model.get_layer("image_range").bounds[1] > 0.9),
    ],
)
def test_one_way_alone(flags, check, run, source, tmp_path):
    out = tmp_path / "compressed.keras"
    run(*TINY, *flags, f"--model={source}", f"--output={out}")
    assert check(th.load_model(out))


@pytest.mark.slow
def test_killed_in_the_second_training(run, source, tmp_path, monkeypatch):
    """What was done is not done again, and the result is that of an uninterrupted run."""
    flags = [*TINY, f"--model={source}", "--sparsity=0.5", "--quantize", "--overwrite"]
    whole, out = tmp_path / "whole.keras", tmp_path / "compressed.keras"
    run(*flags, f"--output={whole}")
    begin, epochs = training._Epochs.on_epoch_begin, []

    def dying(self, epoch, logs=None):
        begin(self, epoch)
        epochs.append(epoch)
        if len(epochs) == 4:
            raise Killed

    with monkeypatch.context() as context:
        context.setattr(training._Epochs, "on_epoch_begin", dying)
        with pytest.raises(Killed):
            run(*flags, f"--output={out}")
        assert not out.exists()
        run(*flags, f"--output={out}")
    assert epochs == [0, 1, 0, 1, 1]
    for one, other in zip(*(th.load_model(path).get_weights() for path in (out, whole)), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ([], "nothing to do: give --sparsity"),
        (["--sparsity=0.5", "--pattern=2:4"], "two ways to prune"),
        (["--quantize", "--left_float=conv9"], "no layer 'conv9' to leave float"),
        (["--clusters=1"], "clusters=1 has to be"),
    ],
)
def test_what_does_not_go_together(flags, expected, run, source, tmp_path):
    out = tmp_path / "compressed.keras"
    with pytest.raises(th.InputError, match=expected) as error:
        run(*TINY, *flags, f"--model={source}", f"--output={out}")
    assert "\n" not in str(error.value)
    assert not out.exists()


def test_layers_that_can_not_be_quantised_are_named(run, tmp_path):
    image = keras.Input((8, 8, 1))
    x = keras.layers.LayerNormalization(name="norm")(keras.layers.Conv2D(4, 3)(image))
    path = tmp_path / "odd.keras"
    keras.Model(image, keras.layers.Dense(10)(keras.layers.Flatten()(x))).save(path)
    with pytest.raises(th.InputError, match=r"norm \(LayerNormalization\)"):
        run(*TINY, "--quantize", f"--model={path}", f"--output={tmp_path / 'out.keras'}")
