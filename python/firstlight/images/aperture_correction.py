"""`ApertureCorrectionMap`: the factors that bring every kind of flux to the total flux."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from firstlight.images.fields import ChebyshevField
from firstlight.images.parts import Arrays, Values


@dataclass(frozen=True)
class ApertureCorrection:
    """The factor from one kind of flux to the total flux, over an image.

    Parameters
    ----------
    field
        The factor.
    error
        Error of the factor.
    """

    field: ChebyshevField
    error: float = 0.0

    def evaluate(self, *, x: ArrayLike, y: ArrayLike) -> NDArray[np.float64]:
        """Return the factor at positions [pixel]."""
        return self.field.evaluate(x=x, y=y)


class ApertureCorrectionMap(Mapping[str, ApertureCorrection]):
    """Column name (``psf_inst_flux``) -> `ApertureCorrection`; never changed, only extended.

    Parameters
    ----------
    corrections
        A mapping; copied.
    """

    __slots__ = ("_corrections",)

    def __init__(self, corrections: Mapping[str, ApertureCorrection] | None = None) -> None:
        self._corrections = dict(corrections or {})

    def __getitem__(self, name: str) -> ApertureCorrection:
        return self._corrections[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._corrections)

    def __len__(self) -> int:
        return len(self._corrections)

    def __hash__(self) -> int:
        return hash(frozenset(self._corrections.items()))

    def __repr__(self) -> str:
        means = ", ".join(f"{name} {correction.field.mean():.4f}" for name, correction in self.items())
        return f"ApertureCorrectionMap({means})"

    def __or__(self, other: Mapping[str, ApertureCorrection]) -> ApertureCorrectionMap:
        return ApertureCorrectionMap({**self, **other})

    def evaluate(self, name: str, *, x: ArrayLike, y: ArrayLike) -> tuple[NDArray[np.float64], float]:
        """Return the factors for a kind of flux at positions [pixel], and their error.

        Raises
        ------
        KeyError
            If there is no correction of that name.
        """
        correction = self[name]
        return correction.evaluate(x=x, y=y), correction.error

    def to_parts(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Return the arrays and the plain values from which `from_parts` makes an equal map."""
        arrays: dict[str, NDArray[Any]] = {}
        values: dict[str, Any] = {}
        for name, correction in self.items():
            below, plain = correction.field.to_parts()
            arrays[name] = below["coefficients"]
            values[name] = {"error": correction.error, **plain}
        return arrays, values

    @classmethod
    def from_parts(cls, arrays: Arrays, values: Values) -> Self:
        """Make the map that `to_parts` took apart."""
        return cls(
            {
                name: ApertureCorrection(
                    ChebyshevField.from_parts({"coefficients": arrays[name]}, plain), plain["error"]
                )
                for name, plain in values.items()
            }
        )
