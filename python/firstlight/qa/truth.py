"""Compare a processed image with the truth of the simulation that it came from."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet
import sep
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from scipy.optimize import minimize
from scipy.spatial import KDTree

from firstlight.errors import InputError
from firstlight.framework import Gate
from firstlight.images.exposure import Exposure
from firstlight.kernels.arrays import BoolArray, FloatArray

PEER_THRESHOLD = 1.5
"""Detection threshold of the comparison catalogue made with sep [sigma of a pixel]."""

PEER_MIN_AREA = 5
"""Smallest number of connected pixels in the comparison catalogue."""


@dataclass(frozen=True)
class ImageTruth:
    """What a simulation knows about one of its images.

    Parameters
    ----------
    wcs
        Exact.
    zero_point : [mag]
        AB magnitude of a source with one count in total.
    psf_sigma : [pixel]
        Size of the point spread at the centre of the image, from adaptive moments.
    x, y : (n,) [pixel]
        Stars on the image.
    magnitude : (n,) [mag]
    """

    wcs: WCS
    zero_point: float
    psf_sigma: float
    x: FloatArray
    y: FloatArray
    magnitude: FloatArray


def read_truth(folder: Path, *, epoch: int = 0) -> ImageTruth:
    """Read the truth of image ``epoch`` from a folder that ``firstlight simulate`` wrote.

    Raises
    ------
    InputError
        If the folder has no truth, or the file is not what the simulation writes.
    """
    try:
        values = json.loads((folder / f"truth_{epoch}.json").read_text())
        names = ["kind", f"x_{epoch}", f"y_{epoch}", f"mag_{epoch}"]
        columns = pyarrow.parquet.read_table(folder / "truth.parquet", columns=names)
        kind, x, y, magnitude = (columns[name].to_numpy(zero_copy_only=False) for name in names)
        ny, nx = values["shape"]
        on_image = (kind == "star") & (x > -0.5) & (x < nx - 0.5) & (y > -0.5) & (y < ny - 0.5)
        return ImageTruth(
            wcs=WCS(fits.Header(values["wcs"])),
            zero_point=float(values["zero_point"]),
            psf_sigma=float(values["psf_sigma"]),
            x=x[on_image],
            y=y[on_image],
            magnitude=magnitude[on_image],
        )
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"No truth of image {epoch} in {folder} ({error}); 'firstlight simulate' makes it.") from error


@dataclass(frozen=True)
class TruthComparison:
    """How far a processed image is from the truth; NaN where a part is missing.

    Parameters
    ----------
    astrometry_rms : [mas]
        Root mean square distance of the fitted from the true sky position on a grid over the whole image.
    zero_point_error : [mag]
        Fitted minus true.
    psf_size_error
        Relative: fitted over true, minus one.
    half_complete : [mag]
        Magnitude at which half of the stars are detected.
    peer_half_complete : [mag]
        The same for sep at `PEER_THRESHOLD` sigma and `PEER_MIN_AREA` pixels on the same image.
    n_stars
        Number of true stars on the image.
    """

    astrometry_rms: float
    zero_point_error: float
    psf_size_error: float
    half_complete: float
    peer_half_complete: float
    n_stars: int

    def gates(self) -> tuple[Gate, ...]:
        """Return the comparison with the limits that a field of the default density must keep."""
        peer = self.peer_half_complete if math.isfinite(self.peer_half_complete) else None
        return (
            Gate("astrometry: rms to the true WCS", self.astrometry_rms, "mas", fail=5.0),
            Gate("photometry: zero point error", 1000 * abs(self.zero_point_error), "mmag", fail=5.0),
            Gate("PSF: size error", 100 * abs(self.psf_size_error), "%", fail=0.5),
            Gate("completeness: 50 %", self.half_complete, "mag", sense="min", fail=peer),
        )


def compare_with_truth(
    exposure: Exposure, sources: Table | None, *, raw: FloatArray, zero_point: float, truth: ImageTruth
) -> TruthComparison:
    """Compare a processed image with the truth.

    Parameters
    ----------
    exposure
        Result of the processing.
    sources
        Everything that was detected, with `x` and `y`; rows flagged `sky_source` do not count.
    raw : (ny, nx)
        Image before processing, for the comparison catalogue.
    zero_point : [mag]
        What the processing found; NaN if nothing.
    truth
        From `read_truth`.
    """
    found_x, found_y = (np.zeros(0), np.zeros(0)) if sources is None else _real_positions(sources)
    peer_x, peer_y = peer_detections(raw)
    return TruthComparison(
        astrometry_rms=astrometry_rms(exposure, truth.wcs),
        zero_point_error=zero_point - truth.zero_point,
        psf_size_error=_psf_sigma(exposure) / truth.psf_sigma - 1,
        half_complete=half_complete_magnitude(truth, x=found_x, y=found_y),
        peer_half_complete=half_complete_magnitude(truth, x=peer_x, y=peer_y),
        n_stars=len(truth.x),
    )


def astrometry_rms(exposure: Exposure, true_wcs: WCS, *, n_grid: int = 33) -> float:
    """Return the rms distance [mas] of fitted and true sky positions over the whole image; NaN without a WCS."""
    if exposure.wcs is None:
        return math.nan
    ny, nx = exposure.image.shape
    x, y = (value.ravel() for value in np.meshgrid(np.linspace(0, nx - 1, n_grid), np.linspace(0, ny - 1, n_grid)))
    ra, dec = exposure.wcs.pixel_to_sky(x=x, y=y)
    true_ra, true_dec = true_wcs.all_pix2world(x, y, 0)
    east = (np.asarray(ra) - true_ra + 180) % 360 - 180
    distance = np.hypot(east * np.cos(np.deg2rad(true_dec)), np.asarray(dec) - true_dec)
    return float(3.6e6 * np.sqrt(np.mean(distance**2)))


def half_complete_magnitude(truth: ImageTruth, *, x: FloatArray, y: FloatArray, radius: float = 1.5) -> float:
    """Return the magnitude at which half of the stars are found, from a logistic curve through all of them.

    The curve, ``ceiling / (1 + exp((m - m50) / width))`` above the floor of chance matches that the density of
    detections makes, is fitted by maximum likelihood.

    Parameters
    ----------
    truth
        Stars that are there.
    x, y : (n,) [pixel]
        Detections.
    radius : [pixel]
        A star with a detection within this distance is found.
    """
    if len(x) == 0 or len(truth.x) < 10:
        return math.nan
    distance, _ = KDTree(np.column_stack([x, y])).query(np.column_stack([truth.x, truth.y]))
    found = distance < radius
    if not found.any() or found.all():
        return math.nan
    area = float((np.ptp(truth.x) + 1) * (np.ptp(truth.y) + 1))
    return _logistic_midpoint(truth.magnitude, found, chance=min(0.5, math.pi * radius**2 * len(x) / area))


def peer_detections(image: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return x and y [pixel] of what sep detects with its default filter in a raw image."""
    pixels = np.ascontiguousarray(image, dtype=np.float32)
    sky = sep.Background(pixels)
    objects = sep.extract(pixels - sky.back(), PEER_THRESHOLD, err=sky.globalrms, minarea=PEER_MIN_AREA)
    return np.asarray(objects["x"]), np.asarray(objects["y"])


def _logistic_midpoint(magnitude: FloatArray, found: BoolArray, *, chance: float) -> float:
    start = float(np.percentile(magnitude[found], 90))

    def surprise(parameters: FloatArray) -> float:
        midpoint, log_width, missed = parameters
        slope = np.clip((magnitude - midpoint) / np.exp(log_width), -500, 500)
        curve = (1 - np.clip(missed, 0, 0.4)) / (1 + np.exp(slope))
        likely = np.clip(chance + (1 - chance) * curve, 1e-6, 1 - 1e-6)
        return float(-np.sum(np.log(np.where(found, likely, 1 - likely))))

    fit = minimize(
        surprise, (start, math.log(0.2), 0.02), method="Nelder-Mead", options={"xatol": 1e-4, "maxiter": 2000}
    )
    midpoint, log_width, missed = fit.x
    half = 0.5 / (1 - np.clip(missed, 0, 0.4))
    return float(midpoint + math.exp(log_width) * math.log(1 / half - 1))


def _psf_sigma(exposure: Exposure) -> float:
    if exposure.psf is None:
        return math.nan
    ny, nx = exposure.image.shape
    return float(exposure.psf.moments(x=(nx - 1) / 2, y=(ny - 1) / 2).sigma)


def _real_positions(sources: Table) -> tuple[FloatArray, FloatArray]:
    x, y = (np.asarray(sources[name], dtype=float) for name in ("x", "y"))
    real = np.isfinite(x) & np.isfinite(y)
    if "sky_source" in sources.colnames:
        real &= ~np.asarray(sources["sky_source"], dtype=bool)
    return x[real], y[real]
