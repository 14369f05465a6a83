"""Ensemble of teachers of the same classes: the average of their probabilities."""

import collections
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfharden.classifiers import shapes, to_logits
from tfharden.distillation.teachers.common import check_temperature, gives_probabilities, image_shape
from tfharden.errors import InputError
from tfharden.serialization import registered


def ensemble(
    models: Sequence[keras.Model],
    weights: Sequence[float] | None = None,
    temperature: float = 1.0,
    preprocess: Sequence[keras.layers.Layer | None] | None = None,
    name: str = "ensemble",
) -> keras.Model:
    """One Functional model over a shared image, whose logits z give the members' average probabilities.

        softmax(z / T) = sum_k w_k softmax(z_k / T)

    The average of probabilities is what an ensemble predicts (Lakshminarayanan et al. 2017, arXiv:1612.01474), and what
    Hinton, Vinyals and Dean 2015 (arXiv:1503.02531) distil; in an average of logits the member with the largest ones
    would count most. It is exact at
    the temperature T given here, so give SoftTarget the same; at another one softmax(z / T') is no longer an average.

    Members are used as they are, layers, weights and `trainable` flags, and `get_layer(member.name)` finds each. They
    may end in logits or in softmax. The model is saved and loaded as any other, in safe mode too.

    Args:
        models: built classifiers for the same images and classes, `[batch, ...]` to logits or probabilities. Names
            have to differ: layers are found by them, and Keras allows none twice in a model. Two of the same name are
            refused, since another name would have to be written into the caller's model: do so with `model.name = ...`.
        weights: of the members, >= 0; only their ratios matter. The same for all by default.
        temperature: T > 0.
        preprocess: a layer or model applied to the image before each member (`keras.layers.Rescaling(255)` for one
            that takes 0 to 255), or None for none.
        name: the ensemble's name.

    Returns:
        A model from images `[batch, ...]` to float32 logits `[batch, classes]`, all <= 0.

    Raises:
        InputError: no members, members of other images or classes or of the same name, weights or `preprocess` of
            another number than members, weights below zero, all zero or not finite, a temperature that is not > 0.
    """
    if isinstance(models, keras.Model) or not len(models):
        raise InputError("an ensemble needs members: give a list of models")
    preprocess = [None] * len(models) if preprocess is None else list(preprocess)
    weights = [1.0] * len(models) if weights is None else list(weights)
    for given, what in ((weights, "weights"), (preprocess, "preprocess")):
        if len(given) != len(models):
            raise InputError(f"{what} has {len(given)} entries for {len(models)} members")
    shape = image_shape(models, preprocess)
    classes = [shapes(model)[1] for model in models]
    if len(set(classes)) > 1:
        told = ", ".join(f"{model.name} {count}" for model, count in zip(models, classes, strict=True))
        raise InputError(f"members tell different numbers of classes apart: {told}")
    average = AverageProbabilities(weights, temperature, [gives_probabilities(model) for model in models])
    image = keras.Input(shape, name="image")
    # A preprocessing layer may serve several members; a model that is given twice counts as two of the same name.
    distinct = {id(layer): layer.name for layer in preprocess if layer is not None}.values()
    names = collections.Counter(["image", average.name, *distinct, *(model.name for model in models)])
    twice = [used for used, count in names.items() if count > 1]
    if twice:
        raise InputError(f"more than one part of the ensemble is called {twice[0]!r}: set model.name to another name")
    outputs = [model(image if layer is None else layer(image)) for model, layer in zip(models, preprocess, strict=True)]
    return keras.Model(image, average(outputs), name=name)


@registered
class AverageProbabilities(keras.layers.Layer):
    """Classifiers' outputs to the logits of their weighted average: z = T log sum_k w_k softmax(z_k / T).

    Computed from log-probabilities in float32, so that a very confident member stays exact.

    Args:
        weights: w_k >= 0, brought to the sum 1.
        temperature: T > 0.
        probabilities: for each classifier, whether it gives probabilities, and not logits.
        name: the layer's name.

    Raises:
        InputError: weights below zero, all zero or not finite, a temperature that is not > 0.
    """

    def __init__(
        self,
        weights: Sequence[float],
        temperature: float,
        probabilities: Sequence[bool],
        name: str = "average_probabilities",
    ) -> None:
        # Autocasting would copy its inputs, and a copy of a softmax's output has lost its logits.
        super().__init__(name=name, dtype="float32", autocast=False)
        try:
            values = np.asarray(weights, np.float64)
        except (TypeError, ValueError):
            values = np.full(1, np.nan)
        if not (values.ndim == 1 and np.all(np.isfinite(values)) and np.all(values >= 0) and np.sum(values) > 0):
            raise InputError(f"weights {list(weights)} have to be finite numbers >= 0, not all of them 0")
        self.shares = values / values.sum()
        self.temperature = check_temperature(temperature)
        self.probabilities = [bool(value) for value in probabilities]
        self._given = [float(value) for value in values]

    def call(self, outputs: Sequence[tf.Tensor]) -> tf.Tensor:
        """Logits `[batch, classes]` of the members' outputs, a list of `[batch, classes]`."""
        terms = [
            np.float32(np.log(share))
            + tf.nn.log_softmax(to_logits(output, probabilities=probabilities) / self.temperature)
            for output, share, probabilities in zip(outputs, self.shares, self.probabilities, strict=True)
            if share > 0
        ]
        return self.temperature * tf.reduce_logsumexp(tf.stack(terms), axis=0)

    def compute_output_shape(self, input_shape: Sequence[tuple[int | None, ...]]) -> tuple[int | None, ...]:
        """That of any member."""
        return tuple(input_shape[0])

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            "weights": self._given,
            "temperature": self.temperature,
            "probabilities": self.probabilities,
            "name": self.name,
        }
