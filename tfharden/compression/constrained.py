"""Constraints on kernels for as long as `fit` trains them: what pruning and clustering hold their weights with."""

import abc
from collections.abc import Mapping
from typing import ClassVar

import keras

from tfharden.errors import InputError


class Constrained(keras.callbacks.Callback, abc.ABC):
    """Hangs a constraint on each kernel before the first update, and takes it off when training ends.

    It works inside any trainer that trains the model's own variables, RobustModel and Distiller among them.

    Args:
        kernels: variables by path.
    """

    doing: ClassVar[str]

    def __init__(self, kernels: Mapping[str, keras.Variable]) -> None:
        super().__init__()
        self._kernels = dict(kernels)
        self._hung = False

    @abc.abstractmethod
    def _constraint(self, path: str, kernel: keras.Variable) -> keras.constraints.Constraint:
        """What holds the kernel, made from the weights that it has when training begins."""

    def on_train_batch_begin(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Hangs them, once a resumed training has its weights back.

        Raises:
            InputError: a kernel has a constraint already.
        """
        if self._hung:
            return
        self._hung = True
        for path, kernel in self._kernels.items():
            if kernel.constraint is not None:
                raise InputError(f"{path} has a constraint of its own already, which {self.doing} would replace")
            kernel.constraint = self._constraint(path, kernel)

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        """Applies them a last time, for what averaging or restoring weights may have undone, and takes them off."""
        for kernel in self._kernels.values():
            if kernel.constraint is not None:
                kernel.assign(kernel.constraint(kernel.value))
            kernel.constraint = None
        self._hung = False
