"""Sums of the light in circular apertures, and the sky around them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import sep
from numpy.typing import NDArray

from firstlight.algorithms.background import truncation_correction
from firstlight.kernels.annulus import annulus_sky
from firstlight.kernels.arrays import BoolArray, FloatArray, IntArray
from firstlight.kernels.planes import as_plane

_HAS_MASKED = 0x20
_KRON_LIMIT = 6.0
_AXES = (np.cos, np.sin), (np.sin, np.cos)
_SKY_ITERATIONS = 5


@dataclass(frozen=True)
class ApertureFluxes:
    """Sums over apertures; the first axis runs over the sources, the second over the radii where there are several."""

    flux: NDArray[np.float64]
    """[unit of the image]; NaN where `flag` is set."""

    flux_err: NDArray[np.float64]
    """From the variance of the pixels, hence of sky and source; NaN where `flag` is set."""

    masked_fraction: NDArray[np.float64]
    """Share of the aperture that is masked or beyond the image."""

    flag: BoolArray
    """More of the aperture is masked than allowed, or part of it lies beyond the image."""


@dataclass(frozen=True)
class LocalSky:
    """The sky in a ring around each source."""

    level: NDArray[np.float64]
    """Clipped mean [unit of the image]; NaN where no pixel is left."""

    level_err: NDArray[np.float64]
    """Standard error of `level`."""

    sigma: NDArray[np.float64]
    """Clipped standard deviation of one pixel."""

    n: NDArray[np.int64]
    """Number of pixels used."""


def aperture_fluxes(
    image: FloatArray,
    *,
    variance: FloatArray,
    bad: BoolArray,
    x: FloatArray,
    y: FloatArray,
    radius: float | Sequence[float],
    max_masked: float = 0.1,
) -> ApertureFluxes:
    """Sum circular apertures with the exact area of the pixels on their rim.

    Masked pixels take the mean of the rest of the aperture. The errors count pixels on the rim with their area, not its
    square, and are a few per cent too large for small apertures.

    Parameters
    ----------
    image, variance : (ny, nx) [count], [count^2]
        Without sky.
    bad : (ny, nx)
    x, y : (n,) [pixel]
    radius : [pixel]
        One radius, or several; at least 1.
    max_masked
        Largest share of masked area that is not flagged.
    """
    image, variance = as_plane(image), as_plane(variance)
    radii = np.atleast_1d(np.asarray(radius, dtype=np.float64))
    good = (~bad).astype(np.float32) if bad.any() else None
    at = np.asarray(x, float), np.asarray(y, float)
    columns = [_one_radius(image, variance, bad, good, *at, r, max_masked) for r in radii]
    flux, flux_err, masked, flag = (np.stack(parts, axis=-1) for parts in zip(*columns, strict=True))
    if np.ndim(radius) == 0:
        flux, flux_err, masked, flag = flux[..., 0], flux_err[..., 0], masked[..., 0], flag[..., 0]
    return ApertureFluxes(flux=flux, flux_err=flux_err, masked_fraction=masked, flag=flag)


def compensated_fluxes(
    image: FloatArray,
    *,
    variance: FloatArray,
    bad: BoolArray,
    x: FloatArray,
    y: FloatArray,
    radius: float,
    inner_scale: float = 1.0,
    outer_scale: float = 1.7,
    max_masked: float = 0.1,
) -> ApertureFluxes:
    """Sum apertures less the mean of a ring around them, so that a constant local sky drops out.

    The calibration flux of LSST (``CompensatedTophatFlux``). The ring also takes the light that a star has there: the
    result needs an aperture correction of its own.

    Parameters
    ----------
    radius : [pixel]
    inner_scale, outer_scale
        Radii of the ring over ``radius``.
    """
    radii = (radius, inner_scale * radius, outer_scale * radius)
    parts = aperture_fluxes(image, variance=variance, bad=bad, x=x, y=y, radius=radii, max_masked=max_masked)
    share = 1.0 / (outer_scale**2 - inner_scale**2)
    core, inner, outer = parts.flux.T
    core_var, inner_var, outer_var = (parts.flux_err**2).T
    overlap = 2.0 * share * np.maximum(0.0, core_var - inner_var) if inner_scale < 1.0 else 0.0
    return ApertureFluxes(
        flux=core - share * (outer - inner),
        flux_err=np.sqrt(core_var + share**2 * np.maximum(0.0, outer_var - inner_var) - overlap),
        masked_fraction=parts.masked_fraction[:, 0],
        flag=np.asarray(parts.flag.any(axis=1)),
    )


def local_sky(
    image: FloatArray,
    *,
    bad: BoolArray,
    x: FloatArray,
    y: FloatArray,
    inner: FloatArray | float,
    outer: FloatArray | float,
    n_sigma: float = 2.5,
) -> LocalSky:
    """Return the clipped mean of the sky in a ring around each position.

    Parameters
    ----------
    image : (ny, nx)
    bad : (ny, nx)
        Pixels not to use; with the detected ones in it the level is that of the empty sky.
    x, y : (n,) [pixel]
    inner, outer : [pixel]
        Radii of the ring; about 3 and 6 times the full width at half maximum of the stars.
    """
    positions = np.atleast_1d(np.asarray(x, dtype=np.float64)), np.atleast_1d(np.asarray(y, dtype=np.float64))
    reach_in, reach_out = (np.array(np.broadcast_to(np.asarray(r, float), positions[0].shape)) for r in (inner, outer))
    statistics = annulus_sky(
        as_plane(image), bad, *positions, reach_in, reach_out, n_sigma, truncation_correction(n_sigma), _SKY_ITERATIONS
    )
    n = statistics[:, 2].astype(np.int64)
    with np.errstate(divide="ignore", invalid="ignore"):
        level_err = statistics[:, 1] / np.sqrt(n)
    return LocalSky(level=statistics[:, 0], level_err=level_err, sigma=statistics[:, 1], n=n)


def kron_fluxes(
    image: FloatArray,
    *,
    variance: FloatArray,
    bad: BoolArray,
    x: FloatArray,
    y: FloatArray,
    a: FloatArray,
    b: FloatArray,
    theta: FloatArray,
    labels: IntArray,
    factor: float = 2.5,
    min_radius: float = 3.5,
) -> ApertureFluxes:
    """Sum elliptical apertures of ``factor`` Kron radii, other sources masked (Kron 1980, ApJS 43, 305).

    A source whose first moment cannot be measured in the noise has the smallest aperture.

    Parameters
    ----------
    image, variance, bad : (ny, nx)
    x, y : (n,) [pixel]
    a, b, theta : (n,) [pixel], [pixel], [degree]
        Isophotal ellipses.
    labels : (ny, nx)
        Label image; entry i owns the pixels with i + 1.
    factor
        Kron radii in the aperture.
    min_radius : [pixel]
        Least semi-major axis.
    """
    image, variance = as_plane(image), as_plane(variance)
    own = np.arange(1, len(x) + 1, dtype=np.int32)
    angle = np.clip(np.radians(theta), -0.5 * np.pi, 0.5 * np.pi)
    segments = {"seg_id": own, "segmap": np.ascontiguousarray(labels, dtype=np.int32)}
    radius, radius_flag = sep.kron_radius(image, x, y, a, b, angle, _KRON_LIMIT, mask=bad, **segments)
    known = np.where(radius_flag == 0, np.nan_to_num(radius), 0.0)
    scale = np.maximum(factor * known, min_radius / np.maximum(a, 1e-3))
    options = {"mask": bad, "subpix": 5, **segments}
    flux, flux_err, flags = sep.sum_ellipse(image, x, y, a, b, angle, scale, var=variance, **options)
    half_x, half_y = (scale * np.hypot(a * along(angle), b * across(angle)) for along, across in _AXES)
    failed = ~_lies_inside(image.shape, x, y, half_x, half_y)
    return ApertureFluxes(
        flux=np.where(failed, np.nan, flux),
        flux_err=np.where(failed, np.nan, flux_err),
        masked_fraction=np.where((flags & _HAS_MASKED) != 0, np.nan, 0.0),
        flag=failed,
    )


def _one_radius(
    image: FloatArray,
    variance: FloatArray,
    bad: BoolArray,
    good: NDArray[np.float32] | None,
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    radius: float,
    max_masked: float,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], BoolArray]:
    flux, flux_err, flags = sep.sum_circle(image, x, y, radius, var=variance, mask=bad, subpix=0)
    masked = np.zeros(x.shape)
    truncated = ~_lies_inside(image.shape, x, y, radius, radius)
    touched = ((flags & _HAS_MASKED) != 0) | truncated
    if touched.any():
        whole = np.ones_like(image) if good is None else good
        good_area, _, _ = sep.sum_circle(whole, x[touched], y[touched], radius, subpix=0)
        masked[touched] = np.clip(1.0 - good_area / (np.pi * radius**2), 0.0, 1.0)
    flag = truncated | (masked > max_masked) | ~np.isfinite(flux)
    return np.where(flag, np.nan, flux), np.where(flag, np.nan, flux_err), masked, flag


def _lies_inside(
    shape: tuple[int, ...], x: FloatArray, y: FloatArray, half_x: FloatArray | float, half_y: FloatArray | float
) -> NDArray[np.bool_]:
    """Return whether apertures lie on an image, rims included; one without a position does not.

    The flag of sep comes up to a pixel late at the left and at the bottom.
    """
    ny, nx = shape
    left, right, low, high = x - half_x, x + half_x, y - half_y, y + half_y
    return np.asarray((left >= -0.5) & (right <= nx - 0.5) & (low >= -0.5) & (high <= ny - 0.5))
