"""How significant a point source is at each pixel of a difference image, with the noise of everything that went in."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from firstlight.algorithms.decorrelation import filtered_variance, nodes, stamps, transforms
from firstlight.algorithms.detection import variance_slope
from firstlight.algorithms.spatial_convolution import convolve
from firstlight.images.psf import Psf
from firstlight.images.spatial_kernel import SpatialKernel
from firstlight.kernels.arrays import FloatArray
from firstlight.kernels.planes import row_blocks

_FAINT = 5.0
"""The noise of the light of a source itself is left out up to this significance."""


def matched_significance(
    difference: FloatArray,
    *,
    psf: Psf,
    science: FloatArray,
    template: FloatArray,
    science_variance: FloatArray,
    template_variance: FloatArray,
    science_filter: SpatialKernel,
    template_filter: SpatialKernel,
    position_noise: tuple[float, float] = (0.0, 0.0),
    order: int = 2,
) -> NDArray[np.float32]:
    """Return the matched filter of a difference image over its standard deviation (S_corr).

    ``S = D * P_D`` mirrored. Its noise is that of every pixel of both images, sources included, through all filters up
    to there, and what an error of the registration makes of the slopes: ``V_ast = s_x^2 (dS_n/dx)^2 + s_y^2
    (dS_n/dy)^2`` and the same for the template. As in `firstlight.algorithms.detection.smooth_for_detection`, what the
    light of a new source adds to the noise is not held against it, up to that of a source of 5 standard deviations.

    Parameters
    ----------
    difference : (ny, nx)
        White where there are no sources.
    psf
        Of the difference.
    science, template : (ny, nx)
        The images before; looked at only for their slopes and for how the variance rises with the light.
    science_variance, template_variance : (ny, nx)
    science_filter, template_filter
        What the images were convolved with to make the difference.
    position_noise : (x, y) [pixel]
        Standard deviation of the registration of one image on the other.
    order
        Total degree of the variation of the matched filter.

    References
    ----------
    Zackay, Ofek & Gal-Yam 2016, ApJ 830, 27 (equations 17 and 25 to 33).
    """
    shape = science_filter.shape
    x, y = nodes(shape, order=order)
    x, y = np.rint(x), np.rint(y)
    profile = psf.images(x=x, y=y)
    matched = SpatialKernel.fit(profile[:, ::-1, ::-1], x=x, y=y, shape=shape, order=order)
    signal = convolve(difference, matched)
    size = fft.next_fast_len(2 * (psf.radius + max(science_filter.radius, template_filter.radius)) + 1, real=True)
    radius = min(2 * psf.radius, (size - 1) // 2)
    mirrored = transforms(matched.images(x=x, y=y), size)

    def through(kernel: SpatialKernel) -> SpatialKernel:
        both = stamps(mirrored * transforms(kernel.images(x=x, y=y), size), radius, size)
        return SpatialKernel.fit(both, x=x, y=y, shape=shape, order=order)

    filters = through(science_filter), through(template_filter)
    variance = filtered_variance([(science_variance, filters[0]), (template_variance, filters[1])])
    if max(position_noise) > 0.0:
        for image, kernel in zip((science, template), filters, strict=True):
            slope_y, slope_x = np.gradient(convolve(image, kernel))
            variance += (
                np.float32(position_noise[0] ** 2) * slope_x**2 + np.float32(position_noise[1] ** 2) * slope_y**2
            )
    own_noise = [
        variance_slope(image, plane, np.zeros(image.shape, dtype=bool)) * _cubed_over_squared(kernel)
        for image, plane, kernel in (
            (science, science_variance, filters[0]),
            (template, template_variance, filters[1]),
        )
    ]
    return _over_noise(signal, variance, own_noise)


def _cubed_over_squared(kernel: SpatialKernel) -> float:
    """Return ``sum(k^3) / sum(k^2)`` at the centre: the noise that a source adds, over its light, both filtered."""
    ny, nx = kernel.shape
    image = kernel.image(x=(nx - 1) / 2, y=(ny - 1) / 2)
    return float((image**3).sum() / (image**2).sum())


def _over_noise(
    signal: NDArray[np.float32], variance: NDArray[np.float32], own_noise: list[float]
) -> NDArray[np.float32]:
    """Return the signal over its standard deviation.

    Left out of the variance is what the light of a new source (positive) or a lost one (negative) adds to it.
    """
    added, lost = (np.float32(max(noise, 0.0)) for noise in own_noise)
    score = np.empty_like(signal)
    for rows in row_blocks(len(signal)):
        flux, noise = signal[rows], variance[rows]
        light = np.minimum(np.abs(flux), np.float32(_FAINT) * np.sqrt(noise))
        left = np.maximum(noise - np.where(flux > 0.0, added, lost) * light, np.float32(0.25) * noise)
        score[rows] = flux / np.sqrt(left)
    return score
