"""Measurement of an exported file for its manifest: sizes, accuracy, latency."""

import dataclasses
import gzip
from typing import Any

import keras
import numpy as np

from tfharden import _text, data
from tfharden.classifiers import KerasClassifier, TFLiteClassifier
from tfharden.data.examples import Examples, check_images, check_labels
from tfharden.errors import InputError
from tfharden.export import recipes
from tfharden.export.artifact import Artifact
from tfharden.export.manifests import Manifest
from tfharden.tflite import Tensor
from tfharden.tflite.latency import latency

PACKAGES = ("tfharden", "tensorflow", "keras", "ai-edge-litert", "numpy")
# Of a timed batch.
MAX_TIMED_IMAGES = 64


def manifest(
    artifact: Artifact,
    model: keras.Model,
    examples: Examples | None = None,
    threads: int = 1,
    rounds: int = 5,
    kernels: str = "xnnpack",
) -> Manifest:
    """Measures an exported file.

    Args:
        artifact: the export.
        model: what it was made of.
        examples: images and labels to count accuracy on.
        threads: interpreters that share the timed images.
        rounds: timed repetitions, of which the median counts.
        kernels: "xnnpack", "builtin" or "reference", for accuracy and latency.

    Raises:
        InputError: another model than the artifact's, examples that don't fit it, fewer than one thread or round.
    """
    file, source = artifact.file, KerasClassifier(model, bounds=artifact.bounds)
    if (source.input_shape, source.num_classes) != (file.input.shape[1:], file.output.shape[1]):
        raise InputError(f"the file wasn't made of {model.name}: it takes and gives other shapes")
    if rounds < 1:
        raise InputError(f"rounds={rounds} has to be at least 1")
    if examples is None:
        shape = (MAX_TIMED_IMAGES, *source.input_shape)
        images = np.random.default_rng(0).uniform(*artifact.bounds, shape).astype(np.float32)
    else:
        images = check_images(examples[0], source.input_shape, artifact.bounds)
        examples = images, check_labels(examples[1], len(images), source.num_classes)
    packages = (*PACKAGES, *recipes.KNOWN[artifact.recipe].packages)
    return Manifest(
        sha256=file.sha256,
        bytes=len(file.content),
        gzip_bytes=len(gzip.compress(file.content, 9, mtime=0)),
        recipe=artifact.recipe,
        bounds=artifact.bounds,
        per_channel_dense=artifact.per_channel_dense,
        dynamic_batch=artifact.dynamic_batch,
        operators=dict(sorted(file.operators.items())),
        dtypes=dict(sorted(file.dtypes.items())),
        input=_end(file.input),
        output=_end(file.output),
        parameters=file.parameters,
        multiply_adds=file.multiply_adds,
        source={"name": source.name, "sha256": source.fingerprint()},
        calibration=None if artifact.calibration is None else dataclasses.asdict(artifact.calibration),
        agreement=artifact.agreement,
        largest_error=artifact.largest_error,
        evaluation=None if examples is None else _evaluation(artifact, source, examples, kernels),
        latency=latency(artifact.file, images[:MAX_TIMED_IMAGES], kernels=kernels, threads=threads, rounds=rounds),
        versions=_text.versions(packages, python=True),
    )


def _end(tensor: Tensor) -> dict[str, Any]:
    """Name, shape, type and quantisation of an input or output."""
    return {
        "name": tensor.name,
        "shape": list(tensor.shape),
        "dtype": tensor.dtype.name,
        "scale": tensor.scale,
        "zero_point": tensor.zero_point,
    }


def _evaluation(artifact: Artifact, source: KerasClassifier, examples: Examples, kernels: str) -> dict[str, Any]:
    images, labels = examples
    expected, got = source.predict(images), TFLiteClassifier(artifact.file, kernels=kernels).predict(images)
    return {
        "examples": len(labels),
        "sha256": data.sha256(examples),
        "accuracy": float(np.mean(got == labels)),
        "source_accuracy": float(np.mean(expected == labels)),
        "agreement": float(np.mean(got == expected)),
    }
