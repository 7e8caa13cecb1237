"""The Zwicky Transient Facility."""

from __future__ import annotations

from pathlib import Path

from firstlight.images.instrument import Header, Instrument

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
        return super().mask_path(path)

    def why_no_image(self, path: Path, header: Header) -> str:
        """Return why a file is no image but belongs to one; masks have the headers of their images."""
        for image, mask in SUFFIXES:
            beside = path.with_name(path.name.replace(mask, image))
            if mask in path.name and beside.is_file():
                return f"is the mask of {beside.name}, by its name."
        if "_mskimg" in path.name:
            return "is a mask by its name; give its image too, and it goes in with it."
        return super().why_no_image(path, header)
