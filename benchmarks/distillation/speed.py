"""Distillation beside its floor and beside keras.distillation: the speed part of benchmarks.distillation."""

import tempfile
from collections.abc import Callable

import keras
import tensorflow as tf

import tfharden as th
from benchmarks.common import turns
from tfharden import losses
from tfharden.data.examples import Examples
from tfharden.hardening import untuned

BATCH, RATE, TEMPERATURE, LAYER = 128, 1e-3, 4.0, "conv3"
CALLS, GRAPH, PLAIN = FLOORS = (
    "student's step and teacher's forward pass, a call each",
    "the same in one graph",
    "`fit` of the student alone",
)


def network(width: int, seed: int) -> keras.Model:
    """Three convolutions, two of them pooled; the third has 48 channels in all, since Keras compares one shape only."""
    keras.utils.set_random_seed(seed)
    image = x = keras.Input((28, 28, 1), name="image")
    for index, channels in enumerate((width, 2 * width, 48), start=1):
        x = keras.layers.Conv2D(channels, 3, padding="same", activation="relu", name=f"conv{index}")(x)
        x = keras.layers.MaxPooling2D()(x) if index > 1 else x
    return keras.Model(image, keras.layers.Dense(10, name="logits")(keras.layers.Flatten()(x)))


def student() -> keras.Model:
    """The small one."""
    return network(8, 1)


def teacher() -> keras.Model:
    """The wide one."""
    return network(32, 0)


def _batches(x: object, y: object) -> tf.data.Dataset:
    return untuned(tf.data.Dataset.from_tensor_slices((x, y)).batch(BATCH).cache())


def floors(examples: Examples) -> dict[str, Callable[[], None]]:
    """What no distillation can be faster than: nothing but the passes and the update, without what joins the two."""
    pupil, expert, optimizer = student(), teacher(), keras.optimizers.Adam(RATE)
    optimizer.build(pupil.trainable_variables)

    def forward(x: tf.Tensor) -> tf.Tensor:
        return expert(x, training=False)

    def update(x: tf.Tensor, y: tf.Tensor) -> None:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(losses.cross_entropy(pupil(x, training=True), y))
        variables = pupil.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))

    def whole(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        update(x, y)
        return tf.reduce_sum(forward(x))  # or else the graph would drop the teacher

    images, labels = tf.TensorSpec([None, 28, 28, 1]), tf.TensorSpec([None], tf.int32)
    forward_call = tf.function(forward, input_signature=[images], autograph=False)
    update_call, whole_call = (
        tf.function(function, input_signature=[images, labels], autograph=False) for function in (update, whole)
    )
    dataset = list(_batches(*examples))

    def calls() -> None:
        for x, y in dataset:
            forward_call(x)
            update_call(x, y)

    def graph() -> None:
        for x, y in dataset:
            whole_call(x, y)

    return {CALLS: calls, GRAPH: graph}


def plain(examples: Examples) -> Callable[[], None]:
    """Keras' own `fit` on the labels."""
    pupil = student()
    pupil.compile(keras.optimizers.Adam(RATE), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    dataset = _batches(*examples)
    return lambda: pupil.fit(dataset, shuffle=False, verbose=0)


def ours(examples: Examples, *, features: bool, cached: bool = False) -> Callable[[], None]:
    """An epoch of our Distiller."""
    x, y = examples
    expert = teacher()
    taught = [th.SoftTarget(TEMPERATURE), *([th.Feature(LAYER, LAYER)] if features else [])]
    distiller = th.Distiller(student(), expert, taught)
    distiller.compile(keras.optimizers.Adam(RATE))
    if cached:
        with tempfile.TemporaryDirectory() as folder:
            y = th.CachedTeacher.by(expert, x, y, folder=folder)
    dataset = _batches(x, y)
    return lambda: distiller.fit(dataset, shuffle=False, verbose=0)


def theirs(examples: Examples, *, features: bool) -> Callable[[], None]:
    """An epoch of keras.distillation's."""
    expert, pupil = teacher(), student()
    taught = [keras.distillation.LogitsDistillation(TEMPERATURE, loss=keras.losses.KLDivergence())]
    if features:
        taught.append(keras.distillation.FeatureDistillation("mse", teacher_layer_name=LAYER, student_layer_name=LAYER))
    distiller = keras.distillation.Distiller(expert, pupil, taught, [1.0] * len(taught), student_loss_weight=0.0)
    distiller.compile(keras.optimizers.Adam(RATE), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    dataset = _batches(*examples)
    return lambda: distiller.fit(dataset, shuffle=False, verbose=0)


def rows(examples: Examples, rounds: int) -> list[list[str]]:
    """A row a trainer: images a second, and speed in that of each floor in the same turn; medians over the turns."""
    runs = {
        **floors(examples),
        PLAIN: plain(examples),
        "tfharden, soft targets": ours(examples, features=False),
        "tfharden, soft targets and features": ours(examples, features=True),
        "tfharden, soft targets from kept answers": ours(examples, features=False, cached=True),
        "keras.distillation, soft targets": theirs(examples, features=False),
        "keras.distillation, soft targets and features": theirs(examples, features=True),
    }
    seconds = turns.timed(runs, rounds)
    return [turns.row(label, seconds, FLOORS, len(examples[1])) for label in runs]
