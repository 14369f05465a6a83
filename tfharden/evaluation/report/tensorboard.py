"""Evaluation for TensorBoard."""

import importlib.util
import itertools
import pathlib
import re

import numpy as np
import tensorflow as tf

from tfharden import _io
from tfharden.errors import InputError
from tfharden.evaluation.report.display import for_display, printable
from tfharden.evaluation.report.measures import measures
from tfharden.evaluation.report.report import Report


def check_tensorboard() -> None:
    """Raises an `InputError` if the package tensorboard isn't installed."""
    if importlib.util.find_spec("tensorboard") is None:
        raise InputError("TensorBoard needs the package tensorboard: pip install 'tfharden[tensorboard]'")


def write_tensorboard(report: Report, directory: _io.Path) -> None:
    """Writes a run a model into `directory`: accuracies as scalars, the report's table as text, attacked images.

    Scalars are named `accuracy/clean`, `accuracy/ATTACK` and `accuracy/worst case`, shares in [0, 1], all at step 0, so
    that runs can be compared.

    Args:
        report: the report of the models, one run each.
        directory: folder of all runs. The package tensorboard is needed (extra `tensorboard`).

    Raises:
        InputError: the package isn't installed, or the folder can't be written.
    """
    check_tensorboard()
    models = for_display(report.result).models
    low, high = report.result.threat.bounds
    for index, name in enumerate(dict.fromkeys(model.name for model in models), start=1):
        # Names may hold characters that folders must not.
        run = pathlib.Path(directory) / f"{index}-{re.sub(r'[^A-Za-z0-9_.-]', '_', str(name))}"
        try:
            run.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"can't write {run}: {error.strerror}") from error
        with tf.summary.create_file_writer(str(run)).as_default(step=0):
            for measure in itertools.chain.from_iterable(measures(model) for model in models if model.name == name):
                tf.summary.scalar(f"accuracy/{measure.name}", measure.accuracy)
            tf.summary.text("report", "\n".join(f"    {line}" for line in report.table().splitlines()))
            for panel in report.gallery:
                if printable(panel.model) == name:
                    for what, images in (("clean", panel.clean), ("attacked", panel.adversarial)):
                        tones = np.round(255 * (np.asarray(images, np.float64) - low) / (high - low))
                        tf.summary.image(f"{panel.attack}/{what}", tones.astype(np.uint8), max_outputs=len(tones))
