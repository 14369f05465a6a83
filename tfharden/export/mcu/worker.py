"""Worker that runs a .tflite on tflite-micro in a process of its own, which a file that lies may crash.

Reads an .npz from stdin with the file's `content`, its `inputs` [n, ...] and the `most` bytes to try; writes one to
stdout with the `outputs` and the `arena` (the smallest that it runs in, head and tail), or with a `reason` why not.
"""

import contextlib
import io
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator

import numpy as np

FIRST_ARENA_BYTES = 2**14
ALIGNMENT_BYTES = 16


def main() -> None:
    """Runs what stdin asks for."""
    with np.load(io.BytesIO(sys.stdin.buffer.read())) as given:
        content, inputs, most = given["content"].tobytes(), given["inputs"], int(given["most"])
    # Anything that isn't the answer would spoil it.
    answer, sys.stdout = sys.stdout.buffer, sys.stderr
    np.savez(answer, allow_pickle=False, **_answer(content, inputs, most))


def _answer(content: bytes, inputs: np.ndarray, most: int) -> dict[str, np.ndarray]:
    size = FIRST_ARENA_BYTES
    with _heard() as said:
        while True:
            try:
                outputs, printed = _run(content, inputs, size, said)
                break
            except RuntimeError as error:
                if size >= most:
                    return {"reason": np.array(_reason(said()) or str(error))}
                said()
                size *= 2
        total, head, tail = (int(re.findall(rf"allocation {part} (\d+)", printed)[0]) for part in _PARTS)
        # Less than what it uses would be too little for sure, and some of that crashes it.
        low, high = total // ALIGNMENT_BYTES - 1, size // ALIGNMENT_BYTES
        while high - low > 1:
            middle = (low + high) // 2
            try:
                enough = np.array_equal(_run(content, inputs[:1], middle * ALIGNMENT_BYTES, said)[0], outputs[:1])
            except RuntimeError:
                enough = False
            low, high = (low, middle) if enough else (middle, high)
    return {"outputs": outputs, "arena": np.array([high * ALIGNMENT_BYTES, head, tail])}


_PARTS = ("total", "head", "tail")


def _run(content: bytes, inputs: np.ndarray, arena: int, said: Callable[[], str]) -> tuple[np.ndarray, str]:
    """Outputs [n, classes], and what tflite-micro prints of its arena."""
    from tflite_micro.python.tflite_micro import runtime  # noqa: PLC0415 - after stderr is caught

    interpreter = runtime.Interpreter.from_bytes(content, arena_size=arena)
    outputs = []
    for image in inputs:
        interpreter.set_input(image[np.newaxis], 0)
        interpreter.invoke()
        outputs.append(interpreter.get_output(0)[0])
    said()
    interpreter.print_allocations()
    return np.stack(outputs), said()


@contextlib.contextmanager
def _heard() -> Iterator[Callable[[], str]]:
    """Yields a function that returns what native code has written to stderr since it was last called."""
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)

        def said() -> str:
            file.seek(0)
            text = file.read().decode(errors="replace")
            file.seek(0)
            file.truncate()
            return text

        try:
            yield said
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


def _reason(text: str) -> str:
    return "; ".join(line.strip() for line in text.splitlines() if line.strip())


if __name__ == "__main__":
    main()
