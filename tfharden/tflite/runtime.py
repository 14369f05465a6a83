"""Runs a .tflite on LiteRT in batches, on the values its input can really hold."""

import concurrent.futures
import functools
import logging
import math
import queue
from collections.abc import Callable

import numpy as np

from tfharden.errors import InputError
from tfharden.tflite import litert, memory
from tfharden.tflite.graph import Tensor
from tfharden.tflite.litert import KERNELS
from tfharden.tflite.model import TFLiteFile

# A batch whose largest activation outgrows the cache runs slower than its images one by one.
_CACHE_BYTES = 2**20
_TRIAL_SEED = 0
_log = logging.getLogger(__name__)


class Runtime:
    """A verified classifier on LiteRT's kernels.

    `kernels` is "xnnpack" (what devices run by default), "builtin" or "reference". With `threads` > 1, as many
    interpreters share the batches. Batches have up to `batch_size` images, fewer where activations are large, if a
    trial with random images gives the same answers in batches as one by one (`batched` tells): to the bit for integer
    outputs, to rounding for float ones. Otherwise images run at the batch that the file was made for.

    Calls from several threads are safe.

    Raises:
        InputError: LiteRT can't run the file.
    """

    def __init__(self, file: TFLiteFile, *, kernels: str = "xnnpack", threads: int = 1, batch_size: int = 64) -> None:
        if kernels not in KERNELS:
            raise InputError(f"unknown kernels {kernels!r}, expected one of {', '.join(KERNELS)}")
        if threads < 1 or batch_size < 1:
            raise InputError(f"threads and batch_size must be at least 1, not {threads} and {batch_size}")
        self.file = file
        self.kernels = kernels
        self.threads = threads
        self._scale, self._zero_point = _affine(file.input)
        self._check_batch = functools.cache(functools.partial(memory.check_batch, file.graph))
        own = file.input.shape[0]
        batch_size = max(1, min(batch_size, own * _CACHE_BYTES // file.activation_bytes))
        self.batched = self._answers_in_batches(batch_size)
        self._step = batch_size if self.batched else file.input.shape[0]
        self._free: queue.SimpleQueue[_Interpreter] = queue.SimpleQueue()
        for _ in range(threads):
            self._free.put(_Interpreter(file, kernels, self._check_batch))
        self._pool = concurrent.futures.ThreadPoolExecutor(threads) if threads > 1 else None

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Outputs [n, classes] in float32, in real units, for images [n, ...] in the units of the model's input.

        Raises:
            InputError: images of another shape, or NaN or infinite ones for an integer input.
        """
        return self.dequantize(self.predict_raw(self.quantize(images)))

    def predict_raw(self, stored: np.ndarray) -> np.ndarray:
        """Outputs [n, classes] as stored, for inputs [n, ...] as stored, both in the file's own types.

        Raises:
            InputError: inputs of another shape or type.
        """
        stored = np.ascontiguousarray(stored)
        if stored.shape[1:] != self.file.input.shape[1:] or stored.dtype != self.file.input.dtype:
            expected = f"{('n', *self.file.input.shape[1:])} {self.file.input.dtype}"
            raise InputError(f"expected inputs {expected}, got {stored.shape} {stored.dtype}")
        outputs = np.empty((len(stored), self.file.output.shape[1]), self.file.output.dtype)
        step = self._step
        if self._pool:
            # Even shares, so that no thread waits for another's last batch.
            shares = max(self.threads, math.ceil(len(stored) / step))
            step = min(step, math.ceil(len(stored) / shares)) if self.batched and len(stored) else step
        starts = range(0, len(stored), step)
        if self._pool and len(starts) > 1:
            share = math.ceil(len(starts) / self.threads)
            parts = [starts[i : i + share] for i in range(0, len(starts), share)]
            list(self._pool.map(lambda part: self._run(stored, outputs, part), parts))
        else:
            self._run(stored, outputs, starts)
        return outputs

    def quantize(self, images: np.ndarray) -> np.ndarray:
        """Images as the model's input stores them: clip(round(x / scale) + zero_point), halves to even.

        Raises:
            InputError: NaN or infinite images for an integer input.
        """
        images = np.asarray(images, np.float32)
        dtype = self.file.input.dtype
        if dtype.kind == "f":
            return images
        if not np.isfinite(images).all():
            raise InputError("images for an integer input must be finite")
        limits = np.iinfo(dtype)
        steps = np.rint(images / np.float32(self._scale))
        return np.clip(steps + np.float32(self._zero_point), limits.min, limits.max).astype(dtype)

    def dequantize(self, outputs: np.ndarray) -> np.ndarray:
        """Stored outputs in real units, float32: (q - zero_point) * scale."""
        if self.file.output.dtype.kind == "f":
            return outputs
        scale, zero_point = _affine(self.file.output)
        return (outputs.astype(np.float32) - np.float32(zero_point)) * np.float32(scale)

    def receivable(self, low: float, high: float) -> tuple[float, float, float | None]:
        """The real values within [low, high] that the input can hold: the least, the greatest, and their spacing.

        A float input holds them all: the spacing is None.

        Raises:
            InputError: there are none.
        """
        if self.file.input.dtype.kind == "f":
            return low, high, None
        limits = np.iinfo(self.file.input.dtype)
        # A bound that lies on the lattice, but for float32's rounding, belongs to it.
        slack = 1e-4
        first = max(math.ceil(low / self._scale - slack) + self._zero_point, limits.min)
        last = min(math.floor(high / self._scale + slack) + self._zero_point, limits.max)
        if first > last:
            raise InputError(f"the model's input holds no value between {low} and {high}")
        return (first - self._zero_point) * self._scale, (last - self._zero_point) * self._scale, self._scale

    def _run(self, stored: np.ndarray, outputs: np.ndarray, starts: range) -> None:
        interpreter = self._free.get()
        try:
            run, step = interpreter.run, starts.step
            for start in starts:
                batch = stored[start : start + step]
                if len(batch) == step or self.batched:
                    outputs[start : start + step] = run(batch)
                else:
                    padded = np.pad(batch, [(0, step - len(batch)), *[(0, 0)] * (batch.ndim - 1)])
                    outputs[start:] = run(padded)[: len(batch)]
        finally:
            self._free.put(interpreter)

    def _answers_in_batches(self, batch_size: int) -> bool:
        """Whether batches give the answers of the file's own batch, which may be baked into its shapes."""
        own = self.file.input.shape[0]
        random = np.random.default_rng(_TRIAL_SEED)
        shape = (own * math.ceil(batch_size / own), *self.file.input.shape[1:])
        if self.file.input.dtype.kind == "f":
            images = random.random(shape, np.float32)
        else:
            limits = np.iinfo(self.file.input.dtype)
            images = random.integers(limits.min, limits.max, shape, self.file.input.dtype, endpoint=True)
        singly = _Interpreter(self.file, self.kernels, self._check_batch)
        expected = np.concatenate([singly.run(images[i : i + own]) for i in range(0, len(images), own)])
        # What doesn't scale with the batch may be refused, or give other answers without a word.
        try:
            batches = _Interpreter(self.file, self.kernels, self._check_batch)
            sizes = (batch_size, max(batch_size // 2, 1), 1)
            return all(_agree(batches.run(images[:size]), expected[:size]) for size in sizes)
        except InputError as error:
            _log.info("%s runs at its own batch: %s", self.file.name, error)
            return False


class _Interpreter:
    """One of LiteRT's interpreters, resized when the batch changes, which costs it microseconds.

    `check_batch` refuses a batch that mustn't meet it.
    """

    def __init__(self, file: TFLiteFile, kernels: str, check_batch: Callable[[int], None]) -> None:
        self._name = file.name
        self._check_batch = check_batch
        self._batch = file.input.shape[0]
        self._shape = (self._batch, file.output.shape[1])
        try:
            self._litert = litert.interpreter(file.content, kernels)
            self._input = self._litert.get_input_details()[0]["index"]
            self._output = self._litert.get_output_details()[0]["index"]
        except (RuntimeError, ValueError, MemoryError) as error:
            raise InputError(f"{self._name}: LiteRT can't load it: {_one_line(error)}") from error

    def run(self, batch: np.ndarray) -> np.ndarray:
        """Outputs [n, classes] for a batch [n, ...]."""
        interpreter = self._litert
        try:
            if len(batch) != self._batch:
                self._check_batch(len(batch))
                interpreter.resize_tensor_input(self._input, batch.shape)
                interpreter.allocate_tensors()
                self._batch, self._shape = len(batch), (len(batch), self._shape[1])
            interpreter.set_tensor(self._input, batch)
            interpreter.invoke()
            outputs = interpreter.get_tensor(self._output)
        except (RuntimeError, ValueError, MemoryError) as error:
            raise InputError(f"{self._name}: LiteRT can't run it: {_one_line(error)}") from error
        if outputs.shape != self._shape:
            raise InputError(f"{self._name}: {len(batch)} images give outputs of shape {outputs.shape}")
        return outputs


def _affine(tensor: Tensor) -> tuple[float, int]:
    # Integers without a scale are what they are, as in files that take pixels.
    return (tensor.scale, tensor.zero_point) if tensor.scale else (1.0, 0)


def _agree(given: np.ndarray, expected: np.ndarray) -> bool:
    if given.dtype.kind != "f":
        return np.array_equal(given, expected)
    return np.allclose(given, expected, rtol=1e-4, atol=1e-5 * max(float(np.abs(expected).max()), 1.0))


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
