"""Masks, as FITS: Rice-compressed, with the bit of each plane as ``MP_<NAME>``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from astropy.io import fits

from firstlight.images.hdu_files import open_hdus, write_hdus
from firstlight.images.mask import Mask, header_keyword, planes_from_header

TYPES = (Mask,)
TILE_ROWS = 64


def write(mask: Mask, path: Path) -> None:
    """Write the mask."""
    tile = (min(TILE_ROWS, mask.shape[0]), mask.shape[1])
    hdu = fits.CompImageHDU(mask.array, name="MASK", compression_type="RICE_1", tile_shape=tile)
    for name, bit in mask.planes.items():
        keyword = header_keyword(name)
        hdu.header[keyword if len(keyword) <= 8 else f"HIERARCH {keyword}"] = bit
    write_hdus(path, [fits.PrimaryHDU(), hdu])


def read(path: Path) -> object:
    """Return the mask that `write` wrote."""
    with open_hdus(path) as hdus:
        header = hdus["MASK"].header
        planes = planes_from_header((keyword, header[keyword]) for keyword in header if keyword.startswith("MP_"))
        return Mask(np.asarray(hdus["MASK"].data, dtype=np.int32), planes=planes)
