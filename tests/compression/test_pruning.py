"""Pruning: masks as tensorflow-model-optimization makes them, inside our trainers."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfharden as th
from tests._helpers.small import SHAPE, THREAT, cnn, examples, fitted, one_line
from tfharden.attacks import PGD
from tfharden.compression import Pruning, constant_sparsity, polynomial_decay, tfmot
from tfharden.compression.pruning import magnitude_mask, pattern_mask
from tfharden.errors import InputError

ATTACK = PGD(THREAT, steps=2)


def weights(*shape, seed=0):
    return tf.constant(np.random.default_rng(seed).standard_normal(shape), tf.float32)


@pytest.mark.parametrize("shape", [(3, 3, 4, 5), (7, 3), (1, 1)])
@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.5, 0.999])
def test_masks_are_those_of_tfmot(shape, sparsity):
    implementation = tfmot.load("python.core.sparsity.keras.pruning_impl")
    schedule = tfmot.load().sparsity.keras.ConstantSparsity(sparsity, 0)
    w = weights(*shape)
    theirs = implementation.Pruning(lambda: tf.constant(0), [], schedule, [1, 1], "AVG")._update_mask(w)[1]
    ours = magnitude_mask(w, sparsity).numpy()
    np.testing.assert_array_equal(ours, theirs)
    kept = max(1, round(w.shape.num_elements() * (1 - sparsity)))
    assert ours.sum() == kept
    sizes = np.abs(w.numpy())
    assert sizes[ours == 1].min() > sizes[ours == 0].max(initial=-1)


@pytest.mark.parametrize("shape", [(3, 3, 8, 5), (3, 3, 6, 5), (8, 3), (10, 2)])
def test_patterns_are_those_of_tfmot(shape):
    utilities = tfmot.load("python.core.sparsity.keras.pruning_utils")
    w = weights(*shape)
    theirs = utilities.generate_m_by_n_mask(utilities.weights_rearrange(w), (2, 4)).numpy()
    ours = pattern_mask(w, 2, 4)
    np.testing.assert_array_equal(utilities.weights_rearrange(ours), theirs)


def test_a_pattern_by_hand():
    w = tf.constant([[4.0], [-3.0], [2.0], [1.0], [0.5], [-7.0]])
    np.testing.assert_array_equal(pattern_mask(w, 2, 4)[:, 0], [1, 1, 0, 0, 1, 1])


def test_a_pattern_of_a_depthwise_kernel_by_hand():
    """Each output sums over the 3x3 window of its own channel: 2 of the first four places, 2 of the next, the last."""
    window = np.float32([[9, 1, 8], [2, 3, 7], [6, 4, 5]])
    expected = [[1, 0, 1], [0, 0, 1], [1, 0, 1]]
    kernel = np.stack([window, window[::-1, ::-1], -window, 0.1 * window], axis=-1).reshape(3, 3, 2, 2)
    mask = pattern_mask(tf.constant(kernel), 2, 4, depthwise=True).numpy().reshape(3, 3, 4)
    for channel in (0, 2, 3):
        np.testing.assert_array_equal(mask[..., channel], expected)
    # Turned round, 5 4 6 7 | 3 2 8 1 | 9.
    np.testing.assert_array_equal(mask[..., 1], [[0, 0, 1], [1, 1, 0], [1, 0, 1]])


@pytest.mark.slow
@pytest.mark.parametrize("trainer", ["plain", "robust", "distilled", "perturbed"])
def test_sparsity_within_every_trainer(trainer):
    """Rises by the schedule to its end, with averaged weights too, and the model stays what it was."""
    model = cnn()
    names = [weight.path for weight in model.weights]
    made = {
        "plain": lambda: model,
        "robust": lambda: th.RobustModel(model, ATTACK),
        "distilled": lambda: th.Distiller(model, cnn(6, 1), [th.SoftTarget(), th.Feature("conv1", "conv1")], ATTACK),
        "perturbed": lambda: th.RobustModel(model, ATTACK, weight_perturbation=th.WeightPerturbation(0.01)),
    }[trainer]()
    if trainer == "plain":
        made.compile(keras.optimizers.Adam(0.01), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    pruning, seen = Pruning(model, polynomial_decay(0.75, end_step=24, frequency=8)), []

    class Watch(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            seen.append(np.mean(list(pruning.sparsity().values())))

    if trainer == "plain":
        x, y = examples()
        made.fit(x, y, batch_size=8, epochs=5, verbose=0, callbacks=[pruning, Watch()])
    else:
        fitted(made, pruning, Watch(), average=0.9)
    expected = [0.75 * (1 - (1 - step / 24) ** 3) for step in (0, 8, 16)] + [0.75] * 2
    assert seen == pytest.approx(expected, abs=0.03)
    for share in pruning.sparsity().values():
        assert share == pytest.approx(0.75, abs=0.03)
    assert [weight.path for weight in model.weights] == names
    assert all(getattr(layer, "kernel", model.weights[0]).constraint is None for layer in model.layers)


@pytest.mark.slow
def test_what_is_pruned_stays_pruned():
    """Between two counts a zero stays zero, whatever the gradient and the optimizer's momentum say."""
    model = cnn()
    pruning, zeros = Pruning(model, constant_sparsity(0.5, frequency=1000), only=["conv2"]), []

    class Watch(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            zeros.append(model.get_layer("conv2").kernel.numpy() == 0)

    fitted(th.RobustModel(model), pruning, Watch(), epochs=2)
    assert all(np.array_equal(each, zeros[0]) for each in zeros)
    assert zeros[0].mean() == pytest.approx(0.5, abs=0.01)
    assert not (model.get_layer("conv3").kernel.numpy() == 0).any()
    # Trained on without it, zeros come to life again; with it, they don't.
    fitted(th.RobustModel(model), Pruning(model), epochs=1)
    np.testing.assert_array_equal(model.get_layer("conv2").kernel.numpy() == 0, zeros[0])
    fitted(th.RobustModel(model), epochs=1)
    assert (model.get_layer("conv2").kernel.numpy() == 0).mean() < 0.1


def test_two_of_four():
    model = cnn(8)
    fitted(th.RobustModel(model), Pruning(model, pattern="2:4", only=["conv2", "conv3", "logits"]), epochs=2)
    for name in ("conv2", "conv3"):
        kernel = model.get_layer(name).kernel.numpy()
        groups = np.moveaxis(kernel, 2, -1).reshape(-1, 4)
        assert ((groups != 0).sum(axis=-1) <= 2).all()
        assert (groups != 0).mean() == pytest.approx(0.5, abs=0.02)


@pytest.mark.slow
def test_a_resumed_training_keeps_its_zeros(tmp_path):
    """BackupAndRestore brings weights back after training has begun."""

    class Killed(Exception):
        pass

    class Kill(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise Killed

    def train(*callbacks):
        model = cnn()
        pruning = Pruning(model, constant_sparsity(0.5, frequency=1000))
        backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
        fitted(th.RobustModel(model), pruning, backup, *callbacks, epochs=3, shuffle=False)
        return model, pruning

    with pytest.raises(Killed):
        train(Kill())
    _, pruning = train()
    for share in pruning.sparsity().values():
        assert share == pytest.approx(0.5, abs=0.03)


@pytest.mark.slow
def test_nested_models_and_depthwise_kernels():
    image = keras.Input(SHAPE)
    x = keras.layers.DepthwiseConv2D(3, depth_multiplier=4, name="depthwise")(image)
    inner = keras.Model(image, keras.layers.SeparableConv2D(4, 3, name="separable")(x), name="inner")
    image = keras.Input(SHAPE)
    model = keras.Model(image, keras.layers.Dense(3)(keras.layers.Flatten()(inner(image))))
    pruning = Pruning(model, constant_sparsity(0.5, frequency=1))
    fitted(th.RobustModel(model), pruning, epochs=1)
    assert len(pruning.sparsity()) == 4
    assert list(pruning.sparsity().values()) == pytest.approx([0.5] * 4, abs=0.03)
    # Of nine places of each channel 2 + 2 + 1 stay, of four input channels 2.
    fitted(th.RobustModel(model), Pruning(model, pattern="2:4"), epochs=1)
    for kernel in (inner.get_layer("depthwise").kernel, inner.get_layer("separable").depthwise_kernel):
        assert (kernel.numpy() != 0).sum(axis=(0, 1)).max() <= 5
    pointwise = inner.get_layer("separable").pointwise_kernel.numpy()
    assert (pointwise.reshape(4, 4) != 0).sum(axis=0).max() <= 2


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: Pruning(cnn(), constant_sparsity(0.5), "2:4"), "schedule or a pattern"),
        (lambda: Pruning(cnn(), pattern="3:4"), "unknown pattern '3:4': known are 2:4"),
        (lambda: Pruning(cnn(), only=["conv9"]), "no layer 'conv9' with a kernel: it has conv1"),
        (lambda: polynomial_decay(1.5, end_step=10), "PolynomialDecay"),
        (lambda: constant_sparsity(-0.1), "ConstantSparsity"),
        (lambda: Pruning(keras.Sequential([keras.Input(SHAPE), keras.layers.Flatten()])), "no kernel to compress"),
    ],
)
def test_refusals(make, match):
    with pytest.raises(InputError, match=match) as error:
        make()
    assert one_line(error)


def test_constraints_of_others_are_not_replaced():
    model = cnn()
    model.get_layer("conv1").kernel.constraint = keras.constraints.NonNeg()
    with pytest.raises(InputError, match="conv1/kernel has a constraint of its own") as error:
        fitted(th.RobustModel(model), Pruning(model, constant_sparsity(0.5)))
    assert one_line(error)
