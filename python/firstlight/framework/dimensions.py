"""Dimensions: what tells one dataset of a type from another, and `DataId`, the values that name one."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import overload

from firstlight.errors import ConfigError
from firstlight.framework.lookup import did_you_mean

Value = int | str
"""What a dimension can have."""


@dataclass(frozen=True)
class Dimension:
    """One kind of label that datasets carry."""

    name: str
    type: type[Value]
    description: str
    requires: tuple[str, ...] = ()
    """Dimensions without which a value has no meaning."""

    implies: tuple[str, ...] = ()
    """Dimensions whose value follows from this one."""


DIMENSIONS: Mapping[str, Dimension] = {
    dimension.name: dimension
    for dimension in (
        Dimension("instrument", str, "Camera."),
        Dimension("day_obs", int, "Night, as YYYYMMDD at its beginning.", requires=("instrument",)),
        Dimension(
            "exposure",
            int,
            "One opening of the shutter.",
            requires=("instrument",),
            implies=("physical_filter", "band", "day_obs"),
        ),
        Dimension(
            "visit",
            int,
            "One or more exposures that are processed as one.",
            requires=("instrument",),
            implies=("physical_filter", "band", "day_obs"),
        ),
        Dimension("detector", int, "One sensor of a camera.", requires=("instrument",)),
        Dimension("physical_filter", str, "Filter in the beam.", requires=("instrument",), implies=("band",)),
        Dimension("band", str, "Wavelength range that filters of several cameras share."),
        Dimension("skymap", str, "Division of the sky."),
        Dimension("tract", int, "One field of a skymap, with one projection.", requires=("skymap",)),
        Dimension("patch", int, "One part of a tract.", requires=("tract", "skymap")),
    )
}
"""Every dimension there is, in the order in which data ids name them."""


def completed(names: Iterable[str]) -> tuple[str, ...]:
    """Return ``names`` and every dimension that they require, in the order of `DIMENSIONS`.

    Raises
    ------
    ConfigError
        If there is no such dimension.
    """
    wanted = set()
    for name in names:
        wanted |= {name, *require_dimension(name).requires}
    return tuple(name for name in DIMENSIONS if name in wanted)


def require_dimension(name: str) -> Dimension:
    """Return the dimension called ``name``.

    Raises
    ------
    ConfigError
        If there is none.
    """
    if name not in DIMENSIONS:
        hint = did_you_mean(name, DIMENSIONS) or f"; there are {', '.join(DIMENSIONS)}"
        raise ConfigError(f"no dimension is named {name!r}{hint}")
    return DIMENSIONS[name]


class DataId(Mapping[str, Value]):
    """Values of dimensions that name a dataset or a piece of work: ``DataId(instrument="ztf", visit=12, detector=3)``.

    Read-only, hashable, ordered as `DIMENSIONS`, compared by value.

    Parameters
    ----------
    values
        Another data id, or any mapping.
    **more
        Further values.

    Raises
    ------
    ConfigError
        If there is no such dimension, or a value is of the wrong type.
    """

    __slots__ = ("_hash", "_values")

    @overload
    def __init__(self, values: Mapping[str, Value] = ..., /, **more: Value) -> None: ...
    @overload
    def __init__(self, values: Iterable[tuple[str, Value]], /, **more: Value) -> None: ...
    def __init__(self, values: Mapping[str, Value] | Iterable[tuple[str, Value]] = (), /, **more: Value) -> None:
        given = {**dict(values), **more}
        for name, value in given.items():
            wanted = require_dimension(name).type
            if type(value) is not wanted:
                raise ConfigError(f"{name}: should be of type {wanted.__name__}; got {value!r}")
        self._values = {name: given[name] for name in DIMENSIONS if name in given}
        self._hash = hash(tuple(self._values.items()))

    def __getitem__(self, name: str) -> Value:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        if isinstance(other, DataId):
            return self._values == other._values
        return isinstance(other, Mapping) and self._values == dict(other)

    def __repr__(self) -> str:
        return f"DataId({', '.join(f'{name}={value!r}' for name, value in self._values.items())})"

    def __str__(self) -> str:
        return " ".join(f"{name}={value}" for name, value in self._values.items())

    def sort_key(self) -> tuple[tuple[Value, ...], ...]:
        """Return what puts data ids in order: dimension by dimension, numbers as numbers, a missing value first."""
        return tuple((self._values[name],) if name in self._values else () for name in DIMENSIONS)

    def only(self, names: Collection[str]) -> DataId:
        """Return the part of this data id that is about ``names``."""
        return DataId({name: value for name, value in self._values.items() if name in names})

    def agrees(self, other: Mapping[str, Value]) -> bool:
        """Return whether no dimension has one value here and another one in ``other``."""
        return all(other.get(name, value) == value for name, value in self._values.items())

    def joined(self, other: Mapping[str, Value]) -> DataId:
        """Return the values of both, which must agree."""
        return DataId({**self._values, **other})
