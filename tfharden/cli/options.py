"""Flags of the same name and meaning in every tool, and what they say."""

import fractions
import math
import pathlib
from collections.abc import Sequence
from typing import Any

import keras
from absl import flags

import tfharden as th
from tfharden import _io, attacks, data, models, threats
from tfharden.classifiers import shapes
from tfharden.data.examples import Examples, check_images, check_labels

FLAGS = flags.FLAGS

# Training images that an attack is fitted on, if it is one that is.
FITTED = 2000


def number(text: str) -> float:
    """A finite number, given as decimal or as a fraction such as 8/255.

    Raises:
        ValueError: it is none.
    """
    try:
        value = float(fractions.Fraction(text.strip())) if "/" in text else float(text)
    except (ValueError, ZeroDivisionError):
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{text!r} is not a number such as 0.15 or 8/255")
    return value


class _NumberParser(flags.ArgumentParser):
    syntactic_help = "a number such as 0.15 or 8/255"

    def parse(self, argument: str | float) -> float:
        return number(str(argument))

    def flag_type(self) -> str:
        return "number"


def define_number(name: str, default: float, help: str, *, least: float = 0.0, most: float = math.inf) -> None:
    """A flag that takes decimals and fractions within [least, most]."""
    flags.DEFINE(_NumberParser(), name, default, help, serializer=flags.ArgumentSerializer())
    span = f">= {least:g}" if math.isinf(most) else f"in [{least:g}, {most:g}]"
    flags.register_validator(name, lambda value: least <= value <= most, f"--{name} has to be a number {span}")


def define_data() -> None:
    """--dataset, --num_examples, --input_range, --seed."""
    flags.DEFINE_string("dataset", "digits", f"Dataset: {', '.join(data.NAMES)}.")
    flags.DEFINE_integer("num_examples", None, "Test examples to use, drawn by --seed; all by default.", lower_bound=1)
    flags.DEFINE_list("input_range", ["0", "1"], "low,high: range of the values that the model takes.")
    flags.DEFINE_integer("seed", 0, "Seed of splits, first weights, batches and attacks.", lower_bound=0)
    flags.register_validator(
        "dataset", lambda name: name in data.NAMES or name.startswith("npz:"), f"known are {', '.join(data.NAMES)}"
    )
    flags.register_validator("input_range", _is_range, "--input_range has to be low,high with low < high")


def define_threat() -> None:
    """--norm, --epsilon."""
    flags.DEFINE_enum("norm", "linf", list(threats.NORMS), "Norm that measures a perturbation.", case_sensitive=False)
    define_number("epsilon", 0.15, "Largest perturbation, in units of the model's input; 8/255 is understood.")


def define_training(epochs: int) -> None:
    """--epochs, --batch_size, --learning_rate, --attack_steps."""
    flags.DEFINE_integer("epochs", epochs, "Passes over the training data.", lower_bound=1)
    flags.DEFINE_integer("batch_size", 64, "Images a training step.", lower_bound=1)
    define_number("learning_rate", 3e-3, "Adam's highest learning rate; it falls to zero.")
    flags.DEFINE_integer("attack_steps", 7, "PGD steps that make a training example.", lower_bound=1)


def define_model(default: str, role: str) -> None:
    """--model, --width."""
    known = ", ".join(models.KNOWN)
    flags.DEFINE_string("model", default, f"{role}: {known}, or a .keras file to go on from.")
    flags.DEFINE_integer("width", None, "Channels of its first stage; parameters grow with the square.", lower_bound=1)
    flags.register_validator(
        "model", lambda name: name in models.KNOWN or name.endswith(".keras"), f"known are {known}, or a .keras file"
    )


def define_attacks(steps: int = 50, restarts: int = 5, queries: int = 1000, probes: Sequence[str] = ()) -> None:
    """--attacks, --steps, --restarts, --queries; `probes` may stand among the attacks."""
    known = attacks.KNOWN + (f"; and probes, any of {', '.join(probes)}" if probes else "")
    rest = "all others keep budgets of their own"
    minimising = ", ".join(name for name, kind in attacks.BY_NAME.items() if kind.minimises)
    flags.DEFINE_list(
        "attacks",
        ["fgsm", "pgd", "pgd-margin", "square"],
        f"Attacks, any of {known}. --steps, --restarts and --queries go to the attacks that they name, in all of these "
        f"forms; {rest}, autoattack for each of its members.",
    )
    flags.DEFINE_integer(
        "steps",
        steps,
        f"Gradients an example and restart, for {_taking('steps')}; {rest}, among them those that seek the smallest "
        f"perturbation ({minimising}).",
        lower_bound=1,
    )
    flags.DEFINE_integer(
        "restarts",
        restarts,
        f"Starts an example, for {_taking('restarts')}, which start at random; {rest}.",
        lower_bound=1,
    )
    flags.DEFINE_integer("queries", queries, f"Queries an example, for {_taking('queries')}; {rest}.", lower_bound=1)
    flags.register_validator(
        "attacks",
        lambda names: bool(names) and all(name in probes or attacks.is_known(name) for name in names),
        f"known are {known}",
    )


def _taking(setting: str) -> str:
    """Names of the attacks that get the setting."""
    return ", ".join(name for name in attacks.BY_NAME if attacks.takes(name, setting))


def define_output(default: str, help: str) -> None:
    """--output, --overwrite."""
    flags.DEFINE_string("output", default, help)
    define_overwrite()


def define_tensorboard() -> None:
    """--tensorboard_dir."""
    flags.DEFINE_string("tensorboard_dir", None, "Folder for TensorBoard; needs tfharden[tensorboard].")


def check_tensorboard() -> None:
    """Refuses the flag where the package is missing, before any work is done."""
    if FLAGS.tensorboard_dir:
        th.evaluation.check_tensorboard()


def define_overwrite() -> None:
    """--overwrite."""
    flags.DEFINE_bool("overwrite", False, "Replace what stands at the output.")


def bounds() -> tuple[float, float]:
    """What --input_range says."""
    low, high = map(number, FLAGS.input_range)
    return low, high


def threat() -> th.Threat:
    """What --norm, --epsilon and --input_range say."""
    return threats.get(FLAGS.norm, FLAGS.epsilon, bounds())


def dataset() -> data.Dataset:
    """What --dataset says."""
    return data.load(FLAGS.dataset, bounds(), FLAGS.seed)


def test_examples(source: data.Dataset) -> Examples:
    """The test images that --num_examples leaves."""
    return data.take(source.test, FLAGS.num_examples, FLAGS.seed)


def new_or_loaded_model(source: data.Dataset) -> keras.Model:
    """What --model and --width say, for the dataset's images and classes.

    Raises:
        InputError: a .keras file that can't be loaded, or whose shapes don't fit the dataset.
    """
    if FLAGS.model in models.KNOWN:
        return models.build(FLAGS.model, source.input_shape, source.num_classes, FLAGS.width)
    model = th.load_model(FLAGS.model)
    check_fit(model, source)
    return model


def check_fit(model: keras.Model, source: data.Dataset) -> None:
    """Refuses a model that takes other images, or knows fewer classes, than the dataset has.

    Raises:
        InputError: so it is.
    """
    shape, classes = shapes(model)
    check_images(source.train[0][:1], shape, source.bounds)
    check_labels(source.train[1], len(source.train[1]), classes)


def training_attack() -> attacks.PGD:
    """PGD under the flags' threat, with as many steps as --attack_steps says."""
    return attacks.PGD(threat(), steps=FLAGS.attack_steps)


def training_settings() -> dict[str, Any]:
    """What --epochs, --batch_size, --learning_rate and --seed say."""
    return {name: FLAGS[name].value for name in ("epochs", "batch_size", "learning_rate", "seed")}


def chosen_attacks(source: data.Dataset) -> list[attacks.Attack]:
    """What --attacks says, but for probes."""
    return [attack(name, source) for name in FLAGS.attacks if attacks.is_known(name)]


def attack(name: str, source: data.Dataset) -> attacks.Attack:
    """The attack of that name, with those of the budgets that it has; one that is fitted gets training images."""
    settings = {name: FLAGS[name].value for name in ("steps", "restarts", "queries", "seed")}
    some = data.take(source.train, min(FITTED, len(source.train[1])), FLAGS.seed)
    return attacks.fitting(name, threat(), settings | {"examples": some})


def check_output(path: _io.Path, suffix: str = "") -> None:
    """Refuses an output that can't be, before any work is done for it.

    Raises:
        InputError: another suffix, something that stands there already (without --overwrite), no right to write.
    """
    path = pathlib.Path(path)
    if path.suffix != suffix and suffix:
        raise th.InputError(f"--output={path} has to end in {suffix}")
    if path.exists() and not FLAGS.overwrite:
        raise th.InputError(f"{path} exists already: give --overwrite to replace it")
    _io.check_writable(path)


def _is_range(texts: Sequence[str]) -> bool:
    try:
        low, high = map(number, texts)
    except ValueError:
        return False
    return low < high
