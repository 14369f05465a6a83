"""Former names: they still work, and warn with the present one."""

import functools
import warnings
from collections.abc import Callable, Mapping
from typing import Any, ClassVar


def warn_renamed(old: str, new: str, stacklevel: int = 3) -> None:
    """Warns that `old` is now called `new`."""
    warnings.warn(f"{old} is now called {new}", FutureWarning, stacklevel=stacklevel)


def renamed_names(module: str, names: Mapping[str, str], namespace: Mapping[str, Any]) -> Callable[[str], Any]:
    """A module's `__getattr__` for names that were renamed.

    Args:
        module: name of the module.
        names: former names to present ones.
        namespace: `globals()` of the module.

    Example:
        __getattr__ = renamed_names(__name__, {"RunnerUps": "MultiTargeted"}, globals())
    """

    def __getattr__(name: str) -> Any:  # noqa: ANN401
        if name not in names:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        warn_renamed(f"{module}.{name}", f"{module}.{names[name]}")
        return namespace[names[name]]

    return __getattr__


class RenamedMembers:
    """Mixin for classes with renamed methods or properties.

    A subclass lists them in `_renamed`, old to new. Reading an old name warns and gives the new member. A subclass of
    a user's that overrides an old name is warned about once, when it is defined, and its override is used.
    """

    _renamed: ClassVar[Mapping[str, str]] = {}

    def __init_subclass__(cls, **options: Any) -> None:  # noqa: ANN401
        super().__init_subclass__(**options)
        for old, new in cls._renamed.items():
            member = cls.__dict__.get(old)
            if isinstance(member, _RenamedMember):
                continue
            if member is not None:
                warn_renamed(f"{cls.__name__}.{old}", new)
                setattr(cls, new, member)
            if member is not None or "_renamed" in cls.__dict__:
                setattr(cls, old, _RenamedMember(old, new))


class _RenamedMember:
    """A descriptor that warns and passes on."""

    def __init__(self, old: str, new: str) -> None:
        self._old, self._new = old, new

    def __get__(self, instance: object, owner: type) -> Any:  # noqa: ANN401
        warn_renamed(f"{owner.__name__}.{self._old}", self._new)
        return getattr(owner if instance is None else instance, self._new)


def renamed_arguments(**names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorator for a function whose keyword arguments were renamed, old to new."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(*arguments: Any, **keywords: Any) -> Any:  # noqa: ANN401
            for old, new in names.items():
                if old in keywords:
                    warn_renamed(f"{function.__qualname__}({old}=)", f"{new}=")
                    keywords[new] = keywords.pop(old)
            return function(*arguments, **keywords)

        return call

    return decorate
