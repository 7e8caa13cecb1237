"""Subtract two images with a matching kernel: the part that all kernels share."""

from __future__ import annotations

import numpy as np

from firstlight.algorithms.decorrelation import whitening_filters
from firstlight.algorithms.spatial_convolution import convolve
from firstlight.framework import Gate
from firstlight.images.spatial_kernel import MatchingKernel, SpatialKernel
from firstlight.kernels.arrays import BoolArray, FloatArray
from firstlight.tasks.subtract import MatchedPair
from firstlight.tasks.subtract_pair import SubtractPair


def subtract_with_kernel(
    pair: SubtractPair,
    kernel: MatchingKernel,
    *,
    preconvolution: SpatialKernel | None,
    whiten: bool,
    used: BoolArray,
    flux_ratio: FloatArray,
    gates: tuple[Gate, ...],
) -> MatchedPair:
    """Return the difference of a pair in the unit of the science image, its noise white.

    Parameters
    ----------
    pair
    kernel
        Of the image that it names; the other one is as it is, or convolved with ``preconvolution``.
    preconvolution
        What the science image was convolved with before, if the kernel is that of the template.
    whiten
        False: the noise stays correlated.
    used, flux_ratio : (n_stars,)
    gates
    """
    delta = SpatialKernel.constant(np.ones((1, 1)), shape=pair.shape)
    matched = convolve(pair.template if kernel.convolved == "template" else pair.science, kernel.kernel)
    matched += kernel.background.image().astype(np.float32)
    if kernel.convolved == "template":
        science = pair.science if preconvolution is None else convolve(pair.science, preconvolution)
        template, filters = matched, (preconvolution or delta, kernel.kernel)
    else:
        scale = np.float32(kernel.flux_scale)
        science, template = matched * scale, pair.template * scale
        filters = kernel.kernel.scaled(float(scale)), delta.scaled(float(scale))
    difference = science - template
    if whiten:
        variances = pair.sky_variances
        whitening = whitening_filters(
            filters[0], filters[1], science_variance=variances[0], template_variance=variances[1]
        )
        filters = whitening.science_filter, whitening.template_filter
        difference = _whitened(difference, whitening.whitening, unusable=_saturated(pair))
    return MatchedPair(
        difference=difference,
        matched_template=template,
        kernel=kernel,
        science_filter=filters[0],
        template_filter=filters[1],
        used=np.asarray(used, dtype=bool),
        flux_ratio=np.asarray(flux_ratio, dtype=np.float64),
        gates=gates,
    )


def _whitened(difference: FloatArray, kernel: SpatialKernel, *, unusable: BoolArray) -> np.ndarray:
    """Return the difference convolved, without what unusable pixels would spread; they keep their values."""
    clean = convolve(np.where(unusable, np.float32(0.0), difference), kernel)
    return np.where(unusable, difference, clean)


def _saturated(pair: SubtractPair) -> BoolArray:
    science, template = pair.science_exposure.mask, pair.template_exposure.mask
    unusable = pair.science_lost | pair.template_lost
    for mask in (science, template):
        unusable = unusable | mask.any_of(*(name for name in ("SAT",) if name in mask.planes))
    return unusable
