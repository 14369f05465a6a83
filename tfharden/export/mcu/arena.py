"""Arena of a file on tflite-micro: the memory that it needs, and its answers there."""

import dataclasses
import importlib.metadata
import importlib.util
import io
import math
import pathlib
import subprocess
import sys
import zipfile

import numpy as np

from tfharden.errors import InputError
from tfharden.tflite import TFLiteFile

PACKAGE = "tflite_micro"
MISSING = "tflite-micro isn't installed: pip install 'tfharden[micro]'"
# More memory than any microcontroller has.
MAX_BYTES = 2**26
TIMEOUT_SECONDS = 600
_WORKER = pathlib.Path(__file__).with_name("worker.py")
# Generous bounds on what tflite-micro keeps of each, on a 64-bit host.
_TENSOR_BYTES, _OPERATOR_BYTES, _CHANNEL_BYTES, _BASE_BYTES = 64, 512, 16, 4096


@dataclasses.dataclass(frozen=True)
class Arena:
    """Bytes that tflite-micro needs for a file, measured on this 64-bit host.

    Attributes:
        least: the smallest arena that the file runs in, to 16 bytes.
        head: activations and scratch memory; much the same on a microcontroller.
        tail: records on tensors and operators; fewer bytes where pointers have 32 bits.
    """

    least: int
    head: int
    tail: int


@dataclasses.dataclass(frozen=True, eq=False)
class MicroRun:
    """What tflite-micro makes of inputs: outputs [n, classes] as stored, and the arena it takes."""

    outputs: np.ndarray
    arena: Arena


def version() -> str | None:
    """Version of tflite-micro; None if it isn't installed."""
    if importlib.util.find_spec(PACKAGE) is None:
        return None
    return importlib.metadata.version(PACKAGE)


def measure(file: TFLiteFile) -> tuple[Arena | None, str]:
    """The arena of a file and "", or None and the reason where tflite-micro isn't installed.

    Raises:
        InputError: tflite-micro can't run the file.
    """
    if version() is None:
        return None, MISSING
    return run(file, np.zeros((1, *file.input.shape[1:]), file.input.dtype)).arena, ""


def run(file: TFLiteFile, stored: np.ndarray) -> MicroRun:
    """Runs inputs [n, ...], as stored, one by one on tflite-micro, in a process of its own.

    Raises:
        InputError: tflite-micro isn't installed, or can't run the file.
    """
    if version() is None:
        raise InputError(MISSING)
    given = io.BytesIO()
    np.savez(given, content=np.frombuffer(file.content, np.uint8), inputs=stored, most=MAX_BYTES)
    # -P: the folder of the worker isn't a place to import from.
    command = [sys.executable, "-P", str(_WORKER)]
    try:
        done = subprocess.run(
            command, input=given.getvalue(), capture_output=True, timeout=TIMEOUT_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise _refused(file, f"it was not done after {TIMEOUT_SECONDS} s") from error
    answer = _answer(done)
    if "reason" in answer:
        raise _refused(file, str(answer["reason"]))
    return MicroRun(answer["outputs"], Arena(*map(int, answer["arena"])))


def _answer(done: subprocess.CompletedProcess[bytes]) -> dict[str, np.ndarray]:
    """What the worker found, or how it ended instead."""
    try:
        with np.load(io.BytesIO(done.stdout)) as answer:
            return dict(answer)
    except (EOFError, OSError, ValueError, zipfile.BadZipFile):
        if done.returncode < 0:
            return {"reason": np.array(f"it crashed (signal {-done.returncode})")}
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        return {"reason": np.array(last[0] if last else f"it ended with status {done.returncode}")}


def estimate(file: TFLiteFile) -> int:
    """Bytes that are enough where nothing is measured: as if no two activations ever shared memory."""
    tensors, operators = file.graph.tensors, file.graph.operators
    activations = sum(16 + math.prod(tensor.shape) * tensor.bits // 8 for tensor in tensors if tensor.stored is None)
    channels = sum(len(tensor.scales) for tensor in tensors)
    records = _TENSOR_BYTES * len(tensors) + _OPERATOR_BYTES * len(operators) + _CHANNEL_BYTES * channels
    return activations + records + _BASE_BYTES


def _refused(file: TFLiteFile, reason: str) -> InputError:
    printable = "".join(character if character.isprintable() else " " for character in reason)
    return InputError(f"{file.name}: tflite-micro can't run it: {' '.join(printable.split())[:300]}")
