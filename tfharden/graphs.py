"""Graphs of Keras models, walked once more."""

from collections.abc import Callable

import keras
from keras import layers


def rebuilt(
    model: keras.Model,
    call: Callable[..., object],
    replace: Callable[[layers.Layer], layers.Layer] = lambda layer: layer,
) -> keras.Model:
    """A model of the same graph on a new input.

    Args:
        model: Functional or Sequential.
        call: `call(layer, *inputs, **settings)` runs each layer that `replace` gave, and may add others.
        replace: a layer to the one that takes its place; the layer itself by default.
    """
    if isinstance(model, keras.Sequential):  # Keras refuses a call_function there
        images = output = keras.Input(batch_shape=model.input_shape, dtype=model.inputs[0].dtype)
        for layer in model.layers:
            output = call(replace(layer), output)
        return keras.Model(images, output, name=model.name)
    return keras.models.clone_model(model, clone_function=replace, call_function=call)
