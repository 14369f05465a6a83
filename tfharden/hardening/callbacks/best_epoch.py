"""Best epoch: the weights of the highest robust accuracy on held-out data."""

import contextlib
import json
import math
import pathlib
import zipfile
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from tfharden._io import Path, check_writable, replacing
from tfharden.errors import InputError

# The entry beside Keras' own in the archive.
RECORD = "best_epoch.json"


class BestEpoch(keras.callbacks.Callback):
    """Leaves the plain model with the weights of the best epoch when training ends.

    Early stopping of Rice, Wong and Kolter 2020, arXiv:2002.11569. Robust accuracy on held-out data falls from some
    epoch on while that on training data rises, so a part of the training data has to be held out: chosen by the test
    data, the number would be too good. Of epochs that are equally good the earliest stays.

    What is kept is what validation saw, with an optimizer that averages weights (`use_ema=True`) too: the averages
    under `SwapEMAWeights`, before or after this callback in the list, and otherwise the weights as they are. They are
    put back after Keras has put the averages in.

    With `path`, a training that is killed and resumed (`BackupAndRestore`, `initial_epoch=`) goes on comparing; put
    this callback before `BackupAndRestore`. A training that starts from its first epoch starts anew, and overwrites.

    Args:
        path: a .keras file of the plain model as it was in the best epoch, written whole or not at all whenever an
            epoch is better; in memory alone without.
        monitor: name in the logs of what is to be highest; what validation doesn't measure (no `val_`) is taken to
            belong to the weights of the epoch's end.

    Attributes:
        epoch: the best one, counted from 0 as in `History.epoch`; None before there is one.
        value: what was monitored, in that epoch.

    Raises:
        InputError: another kind of file or one that can't be written or resumed from, a loss to monitor, or at the end
            of an epoch that has no such value, since it was not validated.
    """

    def __init__(self, path: Path | None = None, monitor: str = "val_robust_accuracy") -> None:
        super().__init__()
        self.path = None if path is None else pathlib.Path(path)
        self.monitor = monitor
        if self.path is not None:
            if self.path.suffix != ".keras":
                raise InputError(f"{self.path}: the best model is kept as a .keras file")
            check_writable(self.path)
        if monitor.endswith("loss"):
            raise InputError(f"monitor={monitor!r}: the highest value is taken for the best, so it can't be a loss")
        self._forget()

    def _forget(self) -> None:
        self.epoch: int | None = None
        self.value: float | None = None
        self._weights: list[np.ndarray] | None = None

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:  # noqa: D102
        self._begun = False

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:  # noqa: D102
        self._validated: list[np.ndarray] | None = None
        if not self._begun:
            self._begin(anew=epoch == 0)

    def on_test_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:  # noqa: D102
        # By now every callback has been told that validation begins, and none that it is over: averages are swapped in
        # wherever SwapEMAWeights stands.
        if self._validated is None:
            self._validated = self.model.model.get_weights()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:  # noqa: D102
        logs = logs or {}
        if self.monitor not in logs:
            raise InputError(
                f"{self.monitor} is not in the logs of epoch {epoch + 1} ({', '.join(logs)}): give fit() "
                f"validation_data, and validate in every epoch"
            )
        value = float(logs[self.monitor])
        if not value > (-math.inf if self.value is None else self.value):
            return
        weights = self._validated if self.monitor.startswith("val_") else self.model.model.get_weights()
        self.epoch, self.value, self._weights = epoch, value, weights
        if self.path is not None:
            self._save(self.path)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:  # noqa: D102
        if not self._begun:  # resumed when no epoch was left
            self._begin(anew=False)
        if self._weights is not None:
            self.model.model.set_weights(self._weights)

    def _begin(self, *, anew: bool) -> None:
        self._begun = True
        if anew:
            self._forget()
        elif self.path is not None and self.path.exists():
            self._load(self.path)

    def _save(self, path: pathlib.Path) -> None:
        model = self.model.model
        with replacing(path) as beside:
            with _unchanged(model):
                model.set_weights(self._weights)
                model.save(beside)
            with zipfile.ZipFile(beside, "a") as archive:
                archive.writestr(RECORD, json.dumps({"epoch": self.epoch, "value": self.value}))

    def _load(self, path: pathlib.Path) -> None:
        model = self.model.model
        try:
            with zipfile.ZipFile(path) as archive:
                record = json.loads(archive.read(RECORD))
            with _unchanged(model):
                model.load_weights(path)
                self.epoch, self.value, self._weights = record["epoch"], record["value"], model.get_weights()
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            reason = " ".join(str(error).split())[:200]
            raise InputError(f"{path}: this training can't be resumed from it: {reason}") from error


@contextlib.contextmanager
def _unchanged(model: keras.Model) -> Iterator[None]:
    """Leaves the model with the weights that it came with."""
    weights = model.get_weights()
    try:
        yield
    finally:
        model.set_weights(weights)
