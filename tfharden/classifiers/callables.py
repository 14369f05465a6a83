"""Plain functions as classifiers."""

from collections.abc import Callable

import numpy as np

from tfharden.classifiers.base import Classifier, in_batches
from tfharden.errors import InputError


class CallableClassifier(Classifier):
    """Any function from float32 images `[n, *input_shape]` to scores `[n, num_classes]`, as a black box.

    Args:
        function: the model; higher scores are likelier.
        input_shape: shape of one image.
        num_classes: number of scores.
        name: what reports call it.
    """

    def __init__(
        self,
        function: Callable[[np.ndarray], np.ndarray],
        input_shape: tuple[int, ...],
        num_classes: int,
        name: str = "callable",
    ) -> None:
        self.function = function
        self.input_shape = tuple(input_shape)
        self.num_classes = num_classes
        self.name = name

    def logits(self, images: np.ndarray) -> np.ndarray:  # noqa: D102
        return in_batches(self._scores, images)

    def _scores(self, batch: np.ndarray) -> np.ndarray:
        scores = np.asarray(self.function(batch.copy()), np.float32)  # a copy, since functions may work in place
        expected = (len(batch), self.num_classes)
        if scores.shape != expected:
            raise InputError(f"{self.name} answered {scores.shape} for {len(batch)} images: expected {expected}")
        return scores
