"""Convolution kernels that vary smoothly over an image, and the model that matches one exposure to another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import NDArray

from firstlight.images.box import Box
from firstlight.images.fields import ChebyshevField
from firstlight.images.parts import Arrays, Values
from firstlight.kernels.arrays import FloatArray

Convolved = Literal["template", "science"]
"""Which image of a pair a matching kernel is applied to."""


@dataclass(frozen=True, eq=False)
class SpatialKernel:
    """A kernel that is a Chebyshev polynomial of the position: ``K(x, y) = sum_j phi_j(x, y) components[j]``.

    Parameters
    ----------
    components : (terms, s, s)
        One kernel for each product ``T_p(u) T_q(v)``, by rising total degree, then by rising q; s is odd.
    shape : (ny, nx) [pixel]
        Image over which u and v run from -1 to 1, from the outer edge of its first pixel to that of its last; the
        kernel is held at the border outside.

    Raises
    ------
    ValueError
        If the kernels are not square and odd, their number is not that of a total degree, or a value is not finite.
    """

    components: FloatArray
    shape: tuple[int, int]

    def __post_init__(self) -> None:
        components = np.array(self.components, dtype=np.float64)
        if components.ndim != 3 or components.shape[1] != components.shape[2] or components.shape[1] % 2 == 0:
            raise ValueError(f"Kernel components must be (terms, s, s) with s odd; got {components.shape}.")
        if not np.isfinite(components).all():
            raise ValueError("Kernel components must be finite.")
        chebyshev_order(len(components))
        components.setflags(write=False)
        object.__setattr__(self, "components", components)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SpatialKernel):
            return NotImplemented
        return self.shape == other.shape and np.array_equal(self.components, other.components)

    def __hash__(self) -> int:
        return hash((self.shape, self.components.tobytes()))

    @classmethod
    def constant(cls, kernel: FloatArray, *, shape: tuple[int, int]) -> Self:
        """Return the kernel that is the same everywhere."""
        return cls(np.asarray(kernel, dtype=np.float64)[None], shape)

    @classmethod
    def fit(cls, kernels: FloatArray, *, x: FloatArray, y: FloatArray, shape: tuple[int, int], order: int) -> Self:
        """Return the least-squares polynomial through kernels at positions.

        Parameters
        ----------
        kernels : (n, s, s)
        x, y : (n,) [pixel]
        shape : (ny, nx) [pixel]
        order
            Total degree.
        """
        design = chebyshev_terms(order, x=x, y=y, shape=shape)
        flat = np.asarray(kernels, dtype=np.float64).reshape(len(kernels), -1)
        solution, *_ = np.linalg.lstsq(design, flat, rcond=None)
        return cls(solution.reshape(-1, *np.shape(kernels)[1:]), shape)

    @property
    def radius(self) -> int:
        """Half size of the kernel [pixel]."""
        return int(self.components.shape[1] // 2)

    @property
    def order(self) -> int:
        """Total degree of the polynomials."""
        return chebyshev_order(len(self.components))

    def images(self, *, x: FloatArray, y: FloatArray) -> NDArray[np.float64]:
        """Return the (n, s, s) kernels at positions."""
        terms = chebyshev_terms(self.order, x=x, y=y, shape=self.shape)
        return np.asarray(np.tensordot(terms, self.components, axes=1))

    def image(self, *, x: float, y: float) -> NDArray[np.float64]:
        """Return the (s, s) kernel at a position."""
        return np.asarray(self.images(x=np.array([x]), y=np.array([y]))[0])

    def total(self, *, x: FloatArray, y: FloatArray) -> NDArray[np.float64]:
        """Return the (n,) sums of the kernel at positions: what it multiplies fluxes with."""
        return np.asarray(self.images(x=x, y=y).sum(axis=(1, 2)))

    def centroid(self, *, x: FloatArray, y: FloatArray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the (n,) x and y [pixel] by which the kernel moves the light at positions."""
        kernels = self.images(x=x, y=y)
        offsets = np.arange(-self.radius, self.radius + 1.0)
        total = kernels.sum(axis=(1, 2))
        return (kernels.sum(axis=1) @ offsets) / total, (kernels.sum(axis=2) @ offsets) / total

    def scaled(self, factor: float) -> SpatialKernel:
        """Return the kernel multiplied by ``factor``."""
        return SpatialKernel(self.components * factor, self.shape)

    def mirrored(self) -> SpatialKernel:
        """Return the kernel turned by 180 degrees: convolving with it is correlating with this one."""
        return SpatialKernel(self.components[:, ::-1, ::-1], self.shape)

    def to_parts(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Return the arrays and the plain values from which `from_parts` makes an equal kernel."""
        return {"components": self.components}, {"shape": list(self.shape)}

    @classmethod
    def from_parts(cls, arrays: Arrays, values: Values) -> Self:
        """Make the kernel that `to_parts` took apart."""
        ny, nx = values["shape"]
        return cls(np.asarray(arrays["components"], dtype=np.float64), (int(ny), int(nx)))


@dataclass(frozen=True)
class MatchingKernel:
    """How one exposure of a pair is made to look like the other: convolved, and a smooth background added.

    Parameters
    ----------
    kernel
        What the image named by ``convolved`` is convolved with.
    background : [unit of the image that is matched]
        What is added to the convolved image.
    convolved
        ``template``: ``science = kernel * template + background``; ``science``: the other way round.
    """

    kernel: SpatialKernel
    background: ChebyshevField
    convolved: Convolved = "template"

    @property
    def flux_scale(self) -> float:
        """Flux of a star in the science exposure over that in the template, at the centre."""
        ny, nx = self.kernel.shape
        total = float(self.kernel.total(x=np.array([(nx - 1) / 2]), y=np.array([(ny - 1) / 2]))[0])
        return total if self.convolved == "template" else 1.0 / total

    def to_parts(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Return the arrays and the plain values from which `from_parts` makes an equal model."""
        arrays, values = self.kernel.to_parts()
        coefficients, field = self.background.to_parts()
        arrays["background"] = coefficients["coefficients"]
        return arrays, {**values, "convolved": self.convolved, "box": field["box"]}

    @classmethod
    def from_parts(cls, arrays: Arrays, values: Values) -> Self:
        """Make the model that `to_parts` took apart."""
        convolved: Convolved = "science" if values["convolved"] == "science" else "template"
        background = ChebyshevField(Box(*values["box"]), np.asarray(arrays["background"], dtype=np.float64))
        return cls(SpatialKernel.from_parts(arrays, values), background, convolved)


def chebyshev_terms(order: int, *, x: FloatArray, y: FloatArray, shape: tuple[int, int]) -> NDArray[np.float64]:
    """Return the (n, terms) products ``T_p(u) T_q(v)`` of `SpatialKernel` at positions [pixel]."""
    ny, nx = shape
    u = np.clip((2.0 * np.asarray(x, np.float64) + 1.0) / nx - 1.0, -1.0, 1.0)
    v = np.clip((2.0 * np.asarray(y, np.float64) + 1.0) / ny - 1.0, -1.0, 1.0)
    along_x, along_y = chebyshev.chebvander(u, order), chebyshev.chebvander(v, order)
    p, q = chebyshev_degrees(order)
    return np.asarray(along_x[:, p] * along_y[:, q])


def chebyshev_degrees(order: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the degrees p in u and q in v of the terms of a total degree, by rising degree, then by rising q."""
    pairs = [(degree - q, q) for degree in range(order + 1) for q in range(degree + 1)]
    p, q = np.array(pairs, dtype=np.int64).T
    return p, q


def chebyshev_order(terms: int) -> int:
    """Return the total degree that has so many terms.

    Raises
    ------
    ValueError
        If none has.
    """
    order = 0
    while (order + 1) * (order + 2) // 2 < terms:
        order += 1
    if (order + 1) * (order + 2) // 2 != terms:
        raise ValueError(f"No total degree has {terms} terms; allowed are 1, 3, 6, 10, 15, 21...")
    return order
