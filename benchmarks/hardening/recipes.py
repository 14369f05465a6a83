"""The recipes of benchmarks.hardening: flags of tfharden-harden, and what their rows are called."""

from benchmarks.common.recipe_table import Recipe, flags

# MNIST, Linf 0.3. Trained a little beyond the radius, since what is trained on is weaker than what is attacked with.
_MNIST = {"epsilon": 0.31, "batch_size": 128, "learning_rate": 2e-3, "average": 0.999, "ramp_epochs": 2}
_MOVED = {"rotation": 8.6, "zoom": 0.08, "shear": 0.1, "shift": 0.036, "contrast": 1.5}
_NET, _SMALL = ({"model": "threshold", "width": width} for width in (32, 16))
_STRIDED = {"model": "strided_threshold", "width": 30, "average": 0.995, "epochs": 24, "attack_steps": 3}
_WONG = {"epochs": 10, "batch_size": 100, "learning_rate": 5e-3, "warmup_epochs": 4, "decay": "linear"}


def _mnist(label: str, objective: str, *settings: dict[str, object], seeds: int = 1) -> Recipe:
    return Recipe(label, 0.3, flags(objective, _SMALL, _MNIST, *settings), seeds=seeds)


# Fashion-MNIST, Linf 0.1.
_FASHION = {"epsilon": 0.1, "epochs": 6, "batch_size": 128, "learning_rate": 3e-3, "average": 0.999, "width": 12}
_SHIFTED = {"rotation": 4, "zoom": 0.05, "shear": 0.05, "shift": 0.036}


def _fashion(label: str, objective: str, *settings: dict[str, object], seeds: int = 1) -> Recipe:
    return Recipe(label, 0.1, flags(objective, _FASHION, *settings), seeds=seeds)


_STEPS = {"attack_steps": 5}
_PGD = {"epochs": 8} | _STEPS

RECIPES: dict[str, dict[str, Recipe]] = {
    "mnist": {
        "fast_wong": Recipe(
            "fast, Wong's network and recipe", 0.3, flags("fast", _WONG, {"epsilon": 0.3}), network="wong"
        ),
        # At a larger radius one seed of three overfits to the single step in epoch 2.
        "fast_wong_averaged": Recipe(
            "the same at 0.32, weights averaged, PGD-4 where it overfits",
            0.3,
            flags("fast", _WONG, {"epsilon": 0.32, "average": 0.999, "overfitting": "fall_back", "attack_steps": 4}),
            network="wong",
            seeds=3,
        ),
        "madry_wong": Recipe(
            "Madry PGD-7, Wong's network",
            0.3,
            flags("madry", _WONG, {"epsilon": 0.3, "ramp_epochs": 2}),
            network="wong",
        ),
        "natural": _mnist("natural", "natural", {"epochs": 8, "ramp_epochs": 0}),
        "madry": _mnist("Madry PGD-5", "madry", _PGD),
        "madry_moved": _mnist("Madry PGD-5, images moved", "madry", _PGD, _MOVED),
        "trades_moved": _mnist("TRADES, images moved", "trades", _PGD, _MOVED, {"beta": 6}),
        "mart_moved": _mnist("MART, images moved", "mart", _PGD, _MOVED),
        "awp_moved": _mnist("Madry PGD-5 with AWP, images moved", "madry", _PGD, _MOVED, {"weight_perturbation": 0.01}),
        "fast_moved": _mnist("fast, images moved", "fast", {"epochs": 16}, _MOVED),
        "n_fgsm_moved": _mnist("N-FGSM, images moved", "n-fgsm", {"epochs": 16}, _MOVED),
        "free_moved": _mnist("free, 8 replays, images moved", "free", {"epochs": 5, "replays": 8}, _MOVED),
        "best": _mnist(
            "Madry PGD-5, images moved, twice as wide, 26 epochs",
            "madry",
            _NET,
            {"epochs": 26} | _STEPS,
            _MOVED,
            seeds=3,
        ),
        "small": _mnist("Madry PGD-3, images moved, 30 wide and strided, 24 epochs", "madry", _MOVED, _STRIDED),
    },
    "fashion_mnist": {
        "natural": _fashion("natural", "natural"),
        "madry": _fashion("Madry PGD-5", "madry", _STEPS),
        "madry_moved": _fashion("Madry PGD-5, images moved", "madry", _STEPS, _SHIFTED),
        "goodfellow": _fashion("Goodfellow, PGD-5", "goodfellow", _STEPS),
        "trades": _fashion("TRADES", "trades", _STEPS, seeds=3),
        "mart": _fashion("MART", "mart", _STEPS),
        "awp": _fashion("Madry PGD-5 with AWP", "madry", _STEPS, {"weight_perturbation": 0.01}),
        "fast": _fashion("fast", "fast", {"epochs": 18}),
        "n_fgsm": _fashion("N-FGSM", "n-fgsm", {"epochs": 18}),
        "free": _fashion("free, 8 replays", "free", {"epochs": 4, "replays": 8}, seeds=3),
    },
}
