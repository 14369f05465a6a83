"""Flags that choose a method of adversarial training, and the trainer that they describe."""

import dataclasses

import keras
from absl import flags

import tfharden as th
from tfharden import data
from tfharden.hardening.augmentation import Affine
from tfharden.tools import options
from tfharden.tools.schedule import COSINE, DECAYS

FLAGS = flags.FLAGS
NATURAL = "natural"


def define_flags() -> None:
    """--objective and its settings, --weight_perturbation, --ramp_epochs, --warmup_epochs, --decay, --average."""
    flags.DEFINE_enum("objective", "madry", [NATURAL, *th.objectives.BY_NAME], "What training minimises, and on what.")
    options.define_number("alpha", 0.5, "Weight of the clean loss in --objective=goodfellow.", most=1.0)
    options.define_number("beta", 6.0, "Weight of the divergence in --objective=trades and mart.")
    flags.DEFINE_integer("replays", 8, "Times that --objective=free trains on a batch.", lower_bound=1)
    flags.DEFINE_list("sources", [], "Paths of the .keras models whose examples --objective=fixed-sources trains on.")
    flags.DEFINE_bool("itself", False, "--objective=fixed-sources also takes the model in training for a source.")
    options.define_number("label_smoothing", 0.0, "Share of each label that is spread over all classes.", most=1.0)
    options.define_number(
        "weight_perturbation", 0.0, "Gamma of adversarial weight perturbation (0.005 to 0.01); 0 for none.", most=0.99
    )
    options.define_number("ramp_epochs", 0.0, "Epochs in which the radius grows from zero to --epsilon.")
    options.define_number("warmup_epochs", 0.0, "Epochs in which the learning rate rises from zero.")
    flags.DEFINE_enum("decay", COSINE, DECAYS, "How the learning rate falls to zero afterwards.")
    options.define_number(
        "average", 0.0, "Momentum of the average of the weights (0.999, say); 0 for none.", most=0.9999
    )


def define_augmentation() -> None:
    """--rotation, --zoom, --shear, --shift, --contrast."""
    options.define_number("rotation", 0.0, "Training images are turned at random by up to so many degrees.")
    for name, what in (("zoom", "zoomed"), ("shear", "sheared"), ("shift", "shifted")):
        options.define_number(name, 0.0, f"Training images are {what} at random by up to this share.", most=1.0)
    options.define_number("contrast", 1.0, "Factor that gives images the contrast back which moving them takes.")


def augmentation() -> Affine | None:
    """What --rotation, --zoom, --shear, --shift and --contrast say."""
    limits = {name: FLAGS[name].value for name in ("rotation", "zoom", "shear", "shift")}
    return Affine(**limits, contrast=FLAGS.contrast) if any(limits.values()) else None


def trainer(model: keras.Model, source: data.Dataset, count: int) -> th.RobustModel:
    """The trainer of `model` that the flags describe, for `count` training images.

    Raises:
        InputError: flags that don't go together, sources that can't be loaded or don't fit.
    """
    settings = {
        "weight_perturbation": th.WeightPerturbation(FLAGS.weight_perturbation) if FLAGS.weight_perturbation else None,
        "ramp_steps": round(FLAGS.ramp_epochs * -(-count // min(FLAGS.batch_size, count))),
        "seed": FLAGS.seed,
    }
    if FLAGS.objective == NATURAL:
        return th.RobustModel(model, **settings)
    attack = options.training_attack()
    given = {"threat": options.threat(), "make": attack, "sources": _sources(source)}
    given |= {
        name: FLAGS[name].value for name in ("alpha", "beta", "replays", "itself", "batch_size", "label_smoothing")
    }
    kind = th.objectives.BY_NAME[FLAGS.objective]
    objective = kind(**{field.name: given[field.name] for field in dataclasses.fields(kind) if field.name in given})
    if objective.attack is None:
        return th.RobustModel(model, attack, objective, **settings)
    # What trains on one step is measured with as many as the flags say.
    return th.RobustModel(model, objective=objective, evaluation_attack=attack, **settings)


def _sources(source: data.Dataset) -> list[keras.Model]:
    if FLAGS.sources and FLAGS.objective != "fixed-sources":
        raise th.InputError(f"--sources belong to --objective=fixed-sources, not to {FLAGS.objective}")
    models = [th.load_model(path) for path in FLAGS.sources]
    for model in models:
        options.check_fit(model, source)
    return models
