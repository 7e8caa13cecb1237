"""Stamps of candidates as small pictures: science, template and difference with the same stretch."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from firstlight.images.box import Box
from firstlight.images.exposure import Exposure
from firstlight.kernels.arrays import FloatArray
from firstlight.qa.stamp_marks import Compass, stamp_marks

HALF_FWHM, LEAST_HALF, LARGEST_HALF = 6.0, 12, 31
"""Half the side of a stamp, in units of the FWHM and at least and at most [pixel]."""

LOW, LEAST_HIGH, LINEAR = -4.0, 8.0, 3.0
"""Lowest and smallest highest value, and where the stretch leaves the straight line [noise of a pixel]."""

CORE = 3
"""The highest value is the brightest one within so many pixels of the candidate."""

NO_DATA = (150, 175, 205)
"""Colour where there is no pixel."""


@dataclass(frozen=True)
class Triplet:
    """Three PNG files as base64, of the same size and stretch; empty where there is no image.

    Parameters
    ----------
    science, template, difference
    size
        Side [pixel].
    compass
        Where north and east are; None where it is not known.
    """

    science: str
    template: str
    difference: str
    size: int
    compass: Compass | None = None

    @property
    def marks(self) -> str:
        """What is drawn over a stamp, as SVG; empty where nothing is known of the sky."""
        return "" if self.compass is None else stamp_marks(self.compass, size=self.size)


def triplet(
    images: Sequence[Exposure | None],
    *,
    x: float,
    y: float,
    half: int | None = None,
    compass: Compass | None = None,
) -> Triplet | None:
    """Return stamps around a candidate; dark is bright, and a hole is lighter than the sky.

    The stretch is an arc hyperbolic sine of the flux in units of the noise (Lupton et al. 1999, AJ 118, 1406).

    Parameters
    ----------
    images
        Science image, template and difference, on the same pixels and without sky; None where there is none.
    x, y : [pixel]
    half : [pixel]
        Half the side; `half_side` where it is left out.
    compass
        Where north and east are at the candidate.

    Returns
    -------
    None if there is no image, or the place lies nowhere.
    """
    there = [image for image in images if image is not None]
    if not there or not (np.isfinite(x) and np.isfinite(y)):
        return None
    half = half_side(there[-1]) if half is None else half
    box = Box.around(x=x, y=y, radius=half)
    cut = [None if image is None else box.cut(image.image, fill=np.nan) for image in images]
    noise = _noise(box.cut(there[-1].variance, fill=np.nan))
    core = slice(half - CORE, half + CORE + 1)
    peaks = [np.abs(stamp[core, core]) for stamp in cut if stamp is not None]
    known = np.concatenate([peak[np.isfinite(peak)] for peak in peaks])
    high = max(LEAST_HIGH, float(known.max()) / noise if known.size else 0.0)
    shown = ["" if stamp is None else encode_stamp(stamp / noise, high=high) for stamp in cut]
    return Triplet(shown[0], shown[1], shown[2], size=2 * half + 1, compass=compass)


def half_side(exposure: Exposure) -> int:
    """Return half the side of stamps [pixel], which follows the seeing."""
    if exposure.psf is None:
        return LARGEST_HALF // 2
    x, y = exposure.psf.average_position
    return int(np.clip(round(HALF_FWHM * exposure.psf.fwhm(x=x, y=y)), LEAST_HALF, LARGEST_HALF))


def encode_stamp(values: FloatArray, *, high: float) -> str:
    """Return a stamp as PNG in base64.

    Parameters
    ----------
    values : (ny, nx)
        In units of the noise; NaN where there is no pixel.
    high
        What is black.
    """
    low, top = np.arcsinh(LOW / LINEAR), np.arcsinh(high / LINEAR)
    known = np.isfinite(values)
    share = (np.arcsinh(np.where(known, values, 0.0) / LINEAR) - low) / (top - low)
    grey = np.where(known, 1.0 + np.round(254.0 * (1.0 - np.clip(share, 0.0, 1.0))), 0.0).astype(np.uint8)
    return base64.b64encode(_png(grey[::-1])).decode("ascii")


def _png(indices: NDArray[np.uint8]) -> bytes:
    """Return a picture of a palette of greys whose first colour stands for no data (ISO/IEC 15948)."""
    ny, nx = indices.shape
    palette = bytes(NO_DATA) + bytes(level for level in range(1, 256) for _ in range(3))
    rows = np.concatenate([np.zeros((ny, 1), np.uint8), indices], axis=1).tobytes()
    parts = (
        (b"IHDR", struct.pack(">IIBBBBB", nx, ny, 8, 3, 0, 0, 0)),
        (b"PLTE", palette),
        (b"IDAT", zlib.compress(rows, 6)),
        (b"IEND", b""),
    )
    chunks = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def _noise(variance: FloatArray) -> float:
    good = variance[np.isfinite(variance) & (variance > 0)]
    return float(np.sqrt(np.median(good))) if good.size else 1.0
