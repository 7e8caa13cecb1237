"""The mask planes of a difference image in which something is looked for."""

from __future__ import annotations

import numpy as np

from firstlight.algorithms.detection import Detections
from firstlight.images.exposure import Exposure
from firstlight.images.mask import Mask
from firstlight.kernels.matched_filter import grow_mask

CORES = ("SAT", "SAT_TEMPLATE")
"""Planes of saturated cores of either image."""

FURTHER_PLANES = (
    "SAT_TEMPLATE",
    "INJECTED",
    "INJECTED_CORE",
    "INJECTED_TEMPLATE",
    "HIGH_VARIANCE",
    "SPIKE",
    "INEXACT_PSF",
)
"""Planes that give flags of their own to what is found, beside those of every source."""

_CLEARED = ("DETECTED", "DETECTED_NEGATIVE", "NOT_DEBLENDED")


def prepared(difference: Exposure) -> Exposure:
    """Return the difference with every plane that is asked for, without what an earlier detection set, and no gaps."""
    mask = difference.mask.with_new_planes(*_CLEARED, *FURTHER_PLANES, "STREAK", "SUSPECT", "CR", "INTRP", "EDGE")
    return difference.replace(image=np.nan_to_num(difference.image, nan=0.0), mask=mask.without(*_CLEARED))


def with_detections(mask: Mask, positive: Detections, negative: Detections, *, grow: int) -> Mask:
    """Return the mask with the footprints of both signs, grown by so many pixels."""
    for plane, found in (("DETECTED", positive), ("DETECTED_NEGATIVE", negative)):
        mask = mask.with_plane(plane, grow_mask(found.labels > 0, grow) if grow else found.labels > 0)
    return mask
