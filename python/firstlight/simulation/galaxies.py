"""Sersic galaxies, convolved with the point spread and the pixel in Fourier space."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import fft, special

from firstlight.simulation.point_spread import PointSpread, add_stamp

FloatArray = NDArray[np.float64]

STAMP_SIZES = (32, 48, 64, 96, 128, 192, 256, 384, 576, 864, 1296)
"""Sides of the stamps [pixel]."""

OVERSAMPLING = 3
"""Samples per pixel; frequencies beyond carry less than 1e-6 of the power of a Moffat of FWHM 1.6 pixel."""


def add_galaxies(
    image: FloatArray,
    *,
    x: FloatArray,
    y: FloatArray,
    flux: FloatArray,
    half_light_radius: FloatArray,
    sersic_index: FloatArray,
    axis_ratio: FloatArray,
    angle: FloatArray,
    spread: PointSpread,
    faintest: float,
) -> None:
    """Add galaxies to an image in place.

    Parameters
    ----------
    image : (ny, nx) [adu]
    x, y : (n,) [pixel]
    flux : (n,) [adu]
        Total flux of the infinite profile.
    half_light_radius : (n,) [pixel]
        Along the major axis, before convolution.
    sersic_index, axis_ratio : (n,)
    angle : (n,) [rad]
        Major axis, from the x axis towards the y axis.
    faintest
        Surface brightness [adu] at which a stamp may end.
    """
    for k in range(len(x)):
        size = stamp_size(
            flux=flux[k],
            half_light_radius=half_light_radius[k],
            sersic_index=sersic_index[k],
            fwhm=spread.fwhm_centre,
            beta=spread.beta,
            faintest=faintest,
        )
        x0, y0 = int(np.round(x[k])) - size // 2, int(np.round(y[k])) - size // 2
        if x0 >= image.shape[1] or y0 >= image.shape[0] or x0 + size <= 0 or y0 + size <= 0:
            continue
        stamp = galaxy_stamp(
            size,
            dx=x[k] - x0,
            dy=y[k] - y0,
            half_light_radius=half_light_radius[k],
            sersic_index=sersic_index[k],
            axis_ratio=axis_ratio[k],
            angle=angle[k],
            scale=spread.scale_matrix(x=x[k], y=y[k]),
            beta=spread.beta,
        )
        add_stamp(image, flux[k] * stamp, x0=x0, y0=y0)


def galaxy_stamp(
    size: int,
    *,
    dx: float,
    dy: float,
    half_light_radius: float,
    sersic_index: float,
    axis_ratio: float,
    angle: float,
    scale: FloatArray,
    beta: float,
) -> FloatArray:
    """Return a galaxy of unit flux; what falls outside the stamp is folded in, so its sum is exactly 1.

    Parameters
    ----------
    size
        Side of the stamp [pixel].
    dx, dy
        Position of the centre in the stamp [pixel].
    half_light_radius
        Along the major axis [pixel]; 0 is a point source.
    angle
        Major axis, from x to y [rad].
    scale : (3,) [pixel^2]
        Elements xx, yy, xy of the Moffat scale matrix.
    beta
        Exponent of the Moffat profile.
    """
    n = size * OVERSAMPLING
    fy = np.fft.fftfreq(n, d=1.0 / OVERSAMPLING)[:, None]
    fx = np.fft.rfftfreq(n, d=1.0 / OVERSAMPLING)[None, :]
    kx, ky = 2.0 * np.pi * fx, 2.0 * np.pi * fy
    k_moffat = np.sqrt(scale[0] * kx**2 + scale[1] * ky**2 + 2.0 * scale[2] * kx * ky)
    along, across = kx * np.cos(angle) + ky * np.sin(angle), ky * np.cos(angle) - kx * np.sin(angle)
    k_galaxy = half_light_radius * np.hypot(along, axis_ratio * across)
    transfer = moffat_transform(k_moffat, beta=beta) * sersic_transform(k_galaxy, index=sersic_index)
    spectrum = transfer * np.sinc(fx) * np.sinc(fy) * np.exp(-1j * kx * dx) * np.exp(-1j * ky * dy)
    fine = fft.irfft2(spectrum, s=(n, n))
    return np.asarray(fine[::OVERSAMPLING, ::OVERSAMPLING]) * OVERSAMPLING**2


def stamp_size(
    *, flux: float, half_light_radius: float, sersic_index: float, fwhm: float, beta: float, faintest: float
) -> int:
    """Return the side of the smallest stamp [pixel] at whose edge the galaxy is fainter than a level [adu]."""
    radii = np.array(STAMP_SIZES) / 2.0
    alpha = fwhm / (2.0 * np.sqrt(2.0 ** (1.0 / beta) - 1.0))
    wings = (beta - 1.0) / (np.pi * alpha**2) * (1.0 + (radii / alpha) ** 2) ** -beta
    b = _sersic_b(sersic_index)
    centre = b ** (2 * sersic_index) / (2 * np.pi * sersic_index * special.gamma(2 * sersic_index))
    body = centre / half_light_radius**2 * np.exp(-b * (radii / half_light_radius) ** (1.0 / sersic_index))
    fits = np.flatnonzero(flux * (wings + body) < faintest)
    return STAMP_SIZES[int(fits[0])] if len(fits) else STAMP_SIZES[-1]


def moffat_transform(k: FloatArray, *, beta: float) -> FloatArray:
    """Return the Fourier transform of a round Moffat profile of scale radius 1 and unit flux.

    Parameters
    ----------
    k : angular frequency times the scale radius

    Notes
    -----
    ``(2 / Gamma(nu)) (k / 2)^nu K_nu(k)`` with ``nu = beta - 1`` (Trujillo et al. 2001, MNRAS 328, 977).
    """
    grid, values = _moffat_table(beta)
    return np.asarray(np.interp(k, grid, values))


def sersic_transform(k: FloatArray, *, index: float) -> FloatArray:
    """Return the Fourier transform of a round Sersic profile of half-light radius 1 and unit flux.

    Parameters
    ----------
    k : angular frequency times the half-light radius
    index
        1 is exponential, 4 de Vaucouleurs.
    """
    if index == 1.0:
        return np.asarray((1.0 + (k / _sersic_b(1.0)) ** 2) ** -1.5)
    log_k, values = _sersic_table(float(index))
    return np.asarray(np.interp(np.log(np.maximum(k, 1e-9)), log_k, values))


@lru_cache(maxsize=8)
def _moffat_table(beta: float) -> tuple[FloatArray, FloatArray]:
    grid = np.linspace(0.0, 60.0, 30_001)
    nu = beta - 1.0
    values = np.ones_like(grid)
    values[1:] = 2.0 / special.gamma(nu) * (grid[1:] / 2.0) ** nu * special.kv(nu, grid[1:])
    return grid, values


@lru_cache(maxsize=8)
def _sersic_table(index: float) -> tuple[FloatArray, FloatArray]:
    """Transform the profile on a logarithmic grid (Hamilton 2000, MNRAS 312, 257)."""
    n, step = 4096, 0.01
    log_r = (np.arange(n) - (n - 1) / 2) * step
    r = np.exp(log_r)
    b = _sersic_b(index)
    profile = np.exp(-b * r ** (1.0 / index))
    offset = fft.fhtoffset(step, mu=0.0)
    k = np.exp(offset) / r[::-1]
    values = fft.fht(profile * r, step, mu=0.0, offset=offset) / k
    total = index * special.gamma(2.0 * index) / b ** (2.0 * index)
    keep = (k > 1e-4) & (k < 1e6)
    return np.log(k[keep]), values[keep] / total


@lru_cache(maxsize=8)
def _sersic_b(index: float) -> float:
    """Return b such that half of the light lies within the half-light radius."""
    return float(special.gammaincinv(2.0 * index, 0.5))
