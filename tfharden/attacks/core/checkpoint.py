"""Checkpoints of attacks: files from which the same attack goes on where it was killed."""

import hashlib
import importlib.metadata
import json
import pathlib
import time
import zipfile
from typing import TYPE_CHECKING, Self

import numpy as np

from tfharden import _io
from tfharden.attacks.core.result import AttackStage
from tfharden.errors import InputError

if TYPE_CHECKING:
    from tfharden.attacks.core.search_state import SearchState

# What a search has found and spent, and so what has to be known to go on with it.
SAVED_FIELDS = ("adversarial", "solved", "queries", "gradients", "zero_gradients", "minimum")
# Other versions may search otherwise.
PACKAGES = ("tfharden", "tensorflow", "keras", "ai-edge-litert", "numpy")


class Checkpoint:
    """The checkpoint of a search on one set of images, in a file named by everything that the search depends on.

    Args:
        folder: where the file is, once it is saved.
        description: of the attack and the classifier.
        search: the search before anything is done.

    Attributes:
        stages: the attacks in a row that are done.
        finished: whether nothing is left to do.
        seconds: wall time that all this took.
    """

    def __init__(self, folder: _io.Path, description: str, search: "SearchState") -> None:
        self._folder, self._description = pathlib.Path(folder), description
        versions = [f"{package} {importlib.metadata.version(package)}" for package in PACKAGES]
        digest = hashlib.sha256(json.dumps([description, versions]).encode())
        # What counts as solved at the start tells an attack on this model from one whose examples are for another.
        for array in (search.origin, *search.criterion, search.solved):
            digest.update(np.ascontiguousarray(array).tobytes())
        self.path = self._folder / ("-".join(map(str, (*search.stream, digest.hexdigest()[:16]))) + ".npz")
        self.stages: list[AttackStage] = []
        self.finished, self.seconds, self._since = False, 0.0, time.perf_counter()

    def within(self, search: "SearchState") -> Self:
        """The checkpoint of a search inside this one, on another model."""
        return type(self)(self._folder, f"within {self._description}", search)

    def restore(self, search: "SearchState") -> None:
        """Brings the search to where the file says, if there is one.

        Raises:
            InputError: the file is no such checkpoint.
        """
        if not self.path.is_file():
            return
        try:
            with np.load(self.path, allow_pickle=False) as content:
                arrays = {name: content[name] for name in SAVED_FIELDS}
                rows = json.loads(str(content["stages"]))
                stages = [AttackStage(str(name), int(succeeded), float(seconds)) for name, succeeded, seconds in rows]
                finished, seconds = bool(content["finished"]), float(content["seconds"])
            for name, array in arrays.items():
                there = getattr(search, name)
                if (array.shape, array.dtype) != (there.shape, there.dtype):
                    raise ValueError(f"{name} is {array.dtype} {array.shape}")
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
            raise InputError(f"{self.path}: no notes of an attack ({error}): remove it to begin anew") from error
        for name, array in arrays.items():
            getattr(search, name)[:] = array
        for stage in stages:
            search.enter(stage)
        self.finished, self.seconds = finished, seconds

    def save(self, search: "SearchState", *, finished: bool = False) -> None:
        """Writes where the search is."""
        now = time.perf_counter()
        self.finished, self.seconds, self._since = finished, self.seconds + now - self._since, now
        with _io.replacing(self.path) as beside, beside.open("wb") as file:
            fields = {name: getattr(search, name) for name in SAVED_FIELDS}
            np.savez_compressed(file, stages=json.dumps(self.stages), finished=finished, seconds=self.seconds, **fields)
