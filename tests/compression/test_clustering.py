"""Clustering: first values as tensorflow-model-optimization finds them, shared ever after."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfharden as th
from tests._helpers.small import THREAT, cnn, fitted, one_line
from tfharden.attacks import PGD
from tfharden.compression import INITIALISERS, Clustering, Pruning, constant_sparsity, tfmot
from tfharden.compression.clustering import centroids, nearest
from tfharden.errors import InputError


def weights(*shape, seed=0):
    return tf.constant(np.random.default_rng(seed).standard_normal(shape), tf.float32)


def test_nearest_by_hand():
    index = nearest(tf.constant([[0.1, -2.0], [0.6, 5.0]]), tf.constant([-1.0, 0.0, 1.0]))
    np.testing.assert_array_equal(index, [[1, 0], [2, 2]])


@pytest.mark.parametrize("initialiser", ["kmeans++", "linear", "density-based"])
@pytest.mark.parametrize("keep_zeros", [False, True])
def test_kernels_are_those_of_tfmot(initialiser, keep_zeros):
    """Its own wrapper round a Keras 2 layer of the same kernel: the same values, and each weight at the same one."""
    tfmot.load()
    import tf_keras  # noqa: PLC0415 - Keras 2, once tfmot is loaded

    kernel = weights(3, 3, 4, 6).numpy()
    kernel[np.abs(kernel) < 0.2 * keep_zeros] = 0
    layer = tf_keras.layers.Conv2D(6, 3, input_shape=(8, 8, 4), use_bias=False)
    theirs = tf_keras.Sequential([layer])
    layer.set_weights([kernel])
    enum = tfmot.load().clustering.keras.CentroidInitialization
    names = {"kmeans++": enum.KMEANS_PLUS_PLUS, "linear": enum.LINEAR, "density-based": enum.DENSITY_BASED}
    settings = {"number_of_clusters": 5, "cluster_centroids_init": names[initialiser]}
    if keep_zeros:
        wrap = tfmot.load("python.core.clustering.keras.experimental.cluster").cluster_weights
        clustered = wrap(theirs, preserve_sparsity=True, **settings)
    else:
        clustered = tfmot.load().clustering.keras.cluster_weights(theirs, **settings)
    clustered(np.zeros((1, 8, 8, 4), np.float32))
    expected = tfmot.load().clustering.keras.strip_clustering(clustered).get_weights()[0]
    values = centroids(kernel, 5, initialiser, keep_zeros=keep_zeros)
    ours = tf.gather(values, nearest(kernel, values)).numpy()
    np.testing.assert_allclose(ours, expected, rtol=1e-6)
    assert len(np.unique(ours)) == 5
    if keep_zeros:
        np.testing.assert_array_equal(ours[kernel == 0], 0)


@pytest.mark.slow
@pytest.mark.parametrize("initialiser", INITIALISERS)
def test_few_values_within_an_adversarial_training(initialiser):
    model = cnn()
    clustering, counts = Clustering(model, 8, initialiser), []

    class Watch(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            counts.append(max(clustering.values().values()))

    trainer = th.RobustModel(model, PGD(THREAT, steps=1))
    losses = fitted(trainer, clustering, Watch(), average=0.9, epochs=8)["loss"]
    assert max(counts) <= 8
    assert 1 < min(clustering.values().values()) <= max(clustering.values().values()) <= 8
    assert losses[-1] < losses[0]
    assert all(getattr(layer, "kernel", model.weights[0]).constraint is None for layer in model.layers)


def test_clusters_move_by_the_mean_of_their_gradients():
    """One step of SGD, by hand."""
    model = cnn()
    layer = model.get_layer("conv2")
    values = centroids(layer.kernel.value, 4, "linear")
    index = nearest(layer.kernel.value, values).numpy()
    start = values.numpy()[index]
    x, y = np.random.default_rng(0).random((8, 8, 8, 1), np.float32), np.arange(8) % 3
    layer.kernel.assign(start)
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(keras.losses.sparse_categorical_crossentropy(y, model(x), from_logits=True))
    gradient = tape.gradient(loss, layer.kernel.value).numpy()
    means = np.array([gradient[index == cluster].mean() for cluster in range(4)])
    layer.kernel.assign(cnn().get_layer("conv2").kernel)
    trainer = th.RobustModel(model)
    trainer.compile(keras.optimizers.SGD(0.1))
    trainer.fit(x, y, batch_size=8, verbose=0, callbacks=[Clustering(model, 4, "linear", only=["conv2"])])
    np.testing.assert_allclose(layer.kernel, start - 0.1 * means[index], rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_zeros_of_pruning_stay():
    model = cnn()
    fitted(th.RobustModel(model), Pruning(model, constant_sparsity(0.5, frequency=1)), epochs=1)
    zeros = {weight.path: weight.numpy() == 0 for weight in model.weights if "kernel" in weight.path}
    fitted(th.RobustModel(model), Clustering(model, 6, keep_zeros=True), epochs=2)
    for weight in model.weights:
        if weight.path in zeros:
            assert not weight.numpy()[zeros[weight.path]].any()
            assert len(np.unique(weight)) <= 6


def test_an_earlier_clustering_goes_on():
    model = cnn()
    fitted(th.RobustModel(model), Clustering(model, 4), epochs=1)
    before = {w.path: np.unique(w, return_inverse=True)[1] for w in model.weights if "kernel" in w.path}
    fitted(th.RobustModel(model), Clustering(model, 4), epochs=1)
    for weight in model.weights:
        if weight.path in before:
            for cluster in np.unique(before[weight.path]):
                assert len(np.unique(weight.numpy().ravel()[before[weight.path].ravel() == cluster])) == 1


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: Clustering(cnn(), 1), "clusters=1 has to be"),
        (lambda: Clustering(cnn(), 4, "k-means"), "unknown initialiser 'k-means': known are kmeans"),
        (lambda: Clustering(cnn(), 4, only=["conv9"]), "no layer 'conv9'"),
    ],
)
def test_refusals(make, match):
    with pytest.raises(InputError, match=match) as error:
        make()
    assert one_line(error)
