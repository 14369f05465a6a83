"""The recipes of benchmarks.compression: a hardened student, and what tfharden-compress makes of it."""

from collections.abc import Mapping
from typing import NamedTuple

from benchmarks.common.recipe_table import Recipe, flags

_COMMON = {"batch_size": 128, "attack_steps": 3, "average": 0.995}
_MOVED = {"rotation": 8.6, "zoom": 0.08, "shear": 0.1, "shift": 0.036, "contrast": 1.5}
# Fine-tuning starts from trained weights.
_TUNED = {"epochs": 3, "learning_rate": 5e-4}


class File(NamedTuple):
    """A row of the table: a model exported by a recipe."""

    label: str
    model: str
    recipe: str


FILES = (
    File("float32", "student", "float32"),
    File("float16", "student", "float16"),
    File("dynamic range", "student", "dynamic"),
    File("int8, calibrated after training", "student", "int8"),
    File("int8, natural QAT", "natural_qat", "int8"),
    File("int8, adversarial QAT", "adversarial_qat", "int8"),
    File("80% pruned, float32", "pruned", "float32"),
    File("80% pruned, float32, stored sparse", "pruned", "sparse"),
    File("80% pruned, adversarial QAT, int8", "pruned_qat", "int8"),
    File("16 clusters, adversarial QAT, int8", "clustered_qat", "int8"),
)


def _models(student: Recipe, threat: Mapping[str, object]) -> dict[str, Recipe]:
    """Models by name: the student, and what comes of it."""
    shared = _COMMON | dict(threat)

    def tuned(label: str, source: str, objective: str, settings: Mapping[str, object]) -> Recipe:
        given = flags(objective, shared, _TUNED, {"model": f"{{folder}}/{source}-0.keras"}, dict(settings))
        return Recipe(label, student.epsilon, given, tool="tfharden-compress")

    return {
        "student": student,
        "natural_qat": tuned("natural QAT", "student", "natural", {"quantize": "true"}),
        "adversarial_qat": tuned("adversarial QAT", "student", "madry", {"quantize": "true"}),
        "pruned": tuned("pruned", "student", "madry", {"sparsity": 0.8}),
        "pruned_qat": tuned("pruned, QAT", "pruned", "madry", {"quantize": "true"}),
        "clustered_qat": tuned("clusters, QAT", "student", "madry", {"clusters": 16, "quantize": "true"}),
    }


def _ready(epsilon: float, name: str) -> Recipe:
    """A reference model; its card says how it was made."""
    return Recipe("student", epsilon, (f"saved_models/reference/{name}.keras",), tool="")


RECIPES: dict[str, dict[str, Recipe]] = {
    "mnist": _models(_ready(0.3, "mnist_linf_small"), {"epsilon": 0.31} | _MOVED),
    "fashion_mnist": _models(_ready(0.1, "fashion_mnist_linf_student"), {"epsilon": 0.1}),
}
