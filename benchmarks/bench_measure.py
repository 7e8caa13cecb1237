"""Measure simulated fields and print how near fluxes, positions and classes are to their limits, beside peers.

python benchmarks/bench_measure.py --seeds 3 [--size 3072x3080] [--skip-peers]

Limits are those of the noise: the error of the best unbiased estimate with the true position (fluxes) or flux
(positions) under the variance of the exposure. Peers are sep and, where installed, SExtractor.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np  # the number of threads is read when numpy is loaded
import pyarrow.parquet
import sep
from astropy.io import fits
from astropy.table import Table
from scipy.spatial import cKDTree

from firstlight.algorithms.psf_flux import measure_psf_flux
from firstlight.images.exposure import Exposure
from firstlight.images.fits import read_exposure
from firstlight.tasks.deblend import SymmetricDeblendTask
from firstlight.tasks.detect import MatchedFilterDetectTask
from firstlight.tasks.measure import PluginMeasureTask
from firstlight.tasks.measure_image import MeasureImageTask

FIRSTLIGHT = str(Path(sys.executable).parent / "firstlight")
UNUSABLE = ("BAD", "NO_DATA", "SAT", "CR")
LONE = 0.005
"""Most light of neighbours within twelve pixels of a lone star, in units of its own."""

MAGNITUDES = ((15.5, 16.5), (16.5, 17.5), (17.5, 18.5), (18.5, 19.5))


@dataclass
class Field:
    """A simulated exposure that was calibrated, with its truth in nJy."""

    folder: Path
    exposure: Exposure
    truth: Table
    cpu: dict[str, float]

    @property
    def radius(self) -> float:
        """Radius of the calibration aperture [pixel]."""
        return float(self.exposure.summary["aperture_radius"])


def main() -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first", type=int, default=101)
    parser.add_argument("--size", default="3072x3080")
    parser.add_argument("--skip-peers", action="store_true")
    options = parser.parse_args()
    for seed in range(options.first, options.first + options.seeds):
        for name, arguments in (("sparse", ["--size", options.size]), ("crowded", ["--crowded"])):
            with tempfile.TemporaryDirectory() as scratch:
                field = simulate(Path(scratch), [*arguments, "--seed", str(seed)])
                print(f"\n{name} field, seed {seed}, {field.exposure.shape[1]} x {field.exposure.shape[0]} pixels")
                study(field, name, peers=not options.skip_peers)


def simulate(folder: Path, arguments: list[str]) -> Field:
    """Make a field, calibrate it as a user does, and read the calibrated exposure and the truth."""
    run = {"check": True, "capture_output": True}
    subprocess.run([FIRSTLIGHT, "simulate", "-o", folder, *arguments], **run)
    refcat = ["--refcat", folder / "refcat.parquet"]
    subprocess.run([FIRSTLIGHT, "process", folder / "epoch_0.fits", *refcat, "-o", folder / "out", "--no-page"], **run)
    columns = pyarrow.parquet.read_table(folder / "truth.parquet")
    names = ["kind", "x_0", "y_0", "mag_0", "half_light_radius", "saturated_0", "axis_ratio"]
    truth = Table({name.removesuffix("_0"): columns[name].to_numpy(zero_copy_only=False) for name in names})
    exposure = read_exposure(folder / "out" / "epoch_0_image.fits")
    ny, nx = exposure.shape
    inside = (truth["x"] > 15) & (truth["x"] < nx - 16) & (truth["y"] > 15) & (truth["y"] < ny - 16)
    truth = truth[inside & np.isfinite(truth["mag"])]
    truth["flux"] = 10 ** (-0.4 * (truth["mag"] - 31.4))
    return Field(folder, exposure, truth, {})


def study(field: Field, name: str, *, peers: bool) -> None:
    """Measure one field and print its table."""
    measure(field)  # compiles
    catalog = measure(field)
    budget = 1.2 if name == "sparse" else 3.0
    report("MeasureImageTask", field.cpu["all"], budget, "CPU s")
    report(f"deblend {len(catalog)} sources", field.cpu["deblend"], 0.5, "CPU s")
    report(f"PSF photometry of {len(catalog)}", psf_photometry_time(field, catalog), 0.2, "CPU s")
    if name == "sparse":
        forced_fluxes(field)
        positions(field, catalog)
        classes(field, catalog)
    against_truth(field, catalog, peers=peers)


def measure(field: Field) -> Table:
    """Detect, deblend and measure, and keep the CPU time of each."""
    exposure, start = field.exposure, time.process_time()
    found = MatchedFilterDetectTask().run(exposure)
    detected = time.process_time()
    light = SymmetricDeblendTask().run(found.exposure, found.detections).light
    deblended = time.process_time()
    task = PluginMeasureTask()
    catalog = task.run(found.exposure, found.detections, aperture_radius=field.radius, light=light).catalog
    measured = time.process_time()
    MeasureImageTask().run(exposure)
    field.cpu = {
        "detect": detected - start,
        "deblend": deblended - detected,
        "measure": measured - deblended,
        "all": time.process_time() - measured,
    }
    return catalog


def psf_photometry_time(field: Field, catalog: Table) -> float:
    """Return the CPU time of the PSF fluxes of a catalogue, bad pixels known."""
    exposure = field.exposure
    bad = exposure.mask.any_of(*UNUSABLE)
    start = time.process_time()
    measure_psf_flux(
        exposure.image,
        variance=exposure.variance,
        bad=bad,
        psf=exposure.psf,
        x=np.asarray(catalog["x"]),
        y=np.asarray(catalog["y"]),
    )
    return time.process_time() - start


def limits(field: Field, stars: Table) -> tuple[np.ndarray, np.ndarray]:
    """Return the smallest errors of flux [nJy] and x [pixel] that the noise allows."""
    psf, variance, r = field.exposure.psf, field.exposure.variance, 8
    x, y = np.asarray(stars["x"]), np.asarray(stars["y"])
    column, row = np.rint(x).astype(int), np.rint(y).astype(int)
    core = psf.cores(r, x=x, y=y)
    at = column + np.clip(x - column, -0.44, 0.44)
    slope = (psf.cores(r, x=at + 0.05, y=y) - psf.cores(r, x=at - 0.05, y=y)) / 0.1
    noise = np.array([variance[i - r : i + r + 1, j - r : j + r + 1] for i, j in zip(row, column, strict=True)])
    flux_err = 1 / np.sqrt((core**2 / noise).sum(axis=(1, 2)))
    x_err = 1 / np.sqrt(((np.asarray(stars["flux"])[:, None, None] * slope) ** 2 / noise).sum(axis=(1, 2)))
    return flux_err, x_err


def lone_stars(field: Field) -> Table:
    """Return the true stars without a neighbour that matters, on good pixels."""
    truth, exposure = field.truth, field.exposure
    tree = cKDTree(np.column_stack([truth["x"], truth["y"]]))
    bad = exposure.mask.any_of(*UNUSABLE, "INTRP")
    stars = np.flatnonzero((truth["kind"] == "star") & (truth["saturated"] == 0) & (truth["mag"] < 20.5))
    keep = []
    for i in stars:
        near = [j for j in tree.query_ball_point([truth["x"][i], truth["y"][i]], 12.0) if j != i]
        row, column = round(truth["y"][i]), round(truth["x"][i])
        clean = not bad[row - 6 : row + 7, column - 6 : column + 7].any()
        if clean and (not near or truth["flux"][near].sum() < LONE * truth["flux"][i]):
            keep.append(i)
    return truth[keep]


def forced_fluxes(field: Field) -> None:
    """Print scatter, bias and pulls of PSF fluxes of lone stars, all sources fitted at their true positions."""
    exposure = field.exposure
    lone = lone_stars(field)
    stars = field.truth[field.truth["mag"] < 21.5]
    found = measure_psf_flux(
        exposure.image,
        variance=exposure.variance,
        bad=exposure.mask.any_of(*UNUSABLE),
        psf=exposure.psf,
        x=np.asarray(stars["x"]),
        y=np.asarray(stars["y"]),
    )
    correction, _ = exposure.aperture_corrections.evaluate("psf", x=np.asarray(stars["x"]), y=np.asarray(stars["y"]))
    rows = np.flatnonzero(np.isin(stars["x"], lone["x"]))
    stars, correction = stars[rows], correction[rows]
    flux, error = found.flux[rows] * correction, found.flux_err[rows] * correction
    limit = limits(field, stars)[0] * correction
    mag = np.asarray(stars["mag"])
    bright = (mag > 15) & (mag < 16.5)
    difference = flux / stars["flux"]
    scale = np.median(difference[bright])
    print(f"  {'zero point of bright stars':44s} {1086 * np.log(scale):+8.2f} mmag (taken off below)")
    pulls = (flux / scale - stars["flux"]) / error
    for low, high in MAGNITUDES:
        rows = (mag >= low) & (mag < high)
        z = ((flux / scale - stars["flux"]) / limit)[rows]
        report(f"PSF flux scatter / limit, {low} to {high} (n={rows.sum()})", spread(z), 1.08)
        uncertain = 1086 * 1.25 * spread(z) * np.median((limit / stars["flux"])[rows]) / np.sqrt(rows.sum())
        bias = 1086 * np.log(np.median(difference[rows]) / scale)
        report(f"PSF flux bias, {low} to {high} (+- {uncertain:.1f})", abs(bias), 3.0, "mmag", slack=2 * uncertain)
    rows = (mag >= 16.5) & (mag < 19.5)
    report("PSF flux pull, mean", abs(np.mean(clipped(pulls[rows]))), 0.05, slack=2 / np.sqrt(rows.sum()))
    report("PSF flux pull, std", np.std(clipped(pulls[rows])), 1.10, least=0.95)


def positions(field: Field, catalog: Table) -> None:
    """Print scatter and pulls of the centroids of lone stars."""
    stars = lone_stars(field)
    rows, stars = paired(catalog, stars)
    limit = limits(field, stars)[1]
    for axis in ("x", "y"):
        offset = np.asarray(catalog[axis][rows]) - stars[axis]
        pulls = offset / np.asarray(catalog[f"{axis}_err"][rows])
        for low, high in MAGNITUDES if axis == "x" else ():
            part = (stars["mag"] >= low) & (stars["mag"] < high)
            report(f"centroid scatter / limit, {low} to {high}", spread((offset / limit)[part]), 1.02, slack=0.06)
        part = (stars["mag"] >= 16.5) & (stars["mag"] < 19.5)
        report(f"{axis} pull, mean", abs(np.mean(clipped(pulls[part]))), 0.05, slack=2 / np.sqrt(part.sum()))
        report(f"{axis} pull, std", np.std(clipped(pulls[part])), 1.10, least=0.95)


def classes(field: Field, catalog: Table) -> None:
    """Print how many stars and galaxies are told."""
    fwhm = field.exposure.psf.fwhm(x=500, y=500) * 1.012
    bright = np.asarray(catalog["snr"]) > 30
    for kind in ("star", "galaxy"):
        if kind == "star":
            sources = lone_stars(field)
        else:
            truth = field.truth
            sources = truth[(truth["kind"] == kind) & (truth["half_light_radius"] > 0.3 * fwhm)]
        rows, _ = paired(catalog, sources)
        rows = rows[bright[rows]]
        for column in ("extendedness", "flux_extendedness"):
            value = np.asarray(catalog[column])[rows]
            right = np.mean(value < 0.5) if kind == "star" else np.mean(value > 0.5)
            label = f"{column}: {kind} told, S/N > 30 (n={len(rows)})"
            report(label, 100 * right, 100, "%", least=98 if kind == "star" else 95)


def against_truth(field: Field, catalog: Table, *, peers: bool) -> None:
    """Print scatter about the truth of stars that all programs found, each with its own mean taken off."""
    exposure = field.exposure
    tables = {"PSF": Table({"x": catalog["x"], "y": catalog["y"], "flux": catalog["psf_inst_flux"]})}
    tables["aperture"] = Table({"x": catalog["x"], "y": catalog["y"], "flux": catalog["aper_inst_flux"]})
    if peers:
        tables["sep aperture"] = of_sep(exposure, field.radius)
        if shutil.which("source-extractor"):
            tables |= of_sextractor(field)
    ok = (field.truth["kind"] == "star") & (field.truth["saturated"] == 0) & (field.truth["mag"] < 20)
    stars = field.truth[ok]
    index = {name: nearest(table, stars) for name, table in tables.items()}
    common = np.all([found >= 0 for found in index.values()], axis=0)
    print(
        f"  stars to 20 mag that all found: {common.sum()} of {len(stars)}; robust scatter [mmag], outliers > 0.2 mag"
    )
    for name, table in tables.items():
        flux = np.asarray(table["flux"], dtype=float)[index[name][common]]
        with np.errstate(invalid="ignore", divide="ignore"):
            residual = -2.5 * np.log10(flux / stars["flux"][common])
        mag = np.asarray(stars["mag"])[common]
        residual = residual - np.nanmedian(residual[mag < 17.5])
        line = f"    {name:22s} found {np.mean(index[name] >= 0):6.1%}"
        for low, high in ((15, 17), (17, 18), (18, 19), (19, 20)):
            part = residual[(mag >= low) & (mag < high)]
            far = np.mean(~(np.abs(part) < 0.2))
            line += f" | {low}-{high}: {1000 * np.nanmedian(part):+5.0f} {1000 * spread(part):5.0f} {far:5.1%}"
        print(line)


def of_sep(exposure: Exposure, radius: float) -> Table:
    """Return what sep measures."""
    image, noise = np.ascontiguousarray(exposure.image), np.sqrt(exposure.variance)
    sep.set_extract_pixstack(2_000_000)
    found = sep.extract(image, 1.5, err=noise, minarea=5, mask=exposure.mask.any_of("BAD", "NO_DATA"))
    flux, _, _ = sep.sum_circle(image, found["x"], found["y"], radius, subpix=0)
    return Table({"x": found["x"], "y": found["y"], "flux": flux})


def of_sextractor(field: Field) -> dict[str, Table]:
    """Return what SExtractor measures in its automatic ellipse and in the same aperture."""
    folder = field.folder
    fits.writeto(folder / "image.fits", field.exposure.image, overwrite=True)
    fits.writeto(folder / "rms.fits", np.sqrt(field.exposure.variance), overwrite=True)
    (folder / "catalog.param").write_text("XWIN_IMAGE\nYWIN_IMAGE\nFLUX_AUTO\nFLUX_APER(1)\n")
    shared = Path("/usr/share/source-extractor")
    call = ["source-extractor", "image.fits", "-c", str(shared / "default.sex"), "-PARAMETERS_NAME", "catalog.param"]
    call += ["-BACK_TYPE", "MANUAL", "-BACK_VALUE", "0", "-WEIGHT_TYPE", "MAP_RMS", "-WEIGHT_IMAGE", "rms.fits"]
    call += ["-FILTER_NAME", str(shared / "default.conv"), "-STARNNW_NAME", str(shared / "default.nnw")]
    call += ["-DETECT_MINAREA", "5", "-PHOT_APERTURES", f"{2 * field.radius:.3f}", "-MEMORY_PIXSTACK", "2000000"]
    call += ["-CATALOG_NAME", "cat.fits", "-CATALOG_TYPE", "FITS_LDAC"]
    subprocess.run(call, cwd=folder, check=True, capture_output=True)
    with fits.open(folder / "cat.fits") as hdus:
        table = Table(hdus[2].data)
    x, y = table["XWIN_IMAGE"] - 1, table["YWIN_IMAGE"] - 1
    kinds = {"SExtractor AUTO": "FLUX_AUTO", "SExtractor aperture": "FLUX_APER"}
    return {name: Table({"x": x, "y": y, "flux": np.ravel(table[column])}) for name, column in kinds.items()}


def nearest(catalog: Table, stars: Table) -> np.ndarray:
    """Return for each star the row that lies nearest, within 1.5 pixels and nearest to no other; -1 for none."""
    if len(catalog) == 0:
        return np.full(len(stars), -1)
    distance, row = cKDTree(np.column_stack([catalog["x"], catalog["y"]])).query(
        np.column_stack([stars["x"], stars["y"]]), distance_upper_bound=1.5
    )
    row = np.where(np.isfinite(distance), row, -1)
    order = np.argsort(distance)
    _, first = np.unique(row[order], return_index=True)
    unique = np.zeros(len(row), dtype=bool)
    unique[order[first]] = True
    return np.where(unique, row, -1)


def paired(catalog: Table, stars: Table) -> tuple[np.ndarray, Table]:
    """Return the rows of the catalogue that are true sources, and these."""
    rows = nearest(catalog, stars)
    return rows[rows >= 0], stars[rows >= 0]


def spread(values: np.ndarray) -> float:
    """Return the robust standard deviation."""
    values = np.asarray(values, dtype=float)
    values = values[np.isfinite(values)]
    return float(1.4826 * np.median(np.abs(values - np.median(values)))) if len(values) else float("nan")


def clipped(values: np.ndarray) -> np.ndarray:
    """Return the values within five robust standard deviations of the median."""
    values = np.asarray(values, dtype=float)
    values = values[np.isfinite(values)]
    return values[np.abs(values - np.median(values)) < 5 * spread(values)]


def report(
    what: str, value: float, most: float, unit: str = "", *, least: float | None = None, slack: float = 0
) -> None:
    """Print a value beside its target; ``slack`` is what the number of stars makes uncertain."""
    passed = value <= most + slack and (least is None or value >= least - slack)
    target = f"{least:g} to {most:g}" if least is not None else f"<= {most:g}"
    print(f"  {what:44s} {value:8.3f} {unit:6s} target {target:14s} {'pass' if passed else 'MISS'}", flush=True)


if __name__ == "__main__":
    main()
