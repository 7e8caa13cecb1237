"""Models of the sky: a grid of binned values and the surface through it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Self, overload

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import NDArray
from scipy.interpolate import BSpline, make_interp_spline

from firstlight.kernels.arrays import FloatArray
from firstlight.kernels.planes import row_blocks
from firstlight.kernels.surfaces import tensor_surface

Surface = Literal["chebyshev", "spline"]


@dataclass(frozen=True)
class MeshBackground:
    """A smooth surface through values of bins, evaluated on any pixel.

    Parameters
    ----------
    shape
        Rows and columns of the image.
    values : (bins_y, bins_x) [unit of the image]
        Value at the centre of each bin; NaN where a bin had no usable pixel.
    variance : (bins_y, bins_x)
        Variance of ``values``; NaN where a bin had no usable pixel.
    method
        ``chebyshev``: ``coefficients[j, i]`` multiply T_j(y) T_i(x) on coordinates scaled to [-1, 1].
        ``spline``: ``coefficients`` are those of a tensor B-spline through the bins, linear beyond the outer ones.
    coefficients : (terms_y, terms_x)
    """

    shape: tuple[int, int]
    values: NDArray[np.float64]
    variance: NDArray[np.float64]
    method: Surface
    coefficients: NDArray[np.float64]

    def __post_init__(self) -> None:
        if self.values.shape != self.variance.shape or self.values.ndim != 2:
            raise ValueError(f"values {self.values.shape} and variance {self.variance.shape} must be one 2-D grid.")
        for name in ("values", "variance", "coefficients"):
            frozen = np.array(getattr(self, name), dtype=np.float64)
            frozen.setflags(write=False)
            object.__setattr__(self, name, frozen)

    @property
    def level(self) -> float:
        """Median of the binned values."""
        return float(np.nanmedian(self.values))

    @property
    def variance_of_level(self) -> float:
        """Variance of the surface over the bins: how structured the sky is."""
        return float(np.nanvar(self.values))

    def evaluate(self) -> NDArray[np.float32]:
        """Return the surface on every pixel, float32 [y, x]."""
        ny, nx = self.shape
        return self._surface(np.arange(ny, dtype=np.float64), np.arange(nx, dtype=np.float64))

    def subtracted_from(self, image: FloatArray) -> NDArray[np.float32]:
        """Return ``image`` minus the surface, float32 [y, x], without ever holding the whole surface."""
        rows, columns = self._factors(*(np.arange(length, dtype=np.float64) for length in self.shape))
        difference = np.empty(self.shape, dtype=np.float32)
        for block in row_blocks(len(rows)):
            np.subtract(image[block], tensor_surface(rows[block], columns), out=difference[block])
        return difference

    def evaluate_grid(self, *, x: FloatArray, y: FloatArray) -> NDArray[np.float32]:
        """Return the surface at every pair of the rows ``y`` and the columns ``x`` [pixel]."""
        return self._surface(np.asarray(y, dtype=np.float64), np.asarray(x, dtype=np.float64))

    def scaled(self, factor: float) -> Self:
        """Return this background multiplied by ``factor``, as for an image in another unit."""
        return replace(
            self,
            values=self.values * factor,
            variance=self.variance * factor**2,
            coefficients=self.coefficients * factor,
        )

    def to_parts(self) -> tuple[dict[str, NDArray[np.float64]], dict[str, str | int]]:
        """Return the arrays and the plain values from which `from_parts` makes an equal model."""
        arrays = {"values": self.values, "variance": self.variance, "coefficients": self.coefficients}
        return arrays, {"ny": self.shape[0], "nx": self.shape[1], "method": self.method}

    @classmethod
    def from_parts(cls, arrays: dict[str, NDArray[np.float64]], values: dict[str, str | int]) -> Self:
        """Make the model that `to_parts` took apart."""
        return cls(
            shape=(int(values["ny"]), int(values["nx"])),
            values=arrays["values"],
            variance=arrays["variance"],
            method="spline" if values["method"] == "spline" else "chebyshev",
            coefficients=arrays["coefficients"],
        )

    def _surface(self, y: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.float32]:
        return tensor_surface(*self._factors(y, x))

    def _factors(
        self, y: NDArray[np.float64], x: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the matrices over rows and over columns whose product is the surface."""
        basis, counts = chebyshev_basis, self.coefficients.shape
        if self.method == "spline":
            basis, counts = _spline_basis, self.values.shape
        rows, columns = basis(y, self.shape[0], counts[0]), basis(x, self.shape[1], counts[1])
        return rows, self.coefficients @ columns.T


class BackgroundList(Sequence[MeshBackground]):
    """The models subtracted from an image so far, in order; never changed, only extended.

    The image plus `evaluate` is the image before any sky was taken away.
    """

    def __init__(self, models: Iterable[MeshBackground] = ()) -> None:
        self._models = tuple(models)

    def __len__(self) -> int:
        return len(self._models)

    def __iter__(self) -> Iterator[MeshBackground]:
        return iter(self._models)

    @overload
    def __getitem__(self, index: int) -> MeshBackground: ...

    @overload
    def __getitem__(self, index: slice) -> BackgroundList: ...

    def __getitem__(self, index: int | slice) -> MeshBackground | BackgroundList:
        if isinstance(index, slice):
            return BackgroundList(self._models[index])
        return self._models[index]

    def __add__(self, other: MeshBackground | Iterable[MeshBackground]) -> BackgroundList:
        added = (other,) if isinstance(other, MeshBackground) else tuple(other)
        return BackgroundList(self._models + added)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, BackgroundList):
            return NotImplemented
        return len(self) == len(other) and all(_equal(one, two) for one, two in zip(self, other, strict=True))

    def __hash__(self) -> int:
        return hash(tuple(model.coefficients.tobytes() for model in self))

    def __repr__(self) -> str:
        return f"BackgroundList({len(self)} models, level {self.level:.6g})"

    @property
    def level(self) -> float:
        """Sum of the levels of the models."""
        return float(sum(model.level for model in self))

    def evaluate(self, *, shape: tuple[int, int] | None = None) -> NDArray[np.float32]:
        """Return the sum of the models on every pixel, float32 [y, x].

        Parameters
        ----------
        shape
            Rows and columns of the zeros that an empty list returns.
        """
        if not self._models:
            if shape is None:
                raise ValueError("An empty background list needs a shape to be evaluated.")
            return np.zeros(shape, dtype=np.float32)
        total = self._models[0].evaluate()
        for model in self._models[1:]:
            total += model.evaluate()
        return total

    def scaled(self, factor: float) -> BackgroundList:
        """Return the models multiplied by ``factor``."""
        return BackgroundList(model.scaled(factor) for model in self)


def bin_edges(length: int, bin_size: int) -> NDArray[np.int64]:
    """Return the edges of bins of nearly equal size, about ``bin_size`` pixels each, that cover ``length`` pixels."""
    count = max(1, round(length / bin_size))
    return np.round(np.linspace(0, length, count + 1)).astype(np.int64)


def bin_centers(length: int, count: int) -> NDArray[np.float64]:
    """Return the centres [pixel] of ``count`` bins that cover ``length`` pixels."""
    edges = np.round(np.linspace(0, length, count + 1))
    return 0.5 * (edges[1:] + edges[:-1]) - 0.5


def chebyshev_basis(position: FloatArray, length: int, count: int) -> NDArray[np.float64]:
    """Return T_0 .. T_(count-1) at pixel positions of an axis of ``length`` pixels, [position, term]."""
    return np.asarray(chebyshev.chebvander((2.0 * position + 1.0) / length - 1.0, count - 1))


def spline_coefficients(filled: FloatArray, shape: tuple[int, int]) -> NDArray[np.float64]:
    """Return the coefficients of the tensor B-spline through the bins of a grid without gaps."""
    along_y = _axis_coefficients(np.asarray(filled, dtype=np.float64), shape[0])
    return np.ascontiguousarray(_axis_coefficients(along_y.T, shape[1]).T)


def _axis_coefficients(filled: NDArray[np.float64], length: int) -> NDArray[np.float64]:
    if len(filled) == 1:
        return filled
    nodes = _spline_nodes(length, len(filled))
    inner = bin_centers(length, len(filled))
    first = filled[0] + (filled[1] - filled[0]) * (nodes[0] - inner[0]) / (inner[1] - inner[0])
    last = filled[-1] + (filled[-2] - filled[-1]) * (nodes[-1] - inner[-1]) / (inner[-2] - inner[-1])
    spline = make_interp_spline(nodes, np.vstack([first, filled, last]), k=3)
    return np.asarray(spline.c)


def _spline_nodes(length: int, count: int) -> NDArray[np.float64]:
    return np.concatenate([[-0.5], bin_centers(length, count), [length - 0.5]])


def _spline_basis(position: FloatArray, length: int, count: int) -> NDArray[np.float64]:
    if count == 1:
        return np.ones((len(position), 1))
    nodes = _spline_nodes(length, count)
    knots = make_interp_spline(nodes, np.zeros(len(nodes)), k=3).t
    return np.asarray(
        BSpline.design_matrix(np.asarray(position, dtype=np.float64), knots, 3, extrapolate=True).toarray()
    )


def _equal(one: MeshBackground, two: MeshBackground) -> bool:
    return (
        one.shape == two.shape
        and one.method == two.method
        and np.array_equal(one.values, two.values, equal_nan=True)
        and np.array_equal(one.variance, two.variance, equal_nan=True)
        and np.array_equal(one.coefficients, two.coefficients)
    )
