"""`ApertureCorrectionMap`: the factors that bring every kind of flux to the total flux."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from firstlight.images.fields import ChebyshevField
from firstlight.images.parts import Arrays, Values


@dataclass(frozen=True)
class BrightnessTerm:
    """What the factor from one kind of flux to the total flux grows by with the flux.

    Parameters
    ----------
    slope : [1 / unit of the flux]
        Growth with the flux: bright stars are wider than the model (brighter-fatter effect).
    offset : [unit of the flux]
        Light of a star that the flux misses, however bright the star is: charge that is left behind in the readout.
    faintest, brightest : [unit of the flux]
        The range that it was measured on; it is held beyond.
    """

    slope: float
    offset: float
    faintest: float
    brightest: float

    def evaluate(self, flux: ArrayLike) -> NDArray[np.float64]:
        """Return what is added to the factor for fluxes, of negative ones as of their absolute values."""
        size = np.clip(np.abs(np.asarray(flux, dtype=np.float64)), self.faintest, self.brightest)
        return np.asarray(self.slope * size + self.offset / size)

    def in_unit(self, factor: float) -> BrightnessTerm:
        """Return the term for fluxes that are ``factor`` times as large."""
        return BrightnessTerm(
            self.slope / factor, self.offset * factor, self.faintest * factor, self.brightest * factor
        )


@dataclass(frozen=True)
class ApertureCorrection:
    """The factor from one kind of flux to the total flux, over an image.

    Parameters
    ----------
    field
        The factor.
    error
        Error of the factor.
    brightness
        What is added to it for a flux; None where it is the same for all.
    """

    field: ChebyshevField
    error: float = 0.0
    brightness: BrightnessTerm | None = None

    def evaluate(self, *, x: ArrayLike, y: ArrayLike, flux: ArrayLike | None = None) -> NDArray[np.float64]:
        """Return the factor at positions [pixel], for the fluxes if they are given."""
        factor = self.field.evaluate(x=x, y=y)
        if flux is None or self.brightness is None:
            return factor
        return factor + self.brightness.evaluate(flux)

    def valid(self, *, x: ArrayLike, y: ArrayLike) -> NDArray[np.bool_]:
        """Return where the factor may be applied: inside the image that it was measured on, finite and positive."""
        box, at_x, at_y = self.field.box, np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
        inside = (at_x >= box.x0 - 0.5) & (at_x <= box.x1 - 0.5) & (at_y >= box.y0 - 0.5) & (at_y <= box.y1 - 0.5)
        factor = self.evaluate(x=np.where(inside, at_x, box.x0), y=np.where(inside, at_y, box.y0))
        return np.asarray(inside & np.isfinite(factor) & (factor > 0))

    def sampled(self, n: int = 33) -> NDArray[np.float64]:
        """Return the factor [y, x] on a grid of n x n points from edge to edge of the image: a map to look at."""
        box, steps = self.field.box, np.linspace(0.0, 1.0, n)
        y, x = box.y0 - 0.5 + steps * box.height, box.x0 - 0.5 + steps * box.width
        return self.field.evaluate(x=x[None, :], y=y[:, None])


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

    def in_unit(self, factor: float) -> ApertureCorrectionMap:
        """Return the corrections of fluxes that are ``factor`` times as large."""
        return ApertureCorrectionMap(
            {
                name: each if each.brightness is None else replace(each, brightness=each.brightness.in_unit(factor))
                for name, each in self.items()
            }
        )

    def to_parts(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Return the arrays and the plain values from which `from_parts` makes an equal map."""
        arrays: dict[str, NDArray[Any]] = {}
        values: dict[str, Any] = {}
        for name, correction in self.items():
            below, plain = correction.field.to_parts()
            arrays[name] = below["coefficients"]
            values[name] = {"error": correction.error, **plain}
            if correction.brightness is not None:
                values[name]["brightness"] = asdict(correction.brightness)
        return arrays, values

    @classmethod
    def from_parts(cls, arrays: Arrays, values: Values) -> Self:
        """Make the map that `to_parts` took apart."""
        return cls(
            {
                name: ApertureCorrection(
                    ChebyshevField.from_parts({"coefficients": arrays[name]}, plain),
                    plain["error"],
                    BrightnessTerm(**plain["brightness"]) if "brightness" in plain else None,
                )
                for name, plain in values.items()
            }
        )
