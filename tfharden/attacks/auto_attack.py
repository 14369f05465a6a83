"""AutoAttack: the ensemble that needs no parameters."""

import dataclasses
import hashlib
import json
import os
import pathlib
import time
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np

from tfharden import files
from tfharden.attacks.apgd import APGD, APGDDLR
from tfharden.attacks.base import Attack
from tfharden.attacks.fab import FAB
from tfharden.attacks.runner_ups import RunnerUps
from tfharden.attacks.search import Search, Stage
from tfharden.attacks.square import Square
from tfharden.classifiers import Classifier
from tfharden.configurable import registered
from tfharden.errors import InputError
from tfharden.threats import L1, Threat

# What a search has found and spent, and so what has to be known to go on with it.
BOOKS = ("adversarial", "solved", "queries", "gradients", "blind")


@registered
@dataclasses.dataclass(frozen=True)
class AutoAttack(Attack):
    """APGD on the cross entropy, targeted APGD on the DLR, targeted FAB and Square, each on what the one before left.

    Croce and Hein 2020, the standard version (in L1 that of Croce and Hein 2021: five restarts, five targets). It
    fits itself to models of few classes: as many targets as there are wrong classes, and a DLR that compares what
    there is to compare. A randomised model is attacked with `eot-apgd-ce` and `eot-apgd-dlr` instead.

    Args:
        threat: ball and box.
        seed: of all random draws.
        checkpoint: folder where each finished member is noted, so that the same attack on the same images and model
            goes on where it was killed; None for none.
    """

    threat: Threat
    _: dataclasses.KW_ONLY
    seed: int = 0
    checkpoint: str | os.PathLike[str] | None = None

    name = "autoattack"
    access = "white-box"
    targetable = False

    @property
    def members(self) -> tuple[Attack, ...]:
        """The attacks, in their order."""
        sparse = isinstance(self.threat, L1)
        return (
            APGD(self.threat, seed=self.seed, restarts=5 if sparse else 1),
            RunnerUps(APGDDLR(self.threat, seed=self.seed), classes=5 if sparse else 9),
            RunnerUps(FAB(self.threat, seed=self.seed, early_exit=True), classes=9),
            Square(self.threat, queries=5000, stretch=False, seed=self.seed),
        )

    def parameters(self) -> dict[str, Any]:
        """What was chosen; where notes are kept changes nothing in what is found."""
        return {name: value for name, value in super().parameters().items() if name != "checkpoint"}

    def _prepare(self, classifier: Classifier) -> Callable[[Search], None]:
        members = self.members
        prepared = [member._prepare(classifier) for member in members]

        def cascade(search: Search) -> None:
            state = None if self.checkpoint is None else _State(self, classifier, search)
            done = 0 if state is None else state.restore(search)
            for place, (member, run) in enumerate(zip(members, prepared, strict=True)):
                if place < done or search.solved.all():
                    continue
                began, before = time.perf_counter(), search.solved.sum()
                run(search.part(slice(None), (place, len(members))))
                # What fell is counted on the classifier itself, on what it receives, as the door counts it.
                landed = np.asarray(self.threat.land(search.adversarial, search.origin))
                search.solved[:] = search.goal.reached(classifier.predict(landed))
                stage = Stage(member.name, int(search.solved.sum() - before), time.perf_counter() - began)
                search.enter(stage)
                if state is not None:
                    state.save(search, stage)

        return cascade


class _State:
    """What a cascade has done on one set of images, in a file named by everything that it depends on."""

    def __init__(self, attack: AutoAttack, classifier: Classifier, search: Search) -> None:
        told = json.dumps([attack.parameters(), classifier.fingerprint()], sort_keys=True)
        digest = hashlib.sha256(told.encode())
        # What counts as solved at the start tells an attack on this model from one whose examples are for another.
        for array in (search.origin, *search.goal, search.solved):
            digest.update(np.ascontiguousarray(array).tobytes())
        stem = "-".join(map(str, ("autoattack", *search.stream, digest.hexdigest()[:16])))
        self.path = pathlib.Path(attack.checkpoint or ".") / f"{stem}.npz"
        self.stages: list[Stage] = []

    def restore(self, search: Search) -> int:
        """Brings the search to where the file says, and tells how many members are done."""
        if not self.path.is_file():
            return 0
        try:
            with np.load(self.path, allow_pickle=False) as content:
                arrays = {name: content[name] for name in BOOKS}
                stages = [
                    Stage(str(name), int(fell), float(spent))
                    for name, fell, spent in json.loads(str(content["stages"]))
                ]
            for name, array in arrays.items():
                there = getattr(search, name)
                if (array.shape, array.dtype) != (there.shape, there.dtype):
                    raise ValueError(f"{name} is {array.dtype} {array.shape}")
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
            raise InputError(f"{self.path}: no state of an attack ({error}): remove it to begin anew") from error
        for name, array in arrays.items():
            getattr(search, name)[:] = array
        for stage in stages:
            search.enter(stage)
        self.stages = stages
        return len(stages)

    def save(self, search: Search, stage: Stage) -> None:
        self.stages.append(stage)
        with files.replacing(self.path) as beside, beside.open("wb") as file:
            books = {name: getattr(search, name) for name in BOOKS}
            np.savez_compressed(file, stages=json.dumps(self.stages), **books)
