"""Training of the tools: learning rate, resuming, the saved model, a word on how good it is."""

import contextlib
import dataclasses
import pathlib
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

import tfharden as th
from tfharden import _io
from tfharden.cli.checks import check_fit
from tfharden.cli.config import COSINE, LINEAR, MULTIWORKER, TrainingConfig, TrainingToolConfig
from tfharden.cli.progress import Progress
from tfharden.cli.resume import resumable
from tfharden.errors import TrainingWarning
from tfharden.hardening.augmentation import Affine
from tfharden.hardening.input_pipeline import shuffled

SCHEDULE = ("warmup_epochs", "decay", "average")
# Averaged weights that hold more than this of the first ones are worse than those of the last step.
REMEMBERED = 0.01
# Images that validation takes at a time.
VALIDATION_BATCH = 256


def train(
    trainer: th.RobustModel,
    examples: tuple[np.ndarray, Any],
    label: str,
    *,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    warmup_epochs: float = 0.0,
    decay: str = COSINE,
    average: float = 0.0,
    held_out: th.data.Examples | None = None,
    augment: Affine | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    seed: int = 0,
) -> None:
    """Fits with Adam, a learning rate that falls to zero, and shows progress.

    Args:
        trainer: not compiled yet.
        examples: images to train on, and their labels or what else `fit` takes for `y`.
        label: of the progress.
        epochs: passes over them.
        batch_size: images a step.
        learning_rate: the highest, at the start or after the warm-up.
        warmup_epochs: passes in which the learning rate rises evenly from zero.
        decay: how it falls: "cosine" or "linear".
        average: momentum of the averaged weights, which the model then ends with; 0 for none.
        held_out: images and labels that every epoch is measured on.
        augment: moves the images that are trained on.
        callbacks: that see each epoch before it is shown.
        seed: of the order of the images.
    """
    count = len(examples[0])
    batch_size = min(batch_size, count)
    updates = getattr(trainer.objective, "replays", 1)
    an_epoch = -(-count // batch_size) * updates
    rising = round(warmup_epochs * an_epoch)
    falling = max(epochs * an_epoch - rising, 1)
    rate = learning_rate_schedule(learning_rate, rising, falling, decay)
    _warn_of_memory(average, epochs * an_epoch)
    optimizer = keras.optimizers.Adam(rate, use_ema=average > 0, ema_momentum=average or None)
    trainer.compile(optimizer, metrics=["accuracy"])
    swap = [keras.callbacks.SwapEMAWeights()] if average else []
    with Progress(label) as progress:
        trainer.fit(
            shuffled(examples, batch_size, trainer, seed, augment),
            epochs=epochs,
            validation_data=held_out,
            validation_batch_size=VALIDATION_BATCH,
            shuffle=False,
            verbose=0,
            callbacks=[*callbacks, *swap, _Epochs(progress, epochs)],
        )


def learning_rate_schedule(
    highest: float, rising: int, falling: int, decay: str = COSINE
) -> keras.optimizers.schedules.LearningRateSchedule:
    """The learning rate at each update.

    Args:
        highest: the highest.
        rising: updates in which it rises to that, evenly.
        falling: updates in which it falls to zero.
        decay: "cosine" or "linear", how it falls.
    """
    if decay == LINEAR:
        return Triangle(highest, rising, falling)
    return keras.optimizers.schedules.CosineDecay(
        0.0 if rising else highest, falling, warmup_target=highest if rising else None, warmup_steps=rising
    )


class Triangle(keras.optimizers.schedules.LearningRateSchedule):
    """Straight up for `rising` updates, straight down for `falling`."""

    def __init__(self, rate: float, rising: int, falling: int) -> None:
        self.rate = rate
        self.rising = rising
        self.falling = falling

    def __call__(self, step: int) -> object:
        """The rate at that update."""
        step = ops.cast(step, "float32")
        up = step / self.rising if self.rising else 1.0
        down = (self.rising + self.falling - step) / self.falling
        return self.rate * ops.maximum(0.0, ops.minimum(up, down))

    def get_config(self) -> dict[str, float]:
        """The constructor's arguments."""
        return {"rate": self.rate, "rising": self.rising, "falling": self.falling}


def save_model(model: keras.Model, path: _io.Path) -> None:
    """Writes the .keras file, whole or not at all."""
    with _io.replacing(path) as beside:
        model.save(beside)


def told(config: TrainingToolConfig, model: keras.Model, dataset: th.data.Dataset) -> str:
    """How good the model is, and the command that tells more."""
    x, y = config.data.test_examples(dataset)
    accuracy = (th.KerasClassifier(model, bounds=dataset.bounds).predict(x) == y).mean()
    path, epsilon = config.output, config.threat.epsilon
    return (
        f"{path}: {model.count_params()} parameters, clean accuracy {accuracy:.1%} on {len(y)} test images\n"
        f"robust accuracy: tfharden-evaluate --model={path} --dataset={dataset.name} --epsilon={epsilon:g}"
    )


@contextlib.contextmanager
def unfinished(config: TrainingToolConfig, dataset: th.data.Dataset) -> Iterator[pathlib.Path]:
    """Yields a folder beside the output in the making, with which the same command goes on after a kill.

    Several workers start anew: stopped in different epochs they could not go on together.
    """
    if config.training.strategy == MULTIWORKER:
        with tempfile.TemporaryDirectory() as folder:
            yield pathlib.Path(folder)
        return
    settings = dataclasses.asdict(config)
    del settings["overwrite"], settings["data"]["num_examples"]
    with resumable(f"{config.output}.unfinished", settings | {"sha256": th.data.sha256(dataset.train)}) as folder:
        yield folder


def settings(config: TrainingToolConfig) -> dict[str, Any]:
    """The arguments of `train` that the configuration holds."""
    shared = {name: getattr(config.training, name) for name in ("batch_size", "learning_rate", *SCHEDULE)}
    return shared | {"epochs": config.epochs, "seed": config.data.seed, "augment": augmentation(config.training)}


def trainer_settings(config: TrainingToolConfig, count: int) -> dict[str, Any]:
    """The arguments that every trainer takes, for `count` training images."""
    gamma, batch = config.training.weight_perturbation, min(config.training.batch_size, count)
    return {
        "weight_perturbation": th.WeightPerturbation(gamma) if gamma else None,
        "ramp_steps": round(config.training.ramp_epochs * -(-count // batch)),
        "seed": config.data.seed,
    }


def augmentation(config: TrainingConfig) -> Affine | None:
    """What moves training images, if anything does."""
    if not config.moves_images:
        return None
    return Affine(config.rotation, config.zoom, config.shear, config.shift, contrast=config.contrast)


def split(examples: th.data.Examples, count: int, seed: int) -> tuple[th.data.Examples, th.data.Examples]:
    """Images to train on, and `count` that are left aside, drawn by the seed.

    Raises:
        InputError: none is left to train on.
    """
    x, y = examples
    if count >= len(y):
        raise th.InputError(f"--held_out={count} leaves none of the {len(y)} training images to train on")
    order = np.random.default_rng(seed).permutation(len(y))
    aside, rest = order[:count], order[count:]
    return (x[rest], y[rest]), (x[aside], y[aside])


def new_or_loaded_model(name: str, width: int | None, dataset: th.data.Dataset) -> keras.Model:
    """The model of --model and --width, for the dataset's images and classes.

    Raises:
        InputError: a .keras file that can't be loaded, or whose shapes don't fit the dataset.
    """
    if name in th.models.KNOWN:
        return th.models.build(name, dataset.input_shape, dataset.num_classes, width)
    model = th.load_model(name)
    check_fit(model, dataset)
    return model


def backup(folder: pathlib.Path) -> keras.callbacks.Callback:
    """Keeps the training's state in `folder` at the end of each epoch, and goes on from it."""
    return keras.callbacks.BackupAndRestore(folder / "backup", double_checkpoint=True)


def _warn_of_memory(average: float, updates: int) -> None:
    left = average**updates
    if left > REMEMBERED:
        warnings.warn(
            f"average={average:g}: after all {updates} updates {left:.0%} of the averaged weights are still the first "
            f"ones; train for longer, or take --average={max(1 - 10 / updates, 0):.3g} at most",
            TrainingWarning,
            stacklevel=3,
        )


class _Epochs(keras.callbacks.Callback):
    def __init__(self, progress: Progress, epochs: int) -> None:
        super().__init__()
        self._progress = progress
        self._epochs = epochs

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        self._progress((self._epoch + batch / self.params["steps"]) / self._epochs)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        shown = ", ".join(f"{name} {value:.3f}" for name, value in (logs or {}).items())
        self._progress((epoch + 1) / self._epochs, f"epoch {epoch + 1} of {self._epochs}: {shown}")
