"""TFLite files as classifiers: as black boxes, and with the gradients of their twins."""

import os

import numpy as np
import tensorflow as tf

from tfharden.classifiers.base import Classifier, are_probabilities
from tfharden.errors import InputError
from tfharden.tflite import Runtime, TFLiteFile, read
from tfharden.tflite.twin import Twin
from tfharden.threats import Threat


class TFLiteClassifier(Classifier):
    """A .tflite file, run by the LiteRT interpreter.

    Args:
        file: path or checked file.
        name: what reports call it; the file's name by default.
        kernels: "xnnpack" (what phones run), "builtin" or "reference".
        threads: interpreter threads.

    Attributes:
        opaque: why it gives no gradients; empty if it does.
    """

    opaque = "it was opened as a black box"

    def __init__(
        self,
        file: TFLiteFile | str | os.PathLike[str],
        name: str | None = None,
        kernels: str = "xnnpack",
        threads: int = 2,
    ) -> None:
        self.file = file if isinstance(file, TFLiteFile) else read(file)
        self.name = name or self.file.name
        self.runtime = Runtime(self.file, kernels=kernels, threads=threads)
        self.kernels = kernels
        self.input_shape = tuple(self.file.input.shape[1:])
        self.num_classes = int(self.file.output.shape[-1])
        # Probabilities below it are no longer told apart.
        self.probability_floor = (self.file.output.scale or 2e-7) / 2
        probe = np.random.default_rng(0).uniform(*self._probe_range(), (16, *self.input_shape)).astype(np.float32)
        tolerance = self.num_classes * self.probability_floor
        self.probabilities = are_probabilities(self.runtime.predict(probe), tolerance)
        if self.probabilities:
            self.scores = "log of probabilities"

    def logits(self, images: np.ndarray) -> np.ndarray:  # noqa: D102
        outputs = self.runtime.predict(images)
        return np.log(np.maximum(outputs, self.probability_floor)) if self.probabilities else outputs

    def logits_fn(self, images: tf.Tensor) -> tf.Tensor:  # noqa: D102
        raise InputError(
            f"{self.name} gives no gradients, since {self.opaque}: use a score-based attack, or transfer from a "
            f"surrogate"
        )

    def restrict_threat(self, threat: Threat) -> Threat:
        """On the integer lattice of the file's input; a float input gets 8-bit images, as a camera makes them."""
        try:
            low, high, spacing = self.runtime.receivable(*threat.bounds)
        except InputError as error:
            raise InputError(f"{self.name}: {error}") from error
        if low >= high:
            raise InputError(f"{self.name}: its input can't tell apart any two values in {threat.bounds}")
        return threat.restrict((low, high), spacing or threat.lattice or (high - low) / 255)

    def fingerprint(self) -> str:
        """By the file and the kernels."""
        return f"{self.file.sha256} {self.kernels}"

    def _probe_range(self) -> tuple[float, float]:
        low, high, spacing = self.runtime.receivable(-1e9, 1e9)
        return (low, high) if spacing else (0.0, 1.0)


class TwinClassifier(TFLiteClassifier):
    """A .tflite with the gradients of its twin.

    The twin only aims: logits, classes and so the success of every attack are the interpreter's, on the integer lattice
    of the file's input.

    Args:
        file: path or checked file.
        name: what reports call it; the file's name by default.
        kernels: "xnnpack" or "reference", for twin and interpreter.
        threads: interpreter threads.

    Raises:
        InputError: as `TFLiteClassifier` and `Twin`.
    """

    differentiable = True
    opaque = ""

    def __init__(
        self,
        file: TFLiteFile | str | os.PathLike[str],
        name: str | None = None,
        kernels: str = "xnnpack",
        threads: int = 2,
    ) -> None:
        file = file if isinstance(file, TFLiteFile) else read(file)
        self.twin = Twin(file, kernels)
        super().__init__(file, name, kernels, threads)
        if "SOFTMAX" in self.twin.seen_through:
            self.scores = "logits before the last activation"

    def logits_fn(self, images: tf.Tensor) -> tf.Tensor:
        """The twin's logits, before a softmax at the end."""
        logits = self.twin.logits_fn(images)
        return (
            tf.math.log(tf.maximum(logits, self.probability_floor)) if self.scores == "log of probabilities" else logits
        )

    def fingerprint(self) -> str:
        """By the file, the kernels, and that gradients are the twin's."""
        return f"{super().fingerprint()} twin"


def tflite_classifier(
    file: TFLiteFile | str | os.PathLike[str], name: str | None = None, kernels: str = "xnnpack", threads: int = 2
) -> TFLiteClassifier:
    """A .tflite with the gradients of its twin where it has one, else as a black box that tells why not.

    Args:
        file: path or checked file.
        name: what reports call it; the file's name by default.
        kernels: "xnnpack" (what phones run), "builtin" or "reference". The second has no twin.
        threads: interpreter threads.

    Raises:
        InputError: a missing or broken file, unknown kernels.
    """
    file = file if isinstance(file, TFLiteFile) else read(file)
    try:
        return TwinClassifier(file, name, kernels, threads)
    except InputError as error:
        classifier = TFLiteClassifier(file, name, kernels, threads)
        classifier.opaque = str(error)
        return classifier
