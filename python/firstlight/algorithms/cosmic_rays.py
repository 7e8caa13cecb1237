"""Find cosmic rays by their sharpness, and interpolate over them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from firstlight.errors import TooManyCosmicRaysError
from firstlight.kernels.arrays import BoolArray, FloatArray
from firstlight.kernels.cosmic_rays import (
    count_surrounded,
    drop_weak_groups,
    extend_hits,
    find_hits,
    grow_hits,
    interpolate_pixels,
)
from firstlight.kernels.planes import as_plane

_STRICTNESS = (1.0, 0.7, 0.5, 0.35)
_MAX_SURROUNDED = 0.04
_SHARE_BEYOND = 0.2


@dataclass(frozen=True)
class CosmicRays:
    """Where cosmic rays hit, and the image without them."""

    mask: BoolArray
    """Pixels that were hit [y, x]."""

    image: NDArray[np.float32]
    """The image with these pixels interpolated [y, x]."""

    count: int
    """Number of pixels that were hit."""


def find_cosmic_rays(
    image: FloatArray,
    *,
    variance: FloatArray,
    bad: BoolArray,
    psf_kernel: FloatArray,
    background: float = 0.0,
    min_sigma: float = 6.0,
    min_charge: float = 0.0,
    margin: float = 2.0,
    growth_sigma: float = 3.5,
    flank_sigma: float = 2.1,
    sharpness: float = 0.55,
    growth_sharpness: float = 0.85,
    star_growth_sharpness: float = 0.75,
    star_growth_margin: float = 0.5,
    passes: int = 6,
    max_pixels: int = 1_000_000,
) -> CosmicRays:
    """Find pixels that stand out from their neighbours more sharply than the point-spread function allows.

    The conditions are those of SDSS photo as used by LSST (`RepairTask`): a pixel exceeds the mean of two opposing
    neighbours by ``min_sigma``, and along one direction the mean is less than ``sharpness`` times what a star would
    give, beyond a margin for noise. It must also stand out from the sky. The geometric mean of the two neighbours may
    prove the same, by which compact hits and tracks two pixels wide are told from stars of less than two pixels. Groups
    are then grown with half the limit and hardly a margin. Every hit takes the median of the estimates from its good
    neighbours along four directions.

    Tracks are thin: where many hits are surrounded by hits, stars sharper than ``psf_kernel`` are being taken, and the
    search is repeated with smaller ``sharpness``.

    Parameters
    ----------
    image, variance : (ny, nx) [count], [count^2]
    bad : (ny, nx)
        Saturated, defective and interpolated pixels; neither they nor their neighbours are tested.
    psf_kernel : (s, s)
        Point-spread function, centred in its middle pixel. One that is 20 % too broad begins to cost stars; a Gaussian
        of the same second moments is too flat in the middle for real seeing.
    background : [count]
        Level of the sky.
    min_sigma
        Significance of a first hit.
    growth_sigma
        Significance of a pixel next to a hit; growth goes on only from those that exceed the sky by ``min_sigma``.
    flank_sigma
        The same for a pixel with three hits around it. Such a pixel lies on the flank of a track and nearly always
        holds a part of its charge; one beside a single hit hardly ever does.
    min_charge : [count]
        Least charge of a group.
    margin
        Noise allowance in the comparison with a star, in standard deviations.
    sharpness
        Share of the neighbours that a star would give, below which a pixel is too sharp.
    growth_sharpness
        The same for the pixels next to a hit.
    star_growth_sharpness, star_growth_margin
        The same where a pixel next to a hit has neighbours above the sky, and the margin there; elsewhere it has none.
    passes
        How often groups are grown by one pixel.
    max_pixels
        Limit on the number of hits.

    Raises
    ------
    TooManyCosmicRaysError
        If more than ``max_pixels`` pixels are hit.
    """
    image, variance = as_plane(image), as_plane(variance)
    star_ratios = _neighbour_ratios(psf_kernel)
    unusable = bad | ~np.isfinite(image)
    blocked = _with_neighbours(unusable)
    for strictness in _STRICTNESS:
        work = image.copy()
        ratios = strictness * sharpness * star_ratios
        hit, count = find_hits(work, variance, blocked, ratios, background, min_sigma, margin, max_pixels)
        _require_at_most(count, max_pixels)
        rows, cols = drop_weak_groups(image, hit, background, min_charge)
        work[:] = image
        loose, strict = strictness * growth_sharpness * star_ratios, strictness * star_growth_sharpness * star_ratios
        seeds = rows, cols
        for _ in range(passes):
            interpolate_pixels(image, work, hit, unusable, rows, cols, background, lowest=True)
            limits = growth_sigma, flank_sigma, star_growth_margin
            new = grow_hits(image, work, variance, blocked, hit, *seeds, loose, strict, background, *limits)
            if len(new[0]) == 0:
                break
            rows, cols = np.concatenate([rows, new[0]]), np.concatenate([cols, new[1]])
            _require_at_most(len(rows), max_pixels)
            strong = image[new] - background > min_sigma * np.sqrt(variance[new])
            seeds = np.concatenate([seeds[0], new[0][strong]]), np.concatenate([seeds[1], new[1][strong]])
        if count_surrounded(hit, rows, cols) <= _MAX_SURROUNDED * len(rows):
            break
    beyond = extend_hits(image, variance, unusable, blocked, hit, rows, cols, background, growth_sigma, _SHARE_BEYOND)
    rows, cols = np.concatenate([rows, beyond[0]]), np.concatenate([cols, beyond[1]])
    interpolate_pixels(image, work, hit, unusable, rows, cols, background, lowest=False)
    return CosmicRays(mask=hit, image=work, count=len(rows))


def interpolate_over(
    image: FloatArray, *, hit: BoolArray, bad: BoolArray, background: float = 0.0
) -> NDArray[np.float32]:
    """Return the image with the hit pixels filled from their good neighbours along four directions.

    Parameters
    ----------
    image : (ny, nx) [count]
    hit, bad : (ny, nx)
        Pixels to fill; others that must not be used.
    background : [count]
        What is taken where no pixel is good for 5 pixels around.
    """
    image = as_plane(image)
    work = image.copy()
    rows, cols = np.nonzero(hit)
    interpolate_pixels(image, work, hit, bad | ~np.isfinite(image), rows, cols, background, lowest=False)
    return work


def _with_neighbours(mask: BoolArray) -> BoolArray:
    """Return the mask grown by the eight neighbours of each pixel."""
    wide = mask.copy()
    wide[:, 1:] |= mask[:, :-1]
    wide[:, :-1] |= mask[:, 1:]
    grown = wide.copy()
    grown[1:] |= wide[:-1]
    grown[:-1] |= wide[1:]
    return grown


def _neighbour_ratios(psf_kernel: FloatArray) -> NDArray[np.float64]:
    """Return mean of opposing neighbours over centre along x, y and the diagonals."""
    middle_y, middle_x = psf_kernel.shape[0] // 2, psf_kernel.shape[1] // 2
    core = np.asarray(psf_kernel[middle_y - 1 : middle_y + 2, middle_x - 1 : middle_x + 2], dtype=np.float64)
    means = [core[1, 0] + core[1, 2], core[0, 1] + core[2, 1], core[0, 0] + core[2, 2], core[0, 2] + core[2, 0]]
    return np.asarray(np.maximum(0.0, 0.5 * np.array(means) / core[1, 1]))


def _require_at_most(count: int, max_pixels: int) -> None:
    if count > max_pixels:
        raise TooManyCosmicRaysError(
            f"More than {max_pixels} cosmic-ray pixels; check the variance and the width of the point-spread function.",
            n_pixels=count,
            max_pixels=max_pixels,
        )
