"""Where the pixels of an image to be made lie on the sky."""

from __future__ import annotations

from dataclasses import dataclass

from firstlight.images.exposure import Exposure
from firstlight.images.wcs import SkyWcs


@dataclass(frozen=True)
class PixelGrid:
    """Shape and WCS of an image, without its pixels."""

    shape: tuple[int, int]
    """Rows and columns."""

    wcs: SkyWcs
    """Position of each pixel on the sky."""

    @classmethod
    def of(cls, exposure: Exposure) -> PixelGrid:
        """Return the grid of an exposure.

        Raises
        ------
        ValueError
            If it has no WCS.
        """
        if exposure.wcs is None:
            raise ValueError("The exposure has no WCS, so that its pixels have no place on the sky.")
        return cls(exposure.shape, exposure.wcs)
