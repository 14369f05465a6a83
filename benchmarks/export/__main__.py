"""Export of three well-known networks, and memory over many exports in one process.

    python -m benchmarks.export

Writes benchmarks/results/exports.md. Weights are random, so nothing is downloaded; what a file costs and how far it is
from its source doesn't need training, while how often it predicts another class does.
"""

import json
import os
import subprocess
import sys
import time
import warnings

import keras
import numpy as np

import tfharden as th
from benchmarks.common import tables
from benchmarks.export import memory as export_memory
from benchmarks.export.networks import CALIBRATION, CLASSES, NETWORKS, PROBES, SIZE, images, set_batch_statistics

# Way, model, recipe.
MEMORY = (
    ("exported", "cnn", "int8"),
    ("from_keras_model", "cnn", "int8"),
    ("exported", "mlp", "float32"),
    ("from_keras_model", "mlp", "float32"),
    ("from_saved_model", "mlp", "float32"),
)
# Conversions after which memory is measured. Caches of TensorFlow's own fill during the first ones.
COUNTS = {"cnn": (1, 10, 30, 60), "mlp": (1, 10, 20, 30)}


def attempt(model: keras.Model, x: np.ndarray, bounds: tuple[float, float]) -> str:
    """What becomes of the network in int8 as Keras initialises it."""
    try:
        with warnings.catch_warnings(action="ignore"):
            th.export.to_tflite(model, "int8", x[:CALIBRATION], bounds)
    except th.export.ExportError as error:
        return str(error)
    return "exported"


def network(name: str) -> tuple[list[str], str]:
    """A row of the table, and how the network fares as it is initialised."""
    make, bounds = NETWORKS[name]
    keras.utils.set_random_seed(0)
    model, x = make(weights=None, input_shape=(SIZE, SIZE, 3), classes=CLASSES), images(bounds)
    initial = attempt(model, x, bounds)
    set_batch_statistics(model, x[:CALIBRATION])
    calibration, probes = x[:CALIBRATION], x[CALIBRATION:]
    files, seconds = {}, {}
    for recipe in ("float32", "int8"):
        start = time.perf_counter()
        files[recipe] = th.export.to_tflite(model, recipe, calibration, bounds, probes=probes, least_agreement=0)
        seconds[recipe] = time.perf_counter() - start
    manifests = {recipe: th.export.manifest(artifact, model) for recipe, artifact in files.items()}
    scale = files["int8"].file.output.scale
    answers = th.TFLiteClassifier(files["int8"].file).runtime.predict(probes)
    steps = np.abs(answers - model.predict(probes, verbose=0)).max() / scale
    int8 = manifests["int8"]
    row = [
        name,
        f"{model.count_params():,}",
        f"{int8.multiply_adds:,}",
        f"{manifests['float32'].bytes:,} / {manifests['float32'].gzip_bytes:,}",
        f"{int8.bytes:,} / {int8.gzip_bytes:,}",
        f"{files['float32'].agreement:.0%}",
        f"{files['int8'].agreement:.0%}",
        f"{steps:.0f}",
        f"{seconds['float32']:.0f} / {seconds['int8']:.0f}",
        f"{1e3 * manifests['float32'].latency['seconds']:.1f} / {1e3 * int8.latency['seconds']:.1f}",
    ]
    return row, f"- {name}: {initial}."


def memory(way: str, model: str, recipe: str) -> list[str]:
    """A row: a process of its own converts the model again and again."""
    counts = COUNTS[model]
    command = [sys.executable, "-m", "benchmarks.export.memory", way, model, recipe, ",".join(map(str, counts))]
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    found = json.loads(done.stdout.splitlines()[-1])
    after = found["after"]
    weights = 4 * export_memory.build(model).count_params() / 2**20
    return [
        export_memory.WAYS[way],
        f"{model}, {weights:.1f}",
        recipe,
        *(f"{count}: {size:.0f}" for count, size in zip(counts, after, strict=True)),
        f"{(after[-1] - after[1]) / (counts[-1] - counts[1]):.2f}",
        f"{found['most']:.0f}",
    ]


def main() -> None:
    rows, initial = zip(*(network(name) for name in NETWORKS), strict=True)
    head = ("network", "parameters", "multiply-adds", "float32 bytes / gzip", "int8 bytes / gzip", "float32 agrees",
            "int8 agrees", "int8 off by, steps", "export s, float32 / int8", "ms an image, float32 / int8")  # fmt: skip
    memory_head = ("way", "model, MB of weights", "recipe", "after the first: MB", "then: MB", "then: MB", "last: MB",
                   "MB a conversion", "most MB")  # fmt: skip
    lines = tables.header(
        "Exports", "-m benchmarks.export", ("tfharden", "tensorflow", "keras", "ai-edge-litert", "numpy")
    )
    lines += [
        "## Networks of keras.applications",
        "",
        f"Random weights, {SIZE}x{SIZE}x3, {CLASSES} classes, softmax; statistics of batch normalisation from the",
        f"{CALIBRATION} enlarged digits that calibrate. Compared on {PROBES} others: the share on which file and model",
        "predict the same class, and the largest difference of a probability in steps of 1/256. Classes of a network",
        "that nobody trained lie close together, and it amplifies what its first layers round: the int8 file tells",
        "what an export costs, not what 8 bits do to accuracy. Exports include every check. One thread, XNNPACK.",
        "",
        *tables.table(head, *rows),
        "",
        "In int8 as Keras initialises them, without statistics:",
        "",
        *initial,
        "",
        "## Memory over many conversions in one process",
        "",
        "Megabytes resident after so many conversions of one model, once garbage is collected and the allocator has",
        "given back what it only keeps; a process for each row. Growth a conversion is that from the second figure to",
        "the last.",
        "",
        *tables.table(memory_head, *(memory(*case) for case in MEMORY)),
        "",
    ]
    tables.write("exports.md", lines)


if __name__ == "__main__":
    main()
