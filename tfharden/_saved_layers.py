"""Layers of this package that users' .keras files hold.

Keras finds them once their modules are imported. Those modules lie above the one that loads files, so the package
names them here, when it is imported itself.
"""

from collections.abc import Callable

_importers: list[Callable[[], object]] = []


def provide(importer: Callable[[], object]) -> None:
    """Adds a function that imports modules with layers."""
    _importers.append(importer)


def import_all() -> None:
    """Imports all modules with layers."""
    for importer in _importers:
        importer()
