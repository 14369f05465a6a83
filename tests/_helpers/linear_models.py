"""Linear models of two classes, whose robust accuracy is known in closed form, and their evaluation."""

import functools

import keras
import numpy as np
import pytest
from keras import layers

import tfharden as th
from tfharden.errors import InputError

SHAPE, EPSILON = (4, 4, 1), 0.03
THREAT = th.Linf(EPSILON)


def linear(kernel=None, bias=(0.0, 0.0), *, softmax=False, name="linear"):
    """Two classes: z = W x + b."""
    if kernel is None:  # of mean 0, so that images about 0.5 fall into both classes
        kernel = np.random.default_rng(0).normal(size=(16, 2))
        kernel -= kernel.mean(axis=0)
    kernel = np.asarray(kernel)
    model = keras.Sequential(
        [keras.Input(SHAPE), layers.Flatten(), layers.Dense(2, activation="softmax" if softmax else None)], name=name
    )
    model.set_weights([kernel.astype(np.float32), np.array(bias, np.float32)])
    return model


@functools.cache
def linear_classifier(softmax=False):
    """A classifier that many tests share, so that its graphs are traced once."""
    return th.KerasClassifier(linear(softmax=softmax))


def examples(count=200, model=None, noise=0.1, low=0.2, high=0.8, seed=1):
    """Images far from the box's walls, and the model's own classes but for a share of wrong labels."""
    random = np.random.default_rng(seed)
    x = random.uniform(low, high, (count, *SHAPE)).astype(np.float32)
    y = model.predict(x, verbose=0).argmax(axis=-1) if model else linear_classifier().predict(x)
    return x, np.where(random.random(count) < noise, 1 - y, y).astype(np.int32)


def weak_and_strong(model, count):
    """Images that a perturbation of radius EPSILON can bring down, and such that none can."""
    x, _ = examples(noise=0.0)
    y = model.predict(x, verbose=0).argmax(axis=-1)
    robust = robust_by_hand(model, x, y)
    chosen = [np.flatnonzero(~robust)[:count], np.flatnonzero(robust)[:count]]
    assert [len(c) for c in chosen] == [count, count]
    return [(x[c], y[c]) for c in chosen]


def margins(model, x, y):
    """(w_y - w_other) x + b_y - b_other of a two-class linear model, in float64, and the difference of weights."""
    kernel, bias = (w.astype(np.float64) for w in model.get_weights())
    sign = np.where(y == 0, 1, -1)
    direction = kernel[:, 0] - kernel[:, 1]
    return sign * (x.reshape(len(x), -1).astype(np.float64) @ direction + bias[0] - bias[1]), direction


def robust_by_hand(model, x, y, threat=THREAT):
    """Within the box's reach: correct at distance epsilon iff margin > epsilon * |w|_dual."""
    margin, direction = margins(model, x, y)
    dual = np.abs(direction).sum() if threat.norm == "Linf" else np.linalg.norm(direction)
    return margin > threat.epsilon * dual


def without_seconds(value):
    """Part of a report without what differs from run to run."""
    if isinstance(value, dict):
        return {key: without_seconds(item) for key, item in value.items() if key != "seconds"}
    return [without_seconds(item) for item in value] if isinstance(value, list) else value


def content(models, data, threat=THREAT, attacks=("pgd",), **options):
    return th.evaluate(models, data, threat, attacks, **options).content


def only(found):
    (model,) = found["models"]
    return model


def by_name(model):
    return {attack["name"]: attack for attack in model["attacks"]}


def refused(match, *arguments, **options):
    with pytest.raises(InputError, match=match) as error:
        th.evaluate(*arguments, **options)
    assert "\n" not in str(error.value)
