"""Stamps of candidates of every kind on noise of known size, for tests of what judges them."""

from __future__ import annotations

import numpy as np

from firstlight.algorithms.stamps import StampPsfs, cut_candidates
from firstlight.images.psf import MoffatPsf

FWHM = 2.8
PSF = MoffatPsf(fwhm=2.6, beta=3.0, radius=14)
"""Its pixels widen it to about `FWHM`."""

PSFS = StampPsfs(PSF, PSF, PSF)

SPACING = 48
SIGMA = 5.0
MASKS = ("saturated", "cosmic_ray", "defect", "trail", "edge")


def star_flux(snr):
    """Return the flux that has this significance under `PSF` and noise of `SIGMA`."""
    return snr * SIGMA / np.sqrt((PSF.image(x=0.0, y=0.0) ** 2).sum())


def field_of(kind, *, snr, n=25, seed=1, noise=True):
    """Return images (science, template, difference), and x, y of n candidates of a kind with a significance.

    Kinds: star, hot_pixel, dipole, trail.
    """
    rng = np.random.default_rng(seed)
    side = int(np.ceil(np.sqrt(n)))
    shape = (SPACING * side, SPACING * side)
    grid = SPACING * (np.arange(side) + 0.5)
    x, y = (axis.ravel()[:n] + rng.uniform(-0.5, 0.5, n) for axis in np.meshgrid(grid, grid))
    science, template = np.zeros(shape), np.zeros(shape)
    flux = star_flux(np.broadcast_to(snr, n))
    for at_x, at_y, total in zip(x, y, flux, strict=True):
        column, row = int(np.rint(at_x)), int(np.rint(at_y))
        square = np.s_[row - 14 : row + 15, column - 14 : column + 15]
        if kind == "star":
            science[square] += total * PSF.image(x=at_x, y=at_y)
        elif kind == "hot_pixel":
            science[row, column] += total / star_flux(1.0) * SIGMA
        elif kind == "dipole":
            science[square] += 6 * total * PSF.image(x=column - 0.3, y=row)
            template[square] += 6 * total * PSF.image(x=column + 0.3, y=row)
        elif kind == "trail":
            steps = np.arange(-20, 21) + 0.0
            for step in steps:
                near = int(np.rint(at_x + 0.9 * step)), int(np.rint(at_y + 0.4 * step))
                science[near[1] - 3 : near[1] + 4, near[0] - 3 : near[0] + 4] += (
                    0.35 * total * PSF.cores(3, x=np.array([at_x + 0.9 * step]), y=np.array([at_y + 0.4 * step]))[0]
                )
    spread = SIGMA / np.sqrt(2.0)
    if noise:
        science, template = (image + rng.normal(0, spread, shape) for image in (science, template))
    return (science, template, science - template), x, y


def stamps_of(images, x, y, *, half=12, unusable=None, masks=None):
    """Return the stamps of candidates on images with noise of `SIGMA` in the difference."""
    names = ("science", "template", "difference")
    shape = images[0].shape
    variances = (SIGMA**2 / 2, SIGMA**2 / 2, SIGMA**2)
    return cut_candidates(
        dict(zip(names, images, strict=True)),
        {name: np.full(shape, variance) for name, variance in zip(names, variances, strict=True)},
        {name: np.zeros(shape, dtype=bool) for name in MASKS} | (masks or {}),
        unusable=np.zeros(shape, dtype=bool) if unusable is None else unusable,
        x=x,
        y=y,
        half=half,
    )
