"""Memory of a process that converts again and again, by one way: a part of benchmarks.export, which starts it.

    python -m benchmarks.export.memory WAY MODEL RECIPE COUNTS

Prints, as JSON, the megabytes that are resident after so many conversions each, and the most there ever were.
"""

import ctypes
import gc
import json
import pathlib
import re
import sys
import tempfile
import warnings
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

import tfharden as th
from tfharden import _native

SHAPE, CLASSES, IMAGES = (32, 32, 3), 10, 40
# A little one, and one whose weights would show if each conversion kept a part of them.
MODELS = {"cnn": 16, "mlp": 768}
WAYS = {
    "exported": "th.export.to_tflite",
    "from_keras_model": "TFLiteConverter.from_keras_model",
    "from_saved_model": "model.export, TFLiteConverter.from_saved_model",
}


def resident(field: str) -> float:
    """Megabytes: VmRSS are resident now, VmHWM the most that ever were. What the allocator only keeps is let go."""
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    status = pathlib.Path("/proc/self/status").read_text(encoding="utf-8")
    return int(re.search(rf"{field}:\s+(\d+) kB", status)[1]) / 1024


def build(name: str) -> keras.Model:
    return th.models.build(name, SHAPE, CLASSES, MODELS[name], seed=0)


def way(name: str, model: keras.Model, recipe: str) -> Callable[[], bytes]:
    images = np.random.default_rng(0).random((IMAGES, *SHAPE), np.float32)

    def finished(converter: tf.lite.TFLiteConverter) -> bytes:
        th.export.RECIPES[recipe].apply(converter, images)
        return converter.convert()

    def exported() -> bytes:
        return th.export.to_tflite(model, recipe, images, least_agreement=0).file.content

    def from_keras_model() -> bytes:
        return finished(tf.lite.TFLiteConverter.from_keras_model(model))

    def from_saved_model() -> bytes:
        with tempfile.TemporaryDirectory() as folder:
            model.export(folder, verbose=False)
            return finished(tf.lite.TFLiteConverter.from_saved_model(folder))

    return {function.__name__: function for function in (exported, from_keras_model, from_saved_model)}[name]


def main() -> None:
    name, model, recipe, counts = sys.argv[1:]
    counts = [int(count) for count in counts.split(",")]
    convert = way(name, build(model), recipe)
    after = []
    with warnings.catch_warnings(action="ignore"), _native.native_stderr():
        for count in range(1, counts[-1] + 1):
            assert len(convert()) > 10_000  # a whole file, not one that lost its weights
            if count in counts:
                after.append(resident("VmRSS"))
    print(json.dumps({"after": after, "most": resident("VmHWM")}))


if __name__ == "__main__":
    main()
