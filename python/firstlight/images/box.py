"""`Box`: a rectangle of whole pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from firstlight.kernels.arrays import BoolArray

PixelT = TypeVar("PixelT", bound=np.generic)


@dataclass(frozen=True)
class Box:
    """A rectangle of whole pixels; it may be empty.

    Parameters
    ----------
    x0, y0 : [pixel]
        The first pixel, at the lower left.
    width, height : [pixel]
        Number of columns and rows.

    Raises
    ------
    ValueError
        If the width or the height is negative.
    """

    x0: int
    y0: int
    width: int
    height: int

    def __post_init__(self) -> None:
        if self.width < 0 or self.height < 0:
            raise ValueError(f"A box cannot have width {self.width} and height {self.height}; both must be >= 0.")

    @classmethod
    def of_shape(cls, shape: Sequence[int]) -> Self:
        """Return the box of a whole image with ``shape`` (rows, columns)."""
        return cls(0, 0, int(shape[1]), int(shape[0]))

    @classmethod
    def between(cls, *, x: tuple[int, int], y: tuple[int, int]) -> Self:
        """Return the box from the first pixel of each pair up to, and without, the second."""
        return cls(x[0], y[0], max(0, x[1] - x[0]), max(0, y[1] - y[0]))

    @classmethod
    def around(cls, *, x: float, y: float, radius: int) -> Self:
        """Return the square box of side ``2 radius + 1`` about the pixel nearest to a position."""
        column, row = int(np.floor(x + 0.5)), int(np.floor(y + 0.5))
        return cls(column - radius, row - radius, 2 * radius + 1, 2 * radius + 1)

    @property
    def x1(self) -> int:
        """First column beyond the box."""
        return self.x0 + self.width

    @property
    def y1(self) -> int:
        """First row beyond the box."""
        return self.y0 + self.height

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.height, self.width

    @property
    def area(self) -> int:
        """Number of pixels."""
        return self.width * self.height

    @property
    def slices(self) -> tuple[slice, slice]:
        """Row and column slice that cut the box out of an array [y, x].

        Raises
        ------
        ValueError
            If the box begins before the array, where a slice would count from the other end.
        """
        if self.x0 < 0 or self.y0 < 0:
            raise ValueError(f"{self} begins before the array; clip it to the image first.")
        return slice(self.y0, self.y1), slice(self.x0, self.x1)

    @property
    def center(self) -> tuple[float, float]:
        """Position x, y of the middle of the box [pixel]."""
        return self.x0 + (self.width - 1) / 2, self.y0 + (self.height - 1) / 2

    def contains(self, *, x: ArrayLike, y: ArrayLike) -> BoolArray:
        """Return where positions [pixel] fall on a pixel of the box; pixels reach half a pixel from their centre."""
        x, y = np.asarray(x), np.asarray(y)
        inside_x = (x >= self.x0 - 0.5) & (x < self.x1 - 0.5)
        return np.asarray(inside_x & (y >= self.y0 - 0.5) & (y < self.y1 - 0.5))

    def contains_box(self, other: Box) -> bool:
        """Return whether every pixel of ``other`` is a pixel of this box."""
        return other.clip(self) == other or other.area == 0

    def clip(self, other: Box) -> Box:
        """Return the pixels that both boxes have; an empty box if there are none."""
        return Box.between(
            x=(max(self.x0, other.x0), min(self.x1, other.x1)), y=(max(self.y0, other.y0), min(self.y1, other.y1))
        )

    def cut(self, image: NDArray[PixelT], *, fill: Any) -> NDArray[PixelT]:
        """Return a copy of the pixels of an image that lie in the box, a stamp of the shape of the box.

        Parameters
        ----------
        image : (ny, nx)
            Its first pixel is that of x = y = 0.
        fill
            What stands where the box reaches beyond the image.
        """
        inside = self.clip(Box.of_shape(image.shape))
        if inside == self:
            return image[self.slices].copy()
        stamp = np.full(self.shape, fill, dtype=image.dtype)
        if inside.area:
            stamp[inside.shifted(x=-self.x0, y=-self.y0).slices] = image[inside.slices]
        return stamp

    def grow(self, margin: int) -> Box:
        """Return the box with ``margin`` more pixels on each side; a negative margin shrinks it, at most to nothing."""
        return Box.between(x=(self.x0 - margin, self.x1 + margin), y=(self.y0 - margin, self.y1 + margin))

    def shifted(self, *, x: int, y: int) -> Box:
        """Return the box moved by whole pixels."""
        return Box(self.x0 + x, self.y0 + y, self.width, self.height)
