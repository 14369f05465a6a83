"""Extension of a .tflite by what the converter leaves out: metadata, and the names by which apps call it.

Offsets in a flatbuffer point forwards, from the root at its front to what was written first, at its end. So a new root
is put before the old content, of which not a byte changes: what the file computes can't change, and constants stay
aligned as they were. The schema's object API would pack everything anew.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import flatbuffers
from ai_edge_litert import schema_py_generated as generated

from tfharden.errors import InputError
from tfharden.tflite.format import flatbuffer, schema
from tfharden.tflite.model import TFLiteFile

SIGNATURE = "serving_default"
_ALIGNMENT = 16  # of constants


def extended(file: TFLiteFile, metadata: Mapping[str, bytes], ends: tuple[str, str]) -> bytes:
    """The same model with metadata and a signature.

    Args:
        file: the file.
        metadata: contents by name; an entry takes the place of one of the same name.
        ends: names of the input and the output in the signature, which takes the place of others.

    Raises:
        InputError: the file has data beyond its flatbuffer, or is too large.
    """
    model, content = file.model, file.content
    if model.has_outside_data:
        raise InputError("a .tflite that keeps weights beyond its flatbuffer can't be extended")
    content += bytes(-len(content) % _ALIGNMENT)
    if len(content) + sum(map(len, metadata.values())) > flatbuffer.MAX_BYTES // 2:  # the builder grows by doubling
        raise InputError("a .tflite of more than 1 GiB can't be extended")
    writer = _Writer(content)
    old = generated.Model.GetRootAs(content)
    buffers = [writer.old(old.Buffers(i)) for i in range(len(model.buffers))]
    entries = [writer.old(old.Metadata(i)) for i, (name, _) in enumerate(model.metadata) if name not in metadata]
    for name, value in metadata.items():
        buffers.append(writer.buffer(value))
        entries.append(writer.metadata(name, len(buffers) - 1))
    signature = writer.signature(ends, (file.input.index, file.output.index))
    vectors = {"buffers": buffers, "metadata": entries, "signature_defs": [signature]}
    return writer.finished(old, {name: writer.vector(offsets) for name, offsets in vectors.items()})


class _Writer:
    """A flatbuffers builder that goes on, towards the front, where an old content ends."""

    def __init__(self, content: bytes) -> None:
        self._builder = flatbuffers.Builder()
        self._builder.Bytes, self._builder.head = bytearray(content), 0
        self._builder.minalign = _ALIGNMENT
        self._end = len(content)

    def old(self, table: Any) -> int:  # noqa: ANN401 - one of the generated classes
        """The builder's offset, counted from the end, of a table of the old content."""
        return self._end - table._tab.Pos

    def buffer(self, value: bytes) -> int:
        data = self._builder.CreateByteVector(value)
        generated.BufferStart(self._builder)
        generated.BufferAddData(self._builder, data)
        return generated.BufferEnd(self._builder)

    def metadata(self, name: str, buffer: int) -> int:
        label = self._builder.CreateString(name)
        generated.MetadataStart(self._builder)
        generated.MetadataAddName(self._builder, label)
        generated.MetadataAddBuffer(self._builder, buffer)
        return generated.MetadataEnd(self._builder)

    def signature(self, names: tuple[str, str], tensors: tuple[int, int]) -> int:
        source, target = (self.vector([self._tensor_map(*end)]) for end in zip(names, tensors, strict=True))
        key = self._builder.CreateString(SIGNATURE)
        generated.SignatureDefStart(self._builder)
        generated.SignatureDefAddInputs(self._builder, source)
        generated.SignatureDefAddOutputs(self._builder, target)
        generated.SignatureDefAddSignatureKey(self._builder, key)
        return generated.SignatureDefEnd(self._builder)

    def _tensor_map(self, name: str, tensor: int) -> int:
        label = self._builder.CreateString(name)
        generated.TensorMapStart(self._builder)
        generated.TensorMapAddName(self._builder, label)
        generated.TensorMapAddTensorIndex(self._builder, tensor)
        return generated.TensorMapEnd(self._builder)

    def vector(self, offsets: Sequence[int]) -> int:
        self._builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            self._builder.PrependUOffsetTRelative(offset)
        return self._builder.EndVector()

    def finished(self, old: generated.Model, replaced: Mapping[str, int]) -> bytes:
        """The whole, under a new root: what isn't replaced is where it was."""
        builder, table = self._builder, old._tab
        fields = schema.TABLES["Model"]
        builder.StartObject(len(fields))
        for slot, field in enumerate(fields):
            place = table.Offset(4 + 2 * slot)
            if field.name == "version":
                builder.PrependUint32Slot(slot, old.Version(), 0)
            elif field.name in replaced:
                builder.PrependUOffsetTRelativeSlot(slot, replaced[field.name], 0)
            elif place:
                builder.PrependUOffsetTRelativeSlot(slot, self._end - table.Indirect(table.Pos + place), 0)
        builder.Finish(builder.EndObject(), schema.IDENTIFIER)
        return bytes(builder.Output())
