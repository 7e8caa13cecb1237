"""Process real images as a user does, and check what can be checked without a truth.

FIRSTLIGHT_TEST_DATA=... python benchmarks/validate_real.py [--keep DIR] [--plot FILE.png] [--json checks.json]

ZTF: half a science image of the Zwicky Transient Facility, undersampled (FWHM 1.6 pixel), with the survey's own bit
mask. NGC 6819: a crowded photographic plate of the Digitized Sky Survey. HAT-P-32: raw frames of a 15 cm telescope.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import sep
from astropy.io import fits
from astropy.table import Table
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from scipy.spatial import KDTree
from validation.pixel_checks import WINGS_FWHM
from validation.results import Check, print_failures, print_summary, robust_mean, robust_std

from firstlight.images.catalog import read_catalog
from firstlight.images.exposure import Exposure
from firstlight.images.fits import read_exposure

FIRSTLIGHT = str(Path(sys.executable).parent / "firstlight")
FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

SATURATED_BIT = 256
"""Bit 8 of the survey's mask."""

COSMIC_RAY_BIT = 128
"""Bit 7 of the survey's mask."""

DARK_BORDER = 16
"""Rows and columns of the raw frames of HAT-P-32 that no flat field was made for: 1 to 20 % darker than the rest, which
is 40 times the noise [pixel]."""

LEAST_LACK = 3.5
"""By how many sigma a neighbour must lack light to prove that a core is no star."""


@dataclass(frozen=True)
class Product:
    """What one call of ``firstlight process`` wrote."""

    folder: Path
    stem: str
    message: str

    @property
    def summary(self) -> dict[str, object]:
        """The numbers of the image."""
        path = self.folder / f"{self.stem}_summary.json"
        return json.loads(path.read_text()) if path.exists() else {"status": "none", "error": self.message, "gates": []}

    @property
    def exposure(self) -> Exposure:
        """The calibrated image."""
        return read_exposure(self.folder / f"{self.stem}_image.fits")

    def catalog(self, name: str) -> Table:
        """Return a catalogue, without the places of empty sky."""
        table = read_catalog(self.folder / f"{self.stem}_{name}.parquet")
        return table[~np.asarray(table["sky_source"], bool)] if "sky_source" in table.colnames else table


def main() -> None:
    """Run the checks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", type=Path, help="keep the products there")
    parser.add_argument("--plot", type=Path, help="draw the residuals of the ZTF image there")
    parser.add_argument("--json", type=Path, help="write every check there")
    options = parser.parse_args()
    if "FIRSTLIGHT_TEST_DATA" not in os.environ:
        parser.error("FIRSTLIGHT_TEST_DATA must name the folder of the real images.")
    data = Path(os.environ["FIRSTLIGHT_TEST_DATA"])
    scratch = Path(tempfile.mkdtemp())
    try:
        folder = options.keep or scratch
        checks = [*ztf_checks(data, folder, plot=options.plot), *other_checks(data, folder)]
    finally:
        shutil.rmtree(scratch)
    print_summary(checks)
    print_failures(checks)
    if options.json:
        options.json.write_text(json.dumps([check.as_row() for check in checks], indent=1) + "\n")


def process(image: Path, folder: Path, *options: str) -> Product:
    """Process an image as a user does and print its gates that are not ok."""
    call = [FIRSTLIGHT, "process", str(image), "-o", str(folder), "--no-page", *options]
    done = subprocess.run(call, capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"})
    stem = image.name.removesuffix(".gz").removesuffix(".fits")
    product = Product(folder, stem, (done.stderr.strip().splitlines() or [""])[-1])
    summary = product.summary
    print(f"# {stem} {' '.join(options)}: {summary['status']} {summary.get('error') or ''}", flush=True)
    for gate in summary["gates"]:
        if gate["status"] != "ok":
            print(f"#   {gate['status']}: {gate['name']} {gate['value']} {gate['unit']} (n {gate['n']})", flush=True)
    return product


def ztf_checks(data: Path, folder: Path, *, plot: Path | None) -> list[Check]:
    """Check the ZTF image with its mask and, for what we flag ourselves, without."""
    source, mask_file = data / "ztf" / "ztf_left_sci.fits.gz", data / "ztf" / "ztf_left_mask.fits.gz"
    with_mask = process(source, folder / "with_mask", "--mask", str(mask_file))
    alone = folder / "alone" / "ztf_alone.fits.gz"
    alone.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, alone)
    without = process(alone, folder / "without_mask")
    bits = np.asarray(fits.getdata(mask_file))
    checks = []
    for product, scene in ((with_mask, "ZTF, survey's mask"), (without, "ZTF, no mask")):
        found = [Check("D.9", "ends well", float(product.summary["status"] == "ok"), 1, None)]
        if product.summary["status"] == "ok":
            found += flux_checks(product, plot=plot if product is with_mask else None)
            found += [*reserved_checks(product), *sky_checks(product)]
        checks += [replace(check, scene=scene) for check in found]
    if without.summary["status"] == "ok":
        found = [*saturation_checks(without, bits), *star_core_checks(without, source, bits)]
        checks += [replace(check, scene="ZTF, no mask") for check in found]
    return checks


def flux_checks(product: Product, *, plot: Path | None) -> list[Check]:
    """Compare PSF fluxes of isolated stars above S/N 100 with sums in circles, over the field and over brightness."""
    stars, difference, snr, _ = psf_minus_aperture(product)
    x, y = (np.asarray(stars[name], float) for name in ("x", "y"))
    ny, nx = product.exposure.shape
    centred = difference - np.median(difference)
    checks = [Check("D.6", "stars above S/N 100 in the comparison", float(len(x)), n=len(x))]
    cell = (4 * y // ny).astype(int) * 4 + (4 * x // nx).astype(int)
    cells = [(*robust_mean(centred[cell == k]), np.count_nonzero(cell == k)) for k in range(16)]
    value, error, n = max((c for c in cells if c[2] > 4), key=lambda c: abs(c[0]))
    checks.append(Check("D.6", "PSF - aperture in the worst of 4 x 4 cells [mag]", value, -0.005, 0.005, error, n))
    for low, high in ((100, 200), (200, 400), (400, 800), (800, 1e9)):
        members = centred[(snr >= low) & (snr < high)]
        if len(members) > 8:
            value, error = robust_mean(members)
            name = f"PSF - aperture, S/N {low:g} to {high:g} [mag]"
            checks.append(Check("D.6", name, value, -0.005, 0.005, error, len(members)))
    value, error = robust_std(centred)
    checks.append(Check("D.6", "PSF - aperture, scatter [mag]", value, error=error, n=len(x)))
    if plot is not None:
        draw(plot, x=x, y=y, snr=snr, difference=centred)
    return checks


def psf_minus_aperture(product: Product) -> tuple[Table, FloatArray, FloatArray, float]:
    """Return isolated unsaturated stars, PSF minus aperture magnitude, S/N, and the radius of the circle [pixel].

    The sums in circles are ours: three FWHM wide, with the sky from a ring of six to ten FWHM. Each is brought to the
    total flux by the share that the PSF has in such a circle there.
    """
    exposure, sources = product.exposure, product.catalog("sources")
    psf = exposure.psf
    if psf is None:
        raise ValueError("An image that ended well has a PSF.")
    fwhm = float(product.summary["psf_fwhm"])
    radius = 3.0 * fwhm
    flux = np.asarray(sources["calib_flux" if "calib_flux" in sources.colnames else "calib_inst_flux"], float)
    x, y = (np.asarray(sources[name], float) for name in ("x", "y"))
    good = np.isfinite(flux) & (flux > 0) & ~np.asarray(sources["psf_flux_flag"], bool) & np.isfinite(x)
    good &= np.asarray(sources["snr"], float) > 100
    for name in ("saturated", "interpolated", "cr", "bad", "no_data", "edge", "suspect"):
        good &= ~np.asarray(sources[name], bool)
    good &= np.asarray(sources["extendedness"], float) < 0.5
    good &= lonely(x=x, y=y, flux=flux, radius=2.5 * radius)
    bad = exposure.mask.any_of("BAD", "SAT", "CR", "NO_DATA")
    image = np.ascontiguousarray(exposure.image)
    total, _, flag = sep.sum_circle(image, x[good], y[good], radius, mask=bad, subpix=0)
    sky_mask = bad | exposure.mask.any_of("DETECTED")
    ring, _, _ = sep.sum_circann(image, x[good], y[good], 6 * fwhm, 10 * fwhm, mask=sky_mask, subpix=5)
    area = sep.sum_circann((~sky_mask).astype(np.float32), x[good], y[good], 6 * fwhm, 10 * fwhm, subpix=5)[0]
    share = [psf.aperture_flux(radius, x=a, y=b) for a, b in zip(x[good], y[good], strict=True)]
    aperture = (total - np.pi * radius**2 * ring / np.maximum(area, 1.0)) / np.array(share)
    usable = (aperture > 0) & (flag == 0) & (area > 20)
    difference = -2.5 * np.log10(flux[good][usable] / aperture[usable])
    return sources[good][usable], difference, np.asarray(sources["snr"], float)[good][usable], radius


def lonely(*, x: FloatArray, y: FloatArray, flux: FloatArray, radius: float) -> BoolArray:
    """Return who has less than a fifth of a per cent of its flux in others within the radius [pixel]."""
    finite = np.isfinite(x) & np.isfinite(y)
    tree = KDTree(np.column_stack([np.where(finite, x, -1e6), np.where(finite, y, -1e6)]))
    brightness = np.where(np.isfinite(flux), np.abs(flux), 0.0)
    near = tree.query_ball_point(np.column_stack([np.nan_to_num(x), np.nan_to_num(y)]), radius)
    return np.array([brightness[rows].sum() - brightness[k] < 0.002 * brightness[k] for k, rows in enumerate(near)])


def reserved_checks(product: Product) -> list[Check]:
    """Compare size and ellipticity of reserved stars with the PSF."""
    table = product.catalog("psf_stars")
    reserved = np.asarray(table["calib_psf_reserved"], bool) & ~np.asarray(table["shape_flag"], bool)
    stars = table[reserved]
    checks = [Check("D.4", "reserved stars", float(len(stars)), 20, None)]
    ixx, iyy, ixy = (np.asarray(stars[name], float) for name in ("ixx", "iyy", "ixy"))
    mxx, myy, mxy = (np.asarray(stars[f"psf_{name}"], float) for name in ("ixx", "iyy", "ixy"))
    size = np.sqrt((ixx + iyy) / (mxx + myy)) - 1
    e1 = (ixx - iyy) / (ixx + iyy) - (mxx - myy) / (mxx + myy)
    e2 = 2 * ixy / (ixx + iyy) - 2 * mxy / (mxx + myy)
    snr = np.asarray(stars["snr"], float)
    for threshold, limit in ((0, 0.005), (200, 0.003)):
        chosen = (snr > threshold) & np.isfinite(size)
        for name, values, bound in (("size", size, 0.003), ("e1", e1, limit), ("e2", e2, limit)):
            value, error = robust_mean(values[chosen])
            label = f"{name} of reserved stars above S/N {threshold}, median"
            checks.append(Check("D.4", label, value, -bound, bound, error, int(chosen.sum())))
    return checks


def sky_checks(product: Product, *, border: int = 0) -> list[Check]:
    """Fit a plane to the pixels of empty sky in units of their noise, without a border [pixel] at low x and low y.

    The mean is taken beyond the wings of what was detected; nearer to it they lift the pixels, whatever the sky.
    """
    exposure = product.exposure
    reach = WINGS_FWHM * float(product.summary["psf_fwhm"])
    wings = distance_transform_edt(~exposure.mask.any_of("DETECTED")) <= reach
    empty = ~exposure.mask.any_of("DETECTED", "EDGE", "BAD", "SAT", "CR", "NO_DATA", "INTRP", "SUSPECT")
    empty[:border] = False
    empty[:, :border] = False
    sigma = np.sqrt(exposure.variance)
    rows, columns = np.nonzero(empty)
    values = (exposure.image[empty] / sigma[empty]).astype(float)
    middle, spread = np.median(values), robust_std(values)[0]
    kept = np.abs(values - middle) < 3 * spread
    ny, nx = exposure.shape
    design = np.column_stack([np.ones(kept.sum()), columns[kept] / nx - 0.5, rows[kept] / ny - 0.5])
    solution = np.linalg.lstsq(design, values[kept], rcond=None)[0]
    n, near = int(kept.sum()), wings[rows[kept], columns[kept]]
    far, close = (
        (float(values[kept][chosen].mean()), float(1 / np.sqrt(chosen.sum())), int(chosen.sum()))
        for chosen in (~near, near)
    )
    return [
        Check(
            "D.1.2",
            "sky slope end to end [sigma]",
            float(np.hypot(*solution[1:])),
            None,
            0.05,
            float(np.sqrt(12 / n)),
            n,
        ),
        Check("D.1.2", "mean of empty pixels [sigma]", far[0], -0.02, 0.02, *far[1:]),
        Check("D.1.2", "mean of pixels near sources [sigma]", close[0], None, None, *close[1:]),
        Check("D.1.2", "robust std of empty pixels [sigma]", float(spread), error=1 / np.sqrt(n), n=n),
    ]


def saturation_checks(product: Product, bits: NDArray[np.int16]) -> list[Check]:
    """Compare our saturation plane with the survey's."""
    ours, theirs = product.exposure.mask.any_of("SAT"), (bits & SATURATED_BIT) > 0
    n = int(theirs.sum())
    return [
        Check("D.2", "saturated pixels of the survey that we flag", float(ours[theirs].mean()), 0.95, None, 0.0, n),
        Check("D.2", "area of our saturated pixels / the survey's", float(ours.sum() / n), None, 2.0, 0.0, n),
    ]


def star_core_checks(product: Product, source: Path, bits: NDArray[np.int16]) -> list[Check]:
    """Count pixels called cosmic ray in the 3 x 3 cores of stars, which sep finds in the raw image.

    A star is a detection above 20 sigma whose width and roundness are those of most others, unless the PSF cannot
    explain it at any place: the survey's own mask misses such rays.
    """
    raw = np.ascontiguousarray(fits.getdata(source), dtype=np.float32)
    raw = np.where(np.isfinite(raw), raw, np.nanmedian(raw)).astype(np.float32)
    sky = sep.Background(raw)
    objects = sep.extract(raw - sky.back(), 10.0, err=sky.globalrms, minarea=5)
    width = np.sqrt(objects["a"] * objects["b"])
    typical, spread = np.median(width), robust_std(width)[0]
    x, y = np.round(objects["x"]).astype(int), np.round(objects["y"]).astype(int)
    ny, nx = raw.shape
    star = (objects["peak"] > 20 * sky.globalrms) & (np.abs(width - typical) < 1.5 * spread)
    star &= (objects["a"] / objects["b"] < 1.3) & (x > 1) & (x < nx - 2) & (y > 1) & (y < ny - 2)
    x, y = x[star], y[star]
    flagged, theirs = product.exposure.mask.any_of("CR"), (bits & COSMIC_RAY_BIT) > 0
    steps = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
    ours = np.any([flagged[y + dy, x + dx] for dy, dx in steps], axis=0)
    also = np.any([theirs[y + dy, x + dx] for dy, dx in steps], axis=0)
    alone = np.flatnonzero(ours & ~also)
    light, noise = (raw - sky.back()).astype(float), float(sky.globalrms)
    lack = np.array([missing_light(product.exposure, light, noise, x=x[k], y=y[k]) for k in alone])
    rest = np.random.default_rng(1).permutation(np.flatnonzero(~ours))[:200]
    usual = np.array([missing_light(product.exposure, light, noise, x=x[k], y=y[k]) for k in rest])
    places = ", ".join(f"({x[k]}, {y[k]}) {value:.1f}" for k, value in zip(alone, lack, strict=True))
    note = f"flagged, not by the survey, and by how many sigma a neighbour falls short of the PSF: {places}"
    lost, n = float(np.count_nonzero(lack < LEAST_LACK)), len(x)
    return [
        Check("D.2", "star cores called cosmic ray", lost, None, 0, 0.0, n, note),
        Check("D.2", "cores too sharp for a star, not by the survey", float(np.sum(lack >= LEAST_LACK)), n=n),
        Check("D.2", "other stars that look as sharp", float(np.mean(usual >= LEAST_LACK)), None, 0.01, n=len(usual)),
    ]


def missing_light(exposure: Exposure, light: FloatArray, noise: float, *, x: int, y: int) -> float:
    """Return by how many sigma a neighbour of the brightest pixel falls short of a star, at the place that fits best.

    A blend or a galaxy only adds light to the neighbours; where a neighbour lacks light at every sub-pixel place of
    the PSF, what is there did not come through the telescope. The PSF may be wrong by 3 % of its peak.
    """
    psf = exposure.psf
    if psf is None:
        return np.nan
    row, column = np.unravel_index(np.argmax(light[y - 1 : y + 2, x - 1 : x + 2]), (3, 3))
    y, x = y + int(row) - 1, x + int(column) - 1
    cut = light[y - 1 : y + 2, x - 1 : x + 2]
    gain = exposure.detector.gain or 1.0
    phases = np.linspace(-0.5, 0.5, 11)
    dy, dx = (grid.ravel() for grid in np.meshgrid(phases, phases, indexing="ij"))
    middle = psf.radius
    best, lack = np.inf, np.nan
    for shift_y, shift_x in zip(dy, dx, strict=True):
        image = psf.image(x=x + 0.999 * shift_x, y=y + 0.999 * shift_y)
        model = np.asarray(image, float)[middle - 1 : middle + 2, middle - 1 : middle + 2]
        variance = noise**2 + np.clip(cut, 0, None) / gain + (0.03 * cut.max()) ** 2
        flux = (model * cut / variance).sum() / (model**2 / variance).sum()
        pull = (cut - flux * model) / np.sqrt(noise**2 + flux * model / gain + (0.03 * cut.max()) ** 2)
        if (cost := float((pull**2).sum())) < best:
            best, lack = cost, float(-pull.min())
    return lack


def other_checks(data: Path, folder: Path) -> list[Check]:
    """Process the plate and the small telescope's frames; each must end well.

    On the plate every star of Tycho-2 is saturated: their fluxes grow by 7 % where their magnitudes say 100 %. So
    photometry must refuse them and leave what is true, and without photometry the plate must run through.
    """
    refcats = data / "refcats"
    image, stars = data / "plates" / "ngc6819_dss_r.fits.gz", str(refcats / "ngc6819_dss_tycho2.csv")
    refused = process(image, folder / "ngc6819_refused", "--refcat", stars)
    plate = process(image, folder / "ngc6819", "--refcat", stars, "-c", "calibrate:photometry=null")
    found = [*solved_checks(plate, border=0), refusal_check(refused)]
    checks = [replace(check, scene="NGC 6819") for check in found]
    for frame in sorted((data / "hatp32").glob("*.fits.gz"))[::12]:
        product = process(frame, folder / "hatp32", "--refcat", str(refcats / "hatp32_tycho2.csv"))
        found = solved_checks(product, border=DARK_BORDER)
        checks += [replace(check, scene=f"HAT-P-32 {product.stem[-6:]}") for check in found]
    return checks


def refusal_check(product: Product) -> Check:
    """Check that an image without calibrators failed in photometry, and kept WCS and PSF in counts."""
    summary = product.summary
    refused = (summary["status"], summary["failed_pass"]) == ("failed", "calibrate.photometry")
    kept = refused and product.exposure.wcs is not None and product.exposure.psf is not None
    true = kept and product.exposure.unit == "count" and product.exposure.photo_calib is None
    return Check("D.9", "saturated references are refused, the rest is kept", float(true), 1, None)


def solved_checks(product: Product, *, border: int) -> list[Check]:
    """Check that an image came through and is solved; its sky without a border [pixel] at low x and low y."""
    summary = product.summary
    checks = [
        Check("D.9", "ends well", float(summary["status"] == "ok"), 1, None, note=str(summary.get("error") or ""))
    ]
    if summary["status"] != "ok":
        return checks
    fitted = float(summary["astrom_rms_2d_px"] or np.nan) / np.sqrt(2)
    n = int(summary["astrometry_matches_count"] or 0)
    checks.append(Check("D.7", "matches with the reference", float(n), 10, None, n=n))
    checks.append(Check("D.7", "rms of the matches per axis [px]", fitted, n=n))
    return [*checks, *sky_checks(product, border=border)]


def draw(path: Path, *, x: FloatArray, y: FloatArray, snr: FloatArray, difference: FloatArray) -> None:
    """Draw PSF minus aperture magnitude over brightness and over the field."""
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 6), constrained_layout=True)
    left.semilogx(snr, difference, ".", ms=3, alpha=0.5)
    edges = np.geomspace(100, max(snr.max(), 200), 9)
    for low, high in itertools.pairwise(edges):
        members = difference[(snr >= low) & (snr < high)]
        if len(members) > 4:
            value, error = robust_mean(members)
            left.errorbar(np.sqrt(low * high), value, error, fmt="o", color="C3")
    left.axhspan(-0.005, 0.005, color="C2", alpha=0.2)
    left.set(xlabel="S/N", ylabel="PSF - aperture [mag]", ylim=(-0.06, 0.06))
    shown = right.scatter(x, y, c=difference, s=12, vmin=-0.02, vmax=0.02, cmap="coolwarm")
    right.set(xlabel="x [px]", ylabel="y [px]", aspect="equal")
    figure.colorbar(shown, label="PSF - aperture [mag]")
    figure.savefig(path, dpi=90)
    plt.close(figure)


if __name__ == "__main__":
    main()
