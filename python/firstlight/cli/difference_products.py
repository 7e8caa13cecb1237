"""The files that ``firstlight difference`` leaves for one pair of images."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits

from firstlight.cli.image_job import ImageFiles, ImageOutcome
from firstlight.cli.summary_file import summary_values
from firstlight.images.atomic import write_text_atomically
from firstlight.images.catalog import write_catalog
from firstlight.images.fits import write_exposure
from firstlight.images.hdu_files import write_hdus
from firstlight.images.spatial_kernel import MatchingKernel

PRODUCT_SUFFIXES = {
    "difference": "_difference.fits",
    "matched_template": "_template.fits",
    "kernel": "_kernel.fits",
    "candidates": "_candidates.parquet",
    "kernel_sources": "_kernel_stars.parquet",
    "page": "_difference.png",
    "summary": "_difference_summary.json",
}
"""Product -> ending of its file; the summary is written last."""

MAP_SIDE = 3


def write_difference_products(products: Mapping[str, Any], *, folder: Path, stem: str) -> tuple[Path, ...]:
    """Write what is there, and remove what an earlier run left under the same names; each file whole or not at all.

    Returns
    -------
    Paths of the files written.
    """
    writers: Mapping[str, Callable[[Any, Path], None]] = {
        "difference": write_exposure,
        "matched_template": write_exposure,
        "kernel": write_kernel,
        "candidates": write_catalog,
        "kernel_sources": write_catalog,
    }
    written = []
    for name, write in writers.items():
        path = folder / f"{stem}{PRODUCT_SUFFIXES[name]}"
        if products.get(name) is None:
            path.unlink(missing_ok=True)
            continue
        write(products[name], path)
        written.append(path)
    return tuple(written)


def write_kernel(kernel: MatchingKernel, path: Path) -> None:
    """Write a kernel as FITS: a map of 3 x 3 kernels to look at, and the components that make it everywhere.

    COMPONENTS holds one kernel for each product of Chebyshev polynomials (`SpatialKernel`), BACKGROUND the
    coefficients of what is added.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    ny, nx = kernel.kernel.shape
    inner = (np.arange(MAP_SIDE) + 0.5) / MAP_SIDE
    rows = [np.hstack([kernel.kernel.image(x=u * nx - 0.5, y=v * ny - 0.5) for u in inner]) for v in inner]
    first = fits.PrimaryHDU(np.vstack(rows).astype(np.float32))
    first.header["CONVOLVD"] = (kernel.convolved, "which image is convolved")
    first.header["FLUXSCAL"] = (kernel.flux_scale, "flux in science over flux in template")
    first.header["IMAGENX"], first.header["IMAGENY"] = nx, ny
    first.header["MAPSIDE"] = (MAP_SIDE, "kernels along a side of this map")
    arrays, _ = kernel.to_parts()
    write_hdus(
        path,
        [
            first,
            fits.ImageHDU(np.asarray(arrays["components"], dtype=np.float64), name="COMPONENTS"),
            fits.ImageHDU(np.atleast_2d(np.asarray(arrays["background"], dtype=np.float64)), name="BACKGROUND"),
        ],
    )


def write_difference_summary(outcome: ImageOutcome, template: ImageFiles, path: Path) -> None:
    """Write the summary of one pair; a number that is not known is null.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    values = {"image": outcome.files.path.name, "template": template.path.name, **summary_values(outcome)}
    write_text_atomically(path, json.dumps(values, indent=1, allow_nan=False) + "\n")
