"""The point-spread function of a weighted mean of images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from firstlight.errors import PsfError
from firstlight.images.psf import Parts, Psf
from firstlight.images.psf_classes import psf_classes
from firstlight.kernels.arrays import BoolArray, FloatArray


class CoaddPsf(Psf):
    """The mean of the PSFs of the images that cover a position, with the weights they were combined with.

    Parameters
    ----------
    psfs
        Of the inputs, on the pixels of the coadd.
    weights : (n,)
    coverage : (n, rows, columns)
        True for each square cell of ``step`` pixels in which the input has values.
    step : [pixel]
        Side of the cells.
    """

    def __init__(self, psfs: Sequence[Psf], *, weights: FloatArray, coverage: BoolArray, step: int) -> None:
        self._psfs, self._step = tuple(psfs), int(step)
        self._weights = np.array(weights, np.float64)
        self._coverage = np.array(coverage, bool)
        if not len(self._psfs) == len(self._weights) == len(self._coverage) or not self._psfs:
            raise ValueError(
                f"Each of {len(self._psfs)} PSFs needs a weight and a coverage; got {len(self._weights)} and "
                f"{len(self._coverage)}."
            )
        self._radius = max(psf.radius for psf in self._psfs)

    @property
    def inputs(self) -> tuple[Psf, ...]:
        """The models of the inputs."""
        return self._psfs

    @property
    def radius(self) -> int:
        """Half size of the stamps [pixel]."""
        return self._radius

    @property
    def average_position(self) -> tuple[float, float]:
        """The middle of what is covered [pixel]."""
        rows, columns = np.nonzero(self._coverage.any(axis=0))
        if not rows.size:
            return 0.0, 0.0
        return float((columns.mean() + 0.5) * self._step), float((rows.mean() + 0.5) * self._step)

    def images(self, *, x: FloatArray, y: FloatArray) -> NDArray[np.float64]:
        """Return (n, s, s) unit-sum stamps, each as `image` draws it.

        Raises
        ------
        PsfError
            If no input covers any cell.
        """
        at_x, at_y = np.asarray(x, np.float64), np.asarray(y, np.float64)
        share = self._shares(at_x, at_y)
        side = 2 * self._radius + 1
        total = np.zeros((at_x.size, side, side))
        for psf, weight in zip(self._psfs, share, strict=True):
            chosen = np.flatnonzero(weight)
            if chosen.size:
                cut = slice(self._radius - psf.radius, self._radius + psf.radius + 1)
                stamps = psf.images(x=at_x[chosen], y=at_y[chosen])
                total[chosen, cut, cut] += weight[chosen, None, None] * stamps
        return np.asarray(total / total.sum(axis=(1, 2), keepdims=True))

    def stamp_fraction(self, *, x: float, y: float) -> float:
        """Return the fraction of the total flux of a star that falls on its stamp."""
        return self._mean(x, y, [psf.stamp_fraction(x=x, y=y) for psf in self._psfs])

    def wing_flux(self, radius: float, *, x: float, y: float) -> float:
        """Return the fraction of the total flux outside a circle that is no smaller than the stamp's inner circle."""
        return self._mean(x, y, [psf.wing_flux(radius, x=x, y=y) for psf in self._psfs])

    def to_parts(self) -> Parts:
        """Return the arrays and the plain values from which `from_parts` makes an equal model.

        Raises
        ------
        TypeError
            If an input is of a class that no package registers in ``firstlight.psfs``.
        """
        names = {cls: name for name, cls in psf_classes().items()}
        arrays: dict[str, NDArray[Any]] = {"weights": self._weights, "coverage": self._coverage.astype(np.uint8)}
        inputs = []
        for i, psf in enumerate(self._psfs):
            if type(psf) not in names:
                raise TypeError(f"No package registers {type(psf).__name__} in 'firstlight.psfs'.")
            own, values = psf.to_parts()
            arrays |= {f"{i}/{name}": array for name, array in own.items()}
            inputs.append({"psf_class": names[type(psf)], "values": values})
        return arrays, {"step": self._step, "inputs": inputs}

    @classmethod
    def from_parts(cls, arrays: dict[str, NDArray[Any]], values: dict[str, Any]) -> Self:
        """Make the model that `to_parts` took apart."""
        psfs: list[Psf] = []
        for i, entry in enumerate(values["inputs"]):
            prefix = f"{i}/"
            own = {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
            model: Any = psf_classes()[entry["psf_class"]]
            psfs.append(model.from_parts(own, entry["values"]))
        return cls(psfs, weights=arrays["weights"], coverage=arrays["coverage"] > 0, step=values["step"])

    def _mean(self, x: float, y: float, values: list[float]) -> float:
        share = self._shares(np.array([x]), np.array([y]))[:, 0]
        return float(share @ np.array(values))

    def _shares(self, x: FloatArray, y: FloatArray) -> NDArray[np.float64]:
        """Return (inputs, positions) weights that sum to 1; where nothing is covered all inputs count."""
        rows, columns = self._coverage.shape[1:]
        i = np.clip(np.floor_divide(np.rint(x), self._step), 0, columns - 1).astype(int)
        j = np.clip(np.floor_divide(np.rint(y), self._step), 0, rows - 1).astype(int)
        share = self._weights[:, None] * self._coverage[:, j, i]
        nothing = share.sum(axis=0) == 0
        share[:, nothing] = self._weights[:, None]
        total = share.sum(axis=0)
        if not np.all(total > 0):
            raise PsfError("The PSFs of a coadd have no weight.")
        return np.asarray(share / total)
