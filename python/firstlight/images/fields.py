"""`ChebyshevField`: a number that varies smoothly over an image."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import ArrayLike, NDArray

from firstlight.images.box import Box
from firstlight.images.parts import Arrays, Values


@dataclass(frozen=True, eq=False)
class ChebyshevField:
    """A Chebyshev surface over a box: the sum of ``coefficients[j, i] T_j(v) T_i(u)``.

    Parameters
    ----------
    box
        Where u and v run from -1 to 1: from the outer edge of its first pixel to that of its last.
    coefficients : (terms_y, terms_x)

    Raises
    ------
    ValueError
        If the box is empty or a coefficient is missing or not finite.
    """

    box: Box
    coefficients: NDArray[np.float64]

    def __post_init__(self) -> None:
        coefficients = np.array(self.coefficients, dtype=np.float64, ndmin=2)
        if self.box.area == 0 or coefficients.ndim != 2 or not coefficients.size or not np.isfinite(coefficients).all():
            raise ValueError(
                f"A Chebyshev field needs a box and finite coefficients [j, i]; got {self.box}, {coefficients}."
            )
        coefficients.setflags(write=False)
        object.__setattr__(self, "coefficients", coefficients)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ChebyshevField):
            return NotImplemented
        return self.box == other.box and np.array_equal(self.coefficients, other.coefficients)

    def __hash__(self) -> int:
        return hash((self.box, self.coefficients.tobytes()))

    @classmethod
    def constant(cls, value: float, *, box: Box) -> Self:
        """Return the field that is ``value`` everywhere."""
        return cls(box, np.array([[value]]))

    @classmethod
    def fit(
        cls,
        values: ArrayLike,
        *,
        x: ArrayLike,
        y: ArrayLike,
        box: Box,
        order: int = 1,
        weights: ArrayLike | None = None,
    ) -> Self:
        """Return the least-squares field of total order ``order`` through values at positions.

        Parameters
        ----------
        values : (n,)
        x, y : (n,) [pixel]
        order
            Total order; lowered until the terms are no more than the values.
        weights : (n,)
            Inverse errors of the values.

        Raises
        ------
        ValueError
            If there is no value.
        """
        values, x, y = (np.asarray(item, dtype=np.float64) for item in (values, x, y))
        if values.size == 0:
            raise ValueError("A Chebyshev field cannot be fitted to no values.")
        while order > 0 and (order + 1) * (order + 2) // 2 > values.size:
            order -= 1
        u, v = _scaled(box, x, y)
        j, i = (index.ravel() for index in np.indices((order + 1, order + 1)))
        keep = j + i <= order
        design = chebyshev.chebvander(v, order)[:, j[keep]] * chebyshev.chebvander(u, order)[:, i[keep]]
        weight = np.ones_like(values) if weights is None else np.asarray(weights, dtype=np.float64)
        solution, *_ = np.linalg.lstsq(design * weight[:, None], values * weight, rcond=None)
        coefficients = np.zeros((order + 1, order + 1))
        coefficients[j[keep], i[keep]] = solution
        return cls(box, coefficients)

    def evaluate(self, *, x: ArrayLike, y: ArrayLike) -> NDArray[np.float64]:
        """Return the value at positions [pixel], in the shape of ``x`` and ``y`` together."""
        u, v = _scaled(self.box, np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64))
        u, v = np.broadcast_arrays(u, v)
        return np.asarray(chebyshev.chebval2d(v, u, self.coefficients))

    def image(self) -> NDArray[np.float64]:
        """Return the value at every pixel of the box [y, x]."""
        columns, rows = (
            np.arange(start, stop) for start, stop in ((self.box.x0, self.box.x1), (self.box.y0, self.box.y1))
        )
        u, v = _scaled(self.box, columns.astype(np.float64), rows.astype(np.float64))
        along_y, along_x = (
            chebyshev.chebvander(at, count - 1) for at, count in zip((v, u), self.coefficients.shape, strict=True)
        )
        return np.asarray((along_y @ self.coefficients) @ along_x.T)

    def mean(self) -> float:
        """Return the mean over the area of the box."""
        weights = [_mean_of_terms(count) for count in self.coefficients.shape]
        return float(weights[0] @ self.coefficients @ weights[1])

    def scaled(self, factor: float) -> Self:
        """Return the field multiplied by ``factor``."""
        return replace(self, coefficients=self.coefficients * factor)

    def to_parts(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Return the arrays and the plain values from which `from_parts` makes an equal field."""
        box = [self.box.x0, self.box.y0, self.box.width, self.box.height]
        return {"coefficients": self.coefficients}, {"box": box}

    @classmethod
    def from_parts(cls, arrays: Arrays, values: Values) -> Self:
        """Make the field that `to_parts` took apart."""
        return cls(Box(*values["box"]), np.array(arrays["coefficients"], dtype=np.float64))


def _scaled(
    box: Box, x: NDArray[np.float64], y: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return (2 * (x - box.x0) + 1) / box.width - 1, (2 * (y - box.y0) + 1) / box.height - 1


def _mean_of_terms(count: int) -> NDArray[np.float64]:
    """Mean of each T_n over [-1, 1]: 1 / (1 - n^2) for even n, otherwise 0."""
    n = np.arange(count)
    return np.where(n % 2 == 0, 1.0 / (1.0 - np.where(n % 2 == 0, n, 0).astype(np.float64) ** 2), 0.0)
