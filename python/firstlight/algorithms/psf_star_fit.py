"""Flux, position and local sky of stars by a point-spread function of any kind."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from firstlight.algorithms.psf_stamps import StarStamps
from firstlight.images.psf import Psf

_STEPS = 5
_STEPS_WITH_SLOPES = 2
_DERIVATIVE_STEP = 0.05
_LARGEST_STEP = 0.3
_PARAMETERS = 4


@dataclass(frozen=True)
class FittedStars:
    """What was fitted to each star.

    Parameters
    ----------
    values : (n, 4)
        Flux of the unit-sum stamp [count], offset dx, dy from the middle pixel [pixel], local sky [count].
    flux_err : (n,) [count]
    chi2 : (n,)
        Chi-square per degree of freedom.
    """

    values: NDArray[np.float64]
    flux_err: NDArray[np.float64]
    chi2: NDArray[np.float64]


def fit_stars(
    stamps: StarStamps, *, psf: Psf, x: NDArray[np.float64], y: NDArray[np.float64], radius: int, sky_prior: float = 0.0
) -> FittedStars:
    """Fit each star alone, its photons weighted by the model.

    Parameters
    ----------
    stamps
        Pixels of the stars.
    psf
        The model.
    x, y : (n,) [pixel]
        Where to begin, good to about half a pixel.
    radius : [pixel]
        Half size of the squares that are fitted, at most that of the stamps.
    sky_prior : [1 / count^2]
        Inverse variance of the local sky about zero; 0 where nothing is known of it.
    """
    cut = slice(stamps.radius - radius, stamps.radius + radius + 1)
    data, noise = stamps.data[:, cut, cut], stamps.noise[:, cut, cut]
    values = np.column_stack([np.zeros(len(x)), x - stamps.x, y - stamps.y, np.zeros(len(x))])
    for step in range(_STEPS):
        model = star_images(stamps, psf=psf, dx=values[:, 1], dy=values[:, 2], radius=radius)
        if step < _STEPS_WITH_SLOPES:
            slopes = _slopes(stamps, psf, values[:, 1], values[:, 2], radius)
        if step == 0:
            good = noise > 0
            values[:, 0] = (model * data).sum(axis=(1, 2)) / np.maximum((model**2 * good).sum(axis=(1, 2)), 1e-30)
        flux = np.maximum(values[:, 0], 1e-30)[:, None, None]
        expected = noise + stamps.gain_slope * np.maximum(flux * model, 0.0)
        weight = np.where(noise > 0, 1.0 / np.where(noise > 0, expected, 1.0), 0.0)
        residual = data - flux * model - values[:, 3, None, None]
        design = np.stack([model, flux * slopes[0], flux * slopes[1], np.ones_like(model)], axis=1)
        design = design.reshape(len(x), _PARAMETERS, -1)
        weighted = design * weight.reshape(len(x), 1, -1)
        matrix, vector = weighted @ design.transpose(0, 2, 1), weighted @ residual.reshape(len(x), -1, 1)
        matrix[:, 3, 3] += sky_prior
        vector[:, 3, 0] -= sky_prior * values[:, 3]
        scale = 1.0 / np.sqrt(np.maximum(np.einsum("naa->na", matrix), 1e-30))
        matrix = matrix * scale[:, :, None] * scale[:, None, :] + 1e-9 * np.eye(_PARAMETERS)
        inverse = np.linalg.inv(matrix) * scale[:, :, None] * scale[:, None, :]
        change = (inverse @ vector)[:, :, 0]
        chi2 = (weight * residual**2).sum(axis=(1, 2)) / np.maximum((weight > 0).sum(axis=(1, 2)) - _PARAMETERS, 1)
        shift = np.hypot(change[:, 1], change[:, 2])
        change[:, 1:3] *= np.minimum(1.0, _LARGEST_STEP / np.maximum(shift, 1e-30))[:, None]
        values = values + change
    return FittedStars(values=values, flux_err=np.sqrt(inverse[:, 0, 0]), chi2=chi2)


def star_images(
    stamps: StarStamps, *, psf: Psf, dx: NDArray[np.float64], dy: NDArray[np.float64], radius: int
) -> NDArray[np.float64]:
    """Return unit stars about the middle pixels of the stamps, wherever in or near these pixels the stars are.

    Parameters
    ----------
    stamps
        Where the stars are.
    psf
        The model.
    dx, dy : (n,) [pixel]
        Offsets from the middle pixels.
    radius : [pixel]
        Half size of the images.

    Returns
    -------
    images : (n, 2 * radius + 1, 2 * radius + 1)
    """
    x, y = stamps.x + dx, stamps.y + dy
    images = np.zeros((len(x), 2 * radius + 1, 2 * radius + 1))
    reach = min(psf.radius, radius + 1)
    cores = psf.cores(reach, x=x, y=y)
    off_x, off_y = (np.rint(a).astype(int) for a in (np.rint(x) - stamps.x, np.rint(y) - stamps.y))
    pad = radius + 2 - reach + 1
    padded = np.pad(cores, ((0, 0), (pad, pad), (pad, pad)))
    start = reach + pad - radius
    for i in range(len(x)):
        a, b = start - int(np.clip(off_y[i], -2, 2)), start - int(np.clip(off_x[i], -2, 2))
        images[i] = padded[i, a : a + 2 * radius + 1, b : b + 2 * radius + 1]
    return images


def _slopes(
    stamps: StarStamps, psf: Psf, dx: NDArray[np.float64], dy: NDArray[np.float64], radius: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the derivatives of unit stars with their positions."""
    h = _DERIVATIVE_STEP
    left, right = (star_images(stamps, psf=psf, dx=dx + a, dy=dy, radius=radius) for a in (-h, h))
    down, up = (star_images(stamps, psf=psf, dx=dx, dy=dy + a, radius=radius) for a in (-h, h))
    return (right - left) / (2.0 * h), (up - down) / (2.0 * h)
