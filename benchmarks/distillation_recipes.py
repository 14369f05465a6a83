"""The recipes of benchmarks/distillation.py: a reference model as the teacher, and students of one size by each method.

Students of one table spend about as many gradients an image: K of the attack and those of the update, in student's
passes. K is 3; of an epoch ARD and Madry take 4, RSLAD and IAD 5, AdaAD 7 (its attack goes through the teacher too).
"""

from collections.abc import Mapping

from recipes import Recipe, flags

_EPOCHS_OF_20 = {"natural": 5, "madry": 5, "ard": 5, "rslad": 4, "iad": 4, "adaad": 3}
# Three where the question is whether one beats the other.
_SEEDS = {"madry": 3, "ard": 3}
_COMMON = {"batch_size": 128, "average": 0.995, "attack_steps": 3, "learning_rate": 3e-3, "ramp_epochs": 1}
_LABELS = {
    "natural": "natural student",
    "madry": "Madry student",
    "ard": "ARD",
    "rslad": "RSLAD",
    "iad": "IAD",
    "adaad": "AdaAD",
}


def _table(epsilon: float, teacher: str, settings: Mapping[str, object]) -> dict[str, Recipe]:
    """Rows by name: the teacher as it is, and seeds of a student by each method."""
    path = f"saved_models/reference/{teacher}.keras"

    def row(method: str, label: str) -> Recipe:
        seeds = _SEEDS.get(method, 1)
        given = _COMMON | dict(settings) | {"epochs": _EPOCHS_OF_20[method]}
        if method == "natural":
            given |= {"ramp_epochs": 0}
        if method in ("natural", "madry"):
            return Recipe(label, epsilon, flags(method, given), seeds=seeds)
        taught = flags(method, given, {"teacher": path, "features": ""})
        return Recipe(label, epsilon, taught, tool="tfharden-distill", seeds=seeds)

    rows = {method: row(method, label) for method, label in _LABELS.items()}
    return {"teacher": Recipe("teacher", epsilon, (path,), tool=""), **rows}


RECIPES: dict[str, dict[str, Recipe]] = {
    "mnist": _table(0.3, "mnist_linf", {"model": "strided_threshold", "width": 16, "epsilon": 0.31}),
    "fashion_mnist": _table(0.1, "fashion_mnist_linf", {"model": "strided", "width": 16, "epsilon": 0.1}),
}
