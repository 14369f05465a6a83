"""Late imports: modules that a lower one needs when it is used, named by the package, which lies above both.

Keras finds the layers of a .keras file once their modules are imported, and those lie above the one that loads files.
"""

from collections.abc import Callable
from typing import Any

_importers: dict[str, Callable[[], Any]] = {}


def provide(name: str, importer: Callable[[], Any]) -> None:
    """Says how `name` is imported."""
    _importers[name] = importer


def late_import(name: str) -> Any:  # noqa: ANN401
    """What the importer of that name returns."""
    return _importers[name]()
