"""Converter of Keras models to .tflite files, which are run beside the model before anyone gets them."""

import contextlib
import dataclasses
import re
import warnings
from collections.abc import Iterator

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from tfharden import _native
from tfharden.classifiers import KerasClassifier
from tfharden.data.examples import check_images
from tfharden.errors import InputError
from tfharden.export import calibration as calibrations
from tfharden.export import diagnostics, quantizer, recipes
from tfharden.export.artifact import Artifact, ExportError, facts
from tfharden.export.parity import LEAST_AGREEMENT, check_same, compare
from tfharden.tflite import TFLiteFile, parse
from tfharden.tflite.format import metadata
from tfharden.tflite.format.extension import extended

__all__ = ["LEAST_AGREEMENT", "Artifact", "ExportError", "to_tflite"]

# Images for the comparison where none are given.
NOISE_IMAGES = 64
# Images on which the file with its metadata is run once more.
_REPEATED_IMAGES = 16
# Keras' own names of inputs that nobody named: their numbers depend on what else was built before.
_UNNAMED = re.compile(r"(keras_tensor|input_layer)(_\d+)?")


def to_tflite(
    model: keras.Model,
    recipe: str = "int8",
    calibration: np.ndarray | None = None,
    bounds: tuple[float, float] = (0.0, 1.0),
    *,
    probes: np.ndarray | None = None,
    per_channel_dense: bool = True,
    dynamic_batch: bool = False,
    target: str = "any",
    least_agreement: float = LEAST_AGREEMENT,
) -> Artifact:
    """Converts, runs the result beside the model, and only then returns it.

    Batch 1 is fixed in the graph, as microcontrollers need it, and only built-in operators are allowed. The file keeps
    the name of the model's input ("image" if it has none), has a signature, and says in its metadata how it was made.

    Args:
        model: built classifier.
        recipe: a name in `RECIPES`, such as "float32" or "int8"; `recipes.get` tells what they are.
        calibration: images `[n, ...]` on which the ranges of activations are measured: what the model will meet, clean
            and attacked, since ranges from clean images alone would clip the attacked ones.
        bounds: range of the model's input.
        probes: images `[n, ...]` of what the model will meet, others than for calibration. File and model are compared
            on them, and calibration images that give activations other ranges are refused. By default files are
            compared on the calibration images, or on noise.
        per_channel_dense: False for one scale for all of a Dense layer's weights, which old runtimes need.
        dynamic_batch: a file that takes any number of images at a time.
        target: "any", or "mcu" to refuse what doesn't run on LiteRT for Microcontrollers.
        least_agreement: share of those images on which a file with rounded numbers has to predict what the model
            predicts; 0 for a model that nobody trained, whose classes rounding may change.

    Raises:
        InputError: an unknown recipe or options that don't fit it, images that don't fit the model, several inputs.
        ExportError: the converter fails, or the file's answers aren't the model's.
    """
    chosen = recipes.get(recipe, per_channel_dense=per_channel_dense, dynamic_batch=dynamic_batch, target=target)
    if not 0 <= least_agreement <= 1:
        raise InputError(f"least_agreement={least_agreement} has to be a share, from 0 to 1")
    source = KerasClassifier(model, bounds=bounds)
    if calibration is not None:
        calibration = check_images(calibration, source.input_shape, bounds)
        if chosen.calibrated:
            calibrations.check_span(calibration, bounds)
    if probes is not None:
        probes = check_images(probes, source.input_shape, bounds)
    images, kind = (probes, "given") if probes is not None else (calibration, "calibration")
    if images is None:
        noise = np.random.default_rng(0).uniform(*bounds, (NOISE_IMAGES, *source.input_shape))
        images, kind = noise.astype(np.float32), ""
    if len(images) > 1 and not np.ptp(source.logits(images), axis=0).any():
        raise InputError(f"{model.name} answers the same for every image: it has learnt nothing, or its units are dead")
    if chosen.calibrated and calibration is not None and probes is not None:
        calibrations.check_alike(model, calibration, probes)
    content = _convert(model, source.input_shape, chosen, calibration)
    try:
        bare = _parsed(content, model)
        agreement, error = compare(source, bare, chosen, images, kind, least_agreement)
    except ExportError as failed:
        if chosen.calibrated and calibration is not None and (where := calibrations.vanishing(model, calibration)):
            raise ExportError(f"{model.name} can't be converted to {chosen.name}: {where}") from failed
        raise
    if target == "mcu":
        diagnostics.check_micro(bare, chosen, model)
    used = calibrations.Calibration.of(calibration) if chosen.calibrated and calibration is not None else None
    told = metadata.pack(facts(bare, chosen, bounds, used, agreement))
    file = _parsed(extended(bare, told, _names(model)), model)
    check_same(file, bare, images[:_REPEATED_IMAGES])
    kept = (chosen.per_channel_dense, chosen.dynamic_batch)
    return Artifact(file, chosen.name, agreement, error, bounds, used, *kept)


def _convert(
    model: keras.Model, shape: tuple[int, ...], recipe: recipes.Recipe, calibration: np.ndarray | None
) -> bytes:
    if recipe.quantizer:
        plain = dataclasses.replace(recipes.FLOAT32, dynamic_batch=recipe.dynamic_batch)
        file = _parsed(_convert(model, shape, plain, None), model)
        with _quiet():
            return quantizer.quantized(file, recipe, calibration)
    # What TensorFlow can't name a tensor it would call Placeholder.
    name = re.sub(r"[^A-Za-z0-9_.]", "_", _names(model)[0]).lstrip("_") or "image"
    signature = [tf.TensorSpec([None if recipe.dynamic_batch else 1, *shape], tf.float32, name=name)]
    graph = tf.function(lambda image: model(image, training=False), input_signature=signature, autograph=False)
    with _quiet():
        concrete = graph.get_concrete_function()
        diagnostics.check_graph(concrete.graph, model)
        converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], model)
        # By way of a SavedModel, variables would stay variables; the graph itself is frozen to constants.
        converter.experimental_lower_to_saved_model = False
        recipe.apply(converter, calibration)
        try:
            return converter.convert()
        except Exception as error:  # the converter raises its own classes, and bare ones
            failed = error
    # Out here, where what the native code said of it stays unheard.
    reason = diagnostics.reason(failed, concrete.graph, model)
    raise ExportError(f"{model.name} can't be converted to {recipe.name}: {reason}") from failed


def _parsed(content: bytes, model: keras.Model) -> TFLiteFile:
    try:
        return parse(content, f"{model.name}.tflite")
    except InputError as error:
        raise diagnostics.unusable(error, content, model) from error


def _names(model: keras.Model) -> tuple[str, str]:
    """What to call the input and the output, by the names that they have in Keras."""
    name = model.inputs[0].name
    return ("image" if _UNNAMED.fullmatch(name) else name), getattr(model, "output_names", ["output"])[0]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the converter's notes to its makers: Python's warnings, absl's log, native stderr."""
    level = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        with warnings.catch_warnings(action="ignore"), _native.native_stderr():
            yield
    finally:
        logging.set_verbosity(level)
