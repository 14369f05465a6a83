"""Names that tell apart what a report sets side by side."""

from collections.abc import Sequence


def distinct(names: Sequence[str]) -> list[str]:
    """The names, each after its first use with a number."""
    return [
        name if name not in names[:index] else f"{name} #{names[:index].count(name) + 1}"
        for index, name in enumerate(names)
    ]
