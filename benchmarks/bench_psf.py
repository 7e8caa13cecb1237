"""Model the PSF of simulated fields, and print how far it is from the truth, beside PSFEx and photutils.

python benchmarks/bench_psf.py [--first 201] [--seeds 2] [--cases full fwhm-1.5 crowded] [--task EffectivePsfTask]

Every model is compared with the simulator's profile on a 9 x 9 grid of positions. `rms`: median over the grid of the
root mean square difference of the unit-sum stars, relative to a star. `size`: mean relative error of the determinant
radius. `e`: median error of the ellipticity. CPU seconds are of the model alone, in this process or of the peer's.
PSFEx runs where `source-extractor` and `psfex` are installed, photutils where it can be imported.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.table import Table
from numpy.typing import NDArray

from firstlight.algorithms.detection import Detections
from firstlight.errors import ImageFileError
from firstlight.framework import find_class
from firstlight.images.exposure import Exposure
from firstlight.images.psfex_psf import PsfexFilePsf
from firstlight.instruments import find_instrument
from firstlight.kernels.moments import adaptive_moments_stamp
from firstlight.simulation import SimulatedExposure, SimulationSettings, simulate_exposure
from firstlight.tasks.background import MeshBackgroundTask
from firstlight.tasks.detect import MatchedFilterDetectTask
from firstlight.tasks.measure import PluginMeasureTask
from firstlight.tasks.psf import PsfResult
from firstlight.tasks.repair import MorphologyCosmicRayTask
from firstlight.tasks.seeing import StarSeeingTask

SMALL = (1024, 1024)
CASES: dict[str, SimulationSettings] = {
    "full": SimulationSettings(shape=(3080, 3072)),
    "fwhm-1.5": SimulationSettings(shape=SMALL).varied(fwhm=1.5),
    "fwhm-2.2": SimulationSettings(shape=SMALL),
    "fwhm-3": SimulationSettings(shape=SMALL).varied(fwhm=3.0),
    "fwhm-4.5": SimulationSettings(shape=SMALL).varied(fwhm=4.5),
    "fwhm-6": SimulationSettings(shape=SMALL).varied(fwhm=6.0),
    "oval": SimulationSettings(shape=SMALL).varied(ellipticity_variation=0.3),
    "galaxies": SimulationSettings(shape=SMALL).varied(star_density=6000.0, galaxy_fraction=3.0),
    "sparse": SimulationSettings(shape=SMALL).varied(star_density=1500.0),
    "crowded": SimulationSettings.crowded(),
}
TARGETS = {"full": {"cpu": 1.0, "rms": 0.008, "size": 0.001}}
"""Limits of the full frame; the others have none but those that the noise of their stars sets."""

HELD_OUT = {"size": 1e-3, "e1": 1e-3, "e2": 1e-3}
"""Limits of the medians over reserved stars, beyond three standard errors; the size is half of dT/T."""

CHI2 = (0.8, 1.3)
SEXTRACTOR_COLUMNS = ("VIGNET(35,35)", "X_IMAGE", "Y_IMAGE", "FLUX_RADIUS", "SNR_WIN", "FLUX_APER(1)",
                      "FLUXERR_APER(1)", "ELONGATION", "FLAGS")  # fmt: skip
PHOTUTILS_STARS = 100
HEADINGS = ("case", "seed", "model", "stars", "CPU s", "rms", "size", "e", "held-out size", "e1", "e2", "chi2", "pass")
WIDTHS = (9, 4, 17, 5, 6, 7, 8, 7, 16, 8, 8, 5, 4)
Draw = Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]]


@dataclass(frozen=True)
class Errors:
    """How far a model is from the truth."""

    rms: float
    size: float
    ellipticity: float


@dataclass(frozen=True)
class Field:
    """A simulated field, ready for a PSF."""

    sim: SimulatedExposure
    path: Path
    exposure: Exposure
    sources: Table
    detections: Detections


def main() -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--first", type=int, default=201)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=list(CASES))
    parser.add_argument("--task", default="PixelPsfTask")
    options = parser.parse_args()
    print(line(HEADINGS))
    task = find_class(options.task)()
    for case in options.cases:
        for seed in range(options.first, options.first + options.seeds):
            with tempfile.TemporaryDirectory() as folder:
                field = prepare(simulate_exposure(CASES[case], seed=seed), Path(folder))
                for row in rows(case, field, task):
                    print(line((case, str(seed), *row)), flush=True)


def rows(case: str, field: Field, task: Any) -> Iterator[tuple[str, ...]]:
    """Run firstlight and its peers on one field."""
    task.run(field.exposure, field.sources, field.detections)  # compiles the kernels
    before = time.process_time()
    result = task.run(field.exposure, field.sources, field.detections)
    cpu = time.process_time() - before
    errors = compare(lambda x, y: result.psf.images(x=x, y=y), field.sim)
    yield (*described(type(task).__name__, int(result.used.sum()), cpu, errors), *held_out(case, result, cpu, errors))
    if shutil.which("psfex") and shutil.which("source-extractor"):
        try:
            psf, n, cpu = run_psfex(field)
        except (subprocess.CalledProcessError, ImageFileError) as error:
            yield "PSFEx", f"failed: {error}"
        else:
            yield described("PSFEx", n, cpu, compare(lambda x, y: psf.images(x=x, y=y), field.sim))
    if find_spec("photutils"):
        yield run_photutils(field, result)


def prepare(sim: SimulatedExposure, folder: Path) -> Field:
    """Take a simulated image as far as the choice of PSF stars: sky, seeing, cosmic rays, sources."""
    path = folder / "image.fits"
    fits.PrimaryHDU(sim.image, sim.header).writeto(path)
    exposure = find_instrument(sim.header).read(path)
    exposure = without_sky(exposure)
    seeing = StarSeeingTask().run(exposure)
    exposure = MorphologyCosmicRayTask().run(exposure.replace(psf=seeing.psf), interpolate=False).exposure
    task = MatchedFilterDetectTask(type(MatchedFilterDetectTask().config)(threshold=10.0))
    found = task.run(exposure)
    exposure = without_sky(found.exposure)
    sources = PluginMeasureTask().run(exposure, found.detections, aperture_radius=2.0 * seeing.fwhm).catalog
    return Field(sim, path, exposure, sources, found.detections)


def without_sky(exposure: Exposure) -> Exposure:
    """Return the exposure without its sky."""
    return exposure.replace(image=MeshBackgroundTask().run(exposure).background.subtracted_from(exposure.image))


def compare(draw: Draw, sim: SimulatedExposure, *, n: int = 9) -> Errors:
    """Compare drawn stars with the truth on an n x n grid of positions of any pixel phase."""
    ny, nx = sim.image.shape
    rng = np.random.default_rng(sim.seed)
    x, y = (axis.ravel() for axis in np.meshgrid(np.linspace(20, nx - 21, n), np.linspace(20, ny - 21, n)))
    x, y = x + rng.uniform(-0.5, 0.5, x.size), y + rng.uniform(-0.5, 0.5, x.size)
    stars = draw(x, y)
    radius = (stars.shape[1] - 1) // 2
    truth = sim.point_spread.images(x=x, y=y, radius=radius)
    stars, truth = (images / images.sum(axis=(1, 2), keepdims=True) for images in (stars, truth))
    rms = np.sqrt(((stars - truth) ** 2).sum(axis=(1, 2)) / (truth**2).sum(axis=(1, 2)))
    sigma = sim.settings.optics.fwhm / 2.2
    (size, e1, e2), (true_size, true_e1, true_e2) = (shapes(images, x, y, sigma) for images in (stars, truth))
    return Errors(
        rms=float(np.median(rms)),
        size=float(np.nanmean(size / true_size - 1.0)),
        ellipticity=float(np.nanmedian(np.hypot(e1 - true_e1, e2 - true_e2))),
    )


def shapes(images: NDArray[np.float64], x: Any, y: Any, sigma: float) -> NDArray[np.float64]:
    """Return (3, n) determinant radius [pixel], e1 and e2; NaN where they do not converge."""
    radius = (images.shape[1] - 1) // 2
    found = np.full((3, len(images)), np.nan)
    for i, (image, dx, dy) in enumerate(zip(images, x - np.rint(x), y - np.rint(y), strict=True)):
        ixx, iyy, ixy, *_, status = adaptive_moments_stamp(np.ascontiguousarray(image), radius + dx, radius + dy, sigma)
        if status == 0:
            found[:, i] = (ixx * iyy - ixy**2) ** 0.25, (ixx - iyy) / (ixx + iyy), 2.0 * ixy / (ixx + iyy)
    return found


def held_out(case: str, result: PsfResult, cpu: float, errors: Errors) -> tuple[str, ...]:
    """Return the residuals of the reserved stars, and whether all limits are kept."""
    medians = {name: result.residuals.median(name) for name in ("size", "e1", "e2", "chi2")}
    limits = TARGETS.get(case, {})
    kept = [
        cpu <= limits.get("cpu", np.inf),
        errors.rms <= limits.get("rms", np.inf),
        abs(errors.size) <= limits.get("size", np.inf),
    ]
    if medians["size"].n:
        kept += [abs(medians[name].value) <= limit + 3.0 * medians[name].error for name, limit in HELD_OUT.items()]
        kept.append(CHI2[0] <= medians["chi2"].value <= CHI2[1])
    size = medians["size"]
    return (
        f"{size.value:+.4f}+-{size.error:.4f}",
        f"{medians['e1'].value:+.4f}",
        f"{medians['e2'].value:+.4f}",
        f"{medians['chi2'].value:.2f}",
        "yes" if all(kept) else "NO",
    )


def run_psfex(field: Field) -> tuple[PsfexFilePsf, int, float]:
    """Return the model of PSFEx with third-order variation, the number of its stars and its CPU seconds."""
    folder, detector = field.path.parent, field.sim.settings.detector
    (folder / "columns").write_text("\n".join(SEXTRACTOR_COLUMNS))
    catalog = folder / "stars.cat"
    quiet: dict[str, Any] = {"cwd": folder, "check": True, "capture_output": True}
    call = ["source-extractor", str(field.path), "-PARAMETERS_NAME", "columns", "-FILTER", "N", "-CATALOG_TYPE",
            "FITS_LDAC", "-CATALOG_NAME", str(catalog), "-PHOT_APERTURES", "10", "-DETECT_THRESH", "5",
            "-SATUR_LEVEL", str(0.98 * detector.saturation), "-GAIN", str(detector.gain)]  # fmt: skip
    subprocess.run(call, **quiet)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    call = ["psfex", str(catalog), "-PSFVAR_DEGREES", "3", "-PSF_SIZE", "35,35", "-SAMPLE_MINSN", "50", "-WRITE_XML",
            "N", "-CHECKIMAGE_TYPE", "NONE", "-CHECKPLOT_TYPE", "NONE", "-CHECKPLOT_DEV", "NULL",
            "-NTHREADS", "1"]  # fmt: skip
    subprocess.run(call, **quiet)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    path = catalog.with_suffix(".psf")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return PsfexFilePsf.read(path), int(fits.getheader(path, 1)["ACCEPTED"]), cpu


def run_photutils(field: Field, result: PsfResult) -> tuple[str, ...]:
    """Build the effective PSF of photutils from the same brightest stars; it is the same everywhere."""
    from astropy.nddata import NDData
    from photutils.psf import EPSFBuilder, extract_stars

    rows = np.flatnonzero(result.used)
    rows = rows[np.argsort(-np.asarray(field.sources["snr"])[rows])][:PHOTUTILS_STARS]
    size = 2 * result.psf.radius + 1
    places = Table({"x": np.asarray(field.sources["x"])[rows], "y": np.asarray(field.sources["y"])[rows]})
    before = time.process_time()
    stars = extract_stars(NDData(np.asarray(field.exposure.image, dtype=float)), places, size=size)
    model = EPSFBuilder(oversampling=4, maxiters=8, progress_bar=False)(stars)[0]
    cpu = time.process_time() - before
    steps = np.arange(-(size // 2), size // 2 + 1)

    def draw(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
        at_x, at_y = np.meshgrid(steps, steps)
        return np.array([
            model.evaluate(at_x, at_y, flux=1.0, x_0=a - np.rint(a), y_0=b - np.rint(b))
            for a, b in zip(x, y, strict=True)
        ])  # fmt: skip

    return described("photutils EPSF", len(rows), cpu, compare(draw, field.sim))


def described(name: str, n: int, cpu: float, errors: Errors) -> tuple[str, ...]:
    """Return the cells of a model."""
    return name, str(n), f"{cpu:.2f}", f"{errors.rms:.4f}", f"{errors.size:+.4f}", f"{errors.ellipticity:.4f}"


def line(cells: tuple[str, ...]) -> str:
    """Return one line of the table."""
    return "  ".join(f"{cell:>{width}}" for cell, width in zip(cells, WIDTHS, strict=False))


if __name__ == "__main__":
    main()
