"""Put an analytic profile and what the stars show beyond it onto one oversampled grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from firstlight.algorithms.psf_moffat import Domain, MoffatField
from firstlight.algorithms.psf_residual import ResidualGrid
from firstlight.images.pixel_grid_psf import PixelGridPsf, polynomial_basis, polynomial_order
from firstlight.kernels.moments import adaptive_moments_stamp
from firstlight.kernels.psf_profiles import moffat_images

_SAMPLES_PER_FWHM = 6.2
_ACCURACY = 2e-4
_MAX_ORDER = 5
_RECENTER_ROUNDS = 3
_CENTER_ORDER = 3
_PIXEL_WIDTH = 0.8
_CENTERED = 2e-3


@dataclass(frozen=True)
class ComposedPsf:
    """A PSF, and where its centre lies in the frame of the profile that it was made from.

    Parameters
    ----------
    psf
        Centred everywhere.
    centers : (2, terms)
        Polynomials of the offset in x and y [pixel] of the centre from the position of the profile.
    """

    psf: PixelGridPsf
    centers: NDArray[np.float64]

    def offsets(self, *, x: NDArray[np.float64], y: NDArray[np.float64], domain: Domain) -> NDArray[np.float64]:
        """Return (n, 2) offsets at positions."""
        return domain.terms(polynomial_order(self.centers.shape[1]), x=x, y=y) @ self.centers.T


def compose_psf(
    field: MoffatField,
    residual: ResidualGrid,
    *,
    radius: int,
    average_position: tuple[float, float],
) -> ComposedPsf:
    """Sample the model over the image, centre it everywhere, and keep the components that matter.

    Parameters
    ----------
    field
        The analytic profile.
    residual
        What is added to it, per unit flux.
    radius : [pixel]
        Half size of the stamps.
    average_position : (x, y) [pixel]
        Mean position of the stars.
    """
    oversampling = int(np.clip(np.ceil(_SAMPLES_PER_FWHM / np.hypot(field.fwhm, _PIXEL_WIDTH)), 2, 5))
    u, v = _nodes(constant=field.order == 0 and residual.terms == 1)
    x, y = field.domain.positions(u=u, v=v)
    samples, centers = _centered_samples(field, residual, x=x, y=y, radius=radius, oversampling=oversampling)
    grids, polynomials = _components(samples, u=u, v=v)
    middle = (grids.shape[1] - 1) // 2
    on_stamp = middle + oversampling * np.arange(-radius, radius + 1)
    psf = PixelGridPsf(
        grids,
        polynomials=polynomials,
        oversampling=oversampling,
        radius=radius,
        domain=field.domain.edges,
        stamp_fractions=grids[:, on_stamp][:, :, on_stamp].sum(axis=(1, 2)),
        wing=(field.alpha, field.beta),
        average_position=average_position,
    )
    basis = polynomial_basis(0 if len(u) == 1 else _CENTER_ORDER, u=u, v=v)
    fitted: NDArray[np.float64] = np.linalg.lstsq(basis, centers, rcond=None)[0].T.astype(np.float64)
    return ComposedPsf(psf=psf, centers=fitted)


def _nodes(*, constant: bool) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return positions in [-1, 1] that carry a polynomial of the largest order, corners included."""
    if constant:
        return np.zeros(1), np.zeros(1)
    points = -np.cos(np.pi * np.arange(_MAX_ORDER + 2) / (_MAX_ORDER + 1))
    v, u = np.meshgrid(points, points, indexing="ij")
    return u.ravel(), v.ravel()


def _centered_samples(
    field: MoffatField,
    residual: ResidualGrid,
    *,
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    radius: int,
    oversampling: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return (n, m, m) samples of unit total flux, their adaptive centroid in the middle, and where it was."""
    half, step = oversampling * (radius + 1) + 2, 1.0 / oversampling
    shapes, terms = field.shapes(x=x, y=y), field.domain.terms(residual.order, x=x, y=y)
    center, samples = np.zeros((len(x), 2)), np.empty((0, 0, 0))
    for _ in range(_RECENTER_ROUNDS):
        dx, dy = -np.ascontiguousarray(center.T)
        samples = moffat_images(dx, dy, shapes, field.beta, half, step)
        samples += residual.samples(terms, dx=dx, dy=dy, half=half, step=step)
        shift = step * adaptive_centers(samples, sigma=0.45 * field.fwhm * oversampling)
        if np.abs(shift).max() < _CENTERED:
            break
        center += shift
    return samples / (1.0 + terms @ residual.fluxes)[:, None, None], center


def adaptive_centers(samples: NDArray[np.float64], *, sigma: float) -> NDArray[np.float64]:
    """Return (n, 2) adaptive centroids, x and y from the middle sample; 0 where they do not converge.

    Parameters
    ----------
    samples : (n, m, m)
    sigma : [sample]
        First guess of the width.
    """
    middle = (samples.shape[1] - 1) / 2
    result = np.zeros((len(samples), 2))
    for i, sample in enumerate(samples):
        _, _, _, x, y, _, status = adaptive_moments_stamp(np.ascontiguousarray(sample), middle, middle, sigma)
        if status == 0:
            result[i] = x - middle, y - middle
    return result


def _components(
    samples: NDArray[np.float64], *, u: NDArray[np.float64], v: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the fewest grids and the lowest polynomials of them that give the samples to the wanted accuracy."""
    n, side = len(samples), samples.shape[1]
    if n == 1:
        return samples, np.ones((1, 1))
    flat = samples.reshape(n, -1)
    mean = flat.mean(axis=0)
    deviation = flat - mean
    accuracy = _ACCURACY * float(np.linalg.norm(mean))
    powers, vectors = np.linalg.eigh(deviation @ deviation.T)
    amplitudes = vectors * np.sqrt(np.maximum(powers, 0.0))
    kept = np.flatnonzero(np.abs(amplitudes).max(axis=0) > accuracy)[::-1]
    amplitudes = amplitudes[:, kept]
    grids = vectors[:, kept].T @ deviation / np.sqrt(powers[kept])[:, None]
    for order in range(_MAX_ORDER + 1):
        basis = polynomial_basis(order, u=u, v=v)
        fitted = np.linalg.lstsq(basis, amplitudes, rcond=None)[0]
        if len(kept) == 0 or np.abs(basis @ fitted - amplitudes).max() < accuracy:
            break
    constant = np.zeros((1, basis.shape[1]))
    constant[0, 0] = 1.0
    return (
        np.concatenate([mean[None], grids]).reshape(len(kept) + 1, side, side),
        np.concatenate([constant, fitted.T]),
    )
