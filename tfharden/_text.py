"""Text for people: aligned tables and the versions behind a result."""

import importlib.metadata
import platform
from collections.abc import Iterable, Sequence


def aligned(rows: Sequence[Sequence[str]], left: int = 1, gap: str = "  ") -> str:
    """Rows of equal length as lines with aligned columns.

    Args:
        rows: cells, row by row.
        left: number of first columns that are aligned to the left; the others are aligned to the right.
        gap: between two columns.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        gap.join(
            cell.ljust(width) if index < left else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    return "\n".join(line.rstrip() for line in lines)


def versions(packages: Iterable[str], *, python: bool = False) -> dict[str, str]:
    """Installed versions by package name, with Python's own first if asked for."""
    own = {"python": platform.python_version()} if python else {}
    return own | {package: importlib.metadata.version(package) for package in packages}
