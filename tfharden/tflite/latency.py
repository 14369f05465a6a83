"""Latency of a file: seconds an image."""

import statistics
import time
from typing import Any

import numpy as np

from tfharden.tflite.model import TFLiteFile
from tfharden.tflite.runtime import Runtime


def latency(
    file: TFLiteFile, images: np.ndarray, *, kernels: str = "xnnpack", threads: int = 1, rounds: int = 5
) -> dict[str, Any]:
    """The median of several rounds over the images, one at a time, in seconds an image, and how it was measured.

    Args:
        file: what is timed.
        images: `[n, ...]`, in the units of the model's input.
        kernels: as of `Runtime`.
        threads: interpreters that share the images.
        rounds: after one that warms up.
    """
    runtime = Runtime(file, kernels=kernels, threads=threads, batch_size=1)
    stored = runtime.quantize(images)
    runtime.predict_raw(stored)
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        runtime.predict_raw(stored)
        seconds.append((time.perf_counter() - start) / len(stored))
    return {
        "seconds": statistics.median(seconds),
        "threads": threads,
        "rounds": rounds,
        "images": len(stored),
        "kernels": kernels,
    }
