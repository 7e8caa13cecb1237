"""Checks of pixels: sky (D.1), cosmic rays (D.2), detection (D.3)."""

from __future__ import annotations

import numpy as np
from astropy.stats import sigma_clip
from astropy.table import Table
from astropy.wcs import WCS
from scipy.ndimage import distance_transform_edt, maximum_filter

from firstlight.qa.truth import ImageTruth, half_complete_magnitude
from firstlight.simulation.detector import TruthBit
from validation.frame import BoolArray, FloatArray, Frame
from validation.results import Check, median_check, share, spread_check

FLAGS_OF_DEFECTS = (
    "saturated",
    "interpolated",
    "cr",
    "bad",
    "no_data",
    "suspect",
    "streak",
    "edge",
    "centroid_flag",
)

WINGS_FWHM = 2.0
"""Within this [FWHM] of the pixels of a detected source its wings are brighter than what may be left of the sky."""


def sky_checks(frame: Frame) -> list[Check]:
    """Compare the subtracted sky with the true one."""
    scale = frame.njy_per_adu
    image, sky = frame.exposure.image.astype(float) / scale, frame.background.astype(float) / scale
    touched = frame.exposure.mask.any_of("INTRP", "CR", "SAT", "BAD", "NO_DATA")
    size = np.maximum(np.abs(frame.raw), np.abs(sky))
    sum_error = np.abs(image + sky - frame.raw)[~touched] / np.maximum(size[~touched], 1.0)
    sigma = frame.sky_sigma
    empty = ~frame.exposure.mask.any_of("DETECTED", "DETECTED_NEGATIVE", "EDGE") & ~touched
    wings = distance_transform_edt(~frame.exposure.mask.any_of("DETECTED")) <= WINGS_FWHM * frame.fwhm
    excess = (sky - frame.n_snaps * frame.truth.sky) / sigma
    slope = _slope(excess)
    checks = [
        Check(
            "D.1.1", "image + sky = input, worst relative error", float(sum_error.max()), high=1e-6, n=sum_error.size
        ),
        _mean_check("mean of empty pixels [sigma]", (image / sigma)[empty & ~wings], limit=0.02),
        _mean_check("mean of pixels near sources [sigma]", (image / sigma)[empty & wings], limit=None),
        Check("D.1.2", "slope of sky error end to end [sigma]", slope, high=0.05, error=0.004, n=excess.size),
        Check("D.1", "sky minus true sky, median [sigma]", float(np.median(excess)), n=excess.size),
        Check("D.1", "sky minus true sky, rms [sigma]", float(excess.std()), n=excess.size),
    ]
    return [*checks, *_lost_light(frame, excess * sigma), *_sky_sources(frame)]


def _mean_check(name: str, values: FloatArray, *, limit: float | None) -> Check:
    clipped = sigma_clip(values, sigma=3, maxiters=5, masked=False)
    error = float(clipped.std() / np.sqrt(clipped.size))
    low = None if limit is None else -limit
    return Check("D.1.2", name, float(clipped.mean()), low, limit, error, clipped.size)


def _slope(excess: FloatArray) -> float:
    """Return the change of the best plane from end to end, along its steepest direction between the sides."""
    ny, nx = excess.shape
    u, v = np.linspace(-0.5, 0.5, nx), np.linspace(-0.5, 0.5, ny)
    in_x = float((excess * u).sum() / (ny * (u**2).sum()))
    in_y = float((excess * v[:, None]).sum() / (nx * (v**2).sum()))
    return float(np.hypot(in_x, in_y))


def _lost_light(frame: Frame, excess: FloatArray) -> list[Check]:
    """Return the share of the light of stars and of the big galaxy that the sky model took."""
    stars = frame.star_truth
    chosen = stars.isolated & (np.abs(stars.mag - 18.0) < 0.75)
    checks = []
    if np.count_nonzero(chosen) >= 5:
        area = np.pi * (2.0 * frame.fwhm) ** 2
        rows, columns = np.round(stars.y[chosen]).astype(int), np.round(stars.x[chosen]).astype(int)
        lost = 100 * (excess[rows, columns] - np.median(excess)) * area / stars.flux[chosen]
        checks.append(median_check("D.1.3", "sky under stars of mag 18 above elsewhere [%]", lost, low=-0.2, high=0.2))
    radius = frame.truth.settings.sky.big_galaxy_radius / frame.truth.settings.optics.pixel_scale
    if radius > 0:
        galaxies = frame.truth.sources[frame.truth.sources["kind"] == "galaxy"]
        galaxy = galaxies[np.argmax(galaxies["half_light_radius"])]
        dy, dx = np.indices(excess.shape) - np.array([galaxy["y"], galaxy["x"]])[:, None, None]
        distance = np.hypot(dx, dy)
        level = float(np.median(excess[distance > 5 * radius]))
        taken = (excess - level)[distance < 4 * radius].sum() / galaxy["flux"]
        checks.append(Check("D.1.3", "light of the big galaxy in the sky [%]", 100 * float(taken), low=-5, high=5))
    return checks


def _sky_sources(frame: Frame) -> list[Check]:
    table = frame.sky_sources
    if len(table) < 10:
        return []
    pull = np.asarray(table["psf_flux"] / table["psf_flux_err"], float)
    pull = pull[np.isfinite(pull)]
    return [
        median_check("D.1.3", "PSF flux of sky sources, median [sigma]", pull, low=-0.1, high=0.1),
        spread_check("D.1.3", "PSF flux of sky sources, std [sigma]", pull, low=0.9, high=1.1),
    ]


def cosmic_ray_checks(frame: Frame) -> list[Check]:
    """Compare the CR plane with the tracks."""
    if frame.n_snaps > 1:
        return _snap_checks(frame)
    truth = frame.truth
    noise = np.sqrt(truth.variance.astype(float))
    hit = truth.cosmic_ray_charge > 10 * noise
    saturated = (truth.mask & TruthBit.SATURATED) > 0
    flagged = frame.exposure.mask.any_of("CR")
    any_ray = maximum_filter(truth.cosmic_ray_charge > 0.3 * noise, 3)
    found, found_error = share(flagged[hit & ~saturated])
    pure, pure_error = share(any_ray[flagged])
    lost, lost_error = share(flagged[_star_cores(frame) & ~maximum_filter(any_ray, 5)])
    return [
        Check("D.2", "cosmic-ray pixels > 10 sigma found", found, 0.95, None, found_error, int(hit.sum())),
        Check("D.2", "star-core pixels called cosmic ray", lost, None, 1e-3, lost_error, int(_star_cores(frame).sum())),
        Check("D.2", "cosmic-ray pixels that are one", pure, None, None, pure_error, int(flagged.sum())),
    ]


def _star_cores(frame: Frame) -> BoolArray:
    """Return the 3 x 3 pixels of stars above S/N 20 away from saturated and defective pixels."""
    stars = frame.star_truth
    ny, nx = frame.truth.image.shape
    cores = np.zeros((ny, nx), bool)
    chosen = (stars.snr > 20) & ~_near_defect(frame, x=stars.x, y=stars.y)
    rows, columns = np.round(stars.y[chosen]).astype(int), np.round(stars.x[chosen]).astype(int)
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            cores[rows + dy, columns + dx] = True
    return cores


def _near_defect(frame: Frame, *, x: FloatArray, y: FloatArray) -> BoolArray:
    """Return who is within three pixels of saturation, a hot pixel or a bad column: those may look like a track."""
    kinds = TruthBit.SATURATED | TruthBit.HOT | TruthBit.BAD_COLUMN
    near = maximum_filter((frame.truth.mask & kinds) > 0, 7)
    return np.asarray(near[np.round(y).astype(int), np.round(x).astype(int)])


def _snap_checks(frame: Frame) -> list[Check]:
    """Compare two snaps with the sum of what fell on them: tracks are known only for the first.

    A pixel whose track shows in the difference of the snaps takes the light of the other, and is INTRP.
    """
    truth = frame.truth
    noise = np.sqrt(truth.variance.astype(float))
    hit = (truth.cosmic_ray_charge > 10 * noise) & ((truth.mask & TruthBit.SATURATED) == 0)
    flagged = frame.exposure.mask.any_of("CR", "INTRP")
    found, error = share(flagged[hit])
    variance = frame.exposure.variance / frame.njy_per_adu**2
    empty = ~frame.exposure.mask.any_of("DETECTED", "CR", "SAT", "INTRP", "EDGE", "BAD")
    ratio = float(np.median(variance[empty] / frame.sky_sigma[empty] ** 2))
    return [
        Check("D.13", "cosmic-ray pixels > 10 sigma found in two snaps", found, 0.99, None, error, int(hit.sum())),
        Check("D.13", "variance of two snaps over the expected", ratio, 0.97, 1.03, 0.001, int(empty.sum())),
    ]


def detection_checks(frame: Frame) -> list[Check]:
    """Return where half of the stars are found, and how many detections are real."""
    stars, (_, found) = frame.star_truth, frame.stars_found
    lonely = (np.abs(stars.contamination) < 0.5) & stars.clean & (stars.detection_snr > 0.5)
    places = _truth_of(stars.x[lonely], stars.y[lonely], stars.detection_snr[lonely])
    sources = frame.sources
    radius = max(1.5, 0.5 * frame.fwhm)

    def midpoint(rows: FloatArray) -> float:
        chosen = ImageTruth(places.wcs, 0.0, 1.0, places.x[rows], places.y[rows], places.magnitude[rows])
        x, y = np.asarray(sources["x"], float), np.asarray(sources["y"], float)
        good = np.isfinite(x) & np.isfinite(y)
        return float(10 ** (-0.4 * half_complete_magnitude(chosen, x=x[good], y=y[good], radius=radius)))

    rows = np.arange(len(places.x))
    rng = np.random.default_rng(1)
    errors = [midpoint(rng.choice(rows, len(rows))) for _ in range(12)] if len(rows) else [np.nan]
    bright = lonely & (np.abs(stars.detection_snr - 8.5) < 2.5)
    share_found, share_error = share(found[bright])
    return [
        Check("D.3.2", "S/N at which half are found", midpoint(rows), 4.8, 5.2, float(np.std(errors)), len(rows)),
        Check("D.3.2", "stars of S/N 6 to 11 found", share_found, 0.95, None, share_error, int(bright.sum())),
        *_purity(frame),
    ]


def _truth_of(x: FloatArray, y: FloatArray, snr: FloatArray) -> ImageTruth:
    return ImageTruth(WCS(naxis=2), 0.0, 1.0, x, y, -2.5 * np.log10(snr))


def _purity(frame: Frame) -> list[Check]:
    """Return the share of unflagged detections above S/N 7 that have a true source; say what the others are."""
    sources, truth = frame.sources, frame.truth
    flags = [name for name in FLAGS_OF_DEFECTS if name in sources.colnames]
    good = np.asarray(sources["snr"] > 7) & np.isfinite(np.asarray(sources["x"], float))
    for name in flags:
        good &= ~np.asarray(sources[name], bool)
    chosen = sources[good]
    real = _has_source(frame, chosen)
    value, error = share(real)
    rows, columns = (np.clip(np.round(np.asarray(chosen[c])[~real]).astype(int), 0, None) for c in ("y", "x"))
    near = [maximum_filter((truth.mask & bit) > 0, 7) for bit in TruthBit]
    causes = {
        bit.name: int(np.count_nonzero(plane[rows, columns]))
        for bit, plane in zip(TruthBit, near, strict=True)
        if plane[rows, columns].any()
    }
    note = f"false: {len(rows)}, near {causes}"
    sparse = truth.settings.sky.star_density <= 30_000
    target = 0.99 if sparse else None
    return [
        Check("D.3.2", "unflagged detections above S/N 7 that are real", value, target, None, error, len(real), note)
    ]


def _has_source(frame: Frame, chosen: Table) -> BoolArray:
    """Return whether a source that could be detected lies within a FWHM, or its ellipse for galaxies."""
    sources = frame.truth.sources
    noise = float(np.median(frame.sky_sigma)) * frame.fwhm
    bright = sources[frame.n_snaps * sources["flux"].data > noise]
    x, y = (np.asarray(chosen[name], float) for name in ("x", "y"))
    reach = np.maximum(2.0, frame.fwhm) + 2 * bright["half_light_radius"].data / frame.truth.settings.optics.pixel_scale
    real = np.zeros(len(x), bool)
    for source_x, source_y, r in zip(bright["x"], bright["y"], reach, strict=True):
        real |= (np.abs(x - source_x) < r) & (np.abs(y - source_y) < r)
    return real
