"""Subtract a template that is convolved with a kernel fitted to stars (Alard & Lupton)."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from firstlight.algorithms.decorrelation import filtered_variance
from firstlight.algorithms.kernel_basis import KernelBasis, delta_basis, gaussian_basis, gaussian_widths, kernel_radius
from firstlight.algorithms.kernel_matching import ClippingLimits, KernelFit, fit_matching_kernel
from firstlight.algorithms.kernel_stamps import StampEquations, stamp_equations
from firstlight.algorithms.spatial_convolution import convolve
from firstlight.framework import Gate
from firstlight.images.spatial_kernel import Convolved, MatchingKernel, SpatialKernel
from firstlight.tasks.subtract import MatchedPair, SubtractConfig, SubtractTask
from firstlight.tasks.subtract_kernel import subtract_with_kernel
from firstlight.tasks.subtract_pair import SubtractPair
from firstlight.tasks.subtract_stars import KernelStars, without_unshared_light

DELTA_FWHM = 2.3
"""Half size of a kernel of single pixels in units of the FWHM of the wider PSF."""

MAX_DELTA_RADIUS = 7
"""The work grows with the fourth power of it [pixel]."""

GAUSSIAN_DAMPINGS = 0.0, 1e-4, 1e-3, 1e-2
"""What the noise adds is taken off the squares of the equations; what they say about high frequencies may then be less
than nothing, and only a penalty leaves them a solution."""

DELTA_DAMPINGS = 1e-3, 1e-2, 1e-1


class AlardLuptonSubtractConfig(SubtractConfig):
    """Settings of `AlardLuptonSubtractTask`."""

    convolve: Literal["auto", "template", "science", "both"] = "auto"
    """Which image is convolved. ``auto``: the one with the narrower PSF, by the fourth root of the determinant of its
    moments. ``both``: the science image with its own PSF and the template to match, which never sharpens."""

    basis: Literal["gaussian", "delta"] = "gaussian"
    """What the kernel is a sum of: Gaussians times polynomials, or single pixels with a penalty on roughness."""

    gaussian_degrees: tuple[NonNegativeInt, ...] = (4, 2, 2)
    """Total degree of the polynomial of each Gaussian, the narrowest first."""

    gaussian_sigmas: tuple[PositiveFloat, ...] | None = None
    """Widths of the Gaussians [pixel]; by the seeing of both images when left out."""

    min_sigmas: tuple[PositiveFloat, ...] = Field(default=(0.7, 0.5), min_length=1)
    """Smallest widths of a Gaussian that follows the seeing to choose from [pixel]: a narrower leaves less of bright
    stars and, where stars are few, more noise. The first, unless another predicts stars left out better."""

    sigma_ratio: float = Field(default=2.0, gt=1.0)
    """Ratio of the width of one Gaussian to that of the next narrower."""

    kernel_radius: PositiveInt | None = None
    """Half size of the kernel [pixel]; by its widest Gaussian, or the seeing, when left out."""

    kernel_sigmas: PositiveFloat = 6.0
    """Side of the kernel in units of the width of its widest Gaussian."""

    min_kernel_size: PositiveInt = 21
    """Smallest side of a kernel of Gaussians [pixel]."""

    max_kernel_size: PositiveInt = 35
    """Largest side of a kernel of Gaussians [pixel]."""

    kernel_order: NonNegativeInt = Field(default=2, le=7)
    """Largest total degree of the variation of the kernel; the best one up to it is chosen by stars left out."""

    scale_order: NonNegativeInt = Field(default=0, le=7)
    """Total degree of the variation of the photometric scale."""

    background_order: NonNegativeInt = Field(default=2, le=7)
    """Total degree of the background that is fitted with the kernel."""

    dampings: tuple[NonNegativeFloat, ...] | None = None
    """Penalties on the roughness of the kernel to choose from, in units of the information of the stars; by the basis
    when left out."""

    clip_sigma: PositiveFloat = 3.0
    """Stars whose flux differs from the rest by more than this many standard deviations are left out."""

    max_rms: PositiveFloat = 1.5
    """Stars that leave more than this in units of the noise are left out, unless most do."""

    max_rounds: NonNegativeInt = 4
    """Largest number of rounds of clipping."""

    max_condition: PositiveFloat = 1e10
    """Largest condition number of the normal equations."""

    shared_noise: bool = False
    """True where the template contains the science exposure, so that both have noise in common."""

    noise_correlation: Literal["whitened", "left"] = "whitened"
    """``left``: the difference keeps the correlated noise of the convolved image."""


class AlardLuptonSubtractTask(SubtractTask[AlardLuptonSubtractConfig]):
    """A kernel that varies over the image, fitted to stars, and noise that is white again (LSST, HOTPANTS)."""

    def reach(self, pair: SubtractPair) -> int:
        """Return the half size of the kernel [pixel]."""
        return max(basis.radius for basis in self._bases(pair, self._widths(pair)))

    def match(self, pair: SubtractPair, stars: KernelStars) -> MatchedPair:
        """Make the two images of a pair alike and subtract them."""
        preconvolution = _own_psf(pair) if self.config.convolve == "both" else None
        convolved = self._direction(pair)
        widths = self._widths(pair)
        compared = without_unshared_light(pair, stars)
        first, *others = (
            (self._equations(compared, stars, basis, convolved, preconvolution, widths), basis)
            for basis in self._bases(pair, widths)
        )
        fit = fit_matching_kernel(
            *first,
            shape=pair.shape,
            others=others,
            orders=tuple(range(self.config.kernel_order + 1)),
            scale_order=self.config.scale_order,
            background_order=self.config.background_order,
            dampings=self._dampings(),
            limits=ClippingLimits(self.config.clip_sigma, self.config.max_rms, self.config.max_rounds),
            min_stamps=self.config.min_stars,
            max_condition=self.config.max_condition,
        )
        return subtract_with_kernel(
            pair,
            MatchingKernel(fit.kernel, fit.background, convolved),
            preconvolution=preconvolution,
            whiten=self.config.noise_correlation == "whitened",
            used=fit.used,
            flux_ratio=fit.flux_ratio if convolved == "template" else 1.0 / fit.flux_ratio,
            gates=self._gates(fit, widths),
        )

    def _direction(self, pair: SubtractPair) -> Convolved:
        if self.config.convolve in ("template", "both"):
            return "template"
        if self.config.convolve == "science":
            return "science"
        return "template" if pair.template_sigma <= pair.science_sigma else "science"

    def _widths(self, pair: SubtractPair) -> tuple[float, float]:
        """Return the widths [pixel] of the PSF of the image that is convolved, and of the one that it is to match."""
        science = pair.science_sigma * (math.sqrt(2.0) if self.config.convolve == "both" else 1.0)
        widths = pair.template_sigma, science
        return widths if self._direction(pair) == "template" else widths[::-1]

    def _bases(self, pair: SubtractPair, widths: tuple[float, float]) -> list[KernelBasis]:
        """Return the bases to choose from; one where the seeing alone sets the widths."""
        if self.config.basis == "delta":
            radius = self.config.kernel_radius or min(MAX_DELTA_RADIUS, max(3, math.ceil(DELTA_FWHM * pair.fwhm)))
            return [delta_basis(radius)]
        by_seeing = (
            gaussian_widths(
                *widths,
                n_gaussians=len(self.config.gaussian_degrees),
                min_sigma=min_sigma,
                beta=self.config.sigma_ratio,
            )
            for min_sigma in self.config.min_sigmas
        )
        given = self.config.gaussian_sigmas
        return [self._gaussians(sigmas) for sigmas in ([given] if given else dict.fromkeys(by_seeing))]

    def _gaussians(self, sigmas: tuple[float, ...]) -> KernelBasis:
        radius = self.config.kernel_radius or kernel_radius(
            sigmas,
            scaling=self.config.kernel_sigmas,
            min_size=self.config.min_kernel_size,
            max_size=self.config.max_kernel_size,
        )
        return gaussian_basis(sigmas, self.config.gaussian_degrees, radius=radius)

    def _dampings(self) -> tuple[float, ...]:
        if self.config.dampings is not None:
            return self.config.dampings
        return DELTA_DAMPINGS if self.config.basis == "delta" else GAUSSIAN_DAMPINGS

    def _equations(
        self,
        pair: SubtractPair,
        stars: KernelStars,
        basis: KernelBasis,
        convolved: Convolved,
        preconvolution: SpatialKernel | None,
        widths: tuple[float, float],
    ) -> StampEquations:
        images = [(pair.template, pair.template_variance), (pair.science, pair.science_variance)]
        if preconvolution is not None:
            smooth = convolve(pair.science, preconvolution)
            images[1] = smooth, filtered_variance([(pair.science_variance, preconvolution)])
        source, target = images if convolved == "template" else images[::-1]
        spread = widths[1] ** 2 - widths[0] ** 2
        return stamp_equations(
            source[0],
            target[0],
            source_variance=source[1],
            target_variance=target[1],
            x=stars.x,
            y=stars.y,
            basis=basis,
            radius=pair.stamp_radius,
            kernel_power=1.0 / (1.0 + 4.0 * math.pi * max(spread, 0.0)),
            shared_noise=self.config.shared_noise,
        )

    def _gates(self, fit: KernelFit, widths: tuple[float, float]) -> tuple[Gate, ...]:
        used = int(fit.used.sum())
        return (
            Gate("kernel_condition", fit.condition, warn=self.config.max_condition, n=used),
            Gate("kernel_held_out_chi2", fit.held_out_chi2, warn=2.0, n=used),
            # A target that is sharper than the source asks for a deconvolution, which rings.
            Gate("kernel_broadening", widths[1] / widths[0], sense="min", warn=0.99, fail=0.7),
        )


def _own_psf(pair: SubtractPair) -> SpatialKernel:
    """Return the PSF of the science image at its centre, mirrored, as a kernel of unit sum."""
    ny, nx = pair.shape
    stamp = pair.science_psf.kernel_image(x=(nx - 1) / 2, y=(ny - 1) / 2)[::-1, ::-1]
    cut = max(0, pair.science_psf.radius - max(5, math.ceil(2.5 * pair.fwhm)))
    core = stamp[cut : len(stamp) - cut, cut : len(stamp) - cut]
    return SpatialKernel.constant(np.asarray(core / core.sum()), shape=pair.shape)
