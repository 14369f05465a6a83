"""What can be attacked: one small protocol, and adapters for Keras models, .tflite files and plain callables."""

import abc
import hashlib
import importlib
import os
import pathlib
from collections.abc import Callable, Hashable
from typing import Any, ClassVar

import keras
import ml_dtypes
import numpy as np
import tensorflow as tf

from tfharden.errors import InputError
from tfharden.tflite import Runtime, TFLiteFile, read
from tfharden.threats import Threat

BATCH_SIZE = 256
# Forward passes need little memory: small images go through in larger batches, up to so many values at a time.
FORWARD_BATCH_SIZE, FORWARD_VALUES = 1024, 2**20


class Classifier(abc.ABC):
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
    differentiable: ClassVar[bool] = False

    @abc.abstractmethod
    def logits(self, images: np.ndarray) -> np.ndarray:
        """Logits of float32 images, in inference mode, float32 `[n, num_classes]`."""

    def logits_fn(self, images: tf.Tensor) -> tf.Tensor:
        """The same as a differentiable tensor function, for classifiers that are `differentiable`."""
        raise InputError(f"{self.name} gives no gradients: use a score-based attack, or transfer from a surrogate")

    def receive(self, threat: Threat) -> Threat:
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


class KerasClassifier(Classifier):
    """A Keras model with one image input; a softmax at its end is seen through.

    Args:
        model: built model, `[batch, *shape]` to `[batch, classes]`.
        name: what reports call it; the model's own name by default.
        bounds: range of valid inputs, from which the probe for probabilities is drawn.
        path: the file that it was loaded from, if any.

    Raises:
        InputError: several inputs or outputs, unknown shapes, fewer than two classes.
    """

    differentiable = True

    def __init__(
        self,
        model: keras.Model,
        name: str | None = None,
        bounds: tuple[float, float] = (0.0, 1.0),
        path: pathlib.Path | None = None,
    ) -> None:
        self.model = model
        self.path = path
        self.name = name or model.name
        self.input_shape, self.num_classes = shapes(model)
        self._to_logits, self.scores = logits_of(model, bounds)
        signature = [tf.TensorSpec([None, *self.input_shape], tf.float32)]
        self._compiled = tf.function(self.logits_fn, input_signature=signature, autograph=False)

    def logits_fn(self, images: tf.Tensor) -> tf.Tensor:  # noqa: D102
        return self._to_logits(self.model(images, training=False))

    def logits(self, images: np.ndarray) -> np.ndarray:  # noqa: D102
        values = int(np.prod(self.input_shape))
        size = max(BATCH_SIZE, min(FORWARD_BATCH_SIZE, FORWARD_VALUES // values))
        return in_batches(lambda batch: self._compiled(batch).numpy(), images, size)

    def fingerprint(self) -> str:
        """By its weights."""
        digest = hashlib.sha256(super().fingerprint().encode())
        for weight in self.model.weights:
            digest.update(np.ascontiguousarray(weight).tobytes())
        return digest.hexdigest()


class TFLiteClassifier(Classifier):
    """A .tflite file, run by the LiteRT interpreter.

    Args:
        file: path or checked file.
        name: what reports call it; the file's name by default.
        kernels: "xnnpack" (what phones run), "builtin" or "reference".
        threads: interpreter threads.
    """

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
        self.least = (self.file.output.scale or 2e-7) / 2
        probe = np.random.default_rng(0).uniform(*self._probe_range(), (16, *self.input_shape)).astype(np.float32)
        if are_probabilities(self.runtime.predict(probe), tolerance=self.num_classes * self.least):
            self.scores = "log of probabilities"

    def logits(self, images: np.ndarray) -> np.ndarray:  # noqa: D102
        outputs = self.runtime.predict(images)
        return outputs if self.scores == "logits" else np.log(np.maximum(outputs, self.least))

    def receive(self, threat: Threat) -> Threat:
        """On the integer lattice of the file's input; a float input gets 8-bit images, as a camera makes them."""
        try:
            low, high, spacing = self.runtime.receivable(*threat.bounds)
        except InputError as error:
            raise InputError(f"{self.name}: {error}") from error
        if low >= high:
            raise InputError(f"{self.name}: its input can't tell apart any two values in {threat.bounds}")
        return threat.cut((low, high), spacing or threat.lattice or (high - low) / 255)

    def fingerprint(self) -> str:
        """By the file and the kernels."""
        return f"{self.file.sha256} {self.kernels}"

    def _probe_range(self) -> tuple[float, float]:
        low, high, spacing = self.runtime.receivable(-1e9, 1e9)
        return (low, high) if spacing else (0.0, 1.0)


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


def as_classifier(model: object, bounds: tuple[float, float] = (0.0, 1.0), **options: object) -> Classifier:
    """A classifier from a classifier, a Keras model, a checked file, or the path of a .keras or .tflite file.

    Raises:
        InputError: something else, a missing or broken file, a .keras file with code in it (a Lambda layer).
    """
    if isinstance(model, Classifier):
        return model
    if isinstance(model, keras.Model):
        return KerasClassifier(model, bounds=bounds)
    if isinstance(model, TFLiteFile):
        return TFLiteClassifier(model, **options)  # type: ignore[arg-type]
    if isinstance(model, str | os.PathLike):
        path = pathlib.Path(model)
        if path.suffix == ".keras":
            return KerasClassifier(load_model(path), path.name, bounds, path)
        if path.suffix == ".tflite":
            return TFLiteClassifier(path, **options)  # type: ignore[arg-type]
        raise InputError(f"{path}: unknown kind of model file; known are .keras and .tflite")
    raise InputError(
        f"can't attack a {type(model).__name__}: give a Keras model, a .keras or .tflite path, a classifier"
    )


def load_model(path: str | os.PathLike[str]) -> keras.Model:
    """A .keras file loaded in safe mode: a file that carries code (a Lambda layer) is refused, never run.

    Raises:
        InputError: missing, broken or unsafe file.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    # Keras knows the layers of ours that a file may hold once they are imported, which can't be done at the top.
    for module in ("distillation.teachers", "compression.fake_quantization"):
        importlib.import_module(f"tfharden.{module}")
    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises whatever the archive, the JSON or HDF5 library raised
        reason = " ".join(str(error).split())
        if "Lambda" in reason or "unsafe" in reason:
            reason = "it holds a Lambda layer, that is code of its maker's, which is refused (safe mode)"
        raise InputError(f"{path}: can't be loaded: {reason[:300]}") from error


def shapes(model: keras.Model) -> tuple[tuple[int, ...], int]:
    """Shape of one image, and number of classes, of a Keras classifier.

    Raises:
        InputError: several inputs or outputs, unknown shapes, fewer than two classes.
    """
    try:
        (batch, *image), output = model.input_shape, model.output_shape
        _, classes = output
    except (AttributeError, TypeError, ValueError) as error:
        raise InputError(
            f"{model.name}: a classifier takes one batch of images and gives one row of logits an image; "
            f"a subclassed model has to be built with a Functional graph for that"
        ) from error
    if not image or not all(isinstance(size, int) for size in (*image, classes)) or classes < 2:  # noqa: PLR2004
        raise InputError(
            f"{model.name}: takes {(batch, *image)} and gives {output}: a classifier has one input and one output "
            f"of fixed sizes, and two classes or more"
        )
    return tuple(image), int(classes)


def logits_of(
    model: keras.Model, bounds: tuple[float, float] = (0.0, 1.0)
) -> tuple[Callable[[tf.Tensor], tf.Tensor], str]:
    """A function from the model's outputs to float32 logits, and a word on what those are (`Classifier.scores`).

    Keras keeps the input of a softmax on its output, for its own cross entropy to use; attacks use it likewise. Where
    outputs are probabilities of another making, their logarithm serves.
    """
    probe = np.random.default_rng(0).uniform(*bounds, (16, *shapes(model)[0])).astype(np.float32)
    outputs = model(probe, training=False)
    if not tf.is_tensor(outputs):
        raise InputError(f"{model.name}: gives a {type(outputs).__name__}: a classifier gives one tensor of logits")
    if hasattr(outputs, "_keras_logits"):
        return lambda outputs: tf.cast(outputs._keras_logits, tf.float32), "logits before the last activation"
    rounding = 100 * ml_dtypes.finfo(outputs.dtype.as_numpy_dtype).eps
    if are_probabilities(np.asarray(outputs, np.float32), tolerance=float(rounding)):
        return lambda outputs: tf.math.log(tf.maximum(tf.cast(outputs, tf.float32), 1e-12)), "log of probabilities"
    return lambda outputs: tf.cast(outputs, tf.float32), "logits"


def decide(logits: np.ndarray) -> np.ndarray:
    """The class with the largest logit, `[n]`; -1 where one is NaN or infinite: such an answer is an error."""
    return np.where(np.isfinite(logits).all(axis=-1), logits.argmax(axis=-1), -1)


def are_probabilities(outputs: np.ndarray, tolerance: float) -> bool:
    """Whether every row lies in [0, 1] and sums to 1, as AutoAttack asks before it attacks."""
    within = outputs.min() >= -tolerance and outputs.max() <= 1 + tolerance
    return bool(within and np.all(np.abs(outputs.sum(axis=-1) - 1) <= tolerance))


def in_batches(function: Callable[[np.ndarray], np.ndarray], images: np.ndarray, size: int = BATCH_SIZE) -> np.ndarray:
    """`function` over consecutive batches, joined."""
    return np.concatenate([function(images[start : start + size]) for start in range(0, len(images), size)])
