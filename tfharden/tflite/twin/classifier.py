"""A .tflite that white-box attacks can climb: gradients of its twin, answers of the interpreter."""

import os
from typing import ClassVar

import tensorflow as tf

from tfharden.classifiers import TFLiteClassifier
from tfharden.tflite.reader import TFLiteFile
from tfharden.tflite.twin.twin import Twin


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

    differentiable: ClassVar[bool] = True

    def __init__(
        self,
        file: TFLiteFile | str | os.PathLike[str],
        name: str | None = None,
        kernels: str = "xnnpack",
        threads: int = 2,
    ) -> None:
        super().__init__(file, name, kernels, threads)
        self.twin = Twin(self.file, kernels)

    def logits_fn(self, images: tf.Tensor) -> tf.Tensor:
        """The twin's logits, before a softmax at the end."""
        return self.twin.logits_fn(images)

    def fingerprint(self) -> str:
        """By the file, the kernels, and that gradients are the twin's."""
        return f"{super().fingerprint()} twin"
