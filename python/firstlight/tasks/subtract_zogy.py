"""Subtract two images by what their PSFs are known to be (Zackay, Ofek & Gal-Yam)."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from firstlight.algorithms.spatial_convolution import convolve_sum
from firstlight.algorithms.zogy import ZogyImage, zogy_filters
from firstlight.errors import KernelError
from firstlight.framework import Gate
from firstlight.images.box import Box
from firstlight.images.fields import ChebyshevField
from firstlight.images.spatial_kernel import MatchingKernel
from firstlight.kernels.arrays import BoolArray
from firstlight.tasks.subtract import MatchedPair, SubtractConfig, SubtractTask
from firstlight.tasks.subtract_fourier import steady_stars
from firstlight.tasks.subtract_pair import SubtractPair
from firstlight.tasks.subtract_stars import KernelStars

BRIGHT_SNR = 50.0
MIN_BRIGHT = 5


class ZogySubtractConfig(SubtractConfig):
    """Settings of `ZogySubtractTask`."""

    flux_scale: PositiveFloat | None = None
    """Flux of a star in the science exposure over that in the template; measured when left out."""

    position_noise: NonNegativeFloat | None = None
    """Error of the registration along either axis that the score allows for [pixel]; measured when left out."""

    filter_order: NonNegativeInt = Field(default=3, le=6)
    """Total degree of the variation of the filters over the image, which follows that of the PSFs."""

    filter_radius: PositiveInt | None = None
    """Half size of the filters [pixel]; twice the radius of the PSFs when left out."""

    clip_sigma: PositiveFloat = 4.0
    """Stars whose flux changed by more than this many standard deviations do not count for the flux scale."""


class ZogySubtractTask(SubtractTask[ZogySubtractConfig]):
    """The proper difference, symmetric in both images, and its score with source and registration noise."""

    def reach(self, pair: SubtractPair) -> int:
        """Return 0: the filters are made from the PSFs and not from the surroundings of stars."""
        return 0

    def match(self, pair: SubtractPair, stars: KernelStars) -> MatchedPair:
        """Make the two images of a pair alike and subtract them."""
        steady, ratio = steady_stars(stars, n_sigma=self.config.clip_sigma)
        if not steady.any():
            raise KernelError(
                f"None of {len(stars)} stars keeps its flux from template to science.", n_stars=len(stars)
            )
        scale = self.config.flux_scale or float(np.median(ratio[steady]))
        variances = pair.sky_variances
        filters = zogy_filters(
            ZogyImage(pair.science_psf, math.sqrt(variances[0])),
            ZogyImage(pair.template_psf, math.sqrt(variances[1]), 1.0 / scale),
            shape=pair.shape,
            order=self.config.filter_order,
            radius=self.config.filter_radius,
        )
        # Where one image knows nothing the other one must not be seen alone.
        lost = pair.science_lost | pair.template_lost
        science, template = (np.where(lost, np.float32(0.0), image) for image in (pair.science, pair.template))
        matched = convolve_sum([(template, filters[1])])
        offset, noise = self._registration(pair, stars, steady)
        return MatchedPair(
            difference=convolve_sum([(science, filters[0])]) - matched,
            matched_template=matched,
            kernel=MatchingKernel(filters[1], ChebyshevField.constant(0.0, box=Box.of_shape(pair.shape))),
            science_filter=filters[0],
            template_filter=filters[1],
            used=steady,
            flux_ratio=ratio / scale,
            gates=(
                Gate(
                    "registration_offset",
                    float(np.hypot(*offset)),
                    "pixel",
                    warn=self.config.warn_shift,
                    fail=self.config.fail_shift,
                    n=int(steady.sum()),
                ),
            ),
            position_noise=noise,
        )

    def _registration(
        self, pair: SubtractPair, stars: KernelStars, steady: BoolArray
    ) -> tuple[NDArray[np.float64], tuple[float, float]]:
        """Return the median offset (x, y) of the stars [pixel], and the error of the registration along both axes."""
        bright = steady & (stars.snr > BRIGHT_SNR)
        chosen = bright if bright.sum() >= MIN_BRIGHT else steady
        offsets = np.stack([stars.x - stars.template_x, stars.y - stars.template_y])[:, chosen]
        median = np.median(offsets, axis=1)
        if self.config.position_noise is not None:
            return median, (self.config.position_noise, self.config.position_noise)
        snr = stars.snr[chosen], (stars.template_flux / stars.template_flux_err)[chosen]
        expected = float(np.median((pair.science_sigma / snr[0]) ** 2 + (pair.template_sigma / snr[1]) ** 2))
        scatter = (1.4826 * np.median(np.abs(offsets - median[:, None]), axis=1)) ** 2
        noise = np.sqrt(np.maximum(scatter - expected, 0.0) + median**2)
        return median, (float(noise[0]), float(noise[1]))
