"""Threat models: how far, and by which distance, an adversary may move an image.

A threat owns all geometry, so that attacks are written once for every norm. Images are float tensors
`[batch, ...]`; a perturbation is measured for each image over all axes but the first.
"""

import abc
import dataclasses
import functools
import math
import numbers
from typing import ClassVar, Self

import numpy as np
import tensorflow as tf

from tfharden.configurable import Configurable, registered
from tfharden.errors import InputError

# float32 arithmetic on values near 1 rounds at 6e-8; a violation of this size is rounding, a larger one a fault.
TOLERANCE = 1e-6
TINY = float(np.finfo(np.float32).tiny)


@dataclasses.dataclass(frozen=True)
class Threat(Configurable, abc.ABC):
    """A ball round each clean image, cut by the box of valid inputs.

    Args:
        epsilon: radius of the ball, in units of the model's input.
        bounds: `(low, high)`, the range of valid inputs.
        lattice: spacing of the values that a device can receive, counted from `low` (1/255 for 8-bit images in
            [0, 1]); None where every float is possible.

    Raises:
        InputError: epsilon negative, not finite, or (Linf) larger than the box; bounds or lattice out of order.
    """

    epsilon: float
    bounds: tuple[float, float] = (0.0, 1.0)
    lattice: float | None = None

    norm: ClassVar[str]

    def __post_init__(self) -> None:
        if np.shape(self.bounds) != (2,) or not all(map(_is_finite, self.bounds)) or self.bounds[0] >= self.bounds[1]:
            raise InputError(f"bounds={self.bounds} are no range: give (low, high) with low < high")
        object.__setattr__(self, "bounds", tuple(map(float, self.bounds)))
        if not _is_finite(self.epsilon) or self.epsilon < 0:
            raise InputError(f"epsilon={self.epsilon} is no radius: give a finite number >= 0")
        if self.lattice is not None and not (_is_finite(self.lattice) and self.lattice > 0):
            raise InputError(f"lattice={self.lattice} is no spacing: give a number > 0, or None")
        low, high = self.bounds
        # A device with two values has a spacing of the whole range, but for rounding.
        if self.lattice is not None and self.lattice > (high - low) * (1 + TOLERANCE):
            raise InputError(f"lattice={self.lattice:g} is larger than the input range [{low:g}, {high:g}]")
        object.__setattr__(self, "epsilon", float(self.epsilon))
        object.__setattr__(self, "lattice", None if self.lattice is None else float(self.lattice))

    @property
    def tolerance(self) -> float:
        """What rounding to float32 may add to a bound or a distance: it grows with the values."""
        return TOLERANCE * max(1.0, self.epsilon, *map(abs, self.bounds))

    @abc.abstractmethod
    def random_start(self, origin: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """A point drawn uniformly from the ball round `origin`, clipped to the box. `seed`: int32 [2]."""

    @abc.abstractmethod
    def steepest(self, gradient: tf.Tensor) -> tf.Tensor:
        """The direction of length 1 in this norm along which a linear function rises most."""

    @abc.abstractmethod
    def shrink(self, perturbation: tf.Tensor) -> tf.Tensor:
        """The nearest (Euclidean) point of the ball to `perturbation`."""

    @abc.abstractmethod
    def distance(self, x: tf.Tensor, origin: tf.Tensor) -> tf.Tensor:
        """Length of `x - origin` for each image, `[batch]`."""

    def cut(self, bounds: tuple[float, float], lattice: float | None) -> Self:
        """The same threat to a device that receives only the lattice within narrower bounds."""
        return dataclasses.replace(self, bounds=bounds, lattice=lattice)

    def project(self, x: tf.Tensor, origin: tf.Tensor) -> tf.Tensor:
        """`x` brought into the ball round `origin`, then into the box (which only shortens it)."""
        return tf.clip_by_value(origin + self.shrink(x - origin), *self.bounds)

    def snap(self, x: tf.Tensor) -> tf.Tensor:
        """`x` on the nearest lattice point: what the device makes of an image. Without a lattice, `x` itself."""
        return x if self.lattice is None else self._on_lattice(tf.round(self._steps(x)))

    def land(self, x: tf.Tensor, origin: tf.Tensor) -> tf.Tensor:
        """`x` on the lattice, rounded towards `origin` (itself on the lattice), so that it stays in the ball."""
        if self.lattice is None:
            return x
        step = self._steps(x - origin + self.bounds[0])
        # A whole number of steps may have become 2.9999998 on the way: let rounding errors not cost a step.
        whole = tf.sign(step) * tf.floor(tf.abs(step) + self.tolerance / self.lattice)
        return self._on_lattice(tf.round(self._steps(origin)) + whole)

    def violation(self, x: tf.Tensor, origin: tf.Tensor) -> float:
        """Largest amount by which any image leaves ball, box or lattice; NaN counts as infinitely far."""
        low, high = self.bounds
        excesses = [self.distance(x, origin) - self.epsilon, low - tf.reduce_min(x), tf.reduce_max(x) - high]
        if self.lattice is not None:
            excesses.append(tf.abs(x - self.snap(x)))
        worst = max((float(tf.reduce_max(excess)) for excess in excesses), default=0.0)
        finite = bool(tf.reduce_all(tf.math.is_finite(x)))
        return max(worst, 0.0) if finite else math.inf

    def _steps(self, x: tf.Tensor) -> tf.Tensor:
        return (x - self.bounds[0]) / self.lattice

    def _on_lattice(self, steps: tf.Tensor) -> tf.Tensor:
        low, high = self.bounds
        most = math.floor((high - low + self.tolerance) / self.lattice)
        return tf.clip_by_value(low + tf.clip_by_value(steps, 0.0, most) * self.lattice, low, high)


@registered
class Linf(Threat):
    """Every value of the image may change by at most epsilon: max_i |x_i - origin_i| <= epsilon."""

    norm = "Linf"

    def __post_init__(self) -> None:
        super().__post_init__()
        low, high = self.bounds
        if self.epsilon > high - low:
            raise InputError(
                f"epsilon={self.epsilon:g} is larger than the input range [{low:g}, {high:g}]: "
                f"epsilon is in units of the model's input (8/255, say, for images in [0, 1])"
            )

    def cut(self, bounds: tuple[float, float], lattice: float | None) -> Self:
        """As for every threat; a ball that the narrower box lies in is no larger than the box."""
        epsilon = min(self.epsilon, bounds[1] - bounds[0])
        return dataclasses.replace(self, epsilon=epsilon, bounds=bounds, lattice=lattice)

    def random_start(self, origin: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:  # noqa: D102
        noise = _uniform(tf.shape(origin), seed, -self.epsilon, self.epsilon, origin.dtype)
        return tf.clip_by_value(origin + noise, *self.bounds)

    def steepest(self, gradient: tf.Tensor) -> tf.Tensor:  # noqa: D102
        return tf.sign(gradient)

    def shrink(self, perturbation: tf.Tensor) -> tf.Tensor:  # noqa: D102
        return tf.clip_by_value(perturbation, -self.epsilon, self.epsilon)

    def distance(self, x: tf.Tensor, origin: tf.Tensor) -> tf.Tensor:  # noqa: D102
        return tf.reduce_max(tf.abs(x - origin), axis=_image_axes(x))


@registered
class L2(Threat):
    """The Euclidean length of the change is at most epsilon: sqrt(sum_i (x_i - origin_i)^2) <= epsilon."""

    norm = "L2"

    def random_start(self, origin: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """A uniform point of the ball: a Gaussian direction at radius epsilon * u^(1/d), u uniform in [0, 1]."""
        direction = self.steepest(_normal(tf.shape(origin), seed, dtype=origin.dtype))
        dimension = tf.cast(tf.size(origin[0]), origin.dtype)
        shape = tf.concat([tf.shape(origin)[:1], tf.ones([tf.rank(origin) - 1], tf.int32)], axis=0)
        radius = _uniform(shape, seed + 1, dtype=origin.dtype) ** (1.0 / dimension)
        return tf.clip_by_value(origin + self.epsilon * radius * direction, *self.bounds)

    def steepest(self, gradient: tf.Tensor) -> tf.Tensor:  # noqa: D102
        return gradient / tf.maximum(_length(gradient), TINY)

    def shrink(self, perturbation: tf.Tensor) -> tf.Tensor:  # noqa: D102
        return perturbation * tf.minimum(1.0, self.epsilon / tf.maximum(_length(perturbation), TINY))

    def distance(self, x: tf.Tensor, origin: tf.Tensor) -> tf.Tensor:  # noqa: D102
        return tf.sqrt(tf.reduce_sum(tf.square(x - origin), axis=_image_axes(x)))


NORMS: dict[str, type[Threat]] = {threat.norm.lower(): threat for threat in (Linf, L2)}


def get(norm: str, epsilon: float, bounds: tuple[float, float] = (0.0, 1.0), lattice: float | None = None) -> Threat:
    """The threat of that norm, "linf" or "l2" in any case.

    Raises:
        InputError: an unknown norm (the message lists the known ones), or numbers the threat refuses.
    """
    if norm.lower() not in NORMS:
        raise InputError(f"unknown norm {norm!r}: known are {', '.join(NORMS)}")
    return NORMS[norm.lower()](epsilon, bounds, lattice)


# The generator is named, or each device would choose its own and a seed mean something else on each.
_uniform = functools.partial(tf.random.stateless_uniform, alg="philox")
_normal = functools.partial(tf.random.stateless_normal, alg="philox")


def _image_axes(x: tf.Tensor) -> list[int]:
    return list(range(1, len(x.shape)))


def _length(x: tf.Tensor) -> tf.Tensor:
    """Euclidean length of each image, `[batch, 1, ...]`; scaled, since the squares of tiny gradients underflow."""
    axes = _image_axes(x)
    scale = tf.maximum(tf.reduce_max(tf.abs(x), axis=axes, keepdims=True), TINY)
    return scale * tf.sqrt(tf.reduce_sum(tf.square(x / scale), axis=axes, keepdims=True))


def _is_finite(value: object) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)
