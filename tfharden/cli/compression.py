"""Compression in training: one training for each way of making a model smaller."""

import pathlib

import keras
import numpy as np

import tfharden as th
from tfharden import _text
from tfharden.cli import adversarial_training, training
from tfharden.cli.checks import check_fit
from tfharden.cli.export import calibration
from tfharden.cli.training_configs import CompressConfig
from tfharden.compression.kernels import kernels

# Share of the pruning's steps after which the sparsity is reached, and steps between two counts of small weights.
PRUNING_SHARE, PRUNING_FREQUENCY = 0.5, 20


def compress(config: CompressConfig) -> None:
    """Trains step by step, writes the model, and prints what it is like.

    Raises:
        InputError: nothing to do, a model that can't be loaded or doesn't fit, layers that can't be quantised.
    """
    dataset = config.data.load()
    if not (config.sparsity or config.pattern or config.clusters or config.quantize):
        raise th.InputError("there is nothing to do: give --sparsity, --pattern, --clusters or --quantize")
    if config.sparsity and config.pattern:
        raise th.InputError("--sparsity and --pattern are two ways to prune: give one of them")
    model = th.load_model(config.model)
    check_fit(model, dataset)
    with training.unfinished(config, dataset) as checkpoint:
        if config.sparsity or config.pattern:
            model = _trained(config, "prune", model, _pruning(config, model, dataset), dataset, checkpoint)
        if config.clusters:
            model = _trained(config, "cluster", model, _clustering(config, model), dataset, checkpoint)
        if config.quantize:
            model = _calibrated(config, model, dataset)
            # Zeros are one of the clusters, and a kernel has one constraint.
            keeping = _clustering(config, model) if config.clusters else th.compression.Pruning(model)
            model = _trained(config, "quantise", model, keeping, dataset, checkpoint)
        training.save_model(model, config.output)
    print(told(model))
    print(training.told(config, model, dataset))


def _calibrated(config: CompressConfig, model: keras.Model, dataset: th.data.Dataset) -> keras.Model:
    """The model in fake int8, its ranges measured."""
    quantized = th.compression.quantize_aware(model, left_float=config.left_float)
    threat = config.threat.within(dataset.bounds)
    images = calibration(quantized, dataset, threat, config.calibration_examples, config.data.seed)
    th.compression.calibrate(quantized, images)
    return quantized


def _pruning(config: CompressConfig, model: keras.Model, dataset: th.data.Dataset) -> th.compression.Pruning:
    if config.pattern:
        return th.compression.Pruning(model, pattern=config.pattern)
    steps = config.epochs * -(-len(dataset.train[1]) // config.training.batch_size)
    end = max(round(PRUNING_SHARE * steps), 1)
    return th.compression.Pruning(
        model, th.compression.polynomial_decay(config.sparsity, end_step=end, frequency=min(PRUNING_FREQUENCY, end))
    )


def _clustering(config: CompressConfig, model: keras.Model) -> th.compression.Clustering:
    pruned = bool(config.sparsity or config.pattern)
    return th.compression.Clustering(model, config.clusters, config.initialiser, keep_zeros=pruned)


def _trained(
    config: CompressConfig,
    step: str,
    model: keras.Model,
    callback: keras.callbacks.Callback,
    dataset: th.data.Dataset,
    checkpoint: pathlib.Path,
) -> keras.Model:
    """The model after one training; a step that was done before a kill is read from the checkpoint."""
    done = checkpoint / f"{step}.keras"
    if done.exists():
        return th.load_model(done)
    training.train(
        adversarial_training.trainer(config, config.method, model, dataset, len(dataset.train[1])),
        dataset.train,
        f"{step} {model.name}",
        **training.settings(config),
        callbacks=[callback, training.backup(checkpoint / step)],
    )
    training.save_model(model, done)
    return model


def told(model: keras.Model) -> str:
    """A line a kernel: zeros and different values."""
    rows = [["kernel", "weights", "zeros %", "values"]]
    for path, kernel in kernels(model).items():
        weights = np.asarray(kernel)
        rows.append([path, f"{weights.size:,}", f"{100 * np.mean(weights == 0):.1f}", f"{len(np.unique(weights)):,}"])
    return _text.aligned(rows)
