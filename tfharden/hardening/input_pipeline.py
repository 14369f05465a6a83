"""Training data: the order of batches, which follows from the seed and the steps taken, and the checks of `fit`."""

from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfharden.classifiers import shapes
from tfharden.data.examples import check_images, check_labels
from tfharden.errors import InputError
from tfharden.hardening.multi_worker import check_shares
from tfharden.hardening.trainer import Batch, Trainer


def shuffled(
    examples: tuple[np.ndarray, Any],
    batch_size: int,
    trainer: Trainer,
    seed: int = 0,
    augment: Callable[[tf.Tensor, tf.Tensor], tf.Tensor] | None = None,
) -> tf.data.Dataset:
    """Batches for `trainer.fit`, in another order in each epoch.

    `fit` shuffles arrays by a generator that a resumed training starts anew. Here the order of an epoch is a function
    of the seed and of `trainer.steps`, which is saved with the trainer, so a resumed training equals an uninterrupted
    one. The last batch may be smaller.

    Args:
        examples: images `[n, ...]` and what `fit` calls `y`: labels `[n]`, any nest of such arrays, or None.
        batch_size: images a step, of all replicas together.
        trainer: that is to be trained.
        seed: of the orders, and of what `augment` does.
        augment: what is done to the images `[batch, ...]`, by a seed, int32 [2]: `Affine(...)`, say.

    Raises:
        InputError: a batch that leaves a replica without images.
    """
    images, y = examples
    # Tensors, which a graph refers to, where it would copy arrays.
    tensors = tf.nest.map_structure(tf.convert_to_tensor, (images,) if y is None else (images, y))
    count = len(images)
    check_shares(count, batch_size, trainer.distribute_strategy.num_replicas_in_sync)
    steps = -(-count // batch_size)

    def order() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        random = np.random.default_rng([seed, int(trainer.steps.numpy()) // steps])
        yield random.permutation(count), random.integers(2**31, size=count, dtype=np.int32)

    def look_up(chosen: tf.Tensor, draws: tf.Tensor) -> tuple[Any, ...]:
        found, *rest = tf.nest.map_structure(lambda tensor: tf.gather(tensor, chosen), tensors)
        found = tf.ensure_shape(found, [None, *images.shape[1:]])
        return found if augment is None else augment(found, tf.stack([draws[0], 0])), *rest

    whole = tuple(tf.TensorSpec([count], kind) for kind in (tf.int64, tf.int32))
    # Batched before the images are looked up, so that TensorFlow sees the size of a batch and can share it out among
    # workers.
    batches = tf.data.Dataset.from_generator(order, output_signature=whole).unbatch().batch(batch_size).map(look_up)
    return untuned(batches.apply(tf.data.experimental.assert_cardinality(steps)).prefetch(2))


def untuned(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """The same batches without the thread of TensorFlow's that tunes buffers, whose end an epoch may have to wait for.

    The thread sleeps 10 ms, 20 ms, 40 ms and so on up to a minute. When the epoch is over it is woken a moment before
    it is told to stop, and then often sleeps on (TensorFlow 2.21), so that an epoch takes up to twice its time.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)


def check_examples(x: Any, y: Any, model: keras.Model, bounds: tuple[float, float]) -> None:  # noqa: ANN401
    """Looks at arrays as a whole, at datasets of TensorFlow's by their first batch; generators can't be rewound.

    Raises:
        InputError: images of another shape or outside the bounds, NaN, labels that are no classes of the model's.
    """
    if isinstance(x, tf.data.Dataset):
        x, y, _ = keras.utils.unpack_x_y_sample_weight(next(iter(x.take(1)), (None, None)))
    if isinstance(x, np.ndarray | tf.Tensor) and isinstance(y, np.ndarray | tf.Tensor):
        shape, classes = shapes(model)
        check_images(np.asarray(x), shape, bounds)
        check_labels(np.asarray(y), len(x), classes)


def unpack(data: Any) -> Batch:  # noqa: ANN401
    """The batch that `fit` brings, as Keras packs it.

    Raises:
        InputError: no labels, or one-hot rows.
    """
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
    if y is None:
        raise InputError("adversarial training needs labels: give fit() x and y")
    if len(y.shape) == 2 and y.shape[-1] == 1:  # noqa: PLR2004 - a column of labels
        y = y[:, 0]
    if len(y.shape) != 1:
        raise InputError(f"labels have the shape {y.shape}: give one class number an image, not one-hot rows")
    if sample_weight is not None:
        sample_weight = tf.reshape(sample_weight, [-1])  # a column times the losses would be a matrix
    return Batch(tf.cast(x, tf.float32), tf.cast(y, tf.int32), sample_weight)
