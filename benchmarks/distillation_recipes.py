"""The recipes of benchmarks/distillation.py: a reference model as the teacher, and students of one size by each method.

Students of one table spend about as many gradients an image: K of the attack and those of the update, in student's
passes. K is 5; ARD and Madry take 6 an epoch, RSLAD and IAD 7, AdaAD 11 (its attack goes through the teacher too).
"""

from collections.abc import Mapping

from recipes import Recipe, flags

_EPOCHS_OF_42 = {"natural": 7, "madry": 7, "ard": 7, "rslad": 6, "iad": 6, "adaad": 4}
_EPOCHS_OF_36 = {"natural": 6, "madry": 6, "ard": 6, "rslad": 5, "iad": 5, "adaad": 3}
_COMMON = {"batch_size": 128, "average": 0.999, "attack_steps": 5}
_LABELS = {
    "natural": "natural student",
    "madry": "Madry student",
    "ard": "ARD",
    "rslad": "RSLAD",
    "iad": "IAD",
    "adaad": "AdaAD",
}


def _table(
    epsilon: float, teacher: str, epochs: Mapping[str, int], settings: Mapping[str, object]
) -> dict[str, Recipe]:
    """Rows by name: the teacher as it is, and three seeds of a student by each method."""
    path = f"saved_models/reference/{teacher}.keras"

    def row(method: str, label: str) -> Recipe:
        given = _COMMON | dict(settings) | {"epochs": epochs[method]}
        if method == "natural":
            given |= {"ramp_epochs": 0}
        if method in ("natural", "madry"):
            return Recipe(label, epsilon, flags(method, given), seeds=3)
        taught = {"teacher": path, "features": ""}
        return Recipe(label, epsilon, flags(method, given, taught), tool="tfharden-distill", seeds=3)

    rows = {method: row(method, label) for method, label in _LABELS.items()}
    return {"teacher": Recipe("teacher", epsilon, (path,), tool=""), **rows}


RECIPES: dict[str, dict[str, Recipe]] = {
    "mnist": _table(
        0.3,
        "mnist_linf",
        _EPOCHS_OF_42,
        {"model": "threshold", "width": 7, "epsilon": 0.31, "learning_rate": 3e-3, "ramp_epochs": 1}
        | {"rotation": 8.6, "zoom": 0.08, "shear": 0.1, "shift": 0.036, "contrast": 1.5},
    ),
    "fashion_mnist": _table(
        0.1, "fashion_mnist_linf", _EPOCHS_OF_36, {"width": 8, "epsilon": 0.1, "learning_rate": 3e-3}
    ),
}
