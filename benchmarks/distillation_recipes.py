"""The recipes of benchmarks/distillation.py: one hardened teacher, and students of one size by each method.

Students of one table spend about as many gradients an image: K of the attack and those of the update, in student's
passes. K is 5; ARD and Madry take 6 an epoch, RSLAD and IAD 7, AdaAD 11 (its attack goes through the teacher too).
"""

from recipes import Recipe, flags

STEPS = 5
# Epochs that make about 84 gradients an image.
_EPOCHS = {"natural": 14, "madry": 14, "ard": 14, "rslad": 12, "iad": 12, "adaad": 8}
_COMMON = {"batch_size": 128, "learning_rate": 2e-3, "average": 0.999, "attack_steps": STEPS}
_TAUGHT = {"teacher": "{folder}/teacher-0.keras", "features": ""}


def _students(epsilon: float, network: dict[str, object], moved: dict[str, object]) -> dict[str, Recipe]:
    """Rows of a table, by name."""

    def row(label: str, method: str, *settings: dict[str, object], tool: str = "tfharden-distill") -> Recipe:
        taught = _TAUGHT if tool == "tfharden-distill" else {}
        given = flags(method, network, _COMMON, moved, taught, {"epochs": _EPOCHS[method]}, *settings)
        return Recipe(label, epsilon, given, tool=tool, seeds=3)

    return {
        "natural": row("natural student", "natural", {"ramp_epochs": 0}, tool="tfharden-harden"),
        "madry": row("Madry student", "madry", tool="tfharden-harden"),
        "ard": row("ARD", "ard"),
        "rslad": row("RSLAD", "rslad"),
        "iad": row("IAD", "iad"),
        "adaad": row("AdaAD", "adaad"),
        "ard_labels": row("ARD, labels too", "ard", {"label_weight": 1}),
    }


_MOVED = {"rotation": 8.6, "zoom": 0.08, "shear": 0.1, "shift": 0.036, "contrast": 1.5, "ramp_epochs": 2}
_MNIST, _FASHION = {"epsilon": 0.31}, {"epsilon": 0.1}

RECIPES: dict[str, dict[str, Recipe]] = {
    "mnist": {
        "teacher": Recipe(
            "teacher",
            0.3,
            flags("madry", {"model": "threshold", "width": 24, "epochs": 20}, _COMMON, _MOVED, _MNIST),
        ),
        **_students(0.3, {"model": "threshold", "width": 7} | _MNIST, _MOVED),
    },
    "fashion_mnist": {
        "teacher": Recipe("teacher", 0.1, flags("trades", {"width": 16, "epochs": 8}, _COMMON, _FASHION)),
        **_students(0.1, {"width": 8} | _FASHION, {}),
    },
}
