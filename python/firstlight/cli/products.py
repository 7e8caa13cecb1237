"""The files that ``firstlight process`` leaves for one image."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from astropy.io import fits

from firstlight.errors import OutputError
from firstlight.images.background import BackgroundList
from firstlight.images.catalog import write_catalog
from firstlight.images.exposure import Exposure
from firstlight.images.fits import write_exposure
from firstlight.images.hdu_files import write_hdus

SUFFIXES = {
    "exposure": "_image.fits",
    "background": "_background.fits",
    "psf_stars": "_psf_stars.parquet",
    "stars": "_stars.parquet",
    "sources": "_sources.parquet",
    "astrometry_matches": "_astrometry_matches.parquet",
    "photometry_matches": "_photometry_matches.parquet",
    "page": ".html",
    "summary": "_summary.json",
}
"""Product -> ending of its file; the summary is written last."""

Products = Mapping[str, Any]
"""Connection name -> product, as `SingleFrameTask` names them."""


def prepare_folder(folder: Path) -> None:
    """Make the folder for the results.

    Raises
    ------
    OutputError
        If it cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".firstlight-write-test"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise OutputError(f"Cannot write into {folder}: {error.strerror}; choose another folder with -o.") from error


def write_products(products: Products, *, folder: Path, stem: str) -> tuple[Path, ...]:
    """Write what is there, and remove what an earlier run left under the same names; each file whole or not at all.

    Returns
    -------
    Paths of the files written.
    """
    writers: Mapping[str, Callable[[Any, Path], None]] = {
        "exposure": write_exposure,
        "background": lambda background, path: _write_background(background, products["exposure"], path),
        "psf_stars": write_catalog,
        "stars": write_catalog,
        "sources": write_catalog,
        "astrometry_matches": write_catalog,
        "photometry_matches": write_catalog,
    }
    written = []
    for name, suffix in SUFFIXES.items():
        path = folder / f"{stem}{suffix}"
        if name in writers and products.get(name) is not None:
            writers[name](products[name], path)
            written.append(path)
        else:
            path.unlink(missing_ok=True)
    return tuple(written)


def _write_background(background: BackgroundList, exposure: Exposure, path: Path) -> None:
    """Write the sum of the sky models as one image with the WCS of the exposure."""
    hdu = fits.PrimaryHDU(background.evaluate(shape=exposure.shape))
    hdu.header["BUNIT"] = "adu" if exposure.unit == "count" else exposure.unit
    if exposure.wcs is not None:
        hdu.header.update(exposure.wcs.to_header())
    write_hdus(path, [hdu])
