"""The recipes of benchmarks.distillation: a teacher, and students of one size by each method.

Students of one table spend about as many gradients an image: K of the attack and those of the update, in student's
passes. K is 3; of an epoch ARD and Madry take 4, RSLAD and IAD 5, AdaAD 7 (its attack goes through the teacher too).
"""

from collections.abc import Collection, Mapping

from benchmarks.common.recipe_table import Recipe, flags

_EPOCHS_OF_20 = {"natural": 5, "madry": 5, "ard": 5, "ard_labels": 5, "rslad": 4, "iad": 4, "adaad": 3}
# Of the objective that a row's name begins with.
_OWN = {"natural": {"ramp_epochs": 0}, "ard_labels": {"label_weight": 1}}
_COMMON = {"batch_size": 128, "average": 0.995, "attack_steps": 3, "learning_rate": 3e-3, "ramp_epochs": 1}
_LABELS = {
    "natural": "natural student",
    "madry": "Madry student",
    "ard": "ARD",
    "ard_labels": "ARD and labels",
    "rslad": "RSLAD",
    "iad": "IAD",
    "adaad": "AdaAD",
}


def _table(teacher: Recipe, settings: Mapping[str, object], single: Collection[str]) -> dict[str, Recipe]:
    """Rows by name: the teacher, and three seeds of a student by each method, one by those in `single`."""
    path = "{folder}/teacher-0.keras" if teacher.tool else teacher.flags[0]

    def row(method: str, label: str) -> Recipe:
        seeds = 1 if method in single else 3
        objective = method.removesuffix("_labels")
        given = flags(objective, _COMMON, dict(settings), {"epochs": _EPOCHS_OF_20[method]}, _OWN.get(method, {}))
        if method in ("natural", "madry"):
            return Recipe(label, teacher.epsilon, given, seeds=seeds)
        taught = (*given, f"--teacher={path}", "--features=")
        return Recipe(label, teacher.epsilon, taught, tool="tfharden-distill", seeds=seeds)

    return {"teacher": teacher, **{method: row(method, label) for method, label in _LABELS.items()}}


# Nine times the student's parameters.
_WIDE = {"model": "strided", "width": 48, "epsilon": 0.1, "epochs": 7, "learning_rate": 2e-3}

RECIPES: dict[str, dict[str, Recipe]] = {
    "mnist": _table(
        Recipe("teacher", 0.3, ("saved_models/reference/mnist_linf.keras",), tool=""),
        {"model": "strided_threshold", "width": 16, "epsilon": 0.31},
        single=("ard_labels", "adaad"),
    ),
    "fashion_mnist": _table(
        Recipe("teacher", 0.1, flags("madry", _COMMON, _WIDE)),
        {"model": "strided", "width": 16, "epsilon": 0.1},
        single=("adaad",),
    ),
}
