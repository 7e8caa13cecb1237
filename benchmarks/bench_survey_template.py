"""Subtract a simulated survey, served by this machine as the CDS serves it, and print what is found and what is wrong.

python benchmarks/bench_survey_template.py [--fields 3] [--side 360]

From the image of each field that of its own camera is subtracted first, then cutouts of a survey with linear pixels,
one with asinh pixels, one with linear pixels that are asked for no finer than the cutout, one whose flux scale changes
by a fifth in the middle of the field, as from one skycell of Pan-STARRS to the next, and one that is twelve years older
than the image, so that stars have moved. Sources are new at S/N 7 and more
on the image alone; wrong are candidates where nothing changed and the detector has no fault. CPU seconds of one thread.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
import tempfile
import time
from pathlib import Path
from unittest.mock import patch

import numpy as np
from astropy.io import fits
from astroquery.hips2fits import hips2fitsClass

from firstlight.cli.main import run
from firstlight.images.catalog import read_catalog
from firstlight.images.wcs import SkyWcs
from firstlight.refcats import cutouts
from firstlight.simulation import SimulationSettings, night_sky, write_night
from firstlight.simulation.sky import apply_proper_motion

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.refcats.services import serving
from tests.refcats.survey_sky import SurveySky

MIN_SNR, CHANGED, MARGIN, MATCH = 7.0, 2.0, 15, 2.0
STEP, AGE = 1.2, 12.0
QUIET = {"hot_pixels": 0, "bad_columns": 0, "cosmic_rays": 0}


def settings(side: int) -> SimulationSettings:
    return SimulationSettings(shape=(side, side)).varied(
        header_wcs="exact", star_density=60_000.0, transient_density=6000.0, galaxy_fraction=0.0, **QUIET
    )


def survey_of(folder: Path, side: int, seed: int, *, years: float) -> SurveySky:
    """Return a survey of the sky as it was so many years before the images."""
    wcs = SkyWcs.from_header(fits.getheader(folder / "epoch_1.fits"))
    ra, dec = (float(each) for each in wcs.pixel_to_sky(x=side / 2, y=side / 2))
    sky = night_sky(settings(side), seed=seed, n_epochs=2)
    since = settings(side).date - years - settings(side).reference.epoch
    sky["ra"], sky["dec"] = apply_proper_motion(
        *(sky[name].data for name in ("ra", "dec")), pmra=sky["pmra"].data, pmdec=sky["pmdec"].data, years=since
    )
    width = 1.5 * side / 3600
    return SurveySky(sky, ra=ra, dec=dec, side=width, pixel_scale=0.25, fwhm=1.3, zero_point=27.0)


def judged(folder: Path, out: Path, side: int) -> tuple[int, int, int, int]:
    """Return how many sources are new, how many of them are found, and how many candidates are wrong."""
    truth, found = read_catalog(folder / "truth.parquet"), read_catalog(out / "epoch_1_candidates.parquet")
    truth = truth[np.isfinite(np.asarray(truth["x_1"], dtype=float))]
    x, y, now, before = (np.asarray(truth[name], dtype=float) for name in ("x_1", "y_1", "flux_1", "flux_0"))
    both = (now > 500) & (before > 500)
    change = np.nan_to_num(now) - np.median(now[both] / before[both]) * np.nan_to_num(before)
    inside = (np.minimum(x, y) > MARGIN) & (np.maximum(x, y) < side - MARGIN)
    new = inside & (np.asarray(truth["first_epoch"]) == 1) & (change > MIN_SNR * _flux_error(out))
    apart = np.hypot(x[:, None] - np.asarray(found["x"]), y[:, None] - np.asarray(found["y"]))
    wrong = apart[np.abs(change) > CHANGED * _flux_error(out)].min(axis=0) > MATCH
    dipoles = wrong & np.asarray(found["is_dipole"])
    return int(new.sum()), int((apart[new].min(axis=1) < MATCH).sum()), int(wrong.sum()), int(dipoles.sum())


def _flux_error(out: Path) -> float:
    found = read_catalog(out / "epoch_1_candidates.parquet")
    return float(np.median(np.asarray(found["psf_inst_flux_err"])))


def difference(folder: Path, out: Path, *template: str) -> float:
    start = time.process_time()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        code = run(["difference", str(folder / "epoch_1.fits"), *template, "-o", str(out), "--no-page"])
    if code != 0:
        raise SystemExit(f"{out.name}: exit code {code}")
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fields", type=int, default=3)
    parser.add_argument("--side", type=int, default=360)
    arguments = parser.parse_args()
    rows: dict[str, list[tuple[float, ...]]] = {}
    with tempfile.TemporaryDirectory() as name:
        for seed in range(1, arguments.fields + 1):
            folder = Path(name) / str(seed)
            write_night(folder, settings(arguments.side), seed=seed, n_epochs=2)
            survey = survey_of(folder, arguments.side, seed, years=0.0)
            with serving(survey.answer) as service, patch.object(hips2fitsClass, "server", service.url):

                def one(label: str, *template: str, folder: Path = folder) -> None:
                    seconds = difference(folder, folder / label, *template)
                    rows.setdefault(label, []).append((*judged(folder, folder / label, arguments.side), seconds))

                one("same camera", str(folder / "epoch_0.fits"))
                one("survey", "--survey", "SDSS")
                one("asinh survey", "--survey", "PS1")
                with patch.object(cutouts, "ENOUGH", 1):
                    one("survey, no finer", "--survey", "SDSS")
                survey.image[:, survey.image.shape[1] // 2 :] *= STEP
                one("survey with a step", "--survey", "SDSS")
                service.answer = survey_of(folder, arguments.side, seed, years=AGE).answer
                one("old survey", "--survey", "SDSS")
    print(f"{'template':20s} {'new':>5s} {'found':>6s} {'wrong':>6s} {'dipoles':>8s} {'CPU s':>6s}")
    for label, values in rows.items():
        new, found, wrong, dipoles, seconds = np.sum(values, axis=0)
        print(f"{label:20s} {new:5.0f} {found:6.0f} {wrong:6.0f} {dipoles:8.0f} {seconds / len(values):6.1f}")


if __name__ == "__main__":
    main()
