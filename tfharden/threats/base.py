"""Threat: the base of all threat models, a ball round each clean image, cut by the box of valid inputs."""

import abc
import copy
import dataclasses
import functools
import math
from collections.abc import Callable
from typing import ClassVar, Self, cast

import numpy as np
import tensorflow as tf

from tfharden._deprecation import RenamedMembers
from tfharden._validation import is_finite_number
from tfharden.errors import InputError
from tfharden.serialization import Configurable

# float32 arithmetic on values near 1 rounds at 6e-8; a violation of this size is rounding, a larger one a fault.
TOLERANCE = 1e-6
TINY = float(np.finfo(np.float32).tiny)


@dataclasses.dataclass(frozen=True)
class Threat(RenamedMembers, Configurable, abc.ABC):
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
    # Order p of the norm (sum |x|^p)^(1/p), and the order of its dual; NaN where there is none.
    order: ClassVar[float] = math.nan
    dual_order: ClassVar[float] = math.nan
    # Whether steps that change few values rise most.
    sparse_steps: ClassVar[bool] = False

    _renamed = {  # noqa: RUF012
        "cut": "restrict",
        "climb": "step",
        "snap": "round_to_lattice",
        "land": "round_to_lattice_in_ball",
    }

    def __post_init__(self) -> None:
        if (
            np.shape(self.bounds) != (2,)
            or not all(map(is_finite_number, self.bounds))
            or self.bounds[0] >= self.bounds[1]
        ):
            raise InputError(f"bounds={self.bounds} are no range: give (low, high) with low < high")
        object.__setattr__(self, "bounds", tuple(map(float, self.bounds)))
        if not is_finite_number(self.epsilon) or self.epsilon < 0:
            raise InputError(f"epsilon={self.epsilon} is no radius: give a finite number >= 0")
        if self.lattice is not None and not (is_finite_number(self.lattice) and self.lattice > 0):
            raise InputError(f"lattice={self.lattice} is no spacing: give a number > 0, or None")
        low, high = self.bounds
        # A device with two values has a spacing of the whole range, but for rounding.
        if self.lattice is not None and self.lattice > (high - low) * (1 + TOLERANCE):
            raise InputError(f"lattice={self.lattice:g} is larger than the input range [{low:g}, {high:g}]")
        object.__setattr__(self, "epsilon", float(self.epsilon))
        object.__setattr__(self, "lattice", None if self.lattice is None else float(self.lattice))

    def __repr__(self) -> str:
        told = [_short(self.epsilon), f"bounds=({self.bounds[0]:g}, {self.bounds[1]:g})"]
        if self.lattice is not None:
            told.append(f"lattice={_short(self.lattice, self.bounds[1] - self.bounds[0])}")
        return f"{type(self).__name__}({', '.join(told)})"

    @property
    def tolerance(self) -> float:
        """What rounding to float32 may add to a bound or a distance: it grows with the values."""
        return max(self.rounding, TOLERANCE * self.epsilon)

    @property
    def rounding(self) -> float:
        """What rounding to float32 may add to a value."""
        return TOLERANCE * max(1.0, *map(abs, self.bounds))

    @abc.abstractmethod
    def draw(self, origin: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """A point drawn uniformly from the ball round `origin`, which may leave the box. `seed`: int32 [2]."""

    def random_start(self, origin: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """A point drawn uniformly from the ball, clipped to the box."""
        return tf.clip_by_value(self.draw(origin, seed), *self.bounds)

    @abc.abstractmethod
    def steepest(self, gradient: tf.Tensor) -> tf.Tensor:
        """The direction of length 1 in this norm along which a linear function rises most."""

    def step(
        self, x: tf.Tensor, gradient: tf.Tensor, length: float | tf.Tensor, spread: float | tf.Tensor = 1.0
    ) -> tf.Tensor:
        """`x` moved by `length` along the steepest direction; the box is left to `project`.

        Args:
            x: images.
            gradient: of what is climbed.
            length: of the move in this norm, a number or `[batch, 1, ...]`.
            spread: over how many values a norm with sparse steps (L1) shares the length out; others have no choice.
        """
        return x + length * self.steepest(gradient)

    def dual_length(self, normal: tf.Tensor) -> tf.Tensor:
        """How much a linear function of gradient `normal [batch, ...]` rises along a move of length 1, `[batch]`."""
        return tf.reduce_sum(normal * self.steepest(normal), axis=image_axes(normal))

    def nearest_on_hyperplane(self, x: tf.Tensor, normal: tf.Tensor, rise: tf.Tensor) -> tf.Tensor:
        """The shortest d with normal . d = rise and x + d in the box (Croce and Hein 2020, arXiv:1907.02044, eq. 5).

        Where no such d exists, the one within the box whose normal . d is nearest to `rise`. For the hyperplane
        w . (x + d) = b, `rise` is b - w . x: the caller mostly knows this difference better than its two parts.
        Epsilon doesn't matter.

        Args:
            x: points `[batch, ...]` in the box.
            normal: of the hyperplanes, finite, `[batch, ...]`.
            rise: what the linear function has to rise by, `[batch]`.

        Raises:
            InputError: a norm in which no such point is known.
        """
        raise InputError(f"no nearest point of a hyperplane is known in {self.norm}")

    @abc.abstractmethod
    def shrink(self, perturbation: tf.Tensor) -> tf.Tensor:
        """The nearest (Euclidean) point of the ball to `perturbation`."""

    @abc.abstractmethod
    def distance(self, x: tf.Tensor, origin: tf.Tensor) -> tf.Tensor:
        """Length of `x - origin` for each image, `[batch]`."""

    def restrict(self, bounds: tuple[float, float], lattice: float | None) -> Self:
        """The same threat to a device that receives only the lattice within narrower bounds."""
        return dataclasses.replace(self, bounds=bounds, lattice=lattice)

    def with_epsilon(self, epsilon: float | tf.Tensor) -> Self:
        """The same threat with another radius, in a graph a tensor; it may exceed the box, nothing is checked."""
        changed = copy.copy(self)
        object.__setattr__(changed, "epsilon", epsilon)
        return changed

    def scaled(self, share: float | tf.Tensor) -> Self:
        """The same threat with `share` times the radius, such as one that grows in training; nothing is checked."""
        return self.with_epsilon(share * self.epsilon)

    def project(self, x: tf.Tensor, origin: tf.Tensor) -> tf.Tensor:
        """`x` brought into the ball round `origin`, then into the box (which only shortens it)."""
        return self.projector(origin)(x)

    def projector(self, origin: tf.Tensor) -> "Projector":
        """`project` round one `origin`: a loop that projects at each step makes it once, before."""
        return Projector(self, origin, self._projection(origin))

    def _projection(self, origin: tf.Tensor) -> Callable[[tf.Tensor], tf.Tensor]:
        return lambda x: tf.clip_by_value(origin + self.shrink(x - origin), *self.bounds)

    def received(self, images: np.ndarray) -> np.ndarray:
        """Images as the device receives them: on the nearest lattice points in the box, float32."""
        return np.clip(np.asarray(self.round_to_lattice(images), np.float32), *self.bounds)

    def round_to_lattice(self, x: tf.Tensor) -> tf.Tensor:
        """`x` on the nearest lattice point: what the device makes of an image. Without a lattice, `x` itself."""
        return x if self.lattice is None else self._on_lattice(tf.round(self._steps(x)))

    def round_to_lattice_in_ball(self, x: tf.Tensor, origin: tf.Tensor) -> tf.Tensor:
        """`x` on the lattice, rounded towards `origin` (itself on the lattice), so that it stays in the ball."""
        if self.lattice is None:
            return x
        step = self._steps(tf.cast(x, tf.float32) - origin + self.bounds[0])  # a search in NumPy may give doubles
        # A whole number of steps may have become 2.9999998 on the way: let rounding errors not cost a step.
        whole = tf.sign(step) * tf.floor(tf.abs(step) + self.rounding / self.lattice)
        return self._on_lattice(tf.round(self._steps(origin)) + whole)

    def violation(self, x: tf.Tensor, origin: tf.Tensor) -> float:
        """Largest amount by which any image leaves ball, box or lattice; NaN counts as infinitely far."""
        low, high = self.bounds
        excesses = [self.distance(x, origin) - self.epsilon, low - tf.reduce_min(x), tf.reduce_max(x) - high]
        if self.lattice is not None:
            excesses.append(tf.abs(x - self.round_to_lattice(x)))
        worst = max((float(tf.reduce_max(excess)) for excess in excesses), default=0.0)
        finite = bool(tf.reduce_all(tf.math.is_finite(x)))
        return max(worst, 0.0) if finite else math.inf

    def _steps(self, x: tf.Tensor) -> tf.Tensor:
        return (x - self.bounds[0]) / cast("float", self.lattice)

    def _on_lattice(self, steps: tf.Tensor) -> tf.Tensor:
        low, high = self.bounds
        most = math.floor((high - low + self.rounding) / cast("float", self.lattice))
        return tf.clip_by_value(low + tf.clip_by_value(steps, 0.0, most) * self.lattice, low, high)


@dataclasses.dataclass(frozen=True, eq=False)
class Projector:
    """The projection into ball and box round clean images.

    Attributes:
        threat: says ball, box and lattice.
        origin: clean images, `[batch, ...]`.
    """

    threat: Threat
    origin: tf.Tensor
    _project: Callable[[tf.Tensor], tf.Tensor]

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        """Images `x` in ball and box."""
        return self._project(x)

    def received(self, x: tf.Tensor) -> tf.Tensor:
        """Images `x` of ball and box as the device receives them: on the lattice, in the ball."""
        return self.threat.round_to_lattice_in_ball(x, self.origin)


def _short(value: float, whole: float = 1.0) -> str:
    """A number in six digits, as a part of `whole` where that is exact and they are not; a tensor as it is."""
    if not is_finite_number(value):
        return str(value)
    text, parts = f"{value:g}", round(whole / value) if value else 0
    return f"{whole:g}/{parts}" if parts and float(text) != value == whole / parts else text


# The generator is named, or each device would choose its own and a seed mean something else on each.
uniform = functools.partial(tf.random.stateless_uniform, alg="philox")
normal = functools.partial(tf.random.stateless_normal, alg="philox")


def image_axes(x: tf.Tensor) -> list[int]:
    """All axes but that of the batch."""
    return list(range(1, len(x.shape)))


def per_image(values: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
    """`values [batch]` in the shape `[batch, 1, ...]` that goes with the images `x`."""
    return tf.reshape(values, [-1] + [1] * (len(x.shape) - 1))


def euclidean_length(x: tf.Tensor) -> tf.Tensor:
    """Euclidean length of each image, `[batch, 1, ...]`; scaled, since the squares of tiny gradients underflow."""
    axes = image_axes(x)
    scale = tf.maximum(tf.reduce_max(tf.abs(x), axis=axes, keepdims=True), TINY)
    return scale * tf.sqrt(tf.reduce_sum(tf.square(x / scale), axis=axes, keepdims=True))
