"""MCU kit as a whole: checked, measured, compared, and only then written."""

import dataclasses
import pathlib

import numpy as np

from tfharden import _io
from tfharden.errors import InputError
from tfharden.export.artifact import ExportError
from tfharden.export.mcu import arena, compatibility, folders, golden_vectors, sources
from tfharden.export.parity import LEAST_AGREEMENT
from tfharden.tflite import TFLiteFile, read


@dataclasses.dataclass(frozen=True)
class Kit:
    """A kit on disk.

    Attributes:
        folder: where it is.
        arena_bytes: what its programs reserve.
        arena: what tflite-micro was measured to need on this 64-bit host; None where it isn't installed.
        agreement: how tflite-micro answers beside LiteRT's reference kernels; None where it isn't installed.
        unmeasured: why it wasn't measured, else "".
    """

    folder: pathlib.Path
    arena_bytes: int
    arena: arena.Arena | None
    agreement: golden_vectors.Agreement | None
    unmeasured: str


def mcu_kit(file: TFLiteFile | _io.Path, images: np.ndarray, folder: _io.Path, *, overwrite: bool = False) -> Kit:
    """Writes C++ sources for tflite-micro, whole or not at all.

    Where tflite-micro is installed (extra `micro`), it runs a hundred of the images beside LiteRT's reference kernels,
    and golden vectors are taken where both answer the same to the bit: LiteRT's reference kernel of a dense layer
    rounds once where tflite-micro's rounds twice, so that some outputs differ by a step.

    The same file, images and versions give the same bytes.

    Args:
        file: a .tflite classifier, integers throughout: its path, or what `tfharden.tflite.read` made of it.
        images: at least ten different ones `[n, ...]`, better a hundred, in the units of the model's input.
        folder: where, new or empty; made if need be.
        overwrite: replace a kit that is there.

    Raises:
        InputError: a file that isn't fit for tflite-micro, images that don't fit it, a folder that holds other things.
        ExportError: tflite-micro predicts otherwise than LiteRT.
    """
    folders.check_folder(folder, overwrite)
    if not isinstance(file, TFLiteFile):
        file = read(file)
    compatibility.check_compatibility(file)
    answers = golden_vectors.answers(file, images)
    measured = agreement = None
    unmeasured, version = arena.MISSING, arena.version()
    if version is not None:
        run, unmeasured = arena.run(file, answers.inputs), ""
        measured = run.arena
        agreement, answers = golden_vectors.compare(answers, run.outputs)
        _check_agreement(file, agreement)
    reserved = sources.with_margin(measured) if measured else sources.rounded_up(arena.estimate(file))
    facts = sources.Facts(file, answers.golden(), reserved, measured, agreement, unmeasured, version)
    folders.write(folder, sources.render(facts), overwrite)
    return Kit(pathlib.Path(folder), reserved, measured, agreement, unmeasured)


def _check_agreement(file: TFLiteFile, agreement: golden_vectors.Agreement) -> None:
    if agreement.same_class < LEAST_AGREEMENT * agreement.images:
        raise ExportError(
            f"{file.name}: tflite-micro predicts the class of LiteRT's reference kernels on {agreement.same_class} of "
            f"{agreement.images} images only"
        )
    if agreement.identical < golden_vectors.COUNT:
        raise InputError(
            f"{file.name}: golden vectors need {golden_vectors.COUNT} images on which tflite-micro and LiteRT agree to "
            f"the bit, and of {agreement.images} there are {agreement.identical}: give more images"
        )
