"""A processed frame beside its truth: products, matched stars, signal-to-noise ratios that the truth predicts."""

from __future__ import annotations

import json
import math
import os
import resource
import subprocess
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates
from scipy.spatial import KDTree

from firstlight.images.catalog import read_catalog
from firstlight.images.exposure import Exposure
from firstlight.images.fits import read_exposure
from validation.scenes import SceneFiles

FIRSTLIGHT = str(Path(sys.executable).parent / "firstlight")
FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

ISOLATED = 0.2
"""Light of others under a star's profile, in units of the error of its flux, up to which it counts as isolated."""

USUAL = {"mag_lim": 20.6, "psf_sigma": 1.1, "sky_bg": 10.0, "zero_point": 22.5}
"""What ``process`` is told of a usual exposure, to which effective times are related."""

NJY_ZERO_POINT = 31.4
"""AB magnitude of 1 nJy."""


@dataclass(frozen=True)
class Run:
    """How one call of ``firstlight process`` ended."""

    exit_code: int
    message: str
    cpu_s: float
    folder: Path

    @property
    def summary(self) -> dict[str, object]:
        """Return the summary that was written; empty without one."""
        path = self.folder / "frame_summary.json"
        return json.loads(path.read_text()) if path.exists() else {}


def process(files: SceneFiles, folder: Path) -> Run:
    """Process a scene as a user does."""
    call = [FIRSTLIGHT, "process", str(files.image), "-o", str(folder), "--refcat", str(files.refcat), "--no-page"]
    call += [] if files.snap is None else ["--snap", str(files.snap)]
    band = files.scene.settings.band
    for name, value in USUAL.items():
        call += ["-c", f"calibrate:summarize.fiducials.{band}.{name}={value}"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*call, *files.scene.options], capture_output=True, text=True, check=False, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    last = (done.stderr.strip().splitlines() or [""])[-1]
    return Run(exit_code=done.returncode, message=last, cpu_s=cpu, folder=folder)


@dataclass(frozen=True)
class StarTruth:
    """Point sources on the image that do not touch its edge.

    Parameters
    ----------
    x, y : (n,) [pixel]
    mag : (n,) [mag]
        In the system of the camera.
    color : (n,) [mag]
        g - r.
    flux : (n,) [adu]
    flux_error : (n,) [adu]
        Of the best possible fit with the true profile: photon noise of sky and star, read noise.
    detection_snr : (n,)
        Flux over the noise of a matched filter on the sky.
    contamination : (n,)
        Light of all other sources under the profile, in units of `flux_error`.
    clean : (n,)
        No saturated, hot, bad, cosmic-ray or trail pixel within about a FWHM.
    """

    x: FloatArray
    y: FloatArray
    mag: FloatArray
    color: FloatArray
    flux: FloatArray
    flux_error: FloatArray
    detection_snr: FloatArray
    contamination: FloatArray
    clean: BoolArray

    @property
    def snr(self) -> FloatArray:
        """Return flux over its best possible error."""
        return np.asarray(self.flux / self.flux_error)

    @property
    def isolated(self) -> BoolArray:
        """Return who has neither neighbours nor defects."""
        return np.asarray((np.abs(self.contamination) < ISOLATED) & self.clean)


class Frame:
    """What came out of a scene, and what should have."""

    def __init__(self, files: SceneFiles, run: Run) -> None:
        self.files = files
        self.run = run
        self.truth = files.truth
        self.n_snaps = 1 if files.snap is None else 2
        self.summary = run.summary

    @cached_property
    def exposure(self) -> Exposure:
        """The calibrated image."""
        return read_exposure(self.run.folder / "frame_image.fits")

    @cached_property
    def background(self) -> NDArray[np.float32]:
        """The sky that was subtracted, in the unit of the image."""
        return np.asarray(fits.getdata(self.run.folder / "frame_background.fits"), dtype=np.float32)

    @cached_property
    def raw(self) -> FloatArray:
        """The image that went in; two snaps are added [adu]."""
        raw = self.truth.image.astype(float)
        if self.files.snap is not None:
            raw += fits.getdata(self.files.snap).astype(float)
        return raw

    @cached_property
    def sources(self) -> Table:
        """Everything detected, without the places of empty sky."""
        return self._real(read_catalog(self.run.folder / "frame_sources.parquet"))

    @cached_property
    def sky_sources(self) -> Table:
        """Measurements at places of empty sky."""
        table = read_catalog(self.run.folder / "frame_sources.parquet")
        return table[np.asarray(table["sky_source"], bool)] if "sky_source" in table.colnames else table[:0]

    @cached_property
    def stars(self) -> Table:
        """The bright stars of the calibration."""
        return self._real(read_catalog(self.run.folder / "frame_stars.parquet"))

    @cached_property
    def psf_stars(self) -> Table:
        """The sources among which the PSF stars were chosen."""
        return self._real(read_catalog(self.run.folder / "frame_psf_stars.parquet"))

    @property
    def njy_per_adu(self) -> float:
        """Flux of one count by the fitted zero point [nJy/adu]."""
        return float(10 ** (0.4 * (NJY_ZERO_POINT - float(self.summary["zero_point"]))))  # type: ignore[arg-type]  # a number in every summary

    @cached_property
    def sky_sigma(self) -> FloatArray:
        """Noise of a pixel of empty sky (ny, nx) [adu]."""
        detector = self.truth.settings.detector
        variance = self.truth.sky / detector.gain + (detector.read_noise / detector.gain) ** 2
        return np.sqrt(self.n_snaps * variance.astype(float))

    @property
    def zero_point(self) -> float:
        """True AB magnitude of one count in total; two snaps add up [mag]."""
        return self.truth.zero_point + 2.5 * math.log10(self.n_snaps)

    @cached_property
    def fwhm(self) -> float:
        """True FWHM at the centre, pixel included [pixel]."""
        ny, nx = self.truth.image.shape
        return self.truth.point_spread.pixel_fwhm(x=(nx - 1) / 2, y=(ny - 1) / 2)

    @cached_property
    def star_truth(self) -> StarTruth:
        """Stars and what can be known about them at best."""
        return star_truth(self)

    @cached_property
    def stars_found(self) -> tuple[NDArray[np.intp], BoolArray]:
        """Row of `sources` nearest to each true star, and whether it is near enough."""
        return match(self.sources, x=self.star_truth.x, y=self.star_truth.y, radius=max(1.5, 0.5 * self.fwhm))

    def true_moments(self, *, x: FloatArray, y: FloatArray) -> FloatArray:
        """Return (n, 3) true adaptive moments ixx, iyy, ixy [pixel^2], interpolated between 6 x 6 places."""
        ny, nx = self.truth.image.shape
        steps = len(self._moment_table) - 1
        places = np.stack([y / (ny - 1) * steps, x / (nx - 1) * steps])
        return np.column_stack(
            [map_coordinates(self._moment_table[:, :, k], places, order=3, mode="nearest") for k in range(3)]
        )

    @cached_property
    def _moment_table(self) -> FloatArray:
        ny, nx = self.truth.image.shape
        columns, rows = np.linspace(0, nx - 1, 6), np.linspace(0, ny - 1, 6)
        spread = self.truth.point_spread
        return np.array([[spread.adaptive_moments(x=x, y=y) for x in columns] for y in rows])

    def _real(self, table: Table) -> Table:
        return table[~np.asarray(table["sky_source"], bool)] if "sky_source" in table.colnames else table


def match(table: Table, *, x: FloatArray, y: FloatArray, radius: float) -> tuple[NDArray[np.intp], BoolArray]:
    """Return the nearest row for each position, and whether it is within a radius [pixel] and nobody else's."""
    places = np.column_stack([np.asarray(table["x"], float), np.asarray(table["y"], float)])
    finite = np.flatnonzero(np.isfinite(places).all(axis=1))
    if len(finite) == 0 or len(x) == 0:
        return np.zeros(len(x), np.intp), np.zeros(len(x), bool)
    distance, row = KDTree(places[finite]).query(np.column_stack([x, y]))
    _, back = KDTree(np.column_stack([x, y])).query(places[finite[row]])
    return finite[row], (distance < radius) & (back == np.arange(len(x)))


def star_truth(frame: Frame) -> StarTruth:
    """Work out errors and contamination of all stars from the true light."""
    truth, n_snaps = frame.truth, frame.n_snaps
    ny, nx = truth.image.shape
    radius = int(np.ceil(max(8.0, 3.0 * frame.fwhm)))
    sources = truth.sources[truth.sources["kind"] != "galaxy"]
    x, y = sources["x"].data, sources["y"].data
    inside = (x > radius) & (x < nx - 1 - radius) & (y > radius) & (y < ny - 1 - radius)
    sources, x, y = sources[inside], x[inside], y[inside]
    flux = n_snaps * sources["flux"].data
    light = n_snaps * (truth.light - truth.sky).astype(float)
    variance = n_snaps * truth.variance.astype(float)
    sky_variance = frame.sky_sigma**2
    bad = truth.mask > 0
    error, sky_error, others = (np.zeros(len(x)) for _ in range(3))
    clean = np.ones(len(x), bool)
    near = np.hypot(*np.meshgrid(np.arange(-radius, radius + 1), np.arange(-radius, radius + 1))) < 1.5 * frame.fwhm
    for start in range(0, len(x), 400):
        part = slice(start, start + 400)
        profiles = truth.point_spread.images(x=x[part], y=y[part], radius=radius)
        for k, profile in enumerate(profiles, start=start):
            column, row = round(x[k]), round(y[k])
            cut = np.s_[row - radius : row + radius + 1, column - radius : column + radius + 1]
            weight = profile / variance[cut]
            information = (weight * profile).sum()
            error[k] = information**-0.5
            sky_error[k] = ((profile**2).sum() / sky_variance[row, column]) ** -0.5
            others[k] = (weight * (light[cut] - flux[k] * profile)).sum() / information
            clean[k] = not bad[cut][near].any()
    return StarTruth(
        x=x,
        y=y,
        mag=sources["mag"].data,
        color=sources["g_mag"].data - sources["r_mag"].data,
        flux=flux,
        flux_error=error,
        detection_snr=flux / sky_error,
        contamination=others / error,
        clean=clean,
    )
