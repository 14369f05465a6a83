"""Training on several replicas and workers: what Keras 3 lacks, keras-team/keras#20585."""

import math
import random
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from tfharden.errors import InputError

# Keras' own, where fit() is given arrays and no batch_size.
BATCH_SIZE = 32


class DistributedModel(keras.Model):
    """A model that `fit`, `evaluate` and `predict` run on the replicas of MirroredStrategy and of several workers.

    Build and compile it under the strategy's scope. `batch_size` is that of all replicas together: of arrays, every
    worker is given all and takes its share of each batch. `evaluate` and `predict` tell every worker the same, on all
    images, and have to be called on all workers.

    Every worker runs the callbacks, and what they write must not meet: give `ModelCheckpoint`, `CSVLogger` and the like
    to the chief only, or a path of its own to each worker; `BackupAndRestore` needs the path of its own. Saving asks
    nothing of the other workers. `BatchNormalization` keeps averages of its own on each replica, unless it is
    `synchronized`; those of the chief's first replica are saved.
    """

    def compile(self, *args: Any, steps_per_execution: int = 1, **kwargs: Any) -> None:  # noqa: ANN401
        """Keras' `compile`.

        Raises:
            InputError: several steps an execution on several replicas, see keras-team/keras#19246.
        """
        if steps_per_execution != 1 and self.distribute_strategy.num_replicas_in_sync > 1:
            raise InputError(f"steps_per_execution={steps_per_execution} is beyond Keras on several replicas: give 1")
        super().compile(*args, steps_per_execution=steps_per_execution, **kwargs)

    def fit(
        self,
        x: Any = None,  # noqa: ANN401
        y: Any = None,  # noqa: ANN401
        *,
        batch_size: int | None = None,
        validation_split: float = 0.0,
        **kwargs: Any,  # noqa: ANN401
    ) -> keras.callbacks.History:
        """Keras' `fit`, once every replica is known to get images, and every worker the same order of them.

        Raises:
            InputError: the last batch of arrays has too few images for the replicas.
        """
        if hasattr(x, "shape"):
            replicas = self.distribute_strategy.num_replicas_in_sync
            check_shares(math.floor(len(x) * (1 - validation_split)), batch_size or BATCH_SIZE, replicas)
        if self._on_several_workers():
            self._agree_on_order()
        return super().fit(x, y, batch_size=batch_size, validation_split=validation_split, **kwargs)

    def _agree_on_order(self) -> None:
        """Keras shuffles arrays on every worker, by TensorFlow's seed: it has to be one, or shares would overlap."""
        mine = random.randrange(2**31)
        strategy = self.distribute_strategy

        def gathered() -> tf.Tensor:
            return strategy.gather(strategy.run(lambda: tf.constant([mine])), axis=0)

        tf.random.set_seed(int(tf.function(gathered, autograph=False)()[0]))

    def _make_function(self, step_function: Callable[[Any], dict[str, tf.Tensor]]) -> Callable:
        """Keras takes the mean of logs over workers by their first axis, which scalars don't have."""
        if not self._on_several_workers():
            return super()._make_function(step_function)

        def step(data: Any) -> dict[str, tf.Tensor]:  # noqa: ANN401
            return {name: tf.reshape(value, [1]) for name, value in step_function(data).items()}

        return super()._make_function(step)

    def _maybe_symbolic_build(self, iterator: Any = None, data_batch: Any = None) -> None:  # noqa: ANN401
        """Keras builds from the mean of all workers' batches, which it can't compute; one replica's will do."""
        if iterator is not None and self._on_several_workers():
            *_, batches = next(iter(iterator))
            data_batch = tf.nest.map_structure(
                lambda value: self.distribute_strategy.experimental_local_results(value)[0], next(batches)
            )
            iterator = None
        super()._maybe_symbolic_build(iterator, data_batch)

    def _get_metrics_result_or_logs(self, logs: dict[str, Any]) -> dict[str, Any]:
        """The metrics of all replicas, image by image, also where a step logs only some of them.

        Keras then takes the logs of the last step: the mean over replicas, whatever their shares are.
        """
        metrics = self.get_metrics_result()
        return {name: metrics.get(name, value) for name, value in logs.items()}

    def _on_several_workers(self) -> bool:
        strategy = self.distribute_strategy
        return (
            isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)
            and strategy.num_replicas_in_sync > len(strategy.extended.worker_devices)  # which are this worker's
        )


def check_shares(count: int, batch_size: int, replicas: int) -> None:
    """Refuses `count` images in batches that leave a replica without any: it has no gradient to give.

    Raises:
        InputError: so it would be.
    """
    for size in {min(count, batch_size), count % batch_size} - {0}:
        # Every replica takes as many as an even share, rounded up, while there are any.
        if math.ceil(size / replicas) * (replicas - 1) >= size:
            raise InputError(
                f"{count} images in batches of {batch_size} make a batch of {size}, which leaves some of the "
                f"{replicas} replicas without images: choose another batch_size"
            )
