"""Results of attacks."""

import dataclasses
from typing import Any, NamedTuple, Self

import numpy as np

from tfharden._deprecation import RenamedMembers, warn_renamed


class AttackStage(NamedTuple):
    """What one of several attacks in a row achieved.

    Attributes:
        name: the attack's name.
        succeeded: number of examples that fell to it after all before had failed.
        seconds: wall time.
    """

    name: str
    succeeded: int
    seconds: float

    @property
    def fell(self) -> int:
        """Former name of `succeeded`."""
        warn_renamed("AttackStage.fell", "succeeded")
        return self.succeeded


@dataclasses.dataclass(frozen=True, repr=False, eq=False)
class AttackResult(RenamedMembers):
    """What an attack achieved, counted on the classifier itself.

    Attributes:
        name: the attack's name.
        access: what it needs of the classifier: "white-box", "score", "decision", "transfer" or "none".
        adversarial: images in ball, box and lattice, float32 `[n, ...]`; where `success` is false, the best attempt.
        success: whether the classifier errs on it (says the target, if targets were given), `[n]`; a clean error
            counts, so robust accuracy is their complement.
        distance: length of the perturbation in the threat's norm, `[n]`.
        queries: forward passes without gradient, `[n]`; neither the first nor the last look at an example counts.
        gradients: forward and backward passes, `[n]`.
        zero_gradients: gradients that were zero or not finite over the whole image, `[n]`.
        seconds: wall time, with that before it was killed.
        parameters: what the attack was, as its configuration tells it.
        lost: examples that the search took for solved, and that the classifier, asked again about what it can receive,
            gets right: what rounding undid, or gradients of a twin that answers otherwise, `[n]`.
        minimum: of a minimum-norm attack, the length of the smallest perturbation found that reaches the criterion,
            whether it lies within epsilon or not, `[n]`: 0 where the clean image does, infinity where none was found.
        stages: of an attack that is several in a row, what each of them achieved.
        kind: how the attack searches, as its class declares it: see `Attack.kind`.
    """

    name: str
    access: str
    adversarial: np.ndarray
    success: np.ndarray
    distance: np.ndarray
    queries: np.ndarray
    gradients: np.ndarray
    zero_gradients: np.ndarray
    seconds: float
    parameters: dict[str, Any]
    lost: np.ndarray
    minimum: np.ndarray | None = None
    stages: tuple[AttackStage, ...] = ()
    kind: str = ""

    _renamed = {"blind": "zero_gradients"}  # noqa: RUF012

    @property
    def robust_accuracy(self) -> float:
        """Share of all examples on which the attack fails."""
        return float(1 - self.success.mean())

    def __repr__(self) -> str:
        counts = ((self.queries, "queries"), (self.gradients, "gradients"))
        cost = [f"{array.mean():.4g} {what}" for array, what in counts if array.any()]
        told = [f"robust accuracy {self.robust_accuracy:.1%} of {len(self.success)}", *cost, f"{self.seconds:.1f} s"]
        return f"AttackResult({self.name!r}: {', '.join(told)})"

    def to_json(self) -> dict[str, Any]:
        """All but the images, in plain values; `from_json` reads them."""
        plain = {
            field.name: value.tolist() if isinstance(value := getattr(self, field.name), np.ndarray) else value
            for field in dataclasses.fields(self)
            if field.name != "adversarial"
        }
        return plain | {"stages": [stage._asdict() for stage in self.stages]}

    @classmethod
    def from_json(cls, content: dict[str, Any], adversarial: np.ndarray | None = None) -> Self:
        """The result that `to_json` told, with these images, or with none."""
        arrays = {
            name: np.asarray(content[name], kind) for name, kind in _ARRAYS.items() if content.get(name) is not None
        }
        images = np.zeros((len(arrays["success"]), 0), np.float32) if adversarial is None else adversarial
        stages = tuple(AttackStage(**stage) for stage in content["stages"])
        return cls(**content | arrays | {"adversarial": images, "stages": stages})


_ARRAYS = {
    "success": bool,
    "distance": np.float32,
    "queries": np.int64,
    "gradients": np.int64,
    "zero_gradients": np.int64,
    "lost": bool,
    "minimum": np.float32,
}
