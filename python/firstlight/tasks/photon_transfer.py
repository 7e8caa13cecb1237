"""Measure gain and read noise of a camera from its own images: pairs of one scene, or differences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from pydantic import PositiveFloat, PositiveInt

from firstlight.algorithms.decorrelation import filtered_variance
from firstlight.algorithms.photon_transfer import NoiseSample, PhotonTransfer, fit_photon_transfer, sample_pair
from firstlight.algorithms.spatial_convolution import convolve
from firstlight.errors import InputError, KernelError
from firstlight.framework import Config, Gate, Struct, Task
from firstlight.images.exposure import Exposure
from firstlight.images.spatial_kernel import MatchingKernel, SpatialKernel

UNIT = "count"


@dataclass(frozen=True)
class PhotonTransferResult(Struct):
    """What `PhotonTransferTask` returns."""

    curve: PhotonTransfer
    """Gain, read noise, and the curve from which they come."""

    gates: tuple[Gate, ...]
    """How well they are known."""


class PhotonTransferConfig(Config):
    """Settings of `PhotonTransferTask`."""

    ignored_planes: tuple[str, ...] = ("BAD", "SAT", "NO_DATA", "CR", "EDGE", "SUSPECT", "INTRP", "STREAK")
    """Mask planes whose pixels do not count."""

    min_pixels: PositiveInt = 200
    """Fewer pixels make no bin of the curve."""

    warn_gain_error: PositiveFloat = 0.05
    """A relative error of the gain beyond this is a warning."""

    warn_chi2: PositiveFloat = 3.0
    """A reduced chi-square of the curve about its fit beyond this is a warning: the detector is not linear, or the
    scene did not cancel."""


class PhotonTransferTask(Task[PhotonTransferConfig]):
    """The photon-transfer curve of flats, darks or snaps in pairs, or of difference images (Janesick 2007)."""

    def run(self, samples: Sequence[NoiseSample]) -> PhotonTransferResult:
        """Fit the noise of the detector to differences.

        Parameters
        ----------
        samples
            From `of_pairs` or `of_difference`.

        Raises
        ------
        TooManyMaskedPixelsError
            If there are not enough good pixels.
        ConstantImageError
            If the differences do not scatter.
        """
        curve = fit_photon_transfer(samples, min_pixels=self.config.min_pixels)
        self.log.info("photon transfer", gain=curve.gain, read_noise=curve.read_noise, n_pixels=curve.n_pixels)
        return PhotonTransferResult(
            curve=curve,
            gates=(
                Gate("gain_error", curve.gain_err / curve.gain, warn=self.config.warn_gain_error, n=curve.n_pixels),
                Gate("photon_transfer_chi2", curve.reduced_chi2, warn=self.config.warn_chi2, n=len(curve.signal)),
                Gate("scene_mismatch", curve.mismatch, n=curve.n_pixels),
            ),
        )

    def of_pairs(self, exposures: Sequence[Exposure]) -> tuple[NoiseSample, ...]:
        """Return the samples of the first with the second exposure, the third with the fourth, and so on.

        Parameters
        ----------
        exposures
            In counts, without bias: two of one scene that did not move each, such as flats of one brightness.

        Raises
        ------
        InputError
            If one of them is alone, or the two of a pair differ in shape, or one is not in counts.
        TooManyMaskedPixelsError
            If no pixel is good in both of a pair.
        """
        if not exposures or len(exposures) % 2:
            raise InputError(f"A photon-transfer curve needs exposures in pairs; got {len(exposures)}.")
        samples = []
        for first, second in zip(exposures[::2], exposures[1::2], strict=True):
            if first.shape != second.shape:
                raise InputError(f"Exposures of a pair have one shape; got {first.shape} and {second.shape}.")
            bad = self._bad(first) | self._bad(second)
            samples.append(sample_pair(raw_counts(first), raw_counts(second), bad=bad))
        return tuple(samples)

    def of_difference(
        self, science: Exposure, template: Exposure, kernel: MatchingKernel, *, template_depth: float = 1.0
    ) -> NoiseSample:
        """Return the sample of a science exposure and a template on its pixels, matched by a kernel.

        The light of a pixel is taken from the image that was convolved, which has little noise of its own.

        Parameters
        ----------
        science, template
            Of one camera, in counts, without sky; the template before it was matched. Its sky is taken to be that of
            the science exposure.
        kernel
            Of the subtraction.
        template_depth
            How many exposures the template is the mean of.

        Raises
        ------
        InputError
            If one is not in counts.
        KernelError
            If the kernel is of other pixels.
        """
        if not science.shape == template.shape == kernel.kernel.shape:
            raise KernelError(
                f"Science {science.shape}, template {template.shape} and kernel {kernel.kernel.shape} must have the "
                f"same pixels.",
                science_shape=str(science.shape),
            )
        sky = raw_counts(science) - science.image
        scale = kernel.flux_scale
        known = np.isfinite(science.image) & np.isfinite(template.image)
        images = [np.where(known, each.image, np.float32(0.0)) for each in (science, template)]
        skies, depths = [sky, sky / np.float32(scale)], [1.0, template_depth]
        if kernel.convolved == "science":
            images, skies, depths = images[::-1], skies[::-1], depths[::-1]
        fixed, moved = images[0], convolve(images[1], kernel.kernel) + kernel.background.image().astype(np.float32)
        delta = SpatialKernel.constant(np.ones((1, 1)), shape=science.shape)
        # The image that was smoothed tells the light: sorted by their own noise, pixels of one light would differ.
        light, own = moved, images[1]
        unit = np.ones(science.shape, np.float32)
        return NoiseSample(
            difference=fixed - moved,
            constant=filtered_variance([(unit / depths[0], delta), (unit / depths[1], kernel.kernel)]),
            signal=filtered_variance(
                [
                    (np.maximum(light + skies[0], 1e-3) / depths[0], delta),
                    (np.maximum(own + skies[1], 1e-3) / depths[1], kernel.kernel),
                ]
            ),
            bad=~known | self._bad(science) | self._bad(template),
        )

    def _bad(self, exposure: Exposure) -> np.ndarray:
        planes = (name for name in self.config.ignored_planes if name in exposure.mask.planes)
        return np.asarray(exposure.mask.any_of(*planes), dtype=bool)


def raw_counts(exposure: Exposure) -> np.ndarray:
    """Return the pixels with the sky that was subtracted from them [count].

    Raises
    ------
    InputError
        If the exposure is not in counts.
    """
    if exposure.unit != UNIT:
        raise InputError(f"The noise of a camera shows in counts; the exposure is in {exposure.unit}.")
    return np.asarray(exposure.image + exposure.background.evaluate(shape=exposure.shape))


def with_noise_of(exposure: Exposure, curve: PhotonTransfer) -> Exposure:
    """Return the exposure with the variance that its counts have by a photon-transfer curve, and the gain.

    Raises
    ------
    InputError
        If the exposure is not in counts.
    """
    known = math.isfinite(curve.gain)
    detector = replace(
        exposure.detector,
        gain=curve.gain if known else None,
        read_noise=curve.read_noise if known else None,
        variance_source="gain",
    )
    return exposure.replace(variance=curve.variance_of(raw_counts(exposure)), detector=detector)
