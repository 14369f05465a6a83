"""Facts about a model and the file that it came from."""

import numpy as np

from tfharden import _io
from tfharden.classifiers import Classifier, KerasClassifier, TFLiteClassifier, TwinClassifier
from tfharden.evaluation.results import LatencyResult, ModelFacts, TwinResult
from tfharden.tflite.latency import latency

# Images on which a file is timed.
TIMED_IMAGES = 100


def model_facts(classifier: Classifier, images: np.ndarray) -> ModelFacts:
    """Facts about a model and its file. A .tflite is timed on the first of the images `[n, ...]`."""
    file, kind, parameters, timed = None, "callable", None, None
    if isinstance(classifier, TFLiteClassifier):
        model = classifier.file
        dtype = "float32" if model.input.dtype == np.float32 else model.input.dtype.name
        file, kind, parameters = (model.path, model.sha256, len(model.content)), f"tflite-{dtype}", model.parameters
        timed = LatencyResult.from_json(latency(model, images[:TIMED_IMAGES], kernels=classifier.kernels))
    elif isinstance(classifier, KerasClassifier):
        kind, parameters = "keras", classifier.model.count_params()
        if path := classifier.path:
            file = path, _io.sha256(path), path.stat().st_size
    path, sha256, size = file or (None, None, None)
    return ModelFacts(
        name=classifier.name,
        path=None if path is None else str(path),
        sha256=sha256,
        bytes=size,
        kernels=classifier.kernels if isinstance(classifier, TFLiteClassifier) else None,
        latency=timed,
        format=kind,
        parameters=parameters,
    )


def twin_result(classifier: Classifier, images: np.ndarray) -> TwinResult | None:
    """Agreement on `images [n, ...]` of a file's twin with the interpreter; None for a classifier that is no file."""
    if not isinstance(classifier, TFLiteClassifier):
        return None
    if not isinstance(classifier, TwinClassifier):
        return TwinResult(missing=classifier.opaque)
    found = classifier.twin.verify(images)
    return TwinResult(
        missing=None,
        num_examples=found.images,
        exact=found.exact,
        logits_exact=found.logits.exact,
        largest_lsb=found.largest,
        classes=found.classes,
    )
