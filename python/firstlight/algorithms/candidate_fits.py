"""A point source fitted to candidates: to their difference, and to the image in which they are bright."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from firstlight.algorithms.point_fit import PointFit, core_half, fit_points
from firstlight.algorithms.stamps import CandidateStamps, StampPsfs

_LARGEST_SHIFT = 1.5
_LARGEST_OWN_SHIFT = 0.7


class CandidateFits(NamedTuple):
    """Two fits of n candidates, to the middles of their stamps.

    Parameters
    ----------
    difference
        To the difference, with its PSF.
    own
        To the image in which the source is bright, with the PSF of that image, near the same place, upon the other
        image and a constant: before it was convolved a cosmic ray is as sharp as it fell.
    """

    difference: PointFit
    own: PointFit


def fit_candidates(stamps: CandidateStamps, *, psfs: StampPsfs, fwhm: float) -> CandidateFits:
    """Fit a point source near the middle of each stamp, to no more pixels than count.

    Parameters
    ----------
    stamps
        Upright.
    psfs
    fwhm : [pixel]
        Full width at half maximum of the PSF of the difference.
    """
    reach = core_half(fwhm, largest_shift=_LARGEST_SHIFT + _LARGEST_OWN_SHIFT)
    stamps = stamps.cropped(min(stamps.half, reach))
    difference = fit_points(
        stamps.difference,
        stamps.difference_variance,
        psf=psfs.difference,
        middle=stamps.middle,
        x=stamps.x,
        y=stamps.y,
        fwhm=fwhm,
        largest_shift=_LARGEST_SHIFT,
    )
    groups, parts = [], []
    for negative, psf in ((False, psfs.science), (True, psfs.template)):
        rows = np.flatnonzero(stamps.negative == negative)
        some = stamps[rows]
        groups.append(rows)
        parts.append(
            fit_points(
                some.science,
                # Without the light below it a pixel tells nothing of the source.
                np.where(np.isfinite(some.template_variance), some.science_variance, np.float32(np.inf)),
                psf=psf,
                middle=some.middle,
                x=difference.x[rows],
                y=difference.y[rows],
                fwhm=fwhm,
                largest_shift=_LARGEST_OWN_SHIFT,
                planes=(some.template, np.ones((1, 1, 1))),
            )
        )
    order = np.argsort(np.concatenate(groups))
    return CandidateFits(difference, PointFit(*(np.concatenate(each)[order] for each in zip(*parts, strict=True))))
