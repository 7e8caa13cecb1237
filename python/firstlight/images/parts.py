"""How a model kept with an exposure is taken apart for a file and put together again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, Self

from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[Any]]
"""The arrays of a model, by name."""

Values = Mapping[str, Any]
"""The plain values of a model, by name: numbers, text, booleans, None, and lists and mappings of these."""


class Parted(Protocol):
    """Anything that can be written as arrays and plain values, and read back exactly."""

    def to_parts(self) -> tuple[Any, Any]:
        """Return the arrays and the plain values from which `from_parts` makes an equal object."""

    @classmethod
    def from_parts(cls, arrays: Any, values: Any, /) -> Self:
        """Make the object that `to_parts` took apart."""
