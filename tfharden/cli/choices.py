"""Names that flags accept, stated here because the registries that hold them import TensorFlow.

tests/cli/test_choices.py compares them with those registries.
"""

import importlib.metadata

NORMS = ("linf", "l2", "l1", "l0")
DATASETS = ("digits", "mnist", "fashion_mnist", "cifar10", "npz:PATH")
# Entry points of this group are datasets that other packages bring.
DATASET_GROUP = "tfharden.datasets"
MODELS = ("cnn", "threshold", "strided", "strided_threshold", "mlp", "depthwise", "resnet")

ATTACKS = (
    *("fgsm", "bim", "pgd", "pgd-margin", "mi-fgsm", "apgd-ce", "apgd-dlr"),
    *("deepfool", "fab", "cw", "l-bfgs", "jsma"),
    *("square", "spsa", "hop-skip-jump", "noise", "uap", "autoattack"),
)
AVERAGED, EACH_TARGET = "eot-", "-t"
KNOWN_ATTACKS = (
    f"{', '.join(ATTACKS)}; NAME{EACH_TARGET} aims at each runner-up class, {AVERAGED}NAME averages gradients"
)
MINIMUM_NORM_ATTACKS = ("deepfool", "fab", "cw", "l-bfgs", "jsma", "hop-skip-jump")
# Attacks that --steps, --restarts and --queries go to.
ATTACKS_WITH = {
    "steps": ("bim", "pgd", "pgd-margin", "mi-fgsm", "apgd-ce", "apgd-dlr"),
    "restarts": ("pgd", "pgd-margin", "apgd-ce", "apgd-dlr"),
    "queries": ("square", "spsa", "hop-skip-jump"),
}
PROBES = ("curve", "confidence", "linearity", "fooling-gradient", "fooling-evolution")
KERNELS = ("xnnpack", "builtin", "reference")

NATURAL = "natural"
OBJECTIVES = ("madry", "goodfellow", "fast", "n-fgsm", "free", "trades", "mart", "fixed-sources")
DISTILLATION_OBJECTIVES = ("ard", "rslad", "iad", "adaad")
LOGIT_LOSSES = ("soft-target", "decoupled-target", "relational-distance", "relational-angle", "similarity")
FEATURE_LOSSES = ("feature", "attention", "relational-distance", "relational-angle", "similarity")

PATTERNS = ("2:4",)
INITIALISERS = ("kmeans++", "linear", "density-based", "random")
RECIPES = (
    *("float32", "float16", "sparse", "dynamic", "int8", "int8-uint8", "int8-float", "int16x8"),
    *("aeq-int8", "aeq-dynamic", "aeq-weight-only"),
)
TARGETS = ("any", "mcu")
LEAST_AGREEMENT = 0.9


def is_attack(name: str) -> bool:
    """Whether there is an attack of that name."""
    return name.removeprefix(AVERAGED).removesuffix(EACH_TARGET) in ATTACKS


def is_dataset(name: str) -> bool:
    """Whether there is a dataset of that name, here or in another package."""
    return name in DATASETS[:-1] or name.startswith("npz:") or name in dataset_entry_points()


def dataset_entry_points() -> set[str]:
    """Names of the datasets that other packages bring."""
    return importlib.metadata.entry_points(group=DATASET_GROUP).names
