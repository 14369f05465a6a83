"""Quantisation of a float file by ai-edge-quantizer, an extra that nothing else imports."""

import contextlib
import io
import os

import numpy as np

from tfharden.export.artifact import ExportError
from tfharden.export.recipes import Recipe
from tfharden.tflite import TFLiteFile
from tfharden.tflite.format.extension import SIGNATURE, extended

# It finds inputs by their names in a signature.
_INPUT = "image"


def quantized(file: TFLiteFile, recipe: Recipe, calibration: np.ndarray | None) -> bytes:
    """A float32 .tflite as a recipe of ai-edge-quantizer has it.

    Ranges of activations are those of all images, as TensorFlow's converter takes them, not the quantizer's usual
    moving average of them: that one clips values that few images reach, as attacked ones do.

    Args:
        file: the float file.
        recipe: with the `quantizer`'s own name for it.
        calibration: float32 `[n, ...]` for recipes that need ranges of activations.

    Raises:
        InputError: the recipe needs calibration images and there are none.
        ExportError: the quantizer fails.
    """
    from ai_edge_quantizer import calibrator, quantizer, recipe_manager  # noqa: PLC0415 - an extra
    from ai_edge_quantizer import recipe as known  # noqa: PLC0415
    from ai_edge_quantizer.utils import qsv_utils  # noqa: PLC0415

    content = extended(file, {}, (_INPUT, "scores"))
    chosen = getattr(known, recipe.quantizer)()
    images = recipe.ranged(calibration)
    ranges = None
    try:
        if images is not None:
            manager = recipe_manager.RecipeManager()
            manager.load_quantization_recipe(chosen)
            meter = calibrator.Calibrator(
                content, num_threads=os.cpu_count() or 1, qsv_update_func=qsv_utils.min_max_update
            )
            # Its progress bar would come on top of the caller's own.
            with contextlib.redirect_stderr(io.StringIO()):
                meter.calibrate({SIGNATURE: [{_INPUT: image[np.newaxis]} for image in images]}, manager)
            ranges = meter.get_model_qsvs()
        made = quantizer.Quantizer(content, chosen).quantize(
            ranges, enable_progress_bar=False, enable_progress_report=False
        )
    except Exception as error:  # it raises all kinds, and has none of its own
        said = " ".join(str(error).split())[:300] or type(error).__name__
        raise ExportError(f"ai-edge-quantizer can't make {recipe.name} of it: {said}") from error
    return bytes(made.quantized_model)
