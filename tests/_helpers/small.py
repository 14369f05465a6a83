"""A small trained-on model and its data, which the tests of compression share."""

import keras
import numpy as np

import tfharden as th

SHAPE, CLASSES = (8, 8, 1), 3
THREAT = th.Linf(0.1)


def cnn(width=4, seed=0):
    keras.utils.set_random_seed(seed)
    return th.models.cnn(SHAPE, CLASSES, width=width)


def examples(count=64, seed=0):
    """Images whose class is the brightest of three rows."""
    x = np.random.default_rng(seed).random((count, *SHAPE), np.float32)
    return x, x.mean(axis=(2, 3))[:, :CLASSES].argmax(axis=-1).astype(np.int32)


def fitted(trainer, *callbacks, epochs=5, rate=0.01, average=0.0, **settings):
    """History of a training of 8 steps an epoch; of one epoch eagerly, since tracing a graph would take longer."""
    optimizer = keras.optimizers.Adam(rate, use_ema=average > 0, ema_momentum=average or None)
    trainer.compile(optimizer, run_eagerly=epochs == 1)
    swap = [keras.callbacks.SwapEMAWeights()] if average else []
    x, y = examples()
    return trainer.fit(x, y, batch_size=8, epochs=epochs, verbose=0, callbacks=[*callbacks, *swap], **settings).history


def one_line(error):
    return "\n" not in str(error.value) and str(error.value)
