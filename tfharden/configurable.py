"""Keras serialisation for frozen dataclasses, so that whatever a trainer is made of can be saved with it."""

import dataclasses
from typing import Any, Self

import keras

registered = keras.saving.register_keras_serializable(package="tfharden")


class Configurable:
    """Mixin for dataclasses: `get_config` lists the fields, `from_config` builds from them."""

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments; objects and functions among them as Keras serialises them."""
        return {
            field.name: keras.saving.serialize_keras_object(getattr(self, field.name))
            for field in dataclasses.fields(self)  # type: ignore[arg-type]
            if field.init
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """The object that `get_config` described."""
        return cls(**{name: keras.saving.deserialize_keras_object(value) for name, value in config.items()})
