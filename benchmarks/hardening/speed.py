"""PGD-7 training beside its floor and beside ART's trainer: the speed part of benchmarks.hardening."""

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf
from keras import layers

import tfharden as th
from benchmarks.common import turns
from tfharden import losses
from tfharden.data.examples import Examples
from tfharden.hardening import untuned

EPSILON, STEPS, STEP_SIZE, BATCH, RATE = 0.3, 7, 0.1, 128, 1e-3
CALLS, GRAPH = "7 gradients and a training step, a call each", "the same in one graph"


def network() -> keras.Model:
    """Four convolutions and two dense layers, 503,658 parameters."""
    inputs = x = keras.Input((28, 28, 1), name="image")
    for channels, size, stride in ((32, 3, 1), (32, 4, 2), (64, 3, 1), (64, 4, 2)):
        x = layers.Conv2D(channels, size, stride, padding="same", activation="relu")(x)
    x = layers.Dense(128, activation="relu")(layers.Flatten()(x))
    return keras.Model(inputs, layers.Dense(10)(x))


def floors(examples: Examples) -> dict[str, Callable[[], None]]:
    """What no PGD-7 training can be faster than: its gradients, and its updates of the weights, with nothing else."""
    model, optimizer = network(), keras.optimizers.Adam(RATE)
    optimizer.build(model.trainable_variables)

    def gradient(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(x)
            values = losses.cross_entropy(model(x, training=False), y)
        return tape.gradient(values, x)

    def update(x: tf.Tensor, y: tf.Tensor) -> None:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(losses.cross_entropy(model(x, training=True), y))
        variables = model.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))

    def whole(x: tf.Tensor, y: tf.Tensor) -> None:
        # Each gradient is taken at the last one's result, so that they can't be computed side by side or only once.
        loop = {"maximum_iterations": STEPS, "parallel_iterations": 1}
        (moved,) = tf.while_loop(lambda _: True, lambda moved: (x + 0.0 * gradient(moved, y),), (x,), **loop)
        update(moved, y)

    signature = [tf.TensorSpec([None, 28, 28, 1]), tf.TensorSpec([None], tf.int32)]
    gradient_call, update_call, whole_call = (
        tf.function(function, input_signature=signature, autograph=False) for function in (gradient, update, whole)
    )
    batches = list(tf.data.Dataset.from_tensor_slices(examples).batch(BATCH))

    def calls() -> None:
        for x, y in batches:
            for _ in range(STEPS):
                gradient_call(x, y)
            update_call(x, y)

    def graph() -> None:
        for x, y in batches:
            whole_call(x, y)

    return {CALLS: calls, GRAPH: graph}


def ours(examples: Examples, **settings: object) -> Callable[[], None]:
    """An epoch of `fit`."""
    trainer = th.RobustModel(network(), th.attacks.PGD(th.Linf(EPSILON), steps=STEPS, step_size=STEP_SIZE), **settings)
    trainer.compile(keras.optimizers.Adam(RATE))
    dataset = untuned(tf.data.Dataset.from_tensor_slices(examples).batch(BATCH).cache())
    return lambda: trainer.fit(dataset, shuffle=False, verbose=0)


def art(examples: Examples) -> Callable[[], None]:
    """An epoch of ART's AdversarialTrainerMadryPGD."""
    from art.defences.trainer import AdversarialTrainerMadryPGD  # noqa: PLC0415 - seconds to import
    from art.estimators.classification import TensorFlowV2Classifier  # noqa: PLC0415

    x, y = examples
    classifier = TensorFlowV2Classifier(
        network(),
        nb_classes=10,
        input_shape=(28, 28, 1),
        loss_object=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        optimizer=keras.optimizers.Adam(RATE),
        clip_values=(0, 1),
    )
    trainer = AdversarialTrainerMadryPGD(
        classifier, nb_epochs=1, batch_size=BATCH, eps=EPSILON, eps_step=STEP_SIZE, max_iter=STEPS, num_random_init=1
    )
    return lambda: trainer.fit(x, np.eye(10, dtype=np.float32)[y])


def rows(examples: Examples, rounds: int) -> list[list[str]]:
    """A row a trainer: images a second, and speed in that of each floor in the same turn; medians over the turns.

    ART comes last, in two turns of its own, since a turn of it takes longer than all others together.
    """
    base = floors(examples)
    others = {
        "tfharden, `RobustModel.fit`": ours(examples),
        "tfharden, with weight perturbation": ours(examples, weight_perturbation=th.WeightPerturbation(0.01)),
    }
    seconds = turns.timed(base | others, rounds)
    found = [turns.row(label, seconds, (CALLS, GRAPH), len(examples[1])) for label in seconds]
    name = "ART, `AdversarialTrainerMadryPGD`"
    seconds = turns.timed(base | {name: art(examples)}, rounds=2)
    found.append(turns.row(name, seconds, (CALLS, GRAPH), len(examples[1])))
    return found
