"""Stages of work that survive a kill: a finished stage is not done again while its settings and inputs are the same."""

import contextlib
import dataclasses
import hashlib
import json
import pathlib
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tfharden import _io, _text
from tfharden.errors import InputError

# A stage is done again when one of these has another version.
PACKAGES = ("tfharden", "tensorflow", "keras", "tensorflow-model-optimization", "ai-edge-litert", "numpy")
MARKER = "stages.json"
# Folder within an output in the making, with checkpoints from which the same command goes on after a kill.
UNFINISHED = ".tfharden-unfinished"


@contextlib.contextmanager
def unfinished(folder: _io.Path) -> Iterator[pathlib.Path]:
    """Yields the place inside `folder` for checkpoints; they are removed when the block ends without an error."""
    checkpoints = pathlib.Path(folder) / UNFINISHED
    yield checkpoints
    shutil.rmtree(checkpoints, ignore_errors=True)


@contextlib.contextmanager
def resumable(folder: _io.Path, settings: Mapping[str, Any]) -> Iterator[pathlib.Path]:
    """Yields a folder for checkpoints of the same work; it is removed when the block ends without an error.

    Checkpoints of other settings, or by other versions, are thrown away.
    """
    checkpoints = pathlib.Path(folder)
    record = checkpoints / MARKER
    if not record.is_file() or record.read_text(encoding="utf-8") != _key(settings):
        shutil.rmtree(checkpoints, ignore_errors=True)
        _io.write_text(record, _key(settings))
    yield checkpoints
    shutil.rmtree(checkpoints, ignore_errors=True)


def _key(settings: Mapping[str, Any]) -> str:
    """SHA-256 of settings and versions."""
    told = json.dumps({"settings": settings, "versions": _text.versions(PACKAGES)}, sort_keys=True, default=str)
    return hashlib.sha256(told.encode()).hexdigest()


@dataclasses.dataclass
class Stages:
    """A folder whose files are made in stages, with a record of what each was made from.

    Args:
        folder: made if need be; one that holds other things is left alone.
        overwrite: use a folder all the same that holds other things.

    Raises:
        InputError: the folder can't be written, or holds what no stage made.
    """

    folder: pathlib.Path
    overwrite: bool = False
    _record: dict[str, Any] = dataclasses.field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        marker = self.folder / MARKER
        if marker.is_file():
            try:
                self._record = dict(json.loads(marker.read_text(encoding="utf-8")))
            except (OSError, ValueError, TypeError):  # a record that can't be read vouches for nothing
                self._record = {}
        elif self.folder.is_dir() and any(self.folder.iterdir()) and not self.overwrite:
            raise InputError(f"{self.folder} holds other things: give another --output_dir, or --overwrite")
        self._save()

    def run(self, name: str, settings: Mapping[str, Any], outputs: list[str], make: Callable[[], None]) -> None:
        """Calls `make`, which writes `outputs` into the folder, unless it has done so from the same settings.

        Args:
            name: of the stage.
            settings: all that the outputs depend on; for files of earlier stages, their `digest`.
            outputs: names of the files that `make` writes.
            make: does the work.
        """
        key = _key(settings)
        done = self._record.get(name, {})
        if done.get("key") == key and done.get("outputs") == self._digests(outputs):
            sys.stderr.write(f"{name:<40}   done before, kept\n")
            return
        make()
        self._record[name] = {"key": key, "outputs": self._digests(outputs)}
        self._save()

    def digest(self, output: str) -> str | None:
        """SHA-256 of a file in the folder; None if it isn't there."""
        path = self.folder / output
        return _io.sha256(path) if path.is_file() else None

    def _digests(self, outputs: list[str]) -> dict[str, str | None]:
        return {output: self.digest(output) for output in outputs}

    def _save(self) -> None:
        _io.write_text(self.folder / MARKER, json.dumps(self._record, indent=1))
