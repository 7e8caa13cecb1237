"""What the header of a raw image told, ready to be ingested."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from firstlight.images.observation import DetectorInfo, ObservationInfo


@dataclass(frozen=True)
class Translated:
    """One detector's image in a file.

    Parameters
    ----------
    hdu
        Number of the HDU.
    observation, detector
    ra, dec : [deg]
        ICRS position of the middle of the image; None where the header does not tell it.
    radius : [deg]
        Of a circle around it that holds the image, also where the telescope pointed wrong by its usual error.
    mask
        File with the mask of the image, which goes wherever the image goes.
    """

    hdu: int
    observation: ObservationInfo
    detector: DetectorInfo
    ra: float | None = None
    dec: float | None = None
    radius: float | None = None
    mask: Path | None = None


Translate = Callable[[Path], Sequence[Translated]]
"""Returns the images in a file; raises a `NoImageError` for a file that is none, another `InputError` for a bad one."""
