"""Sources of a kit, from templates: a file for each, of the same path."""

import dataclasses
import json
import pathlib
import re
from collections.abc import Iterable
from typing import Any

import jinja2
import numpy as np

from tfharden.export.mcu import golden_vectors, operators
from tfharden.export.mcu.arena import Arena
from tfharden.tflite import Tensor, TFLiteFile

SCHEMA = "tfharden.mcu_kit/1"
RECORD = "kit.json"
# More memory than was measured, for kernels that take scratch memory where the reference kernels take none.
MARGIN_PERCENT = 25
_ARENA_UNIT = 1024
_TEMPLATES = pathlib.Path(__file__).with_name("templates")
_SUFFIX = ".j2"
_MAX_NAME_CHARACTERS = 80


def names() -> set[str]:
    """Paths within a kit of all the files that it has."""
    return {path.relative_to(_TEMPLATES).as_posix().removesuffix(_SUFFIX) for path in _templates()} | {RECORD}


def with_margin(arena: Arena) -> int:
    """Bytes to reserve, given what was measured."""
    return rounded_up(arena.least * (100 + MARGIN_PERCENT) / 100)


def rounded_up(size: float) -> int:
    """Bytes in whole kilobytes."""
    return -int(-size // _ARENA_UNIT) * _ARENA_UNIT


@dataclasses.dataclass(frozen=True)
class Facts:
    """What a kit tells.

    Attributes:
        file: what the kit is of.
        golden: golden vectors.
        arena_bytes: what programs are to reserve.
        arena: what tflite-micro needs, if it was measured.
        agreement: how tflite-micro answers, if it was run.
        unmeasured: why nothing was measured.
        micro_version: of the tflite-micro that ran the file.
    """

    file: TFLiteFile
    golden: golden_vectors.Answers
    arena_bytes: int
    arena: Arena | None
    agreement: golden_vectors.Agreement | None
    unmeasured: str
    micro_version: str | None

    @property
    def name(self) -> str:
        """The file's name, which ends no comment and no code, in C++ as in Markdown."""
        return re.sub(r"[^A-Za-z0-9._-]", "_", self.file.name)[:_MAX_NAME_CHARACTERS] or "model"

    @property
    def methods(self) -> list[str]:
        """Of the resolver."""
        return operators.methods(self.file.operators)


def render(facts: Facts) -> dict[str, str]:
    """The text of each file of the kit, by its path within."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=False,  # it makes C++, and nothing but numbers and known words goes in
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"octets": _octets, "integers": _integers, "float32": _float32, "method": operators.method}
    file = facts.file
    low, high = golden_vectors.input_range(file)
    values = {
        "facts": facts,
        "file": file,
        "input_size": int(np.prod(file.input.shape)),
        "low": low,
        "high": high,
        "known_methods": operators.methods(operators.SUPPORTED),
        "golden_bytes": facts.golden.inputs.nbytes + facts.golden.outputs.nbytes,
        "margin": MARGIN_PERCENT,
        "preparing": arena.least - arena.head - arena.tail if (arena := facts.arena) else 0,
    }
    paths = [path.relative_to(_TEMPLATES).as_posix() for path in _templates()]
    texts = {path.removesuffix(_SUFFIX): environment.get_template(path).render(values) for path in paths}
    return texts | {RECORD: _record(facts)}


def _templates() -> list[pathlib.Path]:
    return sorted(_TEMPLATES.rglob(f"*{_SUFFIX}"))


def _record(facts: Facts) -> str:
    file = facts.file
    measured = facts.arena and dataclasses.asdict(facts.arena) | {"host_bits": 64}
    record = {
        "schema": SCHEMA,
        "model": {"name": facts.name, "bytes": len(file.content), "sha256": file.sha256},
        "input": _end(file.input),
        "output": _end(file.output),
        "operators": dict(sorted(file.operators.items())),
        "resolver": facts.methods,
        "arena": {"bytes": facts.arena_bytes, "measured": measured, "reason": facts.unmeasured or None},
        "golden": {"count": len(facts.golden.inputs), "kernels": "reference"},
        "tflite_micro": {
            "version": facts.micro_version,
            "agreement": facts.agreement and dataclasses.asdict(facts.agreement),
        },
    }
    return json.dumps(record, indent=2, allow_nan=False) + "\n"


def _end(tensor: Tensor) -> dict[str, Any]:
    return {
        "shape": tensor.shape,
        "dtype": tensor.dtype.name,
        "scale": tensor.scale,
        "zero_point": tensor.zero_point,
    }


def _octets(content: bytes) -> str:
    return _lines([f"0x{octet:02x}" for octet in content], 16, 4)


def _integers(values: np.ndarray) -> str:
    return _lines([str(value) for value in values.ravel().tolist()], 20, 8)


def _lines(words: list[str], count: int, indent: int) -> str:
    rows: Iterable[list[str]] = (words[i : i + count] for i in range(0, len(words), count))
    return ",\n".join(" " * indent + ", ".join(row) for row in rows) + ","


def _float32(value: float) -> str:
    """The shortest literal that is this float32 again."""
    text = str(np.float32(value))
    return text + ("f" if "." in text or "e" in text else ".0f")
