"""The Zwicky Transient Facility."""

from __future__ import annotations

from pathlib import Path

from firstlight.images.instrument import Instrument

SUFFIXES = (("_sciimg", "_mskimg"), ("_sci", "_mask"))
"""What in the name of an image is replaced to find its mask."""


class ZtfInstrument(Instrument):
    """Reads science images together with the bit masks that lie beside them."""

    def mask_path(self, path: Path) -> Path | None:
        """Return the mask beside an image: ``..._mskimg.fits`` for ``..._sciimg.fits``; None if there is none."""
        for image, mask in SUFFIXES:
            beside = path.with_name(path.name.replace(image, mask))
            if image in path.name and beside.is_file():
                return beside
        return None
