"""`Struct`: what a task's ``run`` returns."""

from __future__ import annotations

import inspect
from dataclasses import fields, is_dataclass
from typing import Any, ClassVar, Self


class Struct:
    """Base of every result: a frozen dataclass in which every field is annotated.

    ::

        @dataclass(frozen=True)
        class SubtractResult(Struct):
            difference: Exposure
            kernel: MatchingKernel

    Raises
    ------
    TypeError
        When the class is made with an attribute without annotation, or used without ``@dataclass(frozen=True)``.
    """

    _checked: ClassVar[type | None] = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        annotated = inspect.get_annotations(cls)
        bare = [name for name, value in vars(cls).items() if name not in annotated and _looks_like_a_field(name, value)]
        if bare:
            raise TypeError(f"{cls.__name__} is a Struct: annotate {', '.join(map(repr, bare))}.")

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Make an instance once the class is known to be a frozen dataclass."""
        if cls._checked is not cls:
            _require_frozen_dataclass(cls)
            cls._checked = cls
        return super().__new__(cls)

    def to_mapping(self) -> dict[str, object]:
        """Return field name -> value, not copied."""
        return {name: getattr(self, name) for name in field_names(type(self))}


def field_names(struct: type[Struct]) -> tuple[str, ...]:
    """Return the names of the fields of ``struct``, in order."""
    return tuple(field.name for field in fields(struct))  # type: ignore[arg-type]  # every Struct in use is a dataclass


def _looks_like_a_field(name: str, value: object) -> bool:
    described = hasattr(type(value), "__get__")
    return not name.startswith("_") and not described and not isinstance(value, type)


def _require_frozen_dataclass(cls: type) -> None:
    params = cls.__dict__.get("__dataclass_params__")
    if not is_dataclass(cls) or params is None or not params.frozen:
        raise TypeError(f"{cls.__name__} is a Struct: decorate it with @dataclass(frozen=True).")
