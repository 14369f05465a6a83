"""Names that tell apart what a report sets side by side, and that can name a folder."""

import re
from collections.abc import Sequence


def distinct(names: Sequence[str]) -> list[str]:
    """The names, each after its first use with a number."""
    return [
        name if name not in names[:index] else f"{name} #{names[:index].count(name) + 1}"
        for index, name in enumerate(names)
    ]


def as_folder(name: str) -> str:
    """The name without what a file system might take for something else."""
    return re.sub(r"[^\w.-]", "_", name).strip(".") or "_"
