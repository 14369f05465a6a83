"""Compatibility of a file with tflite-micro, as far as the file itself tells."""

from tfharden.errors import InputError
from tfharden.export.mcu import operators
from tfharden.tflite import TFLiteFile

# Sources are six times as large, and no microcontroller has more flash.
MAX_BYTES = 2**25


def check_compatibility(file: TFLiteFile) -> None:
    """Refuses a file that the kit isn't for.

    Raises:
        InputError: floats in it, another batch than 1, operators that tflite-micro lacks, too large a file.
    """
    if len(file.content) > MAX_BYTES:
        raise InputError(f"{file.name}: {len(file.content) / 2**20:.0f} MiB are more than a microcontroller holds")
    _check_types(file)
    if file.input.shape[0] != 1:
        raise InputError(f"{file.name}: made for {file.input.shape[0]} images at once, a microcontroller needs batch 1")
    try:
        operators.methods(file.operators)
    except InputError as error:
        raise InputError(f"{file.name}: {error}") from error
    _check_layout(file)


def _check_types(file: TFLiteFile) -> None:
    floats = sum(count for name, count in file.dtypes.items() if "FLOAT" in name)
    if floats:
        integers = any(name in file.dtypes for name in ("INT8", "INT4", "INT2", "UINT8", "INT16"))
        kind = "mixes floats and integers (dynamic range or hybrid quantisation)" if integers else "computes in floats"
        raise InputError(f"{file.name}: {kind}: the kit takes integers throughout, as the recipe int8 makes them")
    types = {spec.dtype.name for spec in (file.input, file.output)}
    if types != {"int8"}:
        raise InputError(f"{file.name}: input and output are {' and '.join(sorted(types))}: the kit takes int8")
    for end, spec in (("input", file.input), ("output", file.output)):
        if not spec.scale:
            raise InputError(f"{file.name}: its {end} has no scale, so nobody can tell what its integers mean")


def _check_layout(file: TFLiteFile) -> None:
    graphs = len(file.model.graphs)
    if graphs > 1:
        raise InputError(f"{file.name}: it holds {graphs} graphs, a microcontroller needs a single one")
    if any(buffer.data is None and buffer.offset > 1 for buffer in file.model.buffers):
        raise InputError(f"{file.name}: its weights lie behind the flatbuffer, where tflite-micro doesn't look")
