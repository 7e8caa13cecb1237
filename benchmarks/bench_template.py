"""Combine simulated epochs of known stars with CoaddTemplateTask and with SWarp, and print how good and fast each is.

python benchmarks/bench_template.py [--side 1024] [--epochs 8] [--memory 1024 32]

Both get the same images, WCS, weights and grid. Times are CPU seconds of one thread; that of firstlight, the second of
two runs, holds the comparison of stars and the PSF model, which SWarp does not make. SWarp is the one on the path.
Fluxes and what is left are compared with the same combination of the same noise without rays and moving things.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from firstlight.images.pixel_grid import PixelGrid
from firstlight.tasks.template_coadd import CoaddTemplateConfig, CoaddTemplateTask

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.tasks.epochs import RADIUS, Field, draw, handles, make_field, wcs

HALF = 6


class Combination(NamedTuple):
    """An image, its standard deviation, and the CPU seconds that it took."""

    image: NDArray[np.floating]
    sigma: NDArray[np.floating]
    seconds: float


def firstlight_template(field: Field, grid: PixelGrid, memory: int) -> Combination:
    task = CoaddTemplateTask(CoaddTemplateConfig(max_memory=memory))
    task.run(handles(field.exposures), grid)
    start = time.process_time()
    template = task.run(handles(field.exposures), grid).template
    return Combination(template.image, np.sqrt(template.variance), time.process_time() - start)


def swarp_template(field: Field, grid: PixelGrid, combine: str) -> Combination:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number, exposure in enumerate(field.exposures):
            header = fits.Header(exposure.wcs.to_header()) if exposure.wcs else fits.Header()
            header["FLXSCALE"] = exposure.photo_calib.mean if exposure.photo_calib else 1.0
            fits.PrimaryHDU(exposure.image, header).writeto(folder / f"e{number}.fits")
            fits.PrimaryHDU(1.0 / exposure.variance, header).writeto(folder / f"e{number}.weight.fits")
        header = fits.Header({**grid.wcs.to_header(), "NAXIS": 2, "NAXIS1": grid.shape[1], "NAXIS2": grid.shape[0]})
        (folder / "coadd.head").write_text(header.tostring(sep="\n"))
        words = {
            "-IMAGEOUT_NAME": "coadd.fits",
            "-WEIGHTOUT_NAME": "coadd.weight.fits",
            "-WEIGHT_TYPE": "MAP_WEIGHT",
            "-COMBINE_TYPE": combine,
            "-SUBTRACT_BACK": "N",
            "-RESAMPLING_TYPE": "LANCZOS3",
            "-NTHREADS": "1",
            "-VERBOSE_TYPE": "QUIET",
            "-CLIP_SIGMA": "4.0",
            "-WRITE_XML": "N",
        }
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        images = sorted(path.name for path in folder.glob("e?.fits"))
        subprocess.run(
            ["SWarp", *images, *(word for pair in words.items() for word in pair)],
            cwd=folder,
            check=True,
            capture_output=True,
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        image = fits.getdata(folder / "coadd.fits").astype(np.float64)
        weight = fits.getdata(folder / "coadd.weight.fits").astype(np.float64)
    with np.errstate(divide="ignore"):
        return Combination(image, np.where(weight > 0, 1 / np.sqrt(weight), np.nan), seconds)


def row(name: str, found: Combination, field: Field, clean: Combination, grid: PixelGrid) -> str:
    """Return what differs from the same images without cosmic rays and without what moves."""
    x, y = grid.wcs.sky_to_pixel(ra=field.ra, dec=field.dec)
    ny, nx = grid.shape
    bias, error = [], []
    for star_x, star_y, flux in zip(x, y, field.flux, strict=True):
        column, line = round(star_x), round(star_y)
        if RADIUS < column < nx - RADIUS and RADIUS < line < ny - RADIUS:
            square = np.s_[line - HALF : line + HALF + 1, column - HALF : column + HALF + 1]
            bias.append((found.image[square].sum() - clean.image[square].sum()) / flux)
            error.append(np.sqrt((clean.sigma[square] ** 2).sum()) / flux)
    middle = np.s_[60 : ny - 60, 60 : nx - 60]
    left = (found.image - clean.image)[middle] / clean.sigma[middle]
    sky = np.abs(draw(x, y, field.flux, field.exposures[0].psf, nx))[middle] < 0.01 * clean.sigma[middle]
    scatter = 1.4826 * np.nanmedian(np.abs(found.image[middle] / found.sigma[middle])[sky])
    weights = 1 / np.array(error) ** 2
    mean = np.average(bias, weights=weights)
    worst = np.max(np.abs(bias)[np.array(error) < 2e-3])
    return (
        f"{name:28s} {found.seconds:8.2f} {mean:+11.5f} {worst:10.4f} {scatter:10.3f} "
        f"{np.mean(np.abs(left) > 3):10.5f} {np.nanmax(np.abs(left)):10.1f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--memory", type=int, nargs="+", default=[1024, 32])
    options = parser.parse_args()
    rng = np.random.default_rng(3)
    fwhms = rng.uniform(2.2, 2.75, options.epochs)
    common = {"side": options.side, "n_side": options.side // 46, "turn": 0.3}
    dirty = make_field(fwhms, rays=(options.side // 56) ** 2, **common)
    clean = make_field(fwhms, rays=0, moving=0.0, **common)
    grid = PixelGrid((options.side, options.side), wcs(side=options.side))
    print(
        f"{options.epochs} epochs, {options.side}^2 pixels, {len(dirty.flux)} stars, "
        f"FWHM {fwhms.min():.2f} to {fwhms.max():.2f}"
    )
    print(f"{'':28s} {'CPU s':>8s} {'flux bias':>11s} {'worst':>10s} {'sky std':>10s} {'> 3 sigma':>10s} {'max':>10s}")
    reference = firstlight_template(clean, grid, 1024)
    for memory in options.memory:
        name = f"CoaddTemplateTask {memory} MB"
        print(row(name, firstlight_template(dirty, grid, memory), dirty, reference, grid))
    for combine in ("CLIPPED", "WEIGHTED", "MEDIAN"):
        own = swarp_template(clean, grid, "WEIGHTED")
        print(row(f"SWarp {combine}", swarp_template(dirty, grid, combine), dirty, own, grid))


if __name__ == "__main__":
    main()
