"""Configuration that several tools share: frozen dataclasses, built from the flags."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import tfharden as th
from tfharden.cli import choices
from tfharden.cli.flag_fields import choice, integer, number, parse_number, part, string, switch, words

# Training images that an attack is fitted on, if it is one that is.
FITTED_IMAGES = 2000
COSINE, LINEAR = DECAYS = ("cosine", "linear")
NO_STRATEGY, MIRRORED, MULTIWORKER = STRATEGIES = ("none", "mirrored", "multiworker")


def _bounds(texts: Sequence[str]) -> tuple[float, float]:
    low, high = map(parse_number, texts)
    return low, high


def _are_bounds(texts: Sequence[str]) -> bool:
    try:
        low, high = _bounds(texts)
    except ValueError:
        return False
    return low < high


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataConfig:
    """The images, and the seed of whatever is random."""

    dataset: str = string(
        "digits",
        f"Dataset: {', '.join(choices.DATASETS)}.",
        choices.is_dataset,
        f"known are {', '.join(choices.DATASETS)}",
    )
    num_examples: int | None = integer(None, "Test examples to use, drawn by --seed; all by default.", least=1)
    input_range: tuple[float, float] = words(
        ["0", "1"],
        "low,high: range of the values that the model takes.",
        _are_bounds,
        "--input_range has to be low,high with low < high",
        _bounds,
    )
    seed: int = integer(0, "Seed of splits, first weights, batches and attacks.", least=0)

    def load(self) -> th.data.Dataset:
        """The dataset."""
        return th.data.load(self.dataset, self.input_range, self.seed)

    def test_examples(self, dataset: th.data.Dataset) -> th.data.Examples:
        """The test images that --num_examples leaves."""
        return th.data.take(dataset.test, self.num_examples, self.seed)

    def at_most(self, count: int, examples: th.data.Examples) -> th.data.Examples:
        """So many examples, drawn by --seed, or all if there are fewer."""
        return th.data.take(examples, min(count, len(examples[1])), self.seed)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ThreatConfig:
    """The threat model."""

    norm: str = choice("linf", choices.NORMS, "Norm that measures a perturbation.", case_sensitive=False)
    epsilon: float = number(0.15, "Largest perturbation, in units of the model's input; 8/255 is understood.")

    def within(self, bounds: tuple[float, float]) -> th.Threat:
        """The threat to images in this range."""
        return th.threats.get(self.norm, self.epsilon, bounds)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """Batches, attacks in training, the learning rate, averaged weights, moved images, replicas."""

    batch_size: int = integer(64, "Images a training step.", least=1)
    learning_rate: float = number(3e-3, "Adam's highest learning rate; it falls to zero.")
    attack_steps: int = integer(7, "PGD steps that make a training example.", least=1)
    weight_perturbation: float = number(
        0.0, "Gamma of adversarial weight perturbation (0.005 to 0.01); 0 for none.", most=0.99
    )
    ramp_epochs: float = number(0.0, "Epochs in which the radius grows from zero to --epsilon.")
    warmup_epochs: float = number(0.0, "Epochs in which the learning rate rises from zero.")
    decay: str = choice(COSINE, DECAYS, "How the learning rate falls to zero afterwards.")
    average: float = number(
        0.0, "Momentum m of the averaged weights: about the last 1/(1 - m) updates count; 0 for none.", most=0.9999
    )
    rotation: float = number(0.0, "Training images are turned at random by up to so many degrees.")
    zoom: float = number(0.0, "Training images are zoomed at random by up to this share.", most=1.0)
    shear: float = number(0.0, "Training images are sheared at random by up to this share.", most=1.0)
    shift: float = number(0.0, "Training images are shifted at random by up to this share.", most=1.0)
    contrast: float = number(1.0, "Factor that gives images the contrast back which moving them takes.")
    strategy: str = choice(
        NO_STRATEGY,
        STRATEGIES,
        "What shares each batch: nothing, the GPUs of this machine (mirrored), or several workers that all run this "
        "command (multiworker); these find each other by the environment variable TF_CONFIG, and the first writes.",
    )

    @property
    def moves_images(self) -> bool:
        """Whether training images are augmented."""
        return any((self.rotation, self.zoom, self.shear, self.shift))


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingToolConfig:
    """What the tools that train have in common."""

    data: DataConfig = part(DataConfig)
    threat: ThreatConfig = part(ThreatConfig)
    training: TrainingConfig = part(TrainingConfig)
    epochs: int = integer(40, "Passes over the training data.", least=1)
    output: str = string("saved_models/model.keras", "Path of the trained model.")
    overwrite: bool = switch("Replace what stands at the output.")

    @property
    def attack(self) -> th.attacks.PGD:
        """The attack that makes training examples."""
        return th.attacks.PGD(self.threat.within(self.data.input_range), steps=self.training.attack_steps)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ObjectiveConfig:
    """The method of adversarial training, and its settings."""

    objective: str = choice("madry", (choices.NATURAL, *choices.OBJECTIVES), "What training minimises, and on what.")
    alpha: float = number(0.5, "Weight of the clean loss in --objective=goodfellow.", most=1.0)
    beta: float = number(6.0, "Weight of the divergence in --objective=trades and mart.")
    replays: int = integer(8, "Times that --objective=free trains on a batch.", least=1)
    sources: tuple[str, ...] = words(
        [], "Paths of the .keras models whose examples --objective=fixed-sources trains on."
    )
    itself: bool = switch("--objective=fixed-sources also takes the model in training for a source.")
    label_smoothing: float = number(0.0, "Share of each label that is spread over all classes.", most=1.0)


def _attacks(known: str, accepted: Sequence[str] = ()) -> Any:
    return words(
        ["fgsm", "pgd", "pgd-margin", "square"],
        f"Attacks, any of {known}. --steps, --restarts and --queries go to the attacks that they name, in all of these "
        f"forms; all others keep budgets of their own, autoattack for each of its members.",
        lambda names: bool(names) and all(name in accepted or choices.is_attack(name) for name in names),
        f"known are {known}",
    )


def _taking(setting: str) -> str:
    return ", ".join(choices.ATTACKS_WITH[setting])


@dataclasses.dataclass(frozen=True, kw_only=True)
class AttackConfig:
    """The attacks of an evaluation, and their budgets."""

    attacks: tuple[str, ...] = _attacks(choices.KNOWN_ATTACKS)
    steps: int = integer(
        50,
        f"Gradients an example and restart, for {_taking('steps')}; all others keep budgets of their own, among them "
        f"those that seek the smallest perturbation ({', '.join(choices.MINIMUM_NORM_ATTACKS)}).",
        least=1,
    )
    restarts: int = integer(
        5,
        f"Starts an example, for {_taking('restarts')}, which start at random; all others keep budgets of their own.",
        least=1,
    )
    queries: int = integer(
        1000, f"Queries an example, for {_taking('queries')}; all others keep budgets of their own.", least=1
    )

    def build(self, name: str, threat: th.Threat, data: DataConfig, dataset: th.data.Dataset) -> th.attacks.Attack:
        """The attack of that name, with those of the budgets that it has; one that is fitted gets training images."""
        settings: dict[str, Any] = {"steps": self.steps, "restarts": self.restarts, "queries": self.queries}
        settings |= {"seed": data.seed, "examples": data.at_most(FITTED_IMAGES, dataset.train)}
        return th.attacks.fitting(name, threat, settings)

    def build_all(self, threat: th.Threat, data: DataConfig, dataset: th.data.Dataset) -> list[th.attacks.Attack]:
        """The attacks of --attacks, without the probes among them."""
        return [self.build(name, threat, data, dataset) for name in self.attacks if choices.is_attack(name)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class AttackAndProbeConfig(AttackConfig):
    """The attacks and probes of an evaluation."""

    attacks: tuple[str, ...] = _attacks(
        f"{choices.KNOWN_ATTACKS}; and probes, any of {', '.join(choices.PROBES)}", choices.PROBES
    )

    @property
    def probes(self) -> list[str]:
        """The probes of --attacks."""
        return [name for name in self.attacks if name in choices.PROBES]


def architecture(role: str) -> Any:
    """--model of the tools that build one."""
    known = ", ".join(choices.MODELS)
    return string(
        "cnn",
        f"{role}: {known}, or a .keras file to go on from.",
        lambda name: name in choices.MODELS or name.endswith(".keras"),
        f"known are {known}, or a .keras file",
    )


def width() -> Any:
    """--width of the tools that build a model."""
    return integer(None, "Channels of its first stage; parameters grow with the square.", least=1)


def calibration_examples() -> Any:
    """--calibration_examples."""
    return integer(200, "Training images to measure ranges on, each clean and attacked.", least=1)


def tensorboard_dir() -> Any:
    """--tensorboard_dir."""
    return string(None, "Folder for TensorBoard; needs tfharden[tensorboard].")
