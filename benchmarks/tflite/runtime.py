"""Images per second of `Runtime` and of a bare interpreter loop, in one run, on small models and any that are given.

    python -m benchmarks.tflite.runtime [FILE.tflite ...]

Writes benchmarks/results/runtime.md. Without files, it takes those in ../shared/models, if there are any.
"""

import datetime
import importlib.metadata
import pathlib
import platform
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from tfharden import _io, export, models, tflite

ROOT = pathlib.Path(__file__).parents[2]
RESULT = ROOT / "benchmarks" / "results" / "runtime.md"
THREADS = (1, 2)
ROUNDS = 9
SECONDS = 0.15  # of each measurement, about


def bare_loop(path: pathlib.Path, stored: np.ndarray, threads: int) -> Callable[[], np.ndarray]:
    """One image at a time through set_tensor, invoke, get_tensor; a thread has its own interpreter and share."""
    interpreters = []
    for _ in range(threads):
        interpreter = Interpreter(str(path), num_threads=1)
        interpreter.allocate_tensors()
        interpreters.append(interpreter)
    source = interpreters[0].get_input_details()[0]["index"]
    target = interpreters[0].get_output_details()[0]["index"]
    shares = np.array_split(np.arange(len(stored)), threads)
    outputs = np.empty((len(stored), *interpreters[0].get_output_details()[0]["shape"][1:]),
                       interpreters[0].get_output_details()[0]["dtype"])  # fmt: skip

    def work(interpreter: Interpreter, share: np.ndarray) -> None:
        for i in range(share[0], share[-1] + 1):
            interpreter.set_tensor(source, stored[i : i + 1])
            interpreter.invoke()
            outputs[i] = interpreter.get_tensor(target)[0]

    def run() -> np.ndarray:
        if threads == 1:
            work(interpreters[0], shares[0])
            return outputs
        workers = [threading.Thread(target=work, args=pair) for pair in zip(interpreters, shares, strict=True)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        return outputs

    return run


def seconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def measure(path: pathlib.Path, threads: int) -> tuple[float, float, float]:
    """Images per second of the bare loop, of Runtime in batches, and of Runtime called for each image alone."""
    file = tflite.read(path)
    shape = (4096, *file.input.shape[1:])
    random = np.random.default_rng(0)
    stored = random.random(shape, np.float32)
    if file.input.dtype.kind != "f":
        limits = np.iinfo(file.input.dtype)
        stored = random.integers(limits.min, limits.max, shape, file.input.dtype, endpoint=True)
    # As many images as the bare loop does in the time of one measurement.
    trial = bare_loop(path, stored[:64], 1)
    trial()
    stored = stored[: max(64, min(4096, int(64 * SECONDS / seconds(trial)) // 64 * 64))]
    runtime = tflite.Runtime(file, threads=threads)
    alone = tflite.Runtime(file, threads=threads, batch_size=1)
    contenders = (
        bare_loop(path, stored, threads),
        lambda: runtime.predict_raw(stored),
        lambda: alone.predict_raw(stored),
    )
    expected = contenders[0]().copy()
    np.testing.assert_allclose(contenders[1]().astype(float), expected.astype(float), rtol=1e-3, atol=1e-4)
    times = [[seconds(contender) for contender in contenders] for _ in range(ROUNDS)]
    return tuple(len(stored) / statistics.median(column) for column in zip(*times, strict=True))


def small_models(folder: pathlib.Path) -> list[pathlib.Path]:
    """The pipeline's student, untrained, exported as it exports: the batch of 1 is baked into the file's RESHAPE."""
    student = models.build("cnn", (8, 8, 1), 10, 16, seed=0)
    images = np.random.default_rng(0).random((20, 8, 8, 1), np.float32)
    paths = []
    for recipe in ("float32", "int8"):
        paths.append(folder / f"student_{recipe}.tflite")
        export.to_tflite(student, recipe, images).save(paths[-1])
    return paths


def main() -> None:
    given = [pathlib.Path(argument) for argument in sys.argv[1:]]
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        for path in small_models(pathlib.Path(folder)) + (
            given or sorted((ROOT.parent / "shared" / "models").glob("*.tflite"))
        ):
            for threads in THREADS:
                bare, batched, alone = measure(path, threads)
                lines.append(
                    f"| {path.name} | {path.stat().st_size:,} | {threads} | {bare:,.0f} | {batched:,.0f} "
                    f"| {batched / bare:.2f} | {alone / bare:.2f} |"
                )
                print(lines[-1], flush=True)
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("ai-edge-litert", "numpy"))
    report = f"""# Throughput of `tflite.Runtime`

{datetime.date.today()}, `python -m benchmarks.tflite.runtime`, Python {platform.python_version()}, {versions},
XNNPACK kernels. Images per second on stored inputs, medians of {ROUNDS} interleaved rounds. The bare loop runs
`set_tensor`, `invoke`, `get_tensor` image by image, with one interpreter a thread.

| file | bytes | threads | bare loop | Runtime, batches of 64 | ratio | ratio at batch size 1 |
|---|---|---|---|---|---|---|
""" + "\n".join(lines)
    _io.write_text(RESULT, report + "\n")


if __name__ == "__main__":
    main()
