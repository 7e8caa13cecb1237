"""Two exposures made ready to be subtracted, and the mask of what comes out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from firstlight.algorithms.difference_quality import lost_weight, outside_weight
from firstlight.algorithms.noise import require_varying, typical_value
from firstlight.errors import KernelError, PsfError, TooManyMaskedPixelsError
from firstlight.images.exposure import Exposure
from firstlight.images.mask import Mask
from firstlight.images.psf import FWHM_PER_SIGMA, Psf
from firstlight.images.spatial_kernel import SpatialKernel
from firstlight.kernels.arrays import BoolArray

MAX_OFFSET = 0.5
"""Largest distance of two pixel grids that count as one [pixel]."""
CORE_FWHM = 1.5
_CLEARED = ("DETECTED", "DETECTED_NEGATIVE", "NOT_DEBLENDED", "EDGE")
_RENAMED = {
    "SAT": "SAT_TEMPLATE",
    "INJECTED": "INJECTED_TEMPLATE",
    "INJECTED_CORE": "INJECTED_CORE_TEMPLATE",
}
_KEPT = ("BAD", "CR", "HIGH_VARIANCE", "INEXACT_PSF")


@dataclass(frozen=True)
class SubtractPair:
    """Two images on the same pixels, finite everywhere: what is not known is 0 and in ``lost``.

    Parameters
    ----------
    science_exposure, template_exposure
        As they came.
    science, template : (ny, nx) [unit of each]
    science_variance, template_variance : (ny, nx)
    sky_variances
        Typical variance of the sky in the science and in the template image.
    science_psf, template_psf
    science_sigma, template_sigma : [pixel]
        Widths of the PSFs at the centre.
    science_lost, template_lost : (ny, nx)
        True where an image has no value.
    bad : (ny, nx)
        True where a pixel is not good for matching in one of the images.
    stamp_fwhm
        Half size of the stamps in units of the wider PSF.
    """

    science_exposure: Exposure
    template_exposure: Exposure
    science: NDArray[np.float32]
    template: NDArray[np.float32]
    science_variance: NDArray[np.float32]
    template_variance: NDArray[np.float32]
    sky_variances: tuple[float, float]
    science_psf: Psf
    template_psf: Psf
    science_sigma: float
    template_sigma: float
    science_lost: BoolArray
    template_lost: BoolArray
    bad: BoolArray
    stamp_fwhm: float

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.science.shape[0], self.science.shape[1]

    @property
    def fwhm(self) -> float:
        """Full width at half maximum of the wider PSF [pixel]."""
        return FWHM_PER_SIGMA * max(self.science_sigma, self.template_sigma)

    @property
    def stamp_radius(self) -> int:
        """Half size of the squares on which stars are compared [pixel]."""
        return max(8, round(self.stamp_fwhm * self.fwhm))

    @property
    def core_radius(self) -> int:
        """Half size of the square that holds most of the light of a star [pixel]."""
        return max(2, round(CORE_FWHM * self.fwhm))


def prepare_pair(
    science: Exposure, template: Exposure, *, bad_planes: tuple[str, ...], min_overlap: float, stamp_fwhm: float
) -> SubtractPair:
    """Check that two exposures can be subtracted, and fill what they do not know.

    Raises
    ------
    KernelError
        If their pixels or their units differ.
    PsfError
        If one has no PSF.
    TooManyMaskedPixelsError
        If fewer than ``min_overlap`` of the pixels are known in both.
    ConstantImageError
        If the pixels of one do not differ.
    """
    _require_same_grid(science, template)
    if science.psf is None or template.psf is None:
        raise PsfError(f"Subtraction needs two PSFs; the {'science' if science.psf is None else 'template'} has none.")
    lost = [_lost(exposure) for exposure in (science, template)]
    bad = lost[0] | lost[1]
    known, *alone = (1.0 - np.count_nonzero(unknown) / unknown.size for unknown in (bad, *lost))
    if known < max(min_overlap, 1e-9):
        raise TooManyMaskedPixelsError(
            f"Science and template know {100 * known:.1f} % of the pixels in common "
            f"({100 * alone[0]:.1f} % and {100 * alone[1]:.1f} % alone); "
            f"at least {100 * min_overlap:g} % are needed.",
            overlap=known,
            min_overlap=min_overlap,
        )
    images, variances, typical = [], [], []
    for exposure, unknown in zip((science, template), lost, strict=True):
        require_varying(exposure.image, bad=unknown)
        typical.append(typical_value(exposure.variance, bad=unknown))
        images.append(np.where(unknown, np.float32(0.0), exposure.image))
        variances.append(np.where(unknown, np.float32(typical[-1]), exposure.variance))
    for exposure in (science, template):
        bad |= exposure.mask.any_of(*(name for name in bad_planes if name in exposure.mask.planes))
    ny, nx = science.shape
    return SubtractPair(
        science_exposure=science,
        template_exposure=template,
        science=images[0],
        template=images[1],
        science_variance=variances[0],
        template_variance=variances[1],
        sky_variances=(typical[0], typical[1]),
        science_psf=science.psf,
        template_psf=template.psf,
        science_sigma=science.psf.moments(x=(nx - 1) / 2, y=(ny - 1) / 2).sigma,
        template_sigma=template.psf.moments(x=(nx - 1) / 2, y=(ny - 1) / 2).sigma,
        science_lost=lost[0],
        template_lost=lost[1],
        bad=bad,
        stamp_fwhm=stamp_fwhm,
    )


def difference_mask(
    pair: SubtractPair,
    filters: tuple[SpatialKernel, SpatialKernel],
    *,
    max_lost_weight: float,
    max_doubtful_weight: float,
) -> Mask:
    """Return the mask of the difference: that of the science, and what kernels carried over from either image.

    NO_DATA where a value is missing or most of the kernel lies on missing ones, EDGE where more than
    ``max_lost_weight`` of it does. The planes of the template where more than a share of its kernel lies on them:
    ``max_lost_weight`` for saturation, under its own name, and ``max_doubtful_weight`` for what has a value that is
    nearly right, such as a repaired cosmic ray. SAT as far as the kernel of the science, where it has one, carried it.
    """
    science, template = pair.science_exposure.mask, pair.template_exposure.mask
    mask = science.without(*(name for name in _CLEARED if name in science.planes))
    mask = mask.with_new_planes("NO_DATA", "EDGE", *_RENAMED.values(), *_KEPT)
    incomplete = np.zeros(pair.shape, dtype=bool)
    missing = pair.science_lost.copy()
    for lost, kernel in zip((pair.science_lost, pair.template_lost), filters, strict=True):
        weight = lost_weight(lost, kernel)
        missing |= weight > 0.5
        incomplete |= weight + outside_weight(kernel) > max_lost_weight
    mask = mask.with_plane("EDGE", incomplete).with_plane("NO_DATA", missing)
    carried = [(template, name, _RENAMED.get(name, name), filters[1]) for name in (*_RENAMED, *_KEPT)]
    for source, name, new_name, kernel in (*carried, (science, "SAT", "SAT", filters[0])):
        if name in source.planes and (there := source.any_of(name)).any():
            most = max_doubtful_weight if name in _KEPT else max_lost_weight
            mask = mask.with_plane(new_name, there | (lost_weight(there, kernel) > most))
    return mask


def _require_same_grid(science: Exposure, template: Exposure) -> None:
    if science.shape != template.shape:
        raise KernelError(
            f"Science {science.shape[0]} x {science.shape[1]} and template {template.shape[0]} x {template.shape[1]} "
            f"must lie on the same pixels; align the template first.",
            science_shape=str(science.shape),
            template_shape=str(template.shape),
        )
    if science.unit != template.unit:
        raise KernelError(
            f"Science is in {science.unit} and template in {template.unit}; calibrate both.",
            science_unit=science.unit,
            template_unit=template.unit,
        )
    if science.wcs is None or template.wcs is None:
        return
    ny, nx = science.shape
    x, y = np.array([0.0, nx - 1.0, 0.0, nx - 1.0]), np.array([0.0, 0.0, ny - 1.0, ny - 1.0])
    ra, dec = science.wcs.pixel_to_sky(x=x, y=y)
    there_x, there_y = template.wcs.sky_to_pixel(ra=ra, dec=dec)
    offset = float(np.max(np.hypot(there_x - x, there_y - y)))
    if not np.isfinite(offset):
        raise KernelError(
            "The WCS of the science exposure or of the template does not lead from its corners to the sky and back; "
            "its gates say why it is wrong.",
        )
    if offset > MAX_OFFSET:
        raise KernelError(
            f"Science and template lie {offset:.2f} pixels apart by their WCS; align the template first.",
            offset=offset,
        )


def _lost(exposure: Exposure) -> BoolArray:
    """Return where an exposure has no value: not finite, no data, or a hit or defect that was not interpolated."""
    with np.errstate(invalid="ignore"):
        unknown = ~np.isfinite(exposure.image) | ~np.isfinite(exposure.variance) | ~(exposure.variance > 0)
    planes = exposure.mask.planes
    unknown |= exposure.mask.any_of(*(name for name in ("NO_DATA",) if name in planes))
    repaired = exposure.mask.any_of(*(name for name in ("INTRP",) if name in planes))
    return np.asarray(unknown | (exposure.mask.any_of(*(name for name in ("BAD", "CR") if name in planes)) & ~repaired))
