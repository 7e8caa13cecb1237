"""Subtract a template that is convolved with a kernel of single pixels, fitted to the whole image at once (SFFT)."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from firstlight.algorithms.fourier_subtraction import FourierFit, fit_fourier_kernel, stamp_residuals, star_weights
from firstlight.algorithms.kernel_basis import delta_basis
from firstlight.algorithms.spatial_convolution import convolve
from firstlight.errors import KernelError
from firstlight.framework import Gate
from firstlight.images.spatial_kernel import Convolved, MatchingKernel
from firstlight.kernels.arrays import BoolArray
from firstlight.tasks.subtract import MatchedPair, SubtractConfig, SubtractTask
from firstlight.tasks.subtract_kernel import subtract_with_kernel
from firstlight.tasks.subtract_pair import SubtractPair
from firstlight.tasks.subtract_stars import KernelStars, without_unshared_light

_Plane = tuple[NDArray[np.float32], NDArray[np.float32]]
"""An image and its variance."""


class FourierSubtractConfig(SubtractConfig):
    """Settings of `FourierSubtractTask`."""

    convolve: Literal["auto", "template", "science"] = "auto"
    """Which image is convolved; ``auto``: the one with the narrower PSF."""

    kernel_radius: PositiveInt | None = None
    """Half size of the kernel [pixel]; by the seeing when left out."""

    kernel_fwhm: PositiveFloat = 2.3
    """Half size of the kernel in units of the FWHM of the wider PSF."""

    max_kernel_radius: PositiveInt = 10
    """Largest half size that follows the seeing [pixel]."""

    kernel_order: NonNegativeInt = Field(default=1, le=3)
    """Largest total degree of the variation of the kernel; the best one up to it is chosen by tiles left out."""

    scale_order: NonNegativeInt = Field(default=0, le=3)
    """Total degree of the variation of the photometric scale."""

    background_order: NonNegativeInt = Field(default=1, le=3)
    """Total degree of the background that is fitted with the kernel."""

    dampings: tuple[NonNegativeFloat, ...] = (1e-3, 1e-2, 1e-1)
    """Penalties on the roughness of the kernel to choose from, in units of the information of the stars."""

    clip_sigma: PositiveFloat = 4.0
    """Stars whose flux changed by more than this many standard deviations are left out."""

    max_rms: PositiveFloat = 1.5
    """Stars that leave more than this in units of the noise are left out, unless most do."""

    max_excess: PositiveFloat = 6.0
    """Stars are left out that have a pixel about them that changed by more than a fifth of its light and this many
    standard deviations."""

    max_rounds: NonNegativeInt = 2
    """Largest number of times that the fit is repeated without stars that do not fit."""


class FourierSubtractTask(SubtractTask[FourierSubtractConfig]):
    """A kernel of single pixels from correlations of the two images about all stars (Hu et al. 2022)."""

    def reach(self, pair: SubtractPair) -> int:
        """Return the half size of the kernel [pixel]."""
        by_seeing = max(3, math.ceil(self.config.kernel_fwhm * pair.fwhm))
        return self.config.kernel_radius or min(self.config.max_kernel_radius, by_seeing)

    def match(self, pair: SubtractPair, stars: KernelStars) -> MatchedPair:
        """Make the two images of a pair alike and subtract them."""
        steady, ratio = steady_stars(stars, n_sigma=self.config.clip_sigma)
        if int(steady.sum()) < self.config.min_stars:
            raise KernelError(
                f"Only {int(steady.sum())} of {len(stars)} stars keep their flux from template to science; "
                f"at least {self.config.min_stars} are needed.",
                n_stars=len(stars),
                n_steady=int(steady.sum()),
            )
        convolved: Convolved = "template" if self._broadens_template(pair) else "science"
        compared = without_unshared_light(pair, stars)
        images = [(compared.template, pair.template_variance), (compared.science, pair.science_variance)]
        source, target = images if convolved == "template" else images[::-1]
        fit = self._fit(source, target, pair, stars, steady)
        for _ in range(self.config.max_rounds):
            kept = steady & ~self._badly_matched(fit, source, target, pair, stars, steady)
            if (kept == steady).all() or int(kept.sum()) < self.config.min_stars:
                break
            steady = kept
            fit = self._fit(source, target, pair, stars, steady)
        kernel = MatchingKernel(fit.terms.kernel(fit.solution), fit.terms.background(fit.solution), convolved)
        return subtract_with_kernel(
            pair,
            kernel,
            preconvolution=None,
            whiten=True,
            used=steady,
            flux_ratio=ratio / kernel.flux_scale,
            gates=(
                Gate("kernel_condition", fit.solution.condition, warn=1e10, n=int(steady.sum())),
                Gate("kernel_held_out_chi2", fit.solution.held_out, warn=2.0, n=int(steady.sum())),
            ),
        )

    def _fit(
        self, source: _Plane, target: _Plane, pair: SubtractPair, stars: KernelStars, used: BoolArray
    ) -> FourierFit:
        radius = self.reach(pair)
        weights = star_weights(
            source[1] + target[1],
            source[0],
            x=stars.x[used],
            y=stars.y[used],
            bad=pair.bad,
            radius=pair.stamp_radius + radius,
        )
        return fit_fourier_kernel(
            source[0],
            target[0],
            source_variance=source[1],
            target_variance=target[1],
            weights=weights,
            basis=delta_basis(radius),
            n_stars=int(used.sum()),
            orders=tuple(range(self.config.kernel_order + 1)),
            scale_order=self.config.scale_order,
            background_order=self.config.background_order,
            dampings=self.config.dampings,
        )

    def _badly_matched(
        self,
        fit: FourierFit,
        source: _Plane,
        target: _Plane,
        pair: SubtractPair,
        stars: KernelStars,
        used: BoolArray,
    ) -> BoolArray:
        """Return which stars leave more than noise: they, or a neighbour, changed."""
        kernel = fit.terms.kernel(fit.solution)
        left = target[0] - convolve(source[0], kernel) - fit.terms.background(fit.solution).image()
        middle = kernel.image(x=(pair.shape[1] - 1) / 2, y=(pair.shape[0] - 1) / 2)
        rms, excess = stamp_residuals(
            left,
            target[1] + float((middle**2).sum()) * source[1],
            target[0],
            x=stars.x,
            y=stars.y,
            bad=pair.bad,
            radius=pair.stamp_radius + self.reach(pair),
        )
        typical = float(np.median(rms[used]))
        scatter = 1.4826 * float(np.median(np.abs(rms[used] - typical)))
        good = (rms <= max(self.config.max_rms, typical + 6.0 * scatter)) & (excess < self.config.max_excess)
        return np.asarray(~good)

    def _broadens_template(self, pair: SubtractPair) -> bool:
        if self.config.convolve == "auto":
            return pair.template_sigma <= pair.science_sigma
        return self.config.convolve == "template"


def steady_stars(stars: KernelStars, *, n_sigma: float) -> tuple[BoolArray, np.ndarray]:
    """Return which stars keep their flux, and the (n,) ratios of their fluxes in science and template."""
    ratio = stars.science_flux / stars.template_flux
    error = np.abs(ratio) * np.hypot(
        stars.science_flux_err / stars.science_flux, stars.template_flux_err / stars.template_flux
    )
    middle = float(np.median(ratio))
    spread = 1.4826 * float(np.median(np.abs(ratio - middle)))
    excess = max(spread**2 - float(np.median(error)) ** 2, 0.0)
    return np.asarray(np.abs(ratio - middle) < n_sigma * np.sqrt(error**2 + excess)), ratio
