"""What report.json tells of a model and of an attack on it."""

import itertools
import math
from typing import Any

import numpy as np

from tfharden import _io
from tfharden.attacks import AttackResult
from tfharden.classifiers import Classifier, KerasClassifier, TFLiteClassifier, TwinClassifier
from tfharden.evaluation.statistics import wilson
from tfharden.tflite.latency import latency

# Images that a file is timed on.
TIMED = 100


def model_entry(classifier: Classifier, images: np.ndarray) -> dict[str, Any]:
    """What is known of the model and of the file that it came from.

    Args:
        classifier: the model.
        images: for a file to be timed on, `[n, ...]`.
    """
    about: dict[str, Any] = {"name": classifier.name, "path": None, "sha256": None, "bytes": None, "kernels": None}
    about["latency"] = None
    if isinstance(classifier, TFLiteClassifier):
        file = classifier.file
        kind = "float32" if file.input.dtype == np.float32 else file.input.dtype.name
        about |= {"path": str(file.path), "format": f"tflite-{kind}", "sha256": file.sha256, "bytes": len(file.content)}
        about["latency"] = latency(file, images[:TIMED], kernels=classifier.kernels)
        return about | {"parameters": file.parameters, "kernels": classifier.kernels}
    if isinstance(classifier, KerasClassifier):
        if classifier.path is not None:
            size = classifier.path.stat().st_size
            about |= {"path": str(classifier.path), "sha256": _io.sha256(classifier.path), "bytes": size}
        return about | {"format": "keras", "parameters": classifier.model.count_params()}
    return about | {"format": "callable", "parameters": None}


def twin_entry(classifier: Classifier, images: np.ndarray) -> dict[str, Any] | None:
    """How near the twin that gives a file's gradients comes to the interpreter, or why there is none.

    Args:
        classifier: any; only files have twins.
        images: on which they are compared, `[n, ...]`.
    """
    if not isinstance(classifier, TFLiteClassifier):
        return None
    if not isinstance(classifier, TwinClassifier):
        return {"missing": classifier.opaque}
    found = classifier.twin.verify(images)
    return {
        "missing": None,
        "num_examples": found.images,
        "exact": found.exact,
        "logits_exact": found.logits.exact,
        "largest_lsb": found.largest,
        "classes": found.classes,
    }


def attack_entry(name: str, result: AttackResult, right: np.ndarray) -> dict[str, Any]:
    """What an attack did; rates and means are over the images that were right when clean.

    Args:
        name: what the report calls the attack.
        result: what it achieved.
        right: which images the model gets right when clean, `[n]`.
    """
    attacked = right if right.any() else np.ones_like(right)
    entry = {
        "name": name,
        "access": result.access,
        "robust_accuracy": result.robust_accuracy,
        "interval": interval(~result.success),
        "lost_to_rounding": int(result.lost.sum()),
        "success_rate": float(result.success[right].mean()) if right.any() else None,
        "queries_mean": float(result.queries[attacked].mean()),
        "gradients_mean": float(result.gradients[attacked].mean()),
        "seconds": result.seconds,
        "parameters": result.parameters,
    }
    if result.stages:
        entry["stages"] = _stages(result, right)
    if result.minimum is not None:
        median = float(np.median(result.minimum[attacked]))
        entry["minimum_median"] = median if math.isfinite(median) else None
    return entry


def interval(outcomes: np.ndarray) -> list[float]:
    """The 95% interval of a share of all examples."""
    return list(wilson(int(outcomes.sum()), len(outcomes)))


def _stages(result: AttackResult, right: np.ndarray) -> list[dict[str, Any]]:
    """What each of several attacks in a row brought down, and what it left."""
    fallen = itertools.accumulate(stage.succeeded for stage in result.stages)
    return [
        {
            "name": stage.name,
            "fell": stage.succeeded,
            "robust_accuracy_after": (int(right.sum()) - so_far) / len(right),
            "seconds": stage.seconds,
        }
        for stage, so_far in zip(result.stages, fallen, strict=True)
    ]
