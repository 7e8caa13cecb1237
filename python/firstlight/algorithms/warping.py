"""Resample an image onto another pixel grid: flux conserving, with variance and mask.

The value of an output pixel is the input image, interpolated at the position that the map of positions gives, times
the ratio of the pixel areas: a star keeps its flux, a sky of counts per pixel becomes the sky per output pixel. The map
is evaluated at the corners of square cells and is linear inside; the cells are as small as the map needs.

The weights of the interpolation are those of `warp_kernels`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from firstlight.algorithms.warp_kernels import WarpKernel
from firstlight.kernels.arrays import BoolArray, FloatArray
from firstlight.kernels.warp import touched_blocks, warp

PositionMap = Callable[[FloatArray, FloatArray], tuple[FloatArray, FloatArray]]
"""Output pixel positions x, y -> input pixel positions x, y, of any shape; NaN where there are none."""

_LARGEST_STEP = 64
_MEDIAN_SQUARE = 0.4549
"""Median of the square of a standard normal variable."""

_MOST_RINGING = np.float32(1e5)
"""Added at most, in units of the variance: such a pixel is of no use, and more would drown others in transforms."""

_RINGING_SIGMAS = 4.0
"""Two interpolations of noise differ by less than so many of their usual differences."""


@dataclass(frozen=True, eq=False)
class WarpGrid:
    """Where the corners of square cells of output pixels lie in the input image."""

    nodes: NDArray[np.float64]
    """(3, rows, columns): input x [pixel], input y [pixel], input area of an output pixel [pixel^2]."""

    step: int
    """Side of a cell [output pixel]."""

    shape: tuple[int, int]
    """Rows and columns of the output."""

    error: float
    """Largest distance between the map and its linear interpolation, at the centres of the cells [input pixel]."""

    def lengths(self) -> tuple[float, float]:
        """Return the typical length of an output pixel along input x and y [input pixel]."""
        return _length(self.nodes[0], self.step), _length(self.nodes[1], self.step)

    def pixel_areas(self) -> NDArray[np.float64]:
        """Return the area of each output pixel [input pixel^2], in the shape of the output; NaN where there is none."""
        (j, t), (i, s) = (_cells(size, self.step) for size in self.shape)
        area, s, t = self.nodes[2], s[None, :], t[:, None]
        low = area[np.ix_(j, i)] * (1 - s) + area[np.ix_(j, i + 1)] * s
        high = area[np.ix_(j + 1, i)] * (1 - s) + area[np.ix_(j + 1, i + 1)] * s
        return np.asarray(low * (1 - t) + high * t)

    @property
    def area(self) -> float:
        """Typical area of an output pixel [input pixel^2]."""
        return float(np.nanmedian(self.nodes[2]))

    def overlap(self, shape: tuple[int, int]) -> float:
        """Return the fraction of the nodes that lie inside an input image of ``shape`` rows and columns."""
        x, y = self.nodes[0], self.nodes[1]
        inside = (x >= -0.5) & (x <= shape[1] - 0.5) & (y >= -0.5) & (y <= shape[0] - 0.5)
        return float(inside.mean())


@dataclass(frozen=True, eq=False)
class WarpedPlanes:
    """The planes of a warped image."""

    image: NDArray[np.float32]
    """NaN where nothing is known."""

    variance: NDArray[np.float32]
    """Of each pixel by itself; neighbours are correlated."""

    mask: NDArray[np.int32]
    """All bits of the four nearest input pixels and what ``no_data`` and ``edge`` add."""


def noise_correlation(grid: WarpGrid, kernel: WarpKernel) -> float:
    """Return the ratio of the noise in a large area of warped white noise to what its variance plane alone would give.

    An error of a flux in an aperture much larger than the kernel, summed from the variance plane, is too small by this.
    """
    return 1.0 / math.sqrt(kernel.power * grid.area)


def warp_grid(position: PositionMap, shape: tuple[int, int], *, tolerance: float = 0.002) -> WarpGrid:
    """Evaluate a map on cells so small that it is linear inside them.

    Parameters
    ----------
    position
        Output to input positions.
    shape
        Rows and columns of the output.
    tolerance : [input pixel]
        Cells are halved until the map at their centres is within this, or they are 1 pixel.
    """
    step = _LARGEST_STEP
    while True:
        x, y = _node_positions(shape, step)
        nodes_x, nodes_y = position(x, y)
        middle = (x[:-1, :-1] + step / 2, y[:-1, :-1] + step / 2)
        true_x, true_y = position(*middle)
        miss = np.hypot(true_x - _mean_of_corners(nodes_x), true_y - _mean_of_corners(nodes_y))
        error = float(np.nanmax(miss)) if np.isfinite(miss).any() else 0.0
        if error <= tolerance or step == 1:
            nodes = np.stack([nodes_x, nodes_y, _areas(position, x, y, step)])
            return WarpGrid(nodes=nodes.astype(np.float64), step=step, shape=shape, error=error)
        step //= 2


def warp_planes(
    image: FloatArray,
    *,
    variance: FloatArray,
    mask: NDArray[np.int32],
    bad: BoolArray,
    grid: WarpGrid,
    kernel: WarpKernel,
    no_data: int,
    edge: int,
) -> WarpedPlanes:
    """Resample image, variance and mask.

    Bad pixels get no weight and the others of the window more; where less than a tenth of the weights is left the
    output is NaN.

    Parameters
    ----------
    image, variance, mask, bad : (ny, nx)
        Pixels that are not finite count as bad.
    grid
        From `warp_grid`.
    kernel
        From `warp_kernels`.
    no_data, edge
        Mask bits set where nothing is known, and where the window of the kernel leaves the input.
    """
    source, spread = np.asarray(image, np.float32), np.asarray(variance, np.float32)
    useless = bad | ~np.isfinite(source) | ~np.isfinite(spread)
    planes = WarpedPlanes(
        image=np.empty(grid.shape, np.float32),
        variance=np.empty(grid.shape, np.float32),
        mask=np.empty(grid.shape, np.int32),
    )
    _fill(planes, source, spread, np.asarray(mask, np.int32), useless, grid, kernel, (no_data, edge))
    return planes


def warp_image(image: FloatArray, *, grid: WarpGrid, kernel: WarpKernel) -> NDArray[np.float32]:
    """Resample an image alone; pixels that are not finite are left out, NaN where nothing is known.

    Parameters
    ----------
    image : (ny, nx)
    grid
        From `warp_grid`.
    kernel
        From `warp_kernels`.
    """
    source = np.asarray(image, np.float32)
    none = np.empty((0, 0), np.float32)
    planes = WarpedPlanes(np.empty(grid.shape, np.float32), np.empty((1, 1), np.float32), np.empty((1, 1), np.int32))
    _fill(planes, source, none, none.astype(np.int32), ~np.isfinite(source), grid, kernel, (0, 0))
    return planes.image


def ringing_variance(change: FloatArray, *, variance: FloatArray) -> NDArray[np.float32]:
    """Return the variance that an interpolation adds where another one comes to something else than noise makes of it.

    Parameters
    ----------
    change : (ny, nx)
        One interpolation minus another, of as good a kernel; NaN where one is not known.
    variance : (ny, nx)
        Of the noise of the pixels.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.asarray(change, np.float32) ** 2 / variance
        known = share[np.isfinite(share)]
        noise = float(np.median(known)) / _MEDIAN_SQUARE if known.size else 0.0
        least = _RINGING_SIGMAS**2 * noise
        return np.where(share > least, np.minimum(share, _MOST_RINGING) * variance, np.float32(0.0))


def _fill(
    planes: WarpedPlanes,
    image: NDArray[np.float32],
    variance: NDArray[np.float32],
    mask: NDArray[np.int32],
    bad: BoolArray,
    grid: WarpGrid,
    kernel: WarpKernel,
    flags: tuple[int, int],
) -> None:
    warp(
        np.ascontiguousarray(image),
        np.ascontiguousarray(variance),
        np.ascontiguousarray(mask),
        bad,
        touched_blocks(bad, kernel.reach),
        np.nan_to_num(grid.nodes, nan=-1e9),
        grid.step,
        kernel.along_x,
        kernel.along_y,
        np.array(flags, np.int32),
        planes.image,
        planes.variance,
        planes.mask,
    )


def _length(plane: FloatArray, step: int) -> float:
    """Return how far one input coordinate runs along an output pixel, 1 where that is not known."""
    if not np.isfinite(plane).any():
        return 1.0
    along_y, along_x = np.gradient(plane, step)
    return float(np.nanmedian(np.hypot(along_x, along_y)))


def _cells(size: int, step: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the cell of each pixel of an axis, and where in the cell it lies, from 0 to 1."""
    pixel = np.arange(size)
    return pixel // step, (pixel % step) / step


def _node_positions(shape: tuple[int, int], step: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    rows, columns = (math.ceil(size / step) + 1 for size in shape)
    y, x = np.meshgrid(np.arange(rows) * float(step), np.arange(columns) * float(step), indexing="ij")
    return x, y


def _mean_of_corners(nodes: FloatArray) -> FloatArray:
    return 0.25 * (nodes[:-1, :-1] + nodes[1:, :-1] + nodes[:-1, 1:] + nodes[1:, 1:])


def _areas(position: PositionMap, x: FloatArray, y: FloatArray, step: int) -> NDArray[np.float64]:
    """Return the input area of an output pixel at each node, from steps of a quarter of a cell to either side."""
    h = max(0.5, step / 4)
    (x_right, y_right), (x_left, y_left) = position(x + h, y), position(x - h, y)
    (x_up, y_up), (x_down, y_down) = position(x, y + h), position(x, y - h)
    determinant = (x_right - x_left) * (y_up - y_down) - (x_up - x_down) * (y_right - y_left)
    return np.asarray(np.abs(determinant) / (4 * h**2))
