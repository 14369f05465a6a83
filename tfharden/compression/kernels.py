"""Kernels of a model, which pruning and clustering work on."""

from collections.abc import Sequence

import keras
from keras import layers

from tfharden.errors import InputError

# Attributes of layers that hold kernels; their last axis counts the outputs, but for a depthwise kernel's.
ATTRIBUTES = ("kernel", "depthwise_kernel", "pointwise_kernel")
LAYERS = (layers.Dense, layers.Conv1D, layers.Conv2D, layers.DepthwiseConv2D, layers.SeparableConv2D)


def kernels(model: keras.Model, only: Sequence[str] = ()) -> dict[str, keras.Variable]:
    """Kernels of convolutions and dense layers by their path, nested models' too, in the order of the layers.

    Args:
        model: built model.
        only: names of layers; all by default.

    Raises:
        InputError: a name that no such layer has, a model without kernels.
    """
    found = [layer for layer in model._flatten_layers() if isinstance(layer, LAYERS)]
    missing = set(only) - {layer.name for layer in found}
    if missing:
        known = ", ".join(layer.name for layer in found)
        raise InputError(f"{model.name} has no layer {sorted(missing)[0]!r} with a kernel: it has {known}")
    chosen = [layer for layer in found if not only or layer.name in only]
    if not chosen:
        raise InputError(f"{model.name} has no kernel to compress: no convolution and no dense layer")
    named = [(layer, name) for layer in chosen for name in ATTRIBUTES if hasattr(layer, name)]
    return {getattr(layer, name).path: getattr(layer, name) for layer, name in named}


def depthwise_paths(model: keras.Model) -> frozenset[str]:
    """Paths of the kernels `[height, width, inputs, multiplier]`, whose outputs sum over height and width alone."""
    found = [layer for layer in model._flatten_layers() if isinstance(layer, LAYERS)]
    kept = [layer.kernel for layer in found if isinstance(layer, layers.DepthwiseConv2D)]
    kept += [layer.depthwise_kernel for layer in found if isinstance(layer, layers.SeparableConv2D)]
    return frozenset(kernel.path for kernel in kept)
