"""Proposals of the Square attack, by norm: a change within a rectangle at a random place of each image.

Images are `[n, height, width, channels]`, what lies in a window of each `[n, channels, rows, columns]`. Only windows
are read and written, so that a proposal costs little beside the query.
"""

import abc
import functools
import math
from collections.abc import Callable

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from tfharden.threats import Threat

PIXELS = (1, 2, 3)  # the axes of one image
INITIAL_TILES = 25  # of the first guess in L2 and L1
CANCELLED_MASS = 1e-6  # of 1: less is what rounding leaves of two opposites
RADIUS_SHARE = 1 - 1e-6  # of epsilon is aimed at: rounding to float32 must not carry an image out of its ball


class Window:
    """A rectangle of one size in every image, at a place of its own in each."""

    def __init__(self, size: tuple[int, int], images: np.ndarray, rng: np.random.Generator) -> None:
        count, height, width, _ = images.shape
        rows, columns = size
        top = rng.integers(0, height - rows + 1, count)
        self._place = np.arange(count), top, rng.integers(0, width - columns + 1, count)
        self._size = size

    def read(self, images: np.ndarray) -> np.ndarray:
        """A copy of what lies in the windows."""
        return sliding_window_view(images, self._size, axis=(1, 2))[self._place]

    def write(self, images: np.ndarray, values: np.ndarray, chosen: np.ndarray | None = None) -> None:
        """Puts `values` into the windows, or into those `chosen` by a mask."""
        view = sliding_window_view(images, self._size, axis=(1, 2), writeable=True)
        if chosen is None:
            view[self._place] = values
        else:
            view[tuple(index[chosen] for index in self._place)] = values[chosen]


class Proposals(abc.ABC):
    """Candidates in one norm, in ball, box and lattice.

    Attributes:
        images: the best of each example so far; from `propose` to `settle`, the candidates.
    """

    def __init__(self, threat: Threat, origin: np.ndarray, rng: np.random.Generator) -> None:
        self.threat, self.origin, self.rng = threat, origin, rng
        self._replaced: list[tuple[Window, np.ndarray]] = []
        self.images = self._first_guess()

    @abc.abstractmethod
    def _first_guess(self) -> np.ndarray:
        """Where the search begins."""

    @abc.abstractmethod
    def propose(self, share: float) -> None:
        """Changes each image within a square of that share of its pixels."""

    def settle(self, kept: np.ndarray) -> None:
        """Takes the last proposal back where it isn't kept, `[n]`."""
        for window, before in self._replaced:
            window.write(self.images, before, ~kept)
        self._replaced = []

    def pack(self, left: np.ndarray) -> None:
        """Goes on with the examples `left` alone, a mask `[n]`."""
        self.images, self.origin = self.images[left], self.origin[left]

    def _replace(self, window: Window, before: np.ndarray, after: np.ndarray) -> None:
        window.write(self.images, after)
        self._replaced.append((window, before))

    def _coins(self, *shape: int) -> np.ndarray:
        return self.rng.random(shape) < 0.5  # noqa: PLR2004


class LinfProposal(Proposals):
    """Linf: every value stands at the lower or the upper end of what ball, box and lattice allow."""

    def _first_guess(self) -> np.ndarray:
        """Vertical stripes."""
        threat, origin = self.threat, self.origin
        self._lower, self._upper = (
            np.asarray(threat.round_to_lattice_in_ball(threat.project(end, origin), origin))
            for end in (origin - threat.epsilon, origin + threat.epsilon)
        )
        count, _, width, channels = origin.shape
        return np.where(self._coins(count, 1, width, channels), self._upper, self._lower)

    def propose(self, share: float) -> None:
        """One end for each channel of the window; where that changes nothing, the others."""
        count, height, width, channels = self.images.shape
        window = Window(window_size(share * height * width, height, width), self.images, self.rng)
        up = self._coins(count, channels, 1, 1)
        lower, upper, before = (window.read(images) for images in (self._lower, self._upper, self.images))
        after = np.where(up, upper, lower)
        idle = (after == before).all(axis=PIXELS, keepdims=True)
        self._replace(window, before, np.where(up ^ idle, upper, lower) if idle.any() else after)

    def pack(self, left: np.ndarray) -> None:  # noqa: D102
        super().pack(left)
        self._lower, self._upper = self._lower[left], self._upper[left]


class LpProposal(Proposals):
    """L2 and L1: a hill beside a hollow is laid into one window, and another window is emptied.

    What the first window gets is as long as what both held and what the whole image lacked of epsilon: images stay on
    the surface of the ball but for what box and lattice cut off, which the next window gets back.
    """

    @property
    def order(self) -> int:
        """Order of the norm."""
        return int(self.threat.order)

    @property
    def steepness(self) -> int:
        """Steepness of the hills: 2 in L2 (Andriushchenko et al. 2020), 4 in L1 (Croce and Hein 2021)."""
        return 4 // self.order

    def _first_guess(self) -> np.ndarray:
        """Tiles, each a hill beside a hollow."""
        threat, origin = self.threat, self.origin
        count, height, width, channels = origin.shape
        rows, columns = window_size(height * width / INITIAL_TILES, height, width, rounding=math.floor)
        down, across = height // rows, width // columns
        # [n, channels, down, across, rows, columns], so that the coins of a tile are one for each channel.
        tiles = self._reliefs((rows, columns), (count, 1, down, across), (count, channels, down, across))
        tiles = tiles.transpose(0, 2, 4, 3, 5, 1).reshape(count, down * rows, across * columns, channels)
        top, left = (height - down * rows) // 2, (width - across * columns) // 2
        change = np.zeros_like(origin)
        change[:, top : top + down * rows, left : left + across * columns] = tiles
        change = _scaled(change, threat.epsilon, self.order, axes=PIXELS)
        images = np.array(threat.round_to_lattice_in_ball(threat.project(origin + change, origin), origin))
        # The sum that each ball bounds: kept up to date window by window.
        self._held = _mass(images - origin, self.order, axes=PIXELS)
        return images

    def propose(self, share: float) -> None:
        """Empties one window, and adds a hill and a hollow to what another holds."""
        count, height, width, channels = self.images.shape
        size = window_size(share * height * width, height, width, odd=True)
        window, emptied = (Window(size, self.images, self.rng) for _ in range(2))
        before, origin = window.read(self.images), window.read(self.origin)
        given, bare = emptied.read(self.images), emptied.read(self.origin)
        self._replace(emptied, given, bare)
        # Where the two overlap, only one of them holds something now.
        mass = _mass(given - bare, self.order) + _mass(window.read(self.images) - origin, self.order)
        lacking = (RADIUS_SHARE * self.threat.epsilon) ** self.order - self._held
        budget = np.maximum(lacking / channels + mass, 0.0) ** (1 / self.order)
        laid = self._reliefs(size, (count, 1), (count, channels))
        change = laid + _scaled(before - origin, 1.0, self.order)
        gone = _mass(change, self.order) < CANCELLED_MASS
        change = _scaled(np.where(gone, laid, change), budget, self.order)
        after = np.clip(origin + change, *self.threat.bounds)
        after = np.asarray(self.threat.round_to_lattice_in_ball(after, origin))
        self._held_before = self._held
        self._held = self._held + (_mass(after - origin, self.order) - mass).sum(axis=PIXELS, keepdims=True)
        self._replace(window, before, after)

    def settle(self, kept: np.ndarray) -> None:  # noqa: D102
        if self._replaced:
            self._held = np.where(kept.reshape(self._held.shape), self._held, self._held_before)
        super().settle(kept)

    def pack(self, left: np.ndarray) -> None:  # noqa: D102
        super().pack(left)
        self._held = self._held[left]

    def _reliefs(self, size: tuple[int, int], turns: tuple[int, ...], signs: tuple[int, ...]) -> np.ndarray:
        """Hills and hollows side by side or one above the other, and which is which, as coins of these shapes fall."""
        upright = self._coins(*turns).astype(int)
        negative = self._coins(*signs)[..., None, None]
        drawn = np.stack([relief(size, self.order, self.steepness), relief(size[::-1], self.order, self.steepness).T])
        return np.where(negative, -1, 1) * drawn[upright]


def make_proposals(threat: Threat, origin: np.ndarray, rng: np.random.Generator) -> Proposals:
    """Proposals of the Square attack in the norm of the threat, for clean images `origin`."""
    return (LinfProposal if math.isinf(threat.order) else LpProposal)(threat, origin, rng)


def window_size(
    pixels: float, height: int, width: int, *, odd: bool = False, rounding: Callable[[float], int] = round
) -> tuple[int, int]:
    """Rows and columns of a square of so many pixels, or of a longer rectangle where the image is too narrow for it."""
    side = max(rounding(math.sqrt(pixels)), 1)
    if odd:
        side = max(side, 3) | 1
    if side > min(height, width):
        narrow = min(height, width)
        wide = min(max(rounding(pixels / narrow), narrow), max(height, width))
        return (narrow, wide) if height <= width else (wide, narrow)
    return side, side


@functools.cache
def relief(size: tuple[int, int], order: int, steepness: int) -> np.ndarray:
    """A hill above a hollow, of equal lengths in the norm of that order and of length 1 together."""
    rows, columns = size
    if rows == 1:  # there is no above
        return relief((columns, 1), order, steepness).T if columns > 1 else np.ones((1, 1), np.float32)
    halves = (_hill(half, columns, steepness) for half in (rows // 2, rows - rows // 2))
    upper, lower = (_scaled(half, 1.0, order) for half in halves)
    return _scaled(np.concatenate([upper, -lower]), 1.0, order)


def _hill(rows: int, columns: int, steepness: int) -> np.ndarray:
    """Squares round the middle, one within the other, of the heights 1 / k^steepness with k = 1 for the innermost."""
    middle = rows // 2, columns // 2
    ring = np.maximum(*np.abs(np.indices((rows, columns)) - np.reshape(middle, (2, 1, 1))))
    heights = np.arange(1, max(middle) + 2, dtype=np.float64) ** -steepness
    return np.cumsum(heights[::-1])[::-1][ring].astype(np.float32)


def _mass(change: np.ndarray, order: int, axes: tuple[int, ...] = (-2, -1)) -> np.ndarray:
    """The sum of |change|^order over `axes`, which are kept; in double precision, as it is added up for long."""
    return np.sum(np.abs(change, dtype=np.float64) ** order, axis=axes, keepdims=True)


def _scaled(change: np.ndarray, length: float | np.ndarray, order: int, axes: tuple[int, ...] = (-2, -1)) -> np.ndarray:
    """`change` brought to that length in the norm of that order; nothing stays nothing."""
    held = _mass(change, order, axes) ** (1 / order)
    return change * (length / np.maximum(held, np.finfo(np.float32).tiny)).astype(np.float32)
