"""What the tools that train share: the schedule, the saved model, a word on how good it is."""

import math

import keras
from absl import flags

import tfharden as th
from tfharden import data, files
from tfharden.inputs import Examples
from tfharden.tools import options
from tfharden.tools.progress import Progress

FLAGS = flags.FLAGS


def train(
    trainer: keras.Model, examples: Examples, label: str, *, epochs: int, batch_size: int, learning_rate: float
) -> None:
    """Fits with Adam and a cosine schedule to zero, and shows progress."""
    x, y = examples
    batch_size = min(batch_size, len(x))
    schedule = keras.optimizers.schedules.CosineDecay(learning_rate, epochs * math.ceil(len(x) / batch_size))
    trainer.compile(keras.optimizers.Adam(schedule), metrics=["accuracy"])
    with Progress(label) as progress:
        trainer.fit(x, y, epochs=epochs, batch_size=batch_size, verbose=0, callbacks=[_Epochs(progress, epochs)])


def save_model(model: keras.Model, path: files.Path) -> None:
    """Writes the .keras file, whole or not at all."""
    with files.replacing(path) as beside:
        model.save(beside)


def train_and_save(trainer: keras.Model, model: keras.Model, source: data.Dataset, label: str) -> None:
    """Trains as the flags say, writes the plain model to --output, and tells how good it is."""
    train(trainer, source.train, label, **options.training_settings())
    save_model(model, FLAGS.output)
    x, y = options.test_examples(source)
    accuracy = (th.KerasClassifier(model, bounds=source.bounds).predict(x) == y).mean()
    print(f"{FLAGS.output}: {model.count_params()} parameters, clean accuracy {accuracy:.1%} on {len(y)} test images")
    print(
        f"robust accuracy: tfharden-evaluate --model={FLAGS.output} --dataset={source.name} --epsilon={FLAGS.epsilon:g}"
    )


class _Epochs(keras.callbacks.Callback):
    def __init__(self, progress: Progress, epochs: int) -> None:
        super().__init__()
        self._progress = progress
        self._epochs = epochs

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        told = ", ".join(f"{name} {value:.3f}" for name, value in (logs or {}).items())
        self._progress((epoch + 1) / self._epochs, told)
