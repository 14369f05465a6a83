"""Constraints on kernels while `fit` trains them, for pruning and clustering."""

import abc
from collections.abc import Mapping
from typing import ClassVar

import keras

from tfharden.errors import InputError


class Constrained(keras.callbacks.Callback, abc.ABC):
    """Puts a constraint on each kernel before the first update, and removes it when training ends.

    It works inside any trainer that trains the model's own variables, RobustModel and Distiller among them.

    Args:
        kernels: variables by path.
    """

    doing: ClassVar[str]

    def __init__(self, kernels: Mapping[str, keras.Variable]) -> None:
        super().__init__()
        self._kernels = dict(kernels)
        self._applied = False

    @abc.abstractmethod
    def _constraint(self, path: str, kernel: keras.Variable) -> keras.constraints.Constraint:
        """The constraint of a kernel, made from the weights that it has when training begins."""

    def on_train_batch_begin(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Puts them on, once a resumed training has its weights back.

        Raises:
            InputError: a kernel has a constraint already.
        """
        if self._applied:
            return
        self._applied = True
        for path, kernel in self._kernels.items():
            if kernel.constraint is not None:
                raise InputError(f"{path} has a constraint of its own already, which {self.doing} would replace")
            kernel.constraint = self._constraint(path, kernel)

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        """Applies them a last time, for what averaging or restoring weights may have undone, and removes them."""
        for kernel in self._kernels.values():
            if kernel.constraint is not None:
                kernel.assign(kernel.constraint(kernel.value))
            kernel.constraint = None
        self._applied = False
