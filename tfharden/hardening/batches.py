"""Training data whose order follows from the seed and from how far the training has come."""

from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from tfharden.hardening.replicas import check_shares
from tfharden.hardening.robust_model import RobustModel
from tfharden.inputs import Examples


def shuffled(examples: Examples, batch_size: int, trainer: RobustModel, seed: int = 0) -> tf.data.Dataset:
    """Batches `(images, labels)` for `trainer.fit`, in another order in each epoch.

    `fit` shuffles arrays by a generator that a resumed training starts anew. Here the order of an epoch is a function
    of the seed and of `trainer.steps`, which is saved with the trainer, so a resumed training equals an uninterrupted
    one. The last batch may be smaller.

    Args:
        examples: images `[n, ...]` and labels `[n]`.
        batch_size: images a step, of all replicas together.
        trainer: that is to be trained.
        seed: of the orders.

    Raises:
        InputError: a batch that leaves a replica without images.
    """
    images, labels = examples
    count = len(labels)
    check_shares(count, batch_size, trainer.distribute_strategy.num_replicas_in_sync)
    steps = -(-count // batch_size)

    def order() -> Iterator[np.ndarray]:
        epoch = int(trainer.steps.numpy()) // steps
        yield np.random.default_rng([seed, epoch]).permutation(count)

    indices = tf.data.Dataset.from_generator(order, output_signature=tf.TensorSpec([count], tf.int64)).unbatch()
    # Batched before the images are looked up, so that TensorFlow sees the size of a batch and can share it out among
    # workers.
    batches = indices.batch(batch_size).map(lambda chosen: (tf.gather(images, chosen), tf.gather(labels, chosen)))
    return batches.apply(tf.data.experimental.assert_cardinality(steps)).prefetch(2)
