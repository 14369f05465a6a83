"""The time of a twin's gradient against that of the float network that the file was made of."""

import statistics
from collections.abc import Callable

import numpy as np
import tensorflow as tf

import tfharden as th
from benchmarks.common import tables, turns
from benchmarks.export import networks
from tfharden import losses, tflite

SHAPE, CLASSES, BATCH = (28, 28, 1), 10, 128
NETWORKS = (("cnn", 16), ("cnn", 32), ("resnet", 16))
REPEATS = 5  # gradients in one measurement
COLUMNS = ("network", "kernels", "float ms", "twin ms", "twin / float")
ABOUT = (
    f"One gradient of the summed cross entropy to {BATCH} images of {SHAPE[0]}x{SHAPE[1]}, compiled by tf.function:",
    "of the Keras network in float32, the floor, and of the twin of its int8 file. In turns; medians. The goal is a",
    "ratio of 1.5 at most.",
)


def part(rounds: int, seed: int) -> list[str]:
    """The table."""
    rows = []
    for name, width in NETWORKS:
        random = np.random.default_rng(seed)
        calibration = random.random((64, *SHAPE), np.float32)
        model = networks.set_batch_statistics(
            th.models.build(name, SHAPE, CLASSES, width=width, seed=seed), calibration
        )
        file = th.export.to_tflite(model, "int8", calibration, least_agreement=0).file
        images = tf.constant(random.random((BATCH, *SHAPE), np.float32))
        labels = tf.constant(random.integers(0, CLASSES, BATCH))
        runs = {"float": _gradient(lambda x, model=model: model(x, training=False), images, labels)}
        for kernels in ("xnnpack", "reference"):
            runs[kernels] = _gradient(tflite.Twin(file, kernels).logits_fn, images, labels)
        seconds = turns.timed(runs, rounds)
        floor = seconds["float"]
        for kernels in list(runs)[1:]:
            ratio = statistics.median(spent / base for spent, base in zip(seconds[kernels], floor, strict=True))
            times = [f"{1e3 * statistics.median(t) / REPEATS:.2f}" for t in (floor, seconds[kernels])]
            rows.append([f"{name}, width {width}", kernels, *times, f"{ratio:.2f}"])
            print(rows[-1], flush=True)
    return ["## Gradients", "", *ABOUT, "", *tables.table(COLUMNS, *rows), ""]


def _gradient(logits_fn: Callable[[tf.Tensor], tf.Tensor], images: tf.Tensor, labels: tf.Tensor) -> turns.Run:
    @tf.function(autograph=False)
    def gradient(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(x)
            values = losses.cross_entropy(logits_fn(x), y)
        return tape.gradient(values, x)

    def run() -> None:
        for _ in range(REPEATS):
            found = gradient(images, labels)
        found.numpy()

    return run
