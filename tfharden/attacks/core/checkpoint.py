"""Checkpoints of attacks: files from which the same attack goes on where it was killed."""

import hashlib
import json
import pathlib
import time
import zipfile
from collections.abc import Iterable, Mapping
from typing import Self

import numpy as np

from tfharden import _io
from tfharden._text import versions
from tfharden.attacks.core.result import AttackStage
from tfharden.errors import InputError

# Other versions may search otherwise.
PACKAGES = ("tfharden", "tensorflow", "keras", "ai-edge-litert", "numpy")


class Checkpoint:
    """The checkpoint of a search on one set of images, in a file named by everything that the search depends on.

    Args:
        folder: where the file is, once it is saved.
        description: of the attack and the classifier.
        stream: tells this search from others of the same attack.
        inputs: clean images, criterion, and what counts as solved at the start: it tells an attack on this model from
            one whose examples are for another.

    Attributes:
        stages: the attacks in a row that are done.
        finished: whether nothing is left to do.
        seconds: wall time that all this took.
    """

    def __init__(
        self, folder: _io.Path, description: str, stream: tuple[int, ...], inputs: Iterable[np.ndarray]
    ) -> None:
        self._folder, self._description = pathlib.Path(folder), description
        digest = hashlib.sha256(json.dumps([description, [f"{k} {v}" for k, v in versions(PACKAGES).items()]]).encode())
        for array in inputs:
            digest.update(np.ascontiguousarray(array).tobytes())
        self.path = self._folder / ("-".join(map(str, (*stream, digest.hexdigest()[:16]))) + ".npz")
        self.stages: list[AttackStage] = []
        self.finished, self.seconds, self._since = False, 0.0, time.perf_counter()

    def within(self, stream: tuple[int, ...], inputs: Iterable[np.ndarray]) -> Self:
        """The checkpoint of a search inside this one, on another model."""
        return type(self)(self._folder, f"within {self._description}", stream, inputs)

    def load(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Writes what the file holds into `arrays`, and its stages, if there is a file.

        Raises:
            InputError: the file is no such checkpoint.
        """
        if not self.path.is_file():
            return
        try:
            with np.load(self.path, allow_pickle=False) as content:
                found = {name: content[name] for name in arrays}
                rows = json.loads(str(content["stages"]))
                stages = [AttackStage(str(name), int(succeeded), float(seconds)) for name, succeeded, seconds in rows]
                finished, seconds = bool(content["finished"]), float(content["seconds"])
            for name, array in found.items():
                if (array.shape, array.dtype) != (arrays[name].shape, arrays[name].dtype):
                    raise ValueError(f"{name} is {array.dtype} {array.shape}")
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
            raise InputError(f"{self.path}: no checkpoint of an attack ({error}): remove it to begin anew") from error
        for name, array in found.items():
            arrays[name][:] = array
        self.stages, self.finished, self.seconds = stages, finished, seconds

    def save(self, arrays: Mapping[str, np.ndarray], *, finished: bool = False) -> None:
        """Writes `arrays` and the stages."""
        now = time.perf_counter()
        self.finished, self.seconds, self._since = finished, self.seconds + now - self._since, now
        with _io.replacing(self.path) as beside, beside.open("wb") as file:
            rows = json.dumps(self.stages)
            np.savez_compressed(file, stages=rows, finished=finished, seconds=self.seconds, **arrays)  # type: ignore[arg-type]
