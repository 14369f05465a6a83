"""Folders of kits, whole or absent: made beside their place, then renamed into it."""

import json
import os
import pathlib
import tempfile
from collections.abc import Mapping

from tfharden import _io
from tfharden.errors import InputError
from tfharden.export.mcu import sources


def check_folder(folder: _io.Path, overwrite: bool = False) -> None:
    """Refuses a folder that a kit can't take the place of.

    Raises:
        InputError: it holds other things, a kit already (without `overwrite`), or is none.
    """
    path = pathlib.Path(folder)
    try:
        if path.exists() and not path.is_dir():
            raise InputError(f"can't write {path}: it is no folder")
        if not path.is_dir() or not any(path.iterdir()):
            return
        ours = _is_kit(path)
    except OSError as error:
        raise InputError(f"can't write {path}: {error.strerror or error}") from error
    if not ours:
        raise InputError(f"{path} holds other things: give a new or an empty folder")
    if not overwrite:
        raise InputError(f"{path} holds a kit already: give --overwrite (overwrite=True) to replace it")


def write(folder: _io.Path, texts: Mapping[str, str], overwrite: bool = False) -> None:
    """Puts files, by their paths within, into a folder that is new, empty, or a kit to overwrite.

    Raises:
        InputError: as `check_folder`; or it can't be written, and is left as it was.
    """
    check_folder(folder, overwrite)
    # A link stays a link.
    path = pathlib.Path(folder).resolve()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(
            prefix=f".{path.name}-", dir=path.parent, ignore_cleanup_errors=True
        ) as beside:
            new, old = pathlib.Path(beside, "new"), pathlib.Path(beside, "old")
            new.mkdir()
            for name, text in texts.items():
                (new / name).parent.mkdir(parents=True, exist_ok=True)
                (new / name).write_bytes(text.encode())
            _swap(new, path, old)
    except OSError as error:
        raise InputError(f"can't write {folder}: {error.strerror or error}") from error


def _swap(new: pathlib.Path, path: pathlib.Path, old: pathlib.Path) -> None:
    there = path.exists()
    if there:
        path.rename(old)
    try:
        new.rename(path)
    except OSError:
        if there:
            old.rename(path)
        raise


def _is_kit(path: pathlib.Path) -> bool:
    """Whether a folder has a kit's record and holds nothing that isn't a kit's."""
    known = sources.names()
    for root, folders, names in os.walk(path):
        places = [pathlib.Path(root, name) for name in (*folders, *names)]
        if any(place.is_symlink() for place in places):
            return False
        if not {place.relative_to(path).as_posix() for place in places if not place.is_dir()} <= known:
            return False
    try:
        record = json.loads((path / sources.RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(record, dict) and record.get("schema") == sources.SCHEMA
