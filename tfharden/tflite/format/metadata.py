"""What a .tflite says of how it was made: a JSON object in the flatbuffer's metadata."""

from typing import Any

from tfharden import _io
from tfharden.errors import InputError
from tfharden.tflite.format import verifier

NAME = "tfharden"
MOST_BYTES = 2**16


def pack(facts: dict[str, Any]) -> dict[str, bytes]:
    """The facts as an entry of metadata, for `extended`."""
    return {NAME: _io.dump_json(facts).encode()}


def read(content: bytes) -> dict[str, Any]:
    """The facts in a .tflite; empty if it holds none. They are what its maker claims, whoever that was.

    Raises:
        InputError: not a valid .tflite, or what stands under our name isn't one JSON object of bounded size.
    """
    model = verifier.parse(content)
    found = [model.buffers[entry.buffer] for entry in model.metadata if entry.name == NAME]
    if not found:
        return {}
    if len(found) > 1:
        raise InputError(f"it has {len(found)} entries of metadata called {NAME}")
    data = verifier.buffer_data(found[0], content)
    try:
        return _io.parse_json(b"" if data is None else bytes(data), MOST_BYTES)
    except InputError as error:
        raise InputError(f"its metadata called {NAME}: {error}") from error
