import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import tfharden as th
from tests._helpers.robust_examples import (
    CLASSES,
    SHAPE,
    THREAT,
    Numpy,
    assert_same_weights,
    examples,
    linear,
    one_line,
    robust,
)
from tfharden.attacks import FGSM, PGD
from tfharden.errors import InputError

# Kinds of models.


@pytest.mark.slow
def test_softmax_model_trains_as_its_logits_twin():
    x, y = examples(24)
    ends = [layers.Softmax(), layers.Activation("softmax")]
    logits, fused = linear(), linear(softmax=True)
    others = [keras.Sequential([keras.Input(SHAPE), *linear().layers, end]) for end in ends]
    nested = keras.Sequential([keras.Input(SHAPE), linear(softmax=True)])
    for model in (logits, fused, nested, *others):
        robust(model, PGD(THREAT, steps=2)).fit(x, y, batch_size=8, epochs=2, shuffle=False, verbose=0)
    for model in (fused, nested, *others):
        assert_same_weights(model.get_weights(), logits.get_weights())


def test_probabilities_without_visible_logits_train_alike():
    """A softmax that is hidden in other operations: its logarithm has the same gradient."""
    inputs = keras.Input(SHAPE)
    body = linear()
    scores = keras.ops.exp(body(inputs))
    hidden = keras.Model(inputs, scores / keras.ops.sum(scores, axis=-1, keepdims=True))
    x, y = examples()
    expected = Numpy(body)
    robust(hidden, FGSM(THREAT)).fit(x, y, batch_size=8, verbose=0)
    assert_same_weights(body.get_weights(), expected.after_step([(expected.fgsm(x, y), y, 1.0)]))


def test_subclass_with_a_graph_trains_and_one_without_is_refused():
    class Graph(keras.Model):
        pass

    class Bare(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = layers.Dense(CLASSES)

        def call(self, x):
            return self.dense(keras.ops.reshape(x, (-1, 16)))

    inputs = keras.Input(SHAPE)
    graph, x_y = Graph(inputs, linear()(inputs)), examples()
    twin = linear()
    for model in (graph, twin):
        robust(model, FGSM(THREAT)).fit(*x_y, verbose=0)
    assert_same_weights(graph.get_weights(), twin.get_weights())
    bare = Bare()
    bare(x_y[0])
    with pytest.raises(InputError, match="Functional") as error:
        th.RobustModel(bare, FGSM(THREAT))
    assert one_line(error)


@pytest.mark.parametrize(
    ("shape", "classes", "match"), [((None, None, 1), 3, "fixed sizes"), (SHAPE, 1, "two classes or more")]
)
def test_models_that_are_no_classifiers(shape, classes, match):
    inputs = keras.Input(shape)
    model = keras.Model(inputs, layers.Dense(classes)(layers.GlobalAveragePooling2D()(inputs)))
    with pytest.raises(InputError, match=match) as error:
        th.RobustModel(model, FGSM(THREAT))
    assert one_line(error)


def test_frozen_layers_stay():
    model, (x, y) = th.models.mlp(SHAPE, CLASSES, width=4), examples()
    model.get_layer("hidden1").trainable = False
    before = [layer.get_weights() for layer in model.layers]
    robust(model, FGSM(THREAT)).fit(x, y, verbose=0)
    changed = {
        layer.name: any(not np.array_equal(a, b) for a, b in zip(layer.get_weights(), old, strict=True))
        for layer, old in zip(model.layers, before, strict=True)
        if old
    }
    assert changed == {"hidden1": False, "hidden2": True, "logits": True}


# Kinds of data.


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        (lambda x: x, lambda y: y[:, None]),
        (lambda x: x, lambda y: y.astype(np.float64)),
        (lambda x: x, lambda y: y.astype(np.uint8)),
        (lambda x: x.astype(np.float64), lambda y: y.astype(np.int64)),
    ],
    ids=["column", "float labels", "uint8 labels", "float64 images"],
)
@pytest.mark.parametrize("loss", [th.losses.cross_entropy, th.losses.margin], ids=["cross entropy", "margin"])
def test_shapes_and_types_of_data(images, labels, loss):
    x, y = examples()
    models = linear(), linear()
    for model, data in zip(models, [(x, y), (images(x), labels(y))], strict=True):
        robust(model, FGSM(THREAT, loss=loss), metrics=["accuracy"]).fit(*data, verbose=0)
    assert_same_weights(models[1].get_weights(), models[0].get_weights())


def test_uint8_images():
    threat, (x, y) = th.Linf(25.0, (0, 255)), examples()
    x = np.round(255 * x)
    models = linear(), linear()
    for model, images in zip(models, (x.astype(np.float32), x.astype(np.uint8)), strict=True):
        robust(model, FGSM(threat), rate=1e-4).fit(images, y, verbose=0)
    assert_same_weights(models[1].get_weights(), models[0].get_weights(), rtol=1e-6)


def test_dataset_with_weights():
    x, y = examples(12)
    weight = np.linspace(0, 2, 12, dtype=np.float32)
    models = linear(), linear()
    robust(models[0], FGSM(THREAT)).fit(x, y, sample_weight=weight, batch_size=5, shuffle=False, verbose=0)
    dataset = tf.data.Dataset.from_tensor_slices((x, y, weight)).batch(5)
    robust(models[1], FGSM(THREAT)).fit(dataset, verbose=0)
    assert_same_weights(models[1].get_weights(), models[0].get_weights(), rtol=1e-6)


def test_what_fit_and_compile_refuse():
    x, y = examples()
    trainer = robust(linear(), FGSM(THREAT), metrics=["accuracy"], run_eagerly=False)
    with pytest.raises(InputError, match="loss") as error:
        trainer.compile("adam", loss="sparse_categorical_crossentropy")
    assert one_line(error)
    with pytest.raises(InputError, match="one-hot") as error:
        trainer.fit(x, np.eye(CLASSES)[y], verbose=0)
    assert one_line(error)
    with pytest.raises(InputError, match="labels") as error:
        trainer.fit(x, verbose=0)
    assert one_line(error)


@pytest.mark.parametrize("method", ["fit", "evaluate"])
@pytest.mark.parametrize("source", ["arrays", "dataset"])
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda x, y: (255 * x, y), r"span .*the model takes \[0, 1\]"),
        (lambda x, y: (np.where(x > 0.9, np.nan, x), y), "NaN"),
        (lambda x, y: (x[:, 1:], y), "shape"),
        (lambda x, y: (x, y + 1), "classes"),
    ],
)
def test_examples_that_do_not_fit_are_refused_before_a_weight_changes(method, source, spoil, message):
    x, y = spoil(*examples(40))
    trainer = robust(linear(), FGSM(THREAT))
    before = trainer.get_weights()
    data = (x, y) if source == "arrays" else (tf.data.Dataset.from_tensor_slices((x, y)).batch(40),)
    with pytest.raises(InputError, match=message) as error:
        getattr(trainer, method)(*data, verbose=0)
    assert one_line(error)
    assert all(np.array_equal(*pair) for pair in zip(before, trainer.get_weights(), strict=True))


def test_natural_training_takes_any_range():
    x, y = examples(8)
    robust(linear(), rate=1e-4).fit(255 * x, y, verbose=0)


def test_evaluate_gives_the_same_figures_at_every_call():
    trainer = robust(linear(), PGD(THREAT, steps=2, step_size=0.01))
    x, y = examples(200)
    first = trainer.evaluate(x, y, batch_size=50, verbose=0, return_dict=True)
    assert trainer.evaluate(x, y, batch_size=50, verbose=0, return_dict=True) == first


def test_robust_accuracy_is_unweighted_as_metrics_are():
    trainer = robust(linear(), FGSM(THREAT), metrics=["accuracy"])
    x, y = examples(64)
    weights = np.linspace(0, 5, 64)
    plain, weighted = (
        trainer.evaluate(x, y, sample_weight=w, verbose=0, return_dict=True) for w in (np.ones(64), weights)
    )
    assert {name: plain[name] for name in ("accuracy", "robust_accuracy")} == {
        name: weighted[name] for name in ("accuracy", "robust_accuracy")
    }
    assert plain["loss"] != weighted["loss"]


def test_half_precision_loses_no_gradient():
    """Gradients of a confident model, below what half precision can hold, all the same move every image."""
    model = linear()
    model.layers[-1].set_weights([14 * w for w in model.get_weights()])
    twin = keras.Sequential([keras.Input(SHAPE), layers.Flatten(), layers.Dense(CLASSES, dtype="mixed_float16")])
    twin.layers[-1].set_weights(model.get_weights())
    x, _ = examples(400)
    y = model.predict(x, verbose=0).argmax(-1)
    moved = [
        np.abs(FGSM(THREAT).perturb(lambda images, m=m: m(images), tf.constant(x), tf.constant(y)) - x).max((1, 2, 3))
        for m in (model, twin)
    ]
    assert (moved[0] > 0).all()
    unscaled = tf.Variable(x)
    with tf.GradientTape() as tape:
        loss = th.losses.cross_entropy(twin(unscaled), y)
    vanished = np.abs(tape.gradient(loss, unscaled)).max((1, 2, 3)) == 0
    assert vanished.sum() > (moved[1] == 0).sum()
