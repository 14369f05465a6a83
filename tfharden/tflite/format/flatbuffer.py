"""A bounds-checked reader of flatbuffers: every offset is proved to stay inside the file before it is followed."""

import struct
import types
from typing import Any

import numpy as np

from tfharden.errors import InputError
from tfharden.tflite.format import schema

# Offsets are signed 32-bit numbers in places.
MAX_BYTES = 2**31 - 1
# An honest file holds each of its bytes once; a few shared strings and vectors are fine. Without a budget, vectors
# that point to each other's elements make the work quadratic in the size of the file.
_SHARING = 4

Table = types.SimpleNamespace


def read(content: bytes) -> Table:
    """The whole tree of a TFLite flatbuffer, as tables with one attribute a field.

    Absent scalars have their defaults; absent strings, vectors and tables are None. Vectors of scalars are read-only
    numpy views of `content`. A union member that `schema.TABLES` doesn't list is a table without attributes.

    Raises:
        InputError: `content` isn't a well-formed TFLite flatbuffer.
    """
    if len(content) < 8 or content[4:8] != schema.IDENTIFIER:  # noqa: PLR2004 - root offset and identifier
        raise InputError("not a TFLite file (no TFL3 identifier)")
    if len(content) > MAX_BYTES:
        raise InputError("not a usable TFLite file (more than 2 GiB)")
    return _Reader(content).root()


class _Reader:
    def __init__(self, content: bytes) -> None:
        self._content = content
        self._budget = _SHARING * len(content)

    def root(self) -> Table:
        return self._table("Model", self._target(0, "the root"))

    def _table(self, name: str, position: int) -> Table:
        vtable_offset = self._scalar("i32", position, name)
        vtable = position - vtable_offset
        vtable_bytes = self._scalar("u16", vtable, name)
        table_bytes = self._scalar("u16", vtable + 2, name)
        if vtable_bytes < 4 or vtable_bytes % 2 or table_bytes < 4:  # noqa: PLR2004 - their own sizes come first
            raise _broken(name)
        self._bounds(vtable, vtable_bytes, 2, name)
        self._bounds(position, table_bytes, 4, name)
        self._spend(table_bytes, name)
        table = Table()
        for slot, field in enumerate(schema.TABLES.get(name, ())):
            place = 4 + 2 * slot
            offset = self._scalar("u16", vtable + place, name) if place < vtable_bytes else 0
            if offset and not 4 <= offset < table_bytes:  # noqa: PLR2004 - after the offset of the vtable
                raise _broken(f"{name}.{field.name}")
            absent = field.default if field.kind == "scalar" else None
            value = self._field(name, field, position + offset, table) if offset else absent
            setattr(table, field.name, value)
        return table

    def _field(self, table_name: str, field: schema.Field, position: int, table: Table) -> Any:  # noqa: ANN401
        where = f"{table_name}.{field.name}"
        if field.kind == "scalar":
            return self._scalar(field.type, position, where)
        target = self._target(position, where)
        if field.kind == "string":
            return self._string(target, where)
        if field.kind == "scalars":
            return self._scalars(field.type, target, where)
        if field.kind == "tables":
            return [self._table(field.type, self._target(place, where)) for place in self._places(target, where)]
        if field.kind == "union":
            member = _member(field.type, getattr(table, f"{field.name}_type"))
            return self._table(member, target) if member else None
        return self._table(field.type, target)

    def _places(self, position: int, where: str) -> range:
        """Positions of the offsets in a vector of tables."""
        count = self._scalar("u32", position, where)
        self._bounds(position + 4, 4 * count, 4, where)
        self._spend(4 * count, where)
        return range(position + 4, position + 4 + 4 * count, 4)

    def _scalars(self, type_: str, position: int, where: str) -> np.ndarray:
        dtype = np.dtype(schema.SCALARS[type_])
        count = self._scalar("u32", position, where)
        self._bounds(position + 4, dtype.itemsize * count, dtype.itemsize, where)
        self._spend(dtype.itemsize * count, where)
        return np.frombuffer(self._content, dtype, count, position + 4)

    def _string(self, position: int, where: str) -> str:
        length = self._scalar("u32", position, where)
        self._bounds(position + 4, length + 1, 1, where)
        self._spend(length, where)
        if self._content[position + 4 + length]:
            raise _broken(where)
        return self._content[position + 4 : position + 4 + length].decode("utf-8", "replace")

    def _target(self, position: int, where: str) -> int:
        # Offsets point forwards, so that no chain of them can return to where it was.
        offset = self._scalar("u32", position, where)
        if not offset:
            raise _broken(where)
        self._bounds(position + offset, 4, 4, where)
        return position + offset

    def _scalar(self, type_: str, position: int, where: str) -> Any:  # noqa: ANN401 - int or float, by its type
        format_ = _FORMATS[type_]
        self._bounds(position, format_.size, format_.size, where)
        return format_.unpack_from(self._content, position)[0]

    def _bounds(self, position: int, size: int, alignment: int, where: str) -> None:
        if position < 0 or position + size > len(self._content) or position % alignment:
            raise _broken(where)

    def _spend(self, size: int, where: str) -> None:
        self._budget -= size
        if self._budget < 0:
            raise InputError(f"damaged TFLite file: {where} reads the same bytes over and over")


_FORMATS = {
    "bool": struct.Struct("<B"), "i8": struct.Struct("<b"), "u8": struct.Struct("<B"), "u16": struct.Struct("<H"),
    "i32": struct.Struct("<i"), "u32": struct.Struct("<I"), "f32": struct.Struct("<f"), "i64": struct.Struct("<q"),
    "u64": struct.Struct("<Q"),
}  # fmt: skip


def _member(union: str, number: int) -> str | None:
    if not number:
        return None
    if union == "OPTIONS":
        return schema.option_tables().get(number, "unknown")
    members = union.split(",")
    return members[number - 1] if number <= len(members) else "unknown"


def _broken(where: str) -> InputError:
    return InputError(f"damaged TFLite file: {where} leads out of the file or is misaligned")
