"""Magnitude pruning: the smallest weights become zero and stay zero."""

from collections.abc import Callable, Sequence

import keras
import tensorflow as tf

from tfharden.compression import tfmot
from tfharden.compression.constrained import Constrained
from tfharden.compression.kernels import depthwise_paths, kernels
from tfharden.errors import InputError

# Training step to whether masks are due, and the sparsity: a schedule of tfmot's.
Schedule = Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]
# Sparsity of a pattern: N of M neighbours that are kept.
PATTERNS = {"2:4": (2, 4)}


def magnitude_mask(weights: tf.Tensor, sparsity: float | tf.Tensor) -> tf.Tensor:
    """1 for the largest weights, 0 for the share `sparsity` of the smallest of their shape.

    Zhu and Gupta 2018, arXiv:1710.01878.

    Counts are tensorflow-model-optimization's: the number of weights that are kept is rounded and at least 1, and all
    that are as large as the smallest of these are kept too.
    """
    sizes = tf.reshape(tf.abs(weights), [-1])
    kept = tf.maximum(tf.round(tf.cast(tf.size(sizes), tf.float32) * (1 - tf.cast(sparsity, tf.float32))), 1)
    least = tf.sort(sizes, direction="DESCENDING")[tf.cast(kept, tf.int32) - 1]
    return tf.cast(tf.abs(weights) >= least, weights.dtype)


def pattern_mask(weights: tf.Tensor, kept: int, of: int, *, depthwise: bool = False) -> tf.Tensor:
    """1 for the `kept` largest of each `of` neighbours along the axis that is summed over.

    The 2:4 pattern of Mishra et al. 2021, arXiv:2104.08378. The weights at the end of the axis that don't fill a group
    are a group of their own, filled up with zeros.

    Args:
        weights: `[..., inputs, outputs]`: groups are neighbouring input channels. Of a depthwise convolution `[height,
            width, inputs, multiplier]`: each output sums over height and width alone, so groups are neighbours there.
        kept: weights that stay in each group.
        of: weights of a group.
        depthwise: the kernel is that of a depthwise convolution.
    """
    shape = weights.shape
    if depthwise:
        weights = tf.reshape(weights, [shape[0] * shape[1], shape[2] * shape[3]])
    *outer, inputs, outputs = weights.shape
    rows = tf.reshape(tf.linalg.matrix_transpose(tf.abs(weights)), [-1, inputs])
    groups = tf.reshape(tf.pad(rows, [[0, 0], [0, -inputs % of]]), [-1, of])
    order = tf.argsort(tf.argsort(groups, direction="DESCENDING", stable=True), stable=True)
    mask = tf.reshape(tf.cast(order < kept, weights.dtype), [tf.shape(rows)[0], -1])[:, :inputs]
    return tf.reshape(tf.linalg.matrix_transpose(tf.reshape(mask, [*outer, outputs, inputs])), shape)


def constant_sparsity(sparsity: float, begin_step: int = 0, end_step: int = -1, frequency: int = 100) -> Schedule:
    """The same sparsity from `begin_step` on: tfmot's ConstantSparsity."""
    return _scheduled("ConstantSparsity", sparsity, begin_step, end_step, frequency)


def polynomial_decay(
    final_sparsity: float,
    *,
    end_step: int,
    begin_step: int = 0,
    initial_sparsity: float = 0.0,
    power: float = 3,
    frequency: int = 100,
) -> Schedule:
    """s_f + (s_i - s_f) (1 - (t - t_0) / (t_1 - t_0))^power: tfmot's PolynomialDecay.

    Zhu and Gupta 2018, arXiv:1710.01878.
    """
    return _scheduled(
        "PolynomialDecay", initial_sparsity, final_sparsity, begin_step, end_step, power=power, frequency=frequency
    )


def _scheduled(name: str, *arguments: float, **settings: float) -> Schedule:
    try:
        return getattr(tfmot.load().sparsity.keras, name)(*arguments, **settings)
    except (AssertionError, ValueError) as error:
        raise InputError(f"{name}: {' '.join(str(error).split())}") from error


class _Masked(keras.constraints.Constraint):
    """Keeps what a mask hides at zero: Keras applies it after every update of the weights."""

    def __init__(self, mask: tf.Variable) -> None:
        self.mask = mask

    def __call__(self, weights: tf.Tensor) -> tf.Tensor:
        return weights * tf.cast(self.mask, weights.dtype)


class Pruning(Constrained):
    """Prunes a model's kernels while `fit` trains it; the model stays the ordinary Keras model that it is.

    The masks are constraints of the variables, in any trainer, and are removed when training ends; the zeros remain.

    Without a schedule or a pattern the zeros that kernels have are kept, and no others are made: for training on after
    pruning, as in quantisation-aware training.

    Args:
        model: the plain model, whose kernels are pruned.
        schedule: `polynomial_decay(...)`, `constant_sparsity(...)` or another of tfmot's.
        pattern: "2:4" to keep two of each four weights that are summed, chosen anew at the beginning of each epoch.
        only: names of layers; all convolutions and dense layers by default.

    Raises:
        InputError: schedule and pattern both, layers that aren't there.
    """

    doing = "pruning"

    def __init__(
        self,
        model: keras.Model,
        schedule: Schedule | None = None,
        pattern: str | None = None,
        only: Sequence[str] = (),
    ) -> None:
        super().__init__(kernels(model, only))
        if schedule is not None and pattern is not None:
            raise InputError("pruning takes a schedule or a pattern, and not both")
        if pattern is not None and pattern not in PATTERNS:
            raise InputError(f"unknown pattern {pattern!r}: known are {', '.join(PATTERNS)}")
        self._schedule = schedule
        self._pattern = None if pattern is None else PATTERNS[pattern]
        self._depthwise = depthwise_paths(model)
        self._masks = {path: tf.Variable(tf.ones(kernel.shape)) for path, kernel in self._kernels.items()}

    def on_train_batch_begin(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Counts anew which weights are small, when that is due."""
        super().on_train_batch_begin(batch, logs)
        if self._pattern is not None and batch == 0:
            kept, of = self._pattern
            self._update(lambda path, weights: pattern_mask(weights, kept, of, depthwise=path in self._depthwise))
        if self._schedule is not None:
            due, sparsity = self._schedule(self.model.optimizer.iterations.value)
            if due:
                self._update(lambda path, weights: magnitude_mask(weights, sparsity))

    def _constraint(self, path: str, kernel: keras.Variable) -> keras.constraints.Constraint:
        """A mask for the zeros that the kernel has."""
        self._masks[path].assign(tf.cast(kernel.value != 0, tf.float32))
        return _Masked(self._masks[path])

    def _update(self, mask: Callable[[str, tf.Tensor], tf.Tensor]) -> None:
        for path, kernel in self._kernels.items():
            self._masks[path].assign(tf.cast(mask(path, kernel.value), tf.float32))
            kernel.assign(kernel.constraint(kernel.value))

    def sparsity(self) -> dict[str, float]:
        """Share of zeros of each kernel."""
        return {path: float(tf.reduce_mean(tf.cast(k.value == 0, tf.float32))) for path, k in self._kernels.items()}
