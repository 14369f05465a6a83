"""Parts that all results of benchmarks share: date, command, machine and versions, and tables in Markdown."""

import datetime
import importlib.metadata
import os
import pathlib
import platform
from collections.abc import Sequence

import tfharden as th
from tfharden import _io

PACKAGES = ("tfharden", "tensorflow", "keras")


def header(what: str, command: str, packages: Sequence[str] = PACKAGES) -> list[str]:
    """A title, and how the table was made; folders are left out of the command."""
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)
    command = " ".join(_bare(word) for word in command.split())
    machine = f"{os.cpu_count()} cores, {platform.platform()}"
    return [f"# {what}", "", f"`python {command}`, {datetime.date.today()}, {machine}, {versions}.", ""]


def _bare(word: str) -> str:
    name, equals, value = word.partition("=")
    return f"{name}={pathlib.Path(value).name}" if equals else word


def table(*rows: Sequence[str]) -> list[str]:
    """Rows as Markdown, the first one as head."""
    first, *rest = rows
    return [f"| {' | '.join(row)} |" for row in (first, ["---"] * len(first), *rest)]


def write(name: str, lines: Sequence[str]) -> None:
    """Into benchmarks/results/, and to the terminal."""
    _io.write_text(pathlib.Path("benchmarks/results") / name, "\n".join(lines))
    print("\n".join(lines))


def named(data: str) -> str:
    """--data as the tools' --dataset: a path to an .npz is npz:PATH."""
    return f"npz:{data}" if data.endswith(".npz") else data


def dataset(data: str) -> th.data.Dataset:
    """What --data says."""
    return th.data.load(named(data))
