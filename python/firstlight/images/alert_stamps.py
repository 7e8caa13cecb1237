"""Stamps of alerts: small FITS files around a place, made many at a time."""

from __future__ import annotations

import gzip
import math
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from firstlight.images.box import Box
from firstlight.images.exposure import Exposure

BLOCK = 2880
"""FITS files are made of blocks of so many bytes (FITS standard 4.0, section 3.1)."""

PLACE = ("CRPIX1", "CRPIX2")
"""What is different in the headers of two stamps of one image."""


@dataclass(frozen=True)
class StampMaker:
    """Cuts stamps out of one image.

    A stamp is a gzip-compressed FITS file: an image with NaN where there are no pixels and with the WCS of the
    exposure; the extension ``PSF`` is that at the place. It holds no time, so equal images give equal bytes.

    Parameters
    ----------
    exposure
    size : [pixel]
        Side; odd.
    """

    exposure: Exposure
    size: int
    _psf_headers: dict[tuple[int, ...], bytes] = field(default_factory=dict, repr=False)

    def stamp(self, *, x: float, y: float) -> bytes | None:
        """Return the stamp around a place; None where the image does not reach it.

        Parameters
        ----------
        x, y : [pixel]
            The pixel they fall on is the middle one.
        """
        if not (math.isfinite(x) and math.isfinite(y)):
            return None
        box = Box.around(x=x, y=y, radius=self.size // 2)
        if not box.clip(self.exposure.box).area:
            return None
        parts = [self._header_at(box), _padded(box.cut(self.exposure.image, fill=np.nan))]
        if self.exposure.psf is not None:
            psf = self.exposure.psf.kernel_image(x=x, y=y).astype(np.float32)
            if psf.shape not in self._psf_headers:
                self._psf_headers[psf.shape] = _text(fits.ImageHDU(psf, name="PSF").header)
            parts += [self._psf_headers[psf.shape], _padded(psf)]
        return gzip.compress(b"".join(parts), mtime=0)

    def _header_at(self, box: Box) -> bytes:
        """Return the header of a stamp; only the cards of `PLACE` differ from those of another one."""
        text, cards = self._header
        for name, start in cards.items():
            value = self._crpix[name] - (box.x0 if name == PLACE[0] else box.y0)
            card = fits.Card(name, value, "pixel of the reference point").image.encode("ascii")
            text = text[:start] + card + text[start + len(card) :]
        return text

    @cached_property
    def _header(self) -> tuple[bytes, dict[str, int]]:
        """The header of the image, and where in it the cards of `PLACE` stand."""
        header = fits.PrimaryHDU(np.zeros((self.size, self.size), dtype=np.float32)).header
        header["BUNIT"] = str(self.exposure.unit)
        if self.exposure.wcs is not None:
            header.update(self.exposure.wcs.to_header())
        return _text(header), {name: 80 * header.index(name) for name in PLACE if name in header}

    @cached_property
    def _crpix(self) -> dict[str, float]:
        return {} if self.exposure.wcs is None else {name: float(self.exposure.wcs.to_header()[name]) for name in PLACE}


def _text(header: fits.Header) -> bytes:
    return bytes(header.tostring(), "ascii")


def _padded(pixels: NDArray[np.float32]) -> bytes:
    data = pixels.astype(">f4").tobytes()
    return data + bytes(-len(data) % BLOCK)
