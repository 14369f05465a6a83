"""Parity of a converted file with its source, on the same images."""

import warnings

import numpy as np
import tensorflow as tf

from tfharden.classifiers import KerasClassifier, TFLiteClassifier
from tfharden.export.artifact import ExportError
from tfharden.export.recipes import Recipe
from tfharden.tflite import TFLiteFile

# Share of images on which a file with rounded activations has to agree with its source on the class.
LEAST_AGREEMENT = 0.9
# Classes whose scores are closer than that are the same to an output of 8 bits: each is off by half a step, and by as
# much again where the layers before it round.
_EQUAL_STEPS = 2


def compare(
    source: KerasClassifier,
    file: TFLiteFile,
    recipe: Recipe,
    images: np.ndarray,
    kind: str = "",
    least_agreement: float = LEAST_AGREEMENT,
) -> tuple[float, float]:
    """Agreement on the class, and the largest error of a logit as a share of the largest logit of the source.

    Args:
        source: the model.
        file: what was made of it.
        recipe: how.
        images: float32 `[n, ...]`.
        kind: what the images are, in words; empty for noise, on which classes are too close to ask for agreement.
        least_agreement: share of images on which a file with rounded numbers has to agree with the source.

    Raises:
        ExportError: the file isn't of the recipe's types, or is further from its source than the recipe explains.
    """
    _check_types(source, file, recipe)
    converted = TFLiteClassifier(file)
    expected, got = source.logits(images), converted.logits(images)
    agreement = float(np.mean(expected.argmax(axis=-1) == got.argmax(axis=-1)))
    error = _error(expected, got, converted)
    if not np.isfinite(error) or (recipe.tolerance is not None and error > recipe.tolerance):
        raise ExportError(f"the {recipe.name} file of {source.name} is off by {error:.2g} of the largest logit")
    if not kind or recipe.element == "FLOAT32" or agreement >= least_agreement:
        return agreement, error
    if _tolerant(expected, got, converted) < least_agreement:
        raise ExportError(
            f"the {recipe.name} file of {source.name} agrees with its source on {agreement:.1%} of the {kind} images "
            f"only: do they look like what the model was trained on? (least_agreement allows for what rounding costs)"
        )
    warnings.warn(
        f"the {recipe.name} file of {source.name} agrees with its source on {agreement:.1%} of the {kind} images only, "
        f"since the source's classes are closer together than its output can tell: train the model, or cut its softmax",
        stacklevel=3,
    )
    return agreement, error


def check_same(one: TFLiteFile, other: TFLiteFile, images: np.ndarray) -> None:
    """Refuses two files of one model whose answers differ in a bit.

    Raises:
        ExportError: so they do.
    """
    first, second = (TFLiteClassifier(file).runtime for file in (one, other))
    stored = first.quantize(images)
    if not np.array_equal(first.predict_raw(stored), second.predict_raw(stored)):
        raise ExportError(f"{one.name} answers otherwise with metadata than without")


def _check_types(source: KerasClassifier, file: TFLiteFile, recipe: Recipe) -> None:
    io = recipe.io.as_numpy_dtype
    if (file.input.dtype, file.output.dtype) != (io, io):
        raise ExportError(f"asked for {recipe.io.name} input and output, got {file.input.dtype}, {file.output.dtype}")
    if recipe.element not in file.dtypes:
        raise ExportError(
            f"the {recipe.name} file of {source.name} holds nothing in {recipe.element}: the converter leaves weights "
            f"of fewer than 1,024 values as they are, and those of quantisation-aware training in int8"
        )
    if recipe.sparse and "DENSIFY" not in file.operators:
        raise ExportError(
            f"the sparse file of {source.name} leaves no zeros out: its kernels hold too few, so prune it first "
            f"(tfharden-compress --sparsity=0.8)"
        )


def _tolerant(expected: np.ndarray, got: np.ndarray, converted: TFLiteClassifier) -> float:
    """Agreement on the class, where a class that neither can tell from the best is as good as that.

    Probabilities of a network that knows little differ by less than a step of 1/256, so that its file predicts any.
    """
    if converted.scores == "log of probabilities":
        expected, got, close = tf.nn.softmax(expected).numpy(), np.exp(got), _EQUAL_STEPS / 256
    else:
        # By the source's own range: that of the file is what is in question.
        close = _EQUAL_STEPS * float(np.ptp(expected)) / 255
    rows = np.arange(len(expected))
    one, other = expected.argmax(axis=-1), got.argmax(axis=-1)
    lost = np.maximum(expected[rows, one] - expected[rows, other], got[rows, other] - got[rows, one])
    return float(np.mean((one == other) | (lost <= close)))


def _error(expected: np.ndarray, got: np.ndarray, converted: TFLiteClassifier) -> float:
    if converted.scores == "log of probabilities":
        # Of what the file rounds to nothing it can't tell more.
        expected = np.log(np.maximum(tf.nn.softmax(expected), converted.probability_floor))
    # A softmax in the file leaves logits up to a constant.
    expected, got = (z - z.mean(axis=-1, keepdims=True) for z in (expected, got))
    return float(np.abs(expected - got).max() / max(float(np.abs(expected).max()), 1e-6))
