"""Weight clustering: each kernel has a few different values, which are trained."""

from collections.abc import Sequence

import keras
import tensorflow as tf

from tfharden._validation import check_whole_number
from tfharden.compression import tfmot
from tfharden.compression.constrained import Constrained
from tfharden.compression.kernels import kernels
from tfharden.errors import InputError

INITIALISERS = ("kmeans++", "linear", "density-based", "random")
_CLASSES = {
    "kmeans++": "KmeansPlusPlusCentroidsInitialisation",
    "linear": "LinearCentroidsInitialisation",
    "density-based": "DensityBasedCentroidsInitialisation",
    "random": "RandomCentroidsInitialisation",
}


def centroids(
    weights: tf.Tensor, clusters: int, initialiser: str = "kmeans++", *, keep_zeros: bool = False
) -> tf.Tensor:
    """Values for `weights` to be drawn to, `[clusters]`, by tfmot's initialisers.

    Args:
        weights: any shape.
        clusters: number of values.
        initialiser: one of INITIALISERS; kmeans++ is the usual one.
        keep_zeros: one of the values is 0, and weights below and above it share the others by their numbers.
    """
    kind = getattr(tfmot.load("python.core.clustering.keras.clustering_centroids"), _CLASSES[initialiser])
    made = kind(tf.cast(weights, tf.float32), clusters, preserve_sparsity=keep_zeros)
    return tf.cast(made.get_cluster_centroids(), tf.float32)


def nearest(weights: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    """Index of the value nearest to each weight, int32, of the weights' shape."""
    flat = tf.reshape(tf.cast(weights, tf.float32), [-1, 1])
    return tf.reshape(tf.argmin(tf.abs(flat - values), axis=-1, output_type=tf.int32), tf.shape(weights))


class _Shared(keras.constraints.Constraint):
    """Keeps the weights of a cluster equal, at their mean: Keras applies it after every update of the weights.

    Weights that were equal move to the mean of where their own gradients took them, which is where one weight in the
    place of all would have gone under the mean of their gradients.
    """

    def __init__(self, index: tf.Tensor, count: int, zero: tf.Tensor | None) -> None:
        self.index = index
        self.count = count
        self.zero = zero

    def __call__(self, weights: tf.Tensor) -> tf.Tensor:
        flat = tf.reshape(tf.cast(weights, tf.float32), [-1])
        means = tf.math.unsorted_segment_mean(flat, tf.reshape(self.index, [-1]), self.count)
        if self.zero is not None:
            means = tf.where(self.zero, 0.0, means)
        return tf.cast(tf.gather(means, self.index), weights.dtype)


class Clustering(Constrained):
    """Clusters a model's kernels when `fit` begins, and trains the few values that are left.

    Each weight is drawn to the nearest of `clusters` values and stays in its cluster (Han et al. 2016,
    arXiv:1510.00149), where tfmot
    assigns weights anew at each step. The clusters are constraints of the variables, in any trainer, and are removed
    when training ends; the values remain.

    Args:
        model: the plain model, whose kernels are clustered.
        clusters: values that each kernel is left with; a kernel of fewer weights is left as it is.
        initialiser: how the first values are found: "kmeans++", "linear", "density-based" or "random".
        keep_zeros: weights that are zero stay zero, as after pruning; 0 is one of the values.
        only: names of layers; all convolutions and dense layers by default.

    Raises:
        InputError: fewer than 2 clusters, an unknown initialiser, layers that aren't there.
    """

    doing = "clustering"

    def __init__(
        self,
        model: keras.Model,
        clusters: int = 16,
        initialiser: str = "kmeans++",
        *,
        keep_zeros: bool = False,
        only: Sequence[str] = (),
    ) -> None:
        check_whole_number("clusters", clusters, least=2)
        if initialiser not in INITIALISERS:
            raise InputError(f"unknown initialiser {initialiser!r}: known are {', '.join(INITIALISERS)}")
        found = kernels(model, only).items()
        super().__init__({path: kernel for path, kernel in found if tf.size(kernel.value) > clusters})
        self.clusters = clusters
        self.initialiser = initialiser
        self.keep_zeros = keep_zeros

    def _constraint(self, path: str, kernel: keras.Variable) -> keras.constraints.Constraint:
        """Clusters the kernel."""
        values, index = self._clustered(kernel.value)
        kernel.assign(tf.cast(tf.gather(values, index), kernel.dtype))
        return _Shared(index, len(values), values == 0.0 if self.keep_zeros else None)

    def _clustered(self, weights: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The values, and each weight's index among them; those of an earlier clustering if they are few enough."""
        distinct, index = tf.unique(tf.reshape(tf.cast(weights, tf.float32), [-1]))
        if len(distinct) <= self.clusters:
            return distinct, tf.reshape(index, tf.shape(weights))
        values = centroids(weights, self.clusters, self.initialiser, keep_zeros=self.keep_zeros)
        return values, nearest(weights, values)

    def values(self) -> dict[str, int]:
        """Number of different values of each kernel."""
        return {path: len(tf.unique(tf.reshape(kernel.value, [-1]))[0]) for path, kernel in self._kernels.items()}
