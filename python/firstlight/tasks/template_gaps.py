"""Fill the pixels that single inputs of a template lack, so that stars look alike where inputs end and beside rays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, maximum_filter

from firstlight.algorithms.coadd import local_range
from firstlight.algorithms.missing_inputs import completing_kernels, noise_factor, predict_missing
from firstlight.images.psf import Psf
from firstlight.kernels.arrays import BoolArray, FloatArray
from firstlight.tasks.input_facts import CELL

BEYOND = 2
"""An input is expected so far beyond its end, as far as its PSF can be continued [cell]."""

MOST_MISSING = 0.5
"""Where inputs of more than this share of the weight are missing, the others tell badly what they would show."""

SHINES = 5.0
"""Only about pixels brighter than this does it matter which inputs are missing [standard deviation]."""

LARGEST_CHANGE = 0.5
"""No more than this is added, in units of the range of the pixels about a pixel."""

GAP_REACH = 4
"""How far the light about a missing pixel counts, in units of half the largest FWHM."""

BLOCK = 128
"""Side of the blocks in which the PSFs of the inputs count as constant [pixel]."""


@dataclass(frozen=True)
class FilledTemplate:
    """What `Gaps.filled` returns.

    Parameters
    ----------
    image, variance : (ny, nx)
    inexact : (ny, nx)
        Where the PSF is not that of all inputs that are expected.
    """

    image: NDArray[np.float32]
    variance: NDArray[np.float32]
    inexact: BoolArray


@dataclass(frozen=True)
class Expected:
    """Which inputs a template should have in each cell.

    Parameters
    ----------
    cells : (n, rows, columns)
    weights : (n,)
    """

    cells: BoolArray
    weights: NDArray[np.float64]

    @classmethod
    def near(cls, covered: BoolArray, weights: FloatArray) -> Expected:
        """Expect each input in the cells that it covers and a little beyond.

        Parameters
        ----------
        covered : (n, rows, columns)
        weights : (n,)
        """
        around = np.ones((1, 3, 3), bool)
        beyond = binary_dilation(covered, around, iterations=BEYOND)
        return cls(beyond & (weights > 0)[:, None, None], np.asarray(weights, np.float64))

    def gaps(self, used: BoolArray, rows: slice) -> Gaps:
        """Return where inputs are missing in some rows.

        Parameters
        ----------
        used : (n, rows, nx)
        rows
            Which rows of the template they are.
        """
        nx = used.shape[2]
        expected = np.repeat(self.cells[:, np.arange(rows.start, rows.stop) // CELL], CELL, axis=2)[:, :, :nx]
        row, column = np.nonzero(np.any(used != expected, axis=0) & used.any(axis=0))
        return Gaps(row + rows.start, column, used[:, row, column].T, expected[:, row, column].T, self.weights)


@dataclass(frozen=True)
class Gaps:
    """Pixels whose inputs are not those expected.

    Parameters
    ----------
    row, column : (k,)
    used, expected : (k, n)
    weights : (n,)
    """

    row: NDArray[np.int64]
    column: NDArray[np.int64]
    used: BoolArray
    expected: BoolArray
    weights: NDArray[np.float64]

    @classmethod
    def joined(cls, parts: Sequence[Gaps]) -> Gaps:
        """Put those of several bands together."""
        row, column, used, expected = (
            np.concatenate([getattr(part, name) for part in parts]) for name in ("row", "column", "used", "expected")
        )
        return cls(row, column, used, expected, parts[0].weights)

    def filled(
        self,
        image: NDArray[np.float32],
        variance: NDArray[np.float32],
        psfs: Sequence[Psf],
        *,
        saturated: BoolArray,
        reach: int,
    ) -> FilledTemplate:
        """Return a template with what the missing inputs would have added.

        Parameters
        ----------
        image, variance : (ny, nx)
        psfs
            Of the inputs.
        saturated : (ny, nx)
            Pixels whose light has no PSF; nothing is told about what is missing near them.
        reach : [pixel]
            Half the largest full width at half maximum.
        """
        radius, known = GAP_REACH * reach, np.isfinite(image)
        side = 2 * radius + 1
        light = image - (np.median(image[known]) if known.any() else np.float32(0.0))
        with np.errstate(invalid="ignore"):
            bright = maximum_filter(light > SHINES * np.sqrt(variance), size=side)[self.row, self.column]
        told = ~maximum_filter(saturated, size=side)[self.row, self.column]
        missing = (self.expected & ~self.used) @ self.weights
        vague = ~told | (missing > MOST_MISSING * (self.expected @ self.weights))
        inexact = np.zeros(image.shape, bool)
        inexact[self.row[vague], self.column[vague]] = True
        limit = LARGEST_CHANGE * local_range(image, reach)
        image, variance = image.copy(), variance.copy()
        for block, (x, y) in self._blocks(np.flatnonzero(told & bright)):
            # Far beyond its end a PSF says nothing, and may not even be finite.
            near = np.flatnonzero((self.used[block] | self.expected[block]).any(axis=0))
            stamps = psf_stamps([psfs[k] for k in near.tolist()], x=np.array([x]), y=np.array([y]))[:, 0]
            sets = np.hstack([each[block][:, near] for each in (self.used, self.expected)])
            inputs, number = np.unique(sets, axis=0, return_inverse=True)
            used, expected = np.hsplit(inputs, 2)
            kernels = completing_kernels(
                stamps, used=used, expected=expected, weights=self.weights[near], radius=radius
            )
            for k, kernel in enumerate(kernels):
                at = tuple(place[block[number.ravel() == k]] for place in (self.row, self.column))
                change = predict_missing(light, row=at[0], column=at[1], kernel=kernel)
                image[at] += np.clip(change, -limit[at], limit[at]).astype(np.float32)
                variance[at] *= np.float32(noise_factor(kernel))
        return FilledTemplate(image, variance, inexact)

    def _blocks(self, chosen: NDArray[np.int64]) -> list[tuple[NDArray[np.int64], tuple[float, float]]]:
        """Return the gaps in each block, and the x and y of its middle."""
        of = np.stack([self.column[chosen], self.row[chosen]], axis=1) // BLOCK
        blocks, number = np.unique(of, axis=0, return_inverse=True)
        order = np.argsort(number.ravel(), kind="stable")
        parts = np.split(chosen[order], np.cumsum(np.bincount(number.ravel(), minlength=len(blocks)))[:-1])
        middles = blocks * BLOCK + BLOCK // 2
        return (
            [(part, (float(x), float(y))) for part, (x, y) in zip(parts, middles, strict=True)] if len(chosen) else []
        )


def psf_stamps(psfs: Sequence[Psf], *, x: FloatArray, y: FloatArray) -> NDArray[np.float64]:
    """Return stamps of one size of all PSFs at k positions [pixel], (n, k, s, s)."""
    radius = max(psf.radius for psf in psfs)
    return np.stack([np.pad(psf.images(x=x, y=y), ((0, 0), *[(radius - psf.radius,) * 2] * 2)) for psf in psfs])
