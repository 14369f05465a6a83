"""Keras serialisation of this package's classes, under their present and their former names."""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, Self, TypeVar

import keras

PACKAGE = "tfharden"
T = TypeVar("T", bound=Callable[..., Any])

registered = keras.saving.register_keras_serializable(package=PACKAGE)


def formerly(*names: str) -> Callable[[T], T]:
    """Decorator for a registered class or function that was renamed: files that hold one of the old names still load.

    Example:
        @formerly("RunnerUps")
        @registered
        class MultiTargeted(Wrapper): ...
    """

    def register(renamed: T) -> T:
        for name in names:
            keras.saving.get_custom_objects()[f"{PACKAGE}>{name}"] = renamed
        return renamed

    return register


def saved_as(name: str) -> Callable[[type[Any]], type[Any]]:
    """Decorator for a renamed layer class, below `registered`: its files are those of the old name.

    Keras keeps a layer's weights under the name of its class. Another name there would leave the weights of all files
    saved before unread.
    """

    def rename(layer: type[Any]) -> type[Any]:
        layer.__name__ = name
        return layer

    return rename


class Configurable:
    """Mixin for dataclasses: `get_config` lists the fields, `from_config` builds from them."""

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments; objects and functions among them as Keras serialises them."""
        return {
            field.name: keras.saving.serialize_keras_object(getattr(self, field.name))
            for field in dataclasses.fields(self)
            if field.init
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """The object that `get_config` described."""
        return cls(**{name: keras.saving.deserialize_keras_object(value) for name, value in config.items()})
