"""What tfharden-compress does between its flags and its output: one training for each way of making a model smaller."""

import pathlib

import keras
import numpy as np
from absl import flags

import tfharden as th
from tfharden import data
from tfharden.cli import export, methods, options, schedule, training
from tfharden.compression.kernels import kernels

FLAGS = flags.FLAGS
# Share of the pruning's steps after which the sparsity is reached, and steps between two counts of small weights.
REACHED, FREQUENCY = 0.5, 20


def define_flags() -> None:
    """--sparsity, --pattern, --clusters, --quantize, --left_float, --calibration_examples."""
    options.define_number("sparsity", 0.0, "Share of each kernel's weights that become zero.", most=0.999)
    flags.DEFINE_enum("pattern", None, list(th.compression.PATTERNS), "Pattern of zeros, instead of --sparsity.")
    flags.DEFINE_integer("clusters", 0, "Different values that each kernel is left with; 0 for any.", lower_bound=0)
    flags.DEFINE_enum("initialiser", "kmeans++", list(th.compression.INITIALISERS), "How the first values are found.")
    flags.DEFINE_bool("quantize", False, "Train in fake int8, for an int8 file.")
    flags.DEFINE_list("left_float", [], "Layers that --quantize leaves float.")
    export.define_calibration()


def shrunk(dataset: data.Dataset) -> keras.Model:
    """Trains step by step, and writes the model.

    Raises:
        InputError: nothing to do, a model that can't be loaded or doesn't fit, layers that can't be quantised.
    """
    if not (FLAGS.sparsity or FLAGS.pattern or FLAGS.clusters or FLAGS.quantize):
        raise th.InputError("there is nothing to do: give --sparsity, --pattern, --clusters or --quantize")
    if FLAGS.sparsity and FLAGS.pattern:
        raise th.InputError("--sparsity and --pattern are two ways to prune: give one of them")
    model = th.load_model(FLAGS.model)
    options.check_fit(model, dataset)
    with training.unfinished(FLAGS.output, dataset) as checkpoint:
        if FLAGS.sparsity or FLAGS.pattern:
            model = _trained("prune", model, _pruning(model, dataset), dataset, checkpoint)
        if FLAGS.clusters:
            model = _trained("cluster", model, _clustering(model), dataset, checkpoint)
        if FLAGS.quantize:
            model = th.compression.quantize_aware(model, left_float=FLAGS.left_float)
            images = export.calibration(model, dataset, options.threat(), FLAGS.calibration_examples, FLAGS.seed)
            th.compression.calibrate(model, images)
            # Zeros are one of the clusters, and a kernel has one constraint.
            keeping = _clustering(model) if FLAGS.clusters else th.compression.Pruning(model)
            model = _trained("quantise", model, keeping, dataset, checkpoint)
        training.save_model(model, FLAGS.output)
    return model


def _pruning(model: keras.Model, dataset: data.Dataset) -> th.compression.Pruning:
    if FLAGS.pattern:
        return th.compression.Pruning(model, pattern=FLAGS.pattern)
    steps = FLAGS.epochs * -(-len(dataset.train[1]) // FLAGS.batch_size)
    end = max(round(REACHED * steps), 1)
    return th.compression.Pruning(
        model, th.compression.polynomial_decay(FLAGS.sparsity, end_step=end, frequency=min(FREQUENCY, end))
    )


def _clustering(model: keras.Model) -> th.compression.Clustering:
    pruned = bool(FLAGS.sparsity or FLAGS.pattern)
    return th.compression.Clustering(model, FLAGS.clusters, FLAGS.initialiser, keep_zeros=pruned)


def _trained(
    step: str, model: keras.Model, callback: keras.callbacks.Callback, dataset: data.Dataset, checkpoint: pathlib.Path
) -> keras.Model:
    """The model after one training; a step that was done before a kill is read from the notes."""
    done = checkpoint / f"{step}.keras"
    if done.exists():
        return th.load_model(done)
    trainer = methods.trainer(model, dataset, len(dataset.train[1]))
    training.train(
        trainer,
        dataset.train,
        f"{step} {model.name}",
        **options.training_settings(),
        **schedule.settings(),
        callbacks=[callback, training.backup(checkpoint / step)],
    )
    training.save_model(model, done)
    return model


def told(model: keras.Model) -> str:
    """A line a kernel: zeros and different values."""
    lines = ["kernel                        weights  zeros %  values"]
    for path, kernel in kernels(model).items():
        weights = np.asarray(kernel)
        lines.append(
            f"{path:<28}  {weights.size:>7,}  {100 * np.mean(weights == 0):>7.1f}  {len(np.unique(weights)):>6,}"
        )
    return "\n".join(lines)
