"""A PyTorch twin of a small Keras image classifier: the same weights and logits, NCHW instead of NHWC."""

import keras
import numpy as np
import torch
from torch import nn


def torch_twin(model: keras.Model) -> nn.Sequential:
    """Copies a chain of Conv2D, MaxPooling2D, Flatten, Dense and ReLU layers into an `nn.Sequential` in eval mode.

    Takes `[batch, channels, height, width]`. Keras pads a strided 'same' convolution by what the last window lacks, the
    odd pixel below and to the right, and flattens NHWC: the first dense layer's weights are reordered to match.

    Args:
        model: built Keras model without branches that ends in logits.

    Raises:
        ValueError: a layer, activation or option that has no counterpart here.
    """
    modules: list[nn.Module] = []
    flattened: tuple[int, int, int] | None = None  # (height, width, channels) before Flatten, until a Dense used it
    for layer in model.layers:
        if isinstance(layer, keras.layers.InputLayer | keras.layers.Dropout):
            continue
        if isinstance(layer, keras.layers.Conv2D):
            modules += _convolution(layer)
        elif isinstance(layer, keras.layers.MaxPooling2D):
            if layer.padding != "valid":
                raise ValueError(f"{layer.name}: only valid pooling has a twin")
            modules.append(nn.MaxPool2d(layer.pool_size, layer.strides))
        elif isinstance(layer, keras.layers.Flatten):
            flattened = tuple(layer.input.shape[1:])
            modules.append(nn.Flatten())
        elif isinstance(layer, keras.layers.Dense):
            modules.append(_dense(layer, flattened))
            flattened = None
        elif not isinstance(layer, keras.layers.ReLU | keras.layers.Activation):
            raise ValueError(f"{layer.name}: a {type(layer).__name__} has no twin")
        modules += _activation(layer)
    return nn.Sequential(*modules).eval().requires_grad_(False)


def _convolution(layer: keras.layers.Conv2D) -> list[nn.Module]:
    if layer.groups != 1 or layer.padding not in {"same", "valid"}:
        raise ValueError(f"{layer.name}: groups={layer.groups}, padding={layer.padding!r} has no twin")
    kernel = layer.kernel.numpy()  # height, width, in, out
    conv = nn.Conv2d(
        kernel.shape[2], kernel.shape[3], layer.kernel_size, layer.strides, dilation=layer.dilation_rate,
        bias=layer.use_bias,
    )  # fmt: skip
    conv.weight.data = torch.tensor(kernel.transpose(3, 2, 0, 1).copy())
    if layer.use_bias:
        conv.bias.data = torch.tensor(layer.bias.numpy())
    if layer.padding == "valid":
        return [conv]
    (top, bottom), (left, right) = (
        _same(size, window, stride, dilation)
        for size, window, stride, dilation in zip(
            layer.input.shape[1:3], layer.kernel_size, layer.strides, layer.dilation_rate, strict=True
        )
    )
    if (top, left) == (bottom, right):
        conv.padding = (top, left)  # what the convolution does itself is cheaper than a padded copy
        return [conv]
    return [nn.ZeroPad2d((left, right, top, bottom)), conv]


def _same(size: int, window: int, stride: int, dilation: int) -> tuple[int, int]:
    lacking = max(0, (-(-size // stride) - 1) * stride + dilation * (window - 1) + 1 - size)
    return lacking // 2, lacking - lacking // 2


def _dense(layer: keras.layers.Dense, flattened: tuple[int, int, int] | None) -> nn.Linear:
    kernel = layer.kernel.numpy()  # in, out
    if flattened is not None:
        kernel = kernel.reshape(*flattened, -1).transpose(2, 0, 1, 3).reshape(kernel.shape)
    dense = nn.Linear(*kernel.shape, bias=layer.use_bias)
    dense.weight.data = torch.tensor(kernel.T.copy())
    if layer.use_bias:
        dense.bias.data = torch.tensor(layer.bias.numpy())
    return dense


def _activation(layer: keras.layers.Layer) -> list[nn.Module]:
    if isinstance(layer, keras.layers.ReLU):
        if layer.max_value is not None or layer.negative_slope or layer.threshold:
            raise ValueError(f"{layer.name}: only the plain ReLU has a twin")
        return [nn.ReLU()]
    function = getattr(layer, "activation", keras.activations.linear)
    if function is keras.activations.linear:
        return []
    if function is keras.activations.relu:
        return [nn.ReLU()]
    raise ValueError(f"{layer.name}: the activation {function.__name__} has no twin")


def to_nchw(images: np.ndarray) -> torch.Tensor:
    """NHWC images as a contiguous NCHW tensor."""
    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))


def to_nhwc(images: torch.Tensor) -> np.ndarray:
    """NCHW images as a contiguous NHWC array."""
    return np.ascontiguousarray(images.detach().cpu().numpy().transpose(0, 2, 3, 1))
