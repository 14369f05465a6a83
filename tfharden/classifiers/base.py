"""Classifier: the base of everything that can be attacked."""

import abc
from collections.abc import Callable, Hashable
from typing import Any

import numpy as np
import tensorflow as tf

from tfharden._deprecation import RenamedMembers
from tfharden.errors import InputError
from tfharden.threats import Threat

BATCH_SIZE = 256
# Of one call that asks about many images at a time: images, and values in all of them.
MOST_IMAGES, MOST_VALUES = 4096, 2**24


class Classifier(RenamedMembers, abc.ABC):
    """Images `[n, *input_shape]` to logits `[n, num_classes]`, with or without gradients.

    Attributes:
        name: what reports call it.
        input_shape: shape of one image.
        num_classes: number of logits.
        scores: what the logits are: "logits", "logits before the last activation", "log of probabilities".
    """

    name: str
    input_shape: tuple[int, ...]
    num_classes: int
    scores: str = "logits"
    differentiable: bool = False

    _renamed = {"receive": "restrict_threat"}  # noqa: RUF012

    @abc.abstractmethod
    def logits(self, images: np.ndarray) -> np.ndarray:
        """Logits of float32 images, in inference mode, float32 `[n, num_classes]`."""

    def logits_fn(self, images: tf.Tensor) -> tf.Tensor:
        """The same as a differentiable tensor function, for classifiers that are `differentiable`."""
        raise InputError(f"{self.name} gives no gradients: use a score-based attack, or transfer from a surrogate")

    def require_gradients(self) -> None:
        """Refuses a classifier without gradients.

        Raises:
            InputError: it is not `differentiable`; the message says why, and what to use instead.
        """
        if not self.differentiable:
            self.logits_fn(tf.zeros([1, *self.input_shape]))

    def restrict_threat(self, threat: Threat) -> Threat:
        """The threat as this classifier meets it: cut to the inputs that it can receive."""
        return threat

    def compiled(self, key: Hashable, make: Callable[[], Any]) -> Any:  # noqa: ANN401
        """What `make` makes, made once for this classifier and `key`: compiled functions that attacks run again."""
        made = self.__dict__.setdefault("_made", {})
        if key not in made:
            made[key] = make()
        return made[key]

    def fingerprint(self) -> str:
        """What tells this classifier from others, as far as it is known: by default its name and shapes."""
        return f"{self.name} {self.input_shape} {self.num_classes}"

    def predict(self, images: np.ndarray) -> np.ndarray:
        """The class of each image, `[n]`; -1, which is no class, where the logits are not all finite."""
        return decide(self.logits(images))


def decide(logits: np.ndarray) -> np.ndarray:
    """The class with the largest logit, `[n]`; -1 where one is NaN or infinite: such an answer is an error."""
    return np.where(np.isfinite(logits).all(axis=-1), logits.argmax(axis=-1), -1)


def are_probabilities(outputs: np.ndarray, tolerance: float) -> bool:
    """Whether every row lies in [0, 1] and sums to 1, as AutoAttack asks before it attacks."""
    within = outputs.min() >= -tolerance and outputs.max() <= 1 + tolerance
    return bool(within and np.all(np.abs(outputs.sum(axis=-1) - 1) <= tolerance))


def images_per_call(size: int) -> int:
    """How many images of `size` values each to ask about at a time, so that memory doesn't grow with their size."""
    return max(1, min(MOST_IMAGES, MOST_VALUES // size))


def in_batches(function: Callable[[np.ndarray], np.ndarray], images: np.ndarray, size: int = BATCH_SIZE) -> np.ndarray:
    """`function` over consecutive batches, joined in an array of the first one's type; there is one image at least."""
    first = function(images[:size])
    joined = np.empty((len(images), *first.shape[1:]), first.dtype)
    joined[:size] = first
    for start in range(size, len(images), size):
        joined[start : start + size] = function(images[start : start + size])
    return joined
