"""Checks of the models that ensembles and label maps are made of."""

from collections.abc import Sequence

import keras

from tfharden.classifiers import logits_of, shapes
from tfharden.errors import InputError


def image_shape(models: Sequence[keras.Model], preprocess: Sequence[keras.layers.Layer | None]) -> tuple[int, ...]:
    """Shape of the image that all models are given, each behind its `preprocess`.

    It is that of the first model without a `preprocess`, since a layer (Resizing, say) may change the shape; where
    every model has one, that of the first.

    Raises:
        InputError: no Keras classifiers or layers, a model that takes another shape than it is given.
    """
    for model in models:
        if not isinstance(model, keras.Model):
            raise InputError(f"{type(model).__name__} is no Keras model: give built classifiers")
    takes = [shapes(model)[0] for model in models]
    common = next((shape for shape, layer in zip(takes, preprocess, strict=True) if layer is None), takes[0])
    for model, shape, layer in zip(models, takes, preprocess, strict=True):
        given = common if layer is None else _behind(layer, common)
        if given != shape:
            behind = "" if layer is None else f", behind {layer.name}"
            raise InputError(f"{model.name} takes images {shape} and would be given {given}{behind}")
    return common


def _behind(layer: keras.layers.Layer, shape: tuple[int, ...]) -> tuple[int, ...]:
    if not isinstance(layer, keras.layers.Layer):
        raise InputError(
            f"preprocess is a {type(layer).__name__}: give Keras layers or models, which can be saved, or None"
        )
    try:
        return tuple(layer(keras.KerasTensor((None, *shape))).shape[1:])
    except Exception as error:  # whatever the layer raised
        reason = " ".join(str(error).split())
        raise InputError(f"preprocess {layer.name} can't take images {shape}: {reason:.200}") from error


def gives_probabilities(model: keras.Model) -> bool:
    """Whether a model's outputs are probabilities, and not logits."""
    return logits_of(model)[1] != "logits"


def check_temperature(temperature: float) -> float:
    """The temperature as a float.

    Raises:
        InputError: it isn't above 0, or not finite.
    """
    if not 0 < temperature < float("inf"):
        raise InputError(f"temperature={temperature} has to be > 0 and finite")
    return float(temperature)
