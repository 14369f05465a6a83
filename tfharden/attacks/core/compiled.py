"""Functions compiled once, and the rows of a batch that they are called with."""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf


def traced(function: Callable[..., Any], *signature: Any) -> Any:  # noqa: ANN401
    """A function that is traced here and now, once for all batches that fit the signature, without AutoGraph."""
    return tf.function(function, input_signature=signature, autograph=False).get_concrete_function()


def rows(nest: Any, chosen: np.ndarray | slice) -> Any:  # noqa: ANN401
    """Tensors of the rows `chosen` of all arrays in a nest."""
    return tf.nest.map_structure(lambda array: tf.constant(array[chosen]), nest)


def write_rows(nest: Any, chosen: np.ndarray, tensors: Any) -> None:  # noqa: ANN401
    """Puts tensors back into the rows of the arrays that they came from."""
    for array, tensor in zip(tf.nest.flatten(nest), tf.nest.flatten(tensors), strict=True):
        array[chosen] = tensor.numpy()
