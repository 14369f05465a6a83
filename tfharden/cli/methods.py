"""Flags that choose a method of adversarial training, and the trainer that they describe."""

import dataclasses

import keras
from absl import flags

import tfharden as th
from tfharden import data
from tfharden.cli import options, schedule

FLAGS = flags.FLAGS
NATURAL = "natural"


def define_flags() -> None:
    """--objective and its settings."""
    flags.DEFINE_enum("objective", "madry", [NATURAL, *th.objectives.KNOWN], "What training minimises, and on what.")
    options.define_number("alpha", 0.5, "Weight of the clean loss in --objective=goodfellow.", most=1.0)
    options.define_number("beta", 6.0, "Weight of the divergence in --objective=trades and mart.")
    flags.DEFINE_integer("replays", 8, "Times that --objective=free trains on a batch.", lower_bound=1)
    flags.DEFINE_list("sources", [], "Paths of the .keras models whose examples --objective=fixed-sources trains on.")
    flags.DEFINE_bool("itself", False, "--objective=fixed-sources also takes the model in training for a source.")
    options.define_number("label_smoothing", 0.0, "Share of each label that is spread over all classes.", most=1.0)


def trainer(model: keras.Model, source: data.Dataset, count: int) -> th.RobustModel:
    """The trainer of `model` that the flags describe, for `count` training images.

    Raises:
        InputError: flags that don't go together, sources that can't be loaded or don't fit.
    """
    settings = schedule.trainer_settings(count)
    if FLAGS.objective == NATURAL:
        return th.RobustModel(model, **settings)
    attack = options.training_attack()
    given = {"threat": options.threat(), "make": attack, "sources": _sources(source)}
    given |= {
        name: FLAGS[name].value for name in ("alpha", "beta", "replays", "itself", "batch_size", "label_smoothing")
    }
    kind = th.objectives.KNOWN[FLAGS.objective]
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
