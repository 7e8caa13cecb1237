"""What coarse pixels do to the centroids of stars, and positions without it."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from firstlight.algorithms.centroids import measure_centroids
from firstlight.images.psf import Psf
from firstlight.kernels.arrays import FloatArray

_REACH_SIGMA = 6.0
_MIN_REACH = 8
_MAX_OFFSET = 0.25


def phase_offsets(
    psf: Psf, *, x: FloatArray, y: FloatArray, snr: FloatArray, psf_sigma: float, size: FloatArray | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return how far the windowed centroids of stars lie from where the model draws them.

    Parameters
    ----------
    psf
        The model; its own centre is what positions refer to.
    x, y : (n,) [pixel]
        Where the stars are.
    snr, psf_sigma, size
        As for `measure_centroids`: the width of the window depends on them.

    Returns
    -------
    dx, dy : (n,) [pixel]
        Measured minus true; 0 where nothing was measured.
    """
    radius = min(psf.radius, max(_MIN_REACH, math.ceil(_REACH_SIGMA * psf_sigma)))
    side = 2 * radius + 1
    stars = psf.cores(radius, x=x, y=y).reshape(len(x) * side, side)
    off_x, off_y = x - np.rint(x), y - np.rint(y)
    found = measure_centroids(
        stars,
        variance=np.ones(stars.shape, dtype=np.float32),
        bad=np.zeros(stars.shape, dtype=np.bool_),
        x=radius + off_x,
        y=radius + off_y + side * np.arange(len(x)),
        snr=snr,
        psf_sigma=psf_sigma,
        size=size,
        labels=np.repeat(np.arange(1, len(x) + 1, dtype=np.int32), side * side).reshape(stars.shape),
        own_label=np.arange(1, len(x) + 1),
    )
    dx, dy = found.x - radius - off_x, found.y - radius - off_y - side * np.arange(len(x))
    known = ~found.flag & (np.hypot(dx, dy) < _MAX_OFFSET)
    return np.where(known, dx, 0.0), np.where(known, dy, 0.0)


def without_phase_error(
    psf: Psf,
    *,
    x: FloatArray,
    y: FloatArray,
    snr: FloatArray,
    psf_sigma: float,
    size: FloatArray | None = None,
    error: FloatArray | None = None,
    rounds: int = 2,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the positions at which the model draws stars with these windowed centroids.

    A weighted mean over pixels that are coarse for the star is pulled by where in its pixel the star lies, by
    hundredths of a pixel where the full width at half maximum is 1.4 pixels (the pixel-phase error of Anderson & King
    2000, PASP 112, 1360, section 2). The model, made of stars of all phases, tells how much.

    Parameters
    ----------
    psf, snr, psf_sigma, size
        As for `phase_offsets`.
    x, y : (n,) [pixel]
        Windowed centroids, by `measure_centroids`.
    error : (n,) [pixel]
        Standard errors of the centroids. After the first round, positions that it moved by less are not improved
        further; without, all are.
    rounds
        The error at the improved position is taken this many times. Sources that are wider than stars have wider
        windows, under which a star has next to no such error.
    """
    true_x, true_y = np.array(x, dtype=np.float64), np.array(y, dtype=np.float64)
    rows = np.arange(len(true_x))
    for _ in range(rounds):
        if len(rows) == 0:
            break
        dx, dy = phase_offsets(
            psf,
            x=true_x[rows],
            y=true_y[rows],
            snr=snr[rows],
            psf_sigma=psf_sigma,
            size=None if size is None else size[rows],
        )
        true_x[rows], true_y[rows] = x[rows] - dx, y[rows] - dy
        if error is not None:
            rows = rows[np.hypot(dx, dy) > error[rows]]
    return true_x, true_y
