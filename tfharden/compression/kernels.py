"""The kernels of a model, which is what pruning and clustering work on."""

from collections.abc import Sequence

import keras
from keras import layers

from tfharden.errors import InputError

# Where layers keep them; their last axis counts the outputs, but for a depthwise kernel's.
NAMES = ("kernel", "depthwise_kernel", "pointwise_kernel")
KINDS = (layers.Dense, layers.Conv1D, layers.Conv2D, layers.DepthwiseConv2D, layers.SeparableConv2D)


def kernels(model: keras.Model, only: Sequence[str] = ()) -> dict[str, keras.Variable]:
    """Kernels of convolutions and dense layers by their path, nested models' too, in the order of the layers.

    Args:
        model: built model.
        only: names of layers; all by default.

    Raises:
        InputError: a name that no such layer has, a model without kernels.
    """
    found = [layer for layer in model._flatten_layers() if isinstance(layer, KINDS)]
    missing = set(only) - {layer.name for layer in found}
    if missing:
        known = ", ".join(layer.name for layer in found)
        raise InputError(f"{model.name} has no layer {sorted(missing)[0]!r} with a kernel: it has {known}")
    chosen = [layer for layer in found if not only or layer.name in only]
    if not chosen:
        raise InputError(f"{model.name} has no kernel to compress: no convolution and no dense layer")
    named = [(layer, name) for layer in chosen for name in NAMES if hasattr(layer, name)]
    return {getattr(layer, name).path: getattr(layer, name) for layer, name in named}
