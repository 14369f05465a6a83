"""From a Keras model to a .tflite file that has been run before anyone gets it."""

import contextlib
import dataclasses
import warnings
from collections.abc import Iterator

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from tfharden import files, quiet
from tfharden.classifiers import KerasClassifier, TFLiteClassifier
from tfharden.errors import InputError
from tfharden.export import recipes
from tfharden.inputs import check_images
from tfharden.tflite import TFLiteFile, parse

# Float kernels sum in another order than Keras' own; a broken file is off by the size of the logits themselves.
FLOAT_TOLERANCE = 1e-3
# Share of images on which an integer file has to agree with its source on the class.
LEAST_AGREEMENT = 0.9
# Images for the comparison where no calibration images are given.
PROBES = 64


class ExportError(RuntimeError):
    """The converter failed, or its file doesn't do what the model does."""


@dataclasses.dataclass(frozen=True)
class Artifact:
    """A converted model, compared with its source.

    Attributes:
        file: the file's content, checked and read.
        recipe: name of the recipe.
        agreement: share of the compared images on which file and model predict the same class.
        largest_error: largest difference of a logit, as a share of the largest logit of the model.
    """

    file: TFLiteFile
    recipe: str
    agreement: float
    largest_error: float

    def save(self, path: files.Path) -> None:
        """Writes the .tflite file, whole or not at all.

        Raises:
            InputError: it can't be written.
        """
        files.write_bytes(path, self.file.content)


def to_tflite(
    model: keras.Model,
    recipe: str = "int8",
    calibration: np.ndarray | None = None,
    bounds: tuple[float, float] = (0.0, 1.0),
) -> Artifact:
    """Converts, runs the result beside the model, and only then returns it.

    Batch 1 is fixed in the graph, as microcontrollers need it, and only built-in operators are allowed.

    Args:
        model: built classifier.
        recipe: "float32", or "int8" for integers throughout, input and output among them.
        calibration: images `[n, ...]` on which the ranges of activations are measured: what the model will meet, clean
            and attacked, since ranges from clean images alone would clip the attacked ones.
        bounds: range of the model's input.

    Raises:
        InputError: an unknown recipe, images that don't fit the model, several inputs.
        ExportError: the converter fails, or the file's answers aren't the model's.
    """
    chosen = recipes.get(recipe)
    source = KerasClassifier(model, bounds=bounds)
    if calibration is not None:
        calibration = check_images(calibration, source.input_shape, bounds)
    probes = calibration
    if probes is None:
        probes = np.random.default_rng(0).uniform(*bounds, (PROBES, *source.input_shape)).astype(np.float32)
    if len(probes) > 1 and not np.ptp(source.logits(probes), axis=0).any():
        raise InputError(f"{model.name} answers the same for every image: it has learnt nothing, or its units are dead")
    content = _convert(model, source.input_shape, chosen, calibration)
    try:
        file = parse(content, f"{model.name}.tflite")
    except InputError as error:
        raise ExportError(f"the converter made an unusable file: {error}") from error
    return _compared(source, file, chosen, probes)


def _convert(
    model: keras.Model, shape: tuple[int, ...], recipe: recipes.Recipe, calibration: np.ndarray | None
) -> bytes:
    signature = [tf.TensorSpec([1, *shape], tf.float32, name="image")]
    graph = tf.function(lambda image: model(image, training=False), input_signature=signature, autograph=False)
    with _quiet():
        converter = tf.lite.TFLiteConverter.from_concrete_functions([graph.get_concrete_function()], model)
        # By way of a SavedModel, variables would stay variables; the graph itself is frozen to constants.
        converter.experimental_lower_to_saved_model = False
        recipe.apply(converter, calibration)
        try:
            return converter.convert()
        except InputError:
            raise
        except Exception as error:  # the converter raises its own classes, and bare ones
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise ExportError(f"{model.name} can't be converted to {recipe.name}: {reason}") from error


def _compared(source: KerasClassifier, file: TFLiteFile, recipe: recipes.Recipe, images: np.ndarray) -> Artifact:
    """The artifact, once its answers are known to be the model's on these images."""
    if recipe.io != tf.float32 and (file.input.dtype, file.output.dtype) != (recipe.io.as_numpy_dtype,) * 2:
        raise ExportError(f"asked for {recipe.io.name} input and output, got {file.input.dtype}, {file.output.dtype}")
    converted = TFLiteClassifier(file)
    expected, got = source.logits(images), converted.logits(images)
    agreement = float(np.mean(expected.argmax(axis=-1) == got.argmax(axis=-1)))
    if converted.scores == "log of probabilities":
        # Of what the file rounds to nothing it can't tell more.
        expected = np.log(np.maximum(tf.nn.softmax(expected), converted.least))
    # A softmax in the file leaves logits up to a constant.
    expected, got = (z - z.mean(axis=-1, keepdims=True) for z in (expected, got))
    error = float(np.abs(expected - got).max() / max(float(np.abs(expected).max()), 1e-6))
    if not np.isfinite(error) or (recipe is recipes.FLOAT32 and error > FLOAT_TOLERANCE):
        raise ExportError(f"the {recipe.name} file of {source.name} is off by {error:.2g} of the largest logit")
    if recipe.calibrated and agreement < LEAST_AGREEMENT:
        raise ExportError(
            f"the {recipe.name} file of {source.name} agrees with its source on {agreement:.1%} of the calibration "
            f"images only: do they look like what the model was trained on?"
        )
    return Artifact(file, recipe.name, agreement, error)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the converter's notes to its makers: Python's warnings, absl's log, native stderr."""
    level = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        with warnings.catch_warnings(action="ignore"), quiet.native_stderr():
            yield
    finally:
        logging.set_verbosity(level)
