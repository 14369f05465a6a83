"""Metadata of a .tflite that say how it was made: a JSON object in the flatbuffer."""

from typing import Any

from tfharden import _io
from tfharden.errors import InputError
from tfharden.tflite.graph import Model

NAME = "tfharden"
MAX_BYTES = 2**16


def pack(facts: dict[str, Any]) -> dict[str, bytes]:
    """The facts as an entry of metadata, for `extended`."""
    return {NAME: _io.dump_json(facts).encode()}


def read(model: Model) -> dict[str, Any]:
    """The facts in a .tflite; empty if it holds none. They are what its maker claims, whoever that was.

    Raises:
        InputError: what stands under our name isn't one JSON object of bounded size.
    """
    found = [data for name, data in model.metadata if name == NAME]
    if not found:
        return {}
    if len(found) > 1:
        raise InputError(f"it has {len(found)} entries of metadata called {NAME}")
    (data,) = found
    try:
        return _io.parse_json(b"" if data is None else data.tobytes(), MAX_BYTES)
    except InputError as error:
        raise InputError(f"its metadata called {NAME}: {error}") from error
