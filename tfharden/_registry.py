"""Registries: things of one kind by name."""

from collections.abc import Callable, Mapping
from typing import TypeVar

from tfharden.errors import InputError

T = TypeVar("T")


class Registry(dict[str, T]):
    """A mapping from names to things of one kind, in the order of registration.

    A module with a registry has `KNOWN`, the registry; `register = KNOWN.register`; and a function `get(name, ...)`
    that makes the thing of that name.

    Args:
        kind: what the things are called in messages: "objective", "model".
        things: those that are known from the start, by name.

    Example:
        KNOWN: Registry[type[Objective]] = Registry("objective", {"madry": Madry})
        register = KNOWN.register

        def get(name, **settings):
            return KNOWN.find(name)(**settings)

        @register("mine")
        class Mine(Objective): ...
    """

    def __init__(self, kind: str, things: Mapping[str, T] | None = None) -> None:
        super().__init__(things or {})
        self.kind = kind

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator that adds a thing by name.

        Raises:
            InputError: the name is empty, or belongs to another thing.
        """

        def add(thing: T) -> T:
            if not name or not isinstance(name, str):
                raise InputError(f"{name!r} is no name for a {self.kind}: give text")
            if self.setdefault(name, thing) is not thing:
                raise InputError(f"there is a {self.kind} {name!r} already: choose another name")
            return thing

        return add

    def find(self, name: str) -> T:
        """The thing of that name.

        Raises:
            InputError: an unknown name; the message lists the known ones.
        """
        if name not in self:
            raise InputError(f"unknown {self.kind} {name!r}: known are {', '.join(self)}")
        return self[name]
