"""Small reference architectures by name: plain Functional models that end in logits and export to built-in operators.

Every one takes images of any size and channels and names its stages `conv1`, `conv2`, ... (`hidden1`, `hidden2` where
they are dense), which feature losses refer to, and its last layer `logits`.
"""

from collections.abc import Callable

import keras
import numpy as np
from keras import layers

from tfharden._deprecation import renamed_names
from tfharden._registry import Registry
from tfharden._validation import check_whole_number

Shape = tuple[int, ...]

# Slope of the soft threshold: it rises from 0.05 to 0.95 within 0.2, half of the gap that Linf 0.3 leaves between a
# black and a white pixel.
THRESHOLD_SLOPE = 30.0


def cnn(input_shape: Shape, num_classes: int, width: int = 16, *, name: str = "cnn") -> keras.Model:
    """Three 3x3 convolutions of width, 1.5 width and 2 width channels, each of the last two pooled, then the logits.

    No other dense layer lies between the two.

    Args:
        input_shape: (height, width, channels).
        num_classes: number of logits.
        width: channels of the first stage; parameters grow with its square.
        name: the model's name.
    """
    inputs = keras.Input(input_shape, name="image")
    x = _conv(inputs, width, "conv1")
    x = _halve(_conv(x, 3 * width // 2, "conv2"), "pool2")
    x = _halve(_conv(x, 2 * width, "conv3"), "pool3")
    x = layers.Flatten(name="flatten")(x)
    return keras.Model(inputs, layers.Dense(num_classes, name="logits")(x), name=name)


def threshold(input_shape: Shape, num_classes: int, width: int = 32, *, name: str = "threshold") -> keras.Model:
    """Three convolutions, two of them strided, and a dense layer behind a soft threshold, for nearly binary images.

    On MNIST, networks that become robust in Linf learn to threshold each pixel first (Madry et al. 2018,
    arXiv:1706.06083, appendix C). Here sigmoid(30 (x - 1/2)) does so from the start, for values in [0, 1], by a 1x1
    convolution that is trained as all else. It rises everywhere, so that an attack by the sign of the gradient sees
    through it: several thresholds with flat parts between them hide gradients instead.
    """
    inputs = keras.Input(input_shape, name="image")
    x = _soft_threshold(inputs)
    for index, (channels, size, strides) in enumerate([(width, 5, 2), (2 * width, 3, 1), (2 * width, 4, 2)], start=1):
        kernel = {"kernel_initializer": "he_normal", "name": f"conv{index}"}
        x = layers.Conv2D(channels, size, strides, padding="same", activation="relu", **kernel)(x)
    x = layers.Dense(4 * width, activation="relu", name="hidden")(layers.Flatten(name="flatten")(x))
    return keras.Model(inputs, layers.Dense(num_classes, name="logits")(x), name=name)


def strided(input_shape: Shape, num_classes: int, width: int = 16, *, name: str = "strided") -> keras.Model:
    """Two 4x4 convolutions of stride 2, a 1x1 one between them, and a small dense layer: little to train and to run.

    No convolution sees the image at its full size, and channels are whole vectors where `width` divides by 16.
    """
    inputs = keras.Input(input_shape, name="image")
    return _strided(inputs, inputs, num_classes, width, name)


def strided_threshold(
    input_shape: Shape, num_classes: int, width: int = 16, *, name: str = "strided_threshold"
) -> keras.Model:
    """`strided` behind the soft threshold of `threshold`, for nearly binary images."""
    inputs = keras.Input(input_shape, name="image")
    return _strided(inputs, _soft_threshold(inputs), num_classes, width, name)


def mlp(input_shape: Shape, num_classes: int, width: int = 64, *, name: str = "mlp") -> keras.Model:
    """Two dense layers of `width` units: the smallest thing that is not linear."""
    inputs = keras.Input(input_shape, name="image")
    x = layers.Flatten(name="flatten")(inputs)
    x = layers.Dense(width, activation="relu", name="hidden1")(x)
    x = layers.Dense(width, activation="relu", name="hidden2")(x)
    return keras.Model(inputs, layers.Dense(num_classes, name="logits")(x), name=name)


def depthwise(input_shape: Shape, num_classes: int, width: int = 16, *, name: str = "depthwise") -> keras.Model:
    """Depthwise-separable convolutions after a plain one, for few multiply-adds (MobileNet, arXiv:1704.04861)."""
    inputs = keras.Input(input_shape, name="image")
    x = _conv(inputs, width, "conv1")
    for stage, channels in enumerate((2 * width, 4 * width, 4 * width), start=2):
        x = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name=f"depthwise{stage}")(x)
        x = layers.BatchNormalization(name=f"depthwise{stage}_norm")(x)
        x = layers.ReLU(name=f"depthwise{stage}_relu")(x)
        x = layers.Conv2D(channels, 1, use_bias=False, name=f"pointwise{stage}")(x)
        x = layers.BatchNormalization(name=f"pointwise{stage}_norm")(x)
        x = layers.ReLU(name=f"conv{stage}")(x)
        x = _halve(x, f"pool{stage}")
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(inputs, layers.Dense(num_classes, name="logits")(x), name=name)


def resnet(input_shape: Shape, num_classes: int, width: int = 16, *, name: str = "resnet") -> keras.Model:
    """ResNet-8: a stem and residual blocks of width, 2 width, 4 width (arXiv:1512.03385; the size of MLPerf Tiny's)."""
    inputs = keras.Input(input_shape, name="image")
    x = _conv(inputs, width, "conv1", norm=True)
    for stage, channels in enumerate((width, 2 * width, 4 * width), start=2):
        stride = 1 if stage == 2 else 2  # noqa: PLR2004
        shortcut = x if stride == 1 else layers.Conv2D(channels, 1, strides=2, name=f"conv{stage}_shortcut")(x)
        x = _conv(x, channels, f"conv{stage}_inner", norm=True, strides=stride)
        x = layers.Conv2D(channels, 3, padding="same", use_bias=False, name=f"conv{stage}_outer")(x)
        x = layers.BatchNormalization(name=f"conv{stage}_outer_norm")(x)
        x = layers.ReLU(name=f"conv{stage}")(layers.Add(name=f"conv{stage}_add")([x, shortcut]))
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(inputs, layers.Dense(num_classes, name="logits")(x), name=name)


KNOWN: Registry[Callable[..., keras.Model]] = Registry(
    "model",
    {
        "cnn": cnn,
        "threshold": threshold,
        "strided": strided,
        "strided_threshold": strided_threshold,
        "mlp": mlp,
        "depthwise": depthwise,
        "resnet": resnet,
    },
)
register = KNOWN.register


def build(
    name: str, input_shape: Shape, num_classes: int, width: int | None = None, *, seed: int | None = None
) -> keras.Model:
    """The architecture of that name; `seed` fixes its first weights.

    Raises:
        InputError: an unknown name (the message lists the known ones), or a width below 1.
    """
    make = KNOWN.find(name)
    if width is not None:
        check_whole_number("width", width)
    if seed is not None:
        keras.utils.set_random_seed(seed)
    return make(input_shape, num_classes, **({} if width is None else {"width": width}))


get = build  # the name that it has in other registries
__getattr__ = renamed_names(__name__, {"BY_NAME": "KNOWN"}, globals())


def _conv(x: keras.KerasTensor, channels: int, name: str, *, norm: bool = False, strides: int = 1) -> keras.KerasTensor:
    if not norm:
        return layers.Conv2D(channels, 3, strides, padding="same", activation="relu", name=name)(x)
    x = layers.Conv2D(channels, 3, strides, padding="same", use_bias=False, name=f"{name}_linear")(x)
    x = layers.BatchNormalization(name=f"{name}_norm")(x)
    return layers.ReLU(name=name)(x)


def _soft_threshold(x: keras.KerasTensor) -> keras.KerasTensor:
    """Each channel by itself through sigmoid(30 (x - 1/2))."""
    channels = x.shape[-1]
    layer = layers.Conv2D(channels, 1, activation="sigmoid", name="threshold")
    cut = layer(x)
    layer.set_weights([THRESHOLD_SLOPE * np.eye(channels)[None, None], np.full(channels, -THRESHOLD_SLOPE / 2)])
    return cut


def _strided(inputs: keras.KerasTensor, x: keras.KerasTensor, num_classes: int, width: int, name: str) -> keras.Model:
    wide = 3 * width // 2
    for index, (channels, size, strides) in enumerate([(wide, 4, 2), (width, 1, 1), (width, 4, 2)], start=1):
        kernel = {"kernel_initializer": "he_normal", "name": f"conv{index}"}
        x = layers.Conv2D(channels, size, strides, padding="same", activation="relu", **kernel)(x)
    x = layers.Dense(wide, activation="relu", name="hidden")(layers.Flatten(name="flatten")(x))
    return keras.Model(inputs, layers.Dense(num_classes, name="logits")(x), name=name)


def _halve(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    """2x2 pooling where there is something left to pool."""
    return layers.MaxPooling2D(2, name=name)(x) if min(x.shape[1:3]) > 1 else x
