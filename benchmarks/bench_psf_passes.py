"""Compare one PSF pass with two on simulated fields: errors against the truth, and CPU time.

OMP_NUM_THREADS=1 python benchmarks/bench_psf_passes.py --seeds 4 [--size 1024] [--density 2500] [--crowded]
"""

from __future__ import annotations

import argparse
import logging
import time

import numpy as np
import structlog
from astropy.coordinates import SkyCoord

from firstlight.errors import PartialResult
from firstlight.framework import Layer, build_config
from firstlight.images.exposure import plain_header
from firstlight.images.fits import RawImage
from firstlight.instruments.registry import known_instruments
from firstlight.refcats.formats import TableReferenceCatalog
from firstlight.simulation import SimulatedExposure, SimulatedNight, SimulationSettings, simulate_night
from firstlight.tasks.calibrate_image import CalibrateImageTask
from firstlight.tasks.calibrate_image_contract import CalibrateImageConfig, CalibrateImageResult

HEADINGS = ("seed", "passes", "WCS mas", "stated", "zp mmag", "stated", "PSF %", "PSF stars", "stars", "CPU s")


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--density", type=float)
    parser.add_argument("--seeing", type=float)
    parser.add_argument("--crowded", action="store_true")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    print("  ".join(f"{heading:>9}" for heading in HEADINGS))
    changes = {"star_density": options.density, "seeing": options.seeing}
    changes = {name: value for name, value in changes.items() if value is not None}
    if options.crowded:
        changes["star_density"] = 165_000.0
    for seed in range(options.first, options.first + options.seeds):
        settings = SimulationSettings(shape=(options.size, options.size)).varied(**changes)
        night = simulate_night(settings, seed=seed)
        for passes in (1, 2):
            print("  ".join(f"{cell:>9}" for cell in (str(seed), *study(night, passes))), flush=True)


def study(night: SimulatedNight, passes: int) -> list[str]:
    """Return one line of the table."""
    truth = night.exposures[0]
    raw = RawImage(truth.image, plain_header(truth.header), 0)
    exposure = known_instruments()["simulated"].to_exposure(raw)
    reference = TableReferenceCatalog(night.reference, name="reference")
    layer = Layer.from_assignment(f"psf_passes={passes}")
    task = CalibrateImageTask(build_config(CalibrateImageConfig, [layer]))
    task.run(exposure, astrometry_refcat=reference, photometry_refcat=reference)  # compiles the kernels
    before = time.process_time()
    try:
        result = task.run(exposure, astrometry_refcat=reference, photometry_refcat=reference)
    except PartialResult as end:
        return [str(passes), str(end)]
    return [str(passes), *errors(truth, result), f"{time.process_time() - before:.2f}"]


def errors(truth: SimulatedExposure, result: CalibrateImageResult) -> list[str]:
    """Return the errors of a result against the truth, beside those that it states."""
    summary, (ny, nx) = result.summary, result.exposure.shape
    y, x = (axis.ravel() for axis in np.meshgrid(np.linspace(0, ny - 1, 33), np.linspace(0, nx - 1, 33)))
    found = SkyCoord(*result.exposure.wcs.pixel_to_sky(x=x, y=y), unit="deg")
    true = SkyCoord(*truth.wcs.all_pix2world(x, y, 0), unit="deg")
    wcs_rms = np.sqrt(np.mean(found.separation(true).arcsec ** 2))
    px, py = x[::16], y[::16]
    sizes = [
        result.exposure.psf.moments(x=a, y=b).sigma / truth.point_spread.adaptive_moments(x=a, y=b).sigma - 1
        for a, b in zip(px, py, strict=True)
    ]
    return [
        f"{1000 * wcs_rms:.2f}",
        f"{1000 * summary['astrom_stated_error']:.2f}",
        f"{1000 * (summary['zero_point'] - truth.zero_point):+.2f}",
        f"{1000 * summary['zero_point_error']:.2f}",
        f"{100 * np.sqrt(np.mean(np.square(sizes))):.3f}",
        f"{summary['n_psf_star']:.0f}",
        f"{len(result.stars)}",
    ]


if __name__ == "__main__":
    main()
