"""Files that are whole or absent, and JSON from outside that is checked before it is believed."""

import contextlib
import hashlib
import json
import math
import os
import pathlib
import tempfile
from collections.abc import Iterator
from typing import Any, NoReturn

from tfharden.errors import InputError

Path = str | os.PathLike[str]


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[pathlib.Path]:
    """Yields a temporary path beside `path`; it takes the place of `path` when the block ends without an error.

    Folders on the way are made. The temporary file keeps the suffix of `path`, which some writers insist on.

    Raises:
        InputError: `path` can't be written (no permission, a folder in its place, a full disk).
    """
    path = pathlib.Path(path)
    try:
        if path.is_dir():
            raise IsADirectoryError(f"{path} is a folder")
        if path.exists() and not path.is_file():
            raise OSError("it is a device or a pipe, which a file would take the place of")
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent)
        os.close(handle)
    except OSError as error:
        raise InputError(f"can't write {path}: {error.strerror or error}") from error
    beside = pathlib.Path(name)
    try:
        yield beside
        beside.chmod(0o666 & ~_umask())
        beside.replace(path)
    except OSError as error:
        raise InputError(f"can't write {path}: {error.strerror or error}") from error
    finally:
        beside.unlink(missing_ok=True)


def check_writable(path: Path) -> None:
    """Finds out now what `replacing` would find out at the end of the work.

    Raises:
        InputError: `path` can't be written.
    """
    with contextlib.suppress(_Untouched), replacing(path):
        raise _Untouched


class _Untouched(Exception):
    """Leaves `replacing` without a file taking the place."""


def write_bytes(path: Path, content: bytes) -> None:
    """Writes `content` to `path`, whole or not at all."""
    with replacing(path) as beside:
        beside.write_bytes(content)


def write_text(path: Path, content: str) -> None:
    """Writes `content` to `path` as UTF-8, whole or not at all."""
    write_bytes(path, content.encode())


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def parse_json(content: bytes, most_bytes: int) -> dict[str, Any]:
    """The JSON object that `content` holds, in UTF-8.

    Raises:
        InputError: more bytes than `most_bytes`, no JSON, no object, NaN or infinity, a name twice, absurdly deep.
    """
    if len(content) > most_bytes:
        raise InputError(f"{len(content)} bytes of JSON are more than the {most_bytes} that make sense here")
    try:
        value = json.loads(
            content.decode("utf-8"), parse_constant=_refuse, parse_float=_finite, object_pairs_hook=_object
        )
    except RecursionError:
        raise InputError("not usable JSON: nested too deeply") from None
    except ValueError as error:  # of JSON, of UTF-8, of our own
        raise InputError(f"not usable JSON: {error}") from None
    if not isinstance(value, dict):
        raise InputError(f"not usable JSON: a {type(value).__name__} where an object is expected")
    return value


def dump_json(value: dict[str, Any], indent: int | None = None) -> str:
    """The object as JSON; without an indent as short as it gets.

    Raises:
        ValueError: it holds NaN or infinity, which JSON doesn't know.
    """
    return json.dumps(value, allow_nan=False, indent=indent, separators=None if indent else (",", ":"))


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number")


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _refuse("a number beyond floating point")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError("an object has a name twice")
    return made
