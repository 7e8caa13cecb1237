"""Condense an exposure and its stars into the numbers that describe it."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from astropy.table import Table
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from scipy.spatial import KDTree
from typing_extensions import TypeVar

from firstlight.algorithms.background import fit_mesh_background
from firstlight.algorithms.noise import measure_sky_noise
from firstlight.algorithms.variance_scale import measure_variance_scale
from firstlight.framework import Config, Struct, Task
from firstlight.images.exposure import Exposure
from firstlight.images.psf import FWHM_PER_SIGMA, Psf
from firstlight.kernels.arrays import BoolArray, FloatArray
from firstlight.tasks.aperture_correction import CALIBRATED

NAN = math.nan
MOMENTS = ("30", "21", "12", "03", "40", "31", "22", "13", "04")
HIGHER_SHAPES = ("coma1", "coma2", "trefoil1", "trefoil2", "kurtosis", "e41", "e42")
SKY_IGNORED = ("BAD", "EDGE", "DETECTED", "DETECTED_NEGATIVE", "NO_DATA", "SAT", "SUSPECT", "SPIKE", "CR")
UNUSABLE = ("BAD", "EDGE", "NO_DATA", "SAT")
MIN_SKY_PIXELS = 16
"""With fewer that belong to no source nothing is said about the sky, as in a crowd that fills the image."""

PIXEL_PHASES = 5
"""Places within a pixel, along each axis, over which what depends on them is averaged."""


@dataclass(frozen=True)
class SummarizeResult(Struct):
    """What a `SummarizeTask` returns."""

    summary: Mapping[str, float]
    """Name -> value; NaN where the part that it needs is missing."""


SummarizeConfigT = TypeVar("SummarizeConfigT", bound=Config, covariant=True, default=Config)


class SummarizeTask(Task[SummarizeConfigT], ABC):
    """Interface: anything that describes an exposure in numbers."""

    @abstractmethod
    def run(self, exposure: Exposure, psf_stars: Table | None, stars: Table | None = None) -> SummarizeResult:
        """Describe an exposure whose pixels are still in counts; a missing part gives NaN, never an error.

        Parameters
        ----------
        exposure
            Background-subtracted.
        psf_stars
            Sources of the PSF passes, with ``calib_psf_used``.
        stars
            Sources of the catalogue.
        """


class FiducialConfig(Config):
    """What a usual exposure in one band is like, to which others are compared; empty where it is not known."""

    exposure_time: PositiveFloat = 30.0
    """Its exposure time [s]."""

    mag_lim: float | None = None
    """Its limiting magnitude [mag]."""

    psf_sigma: PositiveFloat | None = None
    """Its sigma of the PSF [pixel]."""

    sky_bg: PositiveFloat | None = None
    """Its sky [count / s]."""

    zero_point: float | None = None
    """Its zero point for an exposure of one second [mag]."""


class ExposureSummaryConfig(Config):
    """Settings of `ExposureSummaryTask`."""

    fiducials: Mapping[str, FiducialConfig] = Field(default_factory=dict)
    """Band -> what a usual exposure is like; where a band is missing the effective times are not known."""

    max_zero_point_scale: PositiveFloat = 1.1
    """Largest factor of the effective time that a better zero point is believed to make."""

    max_sky_pixels: PositiveInt = 2_000_000
    """The sky is measured on at most about so many pixels, in rows spread over the image."""

    min_snr: NonNegativeFloat = 50.0
    """Smallest signal-to-noise ratio of the stars that the PSF is compared with."""

    max_snr: PositiveFloat = 1000.0
    """Largest signal-to-noise ratio of the stars that the PSF is compared with."""

    depth_snr: PositiveFloat = 5.0
    """Signal-to-noise ratio at which the limiting magnitude is stated."""

    grid_spacing: PositiveInt = 96
    """Smallest spacing of the points where the variation of the PSF is sampled [pixel]."""

    max_grid: PositiveInt = 16
    """Largest number of such points along one axis."""


class ExposureSummaryTask(SummarizeTask[ExposureSummaryConfig]):
    """The summary statistics of LSST (`ExposureSummaryStats`), with the same names in snake case."""

    def run(self, exposure: Exposure, psf_stars: Table | None, stars: Table | None = None) -> SummarizeResult:
        """Describe an exposure whose pixels are still in counts."""
        summary: dict[str, float] = {"exp_time": _or_nan(exposure.observation.exposure_time)}
        summary |= _psf_at_centre(exposure)
        summary |= self._psf_variation(exposure, summary["psf_sigma"])
        summary |= self._psf_star_residuals(psf_stars)
        summary |= self._higher_shapes(stars)
        summary |= _distance_to_psf_stars(exposure, psf_stars)
        summary |= self._sky(exposure, summary["psf_sigma"])
        summary |= _where(exposure)
        summary["zero_point"] = exposure.photo_calib.zero_point if exposure.photo_calib else NAN
        summary["mag_lim"] = self._depth(exposure, summary)
        summary |= self._effective_time(exposure, summary)
        in_use = exposure.mask.in_use()
        for plane in exposure.mask.planes:
            summary[f"{plane.lower()}_mask_fraction"] = exposure.mask.fraction(plane) if plane in in_use else 0.0
        return SummarizeResult(summary=summary)

    def _psf_star_residuals(self, psf_stars: Table | None) -> dict[str, float]:
        names = ("e1", "e2", "size")
        missing = {f"psf_star_delta_{name}_{what}": NAN for name in names for what in ("median", "scatter")}
        missing |= {"psf_star_scaled_delta_size_scatter": NAN, "star_e_median": NAN, "star_un_normalized_e_median": NAN}
        if psf_stars is None or _n_used(psf_stars) == 0 or "psf_ixx" not in psf_stars.colnames:
            return {"n_psf_star": 0 if psf_stars is None else _n_used(psf_stars), **missing}
        used = np.asarray(psf_stars["calib_psf_used"], dtype=bool)
        good = self._sample(psf_stars, "shape_flag")
        if not good.any():
            return {"n_psf_star": int(used.sum()), **missing}
        star, model = _shape(psf_stars, "", good), _shape(psf_stars, "psf_", good)
        result: dict[str, float] = {"n_psf_star": int(used.sum())}
        for name, star_value, model_value in zip(names, star, model, strict=True):
            difference = star_value - model_value
            result[f"psf_star_delta_{name}_median"] = float(np.median(difference))
            result[f"psf_star_delta_{name}_scatter"] = _mad_sigma(difference)
        e1, e2, size = star
        result["psf_star_scaled_delta_size_scatter"] = (
            result["psf_star_delta_size_scatter"] / float(np.median(size)) ** 2
        )
        result["star_e_median"] = float(np.median(np.hypot(e1, e2)))
        ixx, iyy, ixy = (np.asarray(psf_stars[name])[good] for name in ("ixx", "iyy", "ixy"))
        result["star_un_normalized_e_median"] = float(np.median(np.sqrt((ixx - iyy) ** 2 + 4 * ixy**2)))
        return result

    def _sample(self, stars: Table, flag: str) -> BoolArray:
        """Return the stars that made the PSF, without ``flag``, neither faint nor nearly saturated."""
        snr = np.asarray(stars["snr"])
        good = np.asarray(stars["calib_psf_used"], dtype=bool) & ~np.asarray(stars[flag], dtype=bool)
        return np.asarray(good & (snr > self.config.min_snr) & (snr < self.config.max_snr))

    def _higher_shapes(self, stars: Table | None) -> dict[str, float]:
        """Medians of the aberrations that the standardized third and fourth moments of the PSF stars show.

        The combinations are those that turn with the third, first, second and no angle (`star_coma1` and so on).
        """
        names = [f"star_{name}_median" for name in HIGHER_SHAPES]
        if stars is None or "moment_30" not in stars.colnames or _n_used(stars) == 0:
            return dict.fromkeys(names, NAN)
        good = self._sample(stars, "moments_flag")
        if not good.any():
            return dict.fromkeys(names, NAN)
        m30, m21, m12, m03, m40, m31, m22, m13, m04 = (np.asarray(stars[f"moment_{name}"])[good] for name in MOMENTS)
        shapes = (
            *(m30 + m12, m21 + m03, m30 - 3 * m12, 3 * m21 - m03),
            *(m40 + 2 * m22 + m04, m40 - m04, 2 * (m31 + m13)),
        )
        return {name: float(np.median(shape)) for name, shape in zip(names, shapes, strict=True)}

    def _psf_variation(self, exposure: Exposure, sigma: float) -> dict[str, float]:
        """How much the PSF, and the factor from its flux to the total flux, change over the usable pixels."""
        names = ("psf_trace_radius_delta", "psf_ap_flux_delta", "psf_ap_corr_sigma_scaled_delta")
        spacing = max(self.config.grid_spacing, max(exposure.shape) // self.config.max_grid)
        y, x = _grid(exposure, spacing)
        if exposure.psf is None or len(x) == 0:
            return dict.fromkeys(names, NAN)
        ixx, iyy, _ = exposure.psf.shapes(x=x, y=y).T
        trace = np.sqrt((ixx + iyy) / 2)
        radius = max(2.0, 3 * float(np.nanmedian(trace)))
        flux = np.array([exposure.psf.aperture_flux(radius, x=float(a), y=float(b)) for a, b in zip(x, y, strict=True)])
        corrections, factor = exposure.aperture_corrections, NAN
        if corrections and CALIBRATED in corrections:
            factor = float(np.ptp(corrections.evaluate(CALIBRATED, x=x, y=y)[0]))
        change = float(np.ptp(flux)) if np.all(flux >= 0) else NAN
        return dict(zip(names, (float(np.nanmax(trace) - np.nanmin(trace)), change, factor / sigma), strict=True))

    def _sky(self, exposure: Exposure, sigma: float) -> dict[str, float]:
        """Level of the subtracted sky, and noise, level and slope of what is left where nothing was detected."""
        names = ("sky_noise", "sky_light", "sky_mean", "sky_slope", "mean_var", "variance_ratio")
        level = float(sum(model.level for model in exposure.background)) if len(exposure.background) else NAN
        step = max(1, round(exposure.image.size / self.config.max_sky_pixels))
        rows = slice(step // 2 if exposure.shape[0] > step else 0, None, step)
        image, variance = exposure.image[rows], exposure.variance[rows]
        occupied = exposure.mask.cutout((rows, slice(None))).any_of(*SKY_IGNORED)
        if np.count_nonzero(~occupied) < MIN_SKY_PIXELS:
            return {"sky_bg": level, **dict.fromkeys(names, NAN)}
        sky = measure_sky_noise(image, bad=occupied, variance=variance)
        fwhm = FWHM_PER_SIGMA * sigma if math.isfinite(sigma) else None
        scale = measure_variance_scale(image, variance=variance, bad=occupied, fwhm=fwhm)
        light = 1.0 - scale.noise / scale.factor if scale.factor > 0 else 0.0
        noise = sky.sigma * math.sqrt(1.0 - light)
        slope = _slope(image, ~occupied) / noise if noise > 0 else NAN
        mean_var = float(np.mean(variance[~occupied]))
        values = (noise, light, sky.level, slope, mean_var, sky.variance_ratio * (1.0 - light))
        return {"sky_bg": level, **dict(zip(names, values, strict=True))}

    def _effective_time(self, exposure: Exposure, summary: Mapping[str, float]) -> dict[str, float]:
        """Time in which a usual exposure would have gone as deep, and what seeing, sky and zero point do to it."""
        band = exposure.filter.band if exposure.filter else None
        usual = self.config.fiducials.get(band or "", FiducialConfig())
        exp_time = summary["exp_time"] if summary["exp_time"] > 0 else NAN
        deeper = summary["mag_lim"] - _or_nan(usual.mag_lim)
        zero_point = summary["zero_point"] - 2.5 * math.log10(exp_time) - _or_nan(usual.zero_point)
        sky_rate = summary["sky_bg"] / exp_time
        return {
            "eff_time": 10 ** (0.8 * deeper) * usual.exposure_time,
            "eff_time_psf_sigma_scale": (summary["psf_sigma"] / _or_nan(usual.psf_sigma)) ** -2,
            "eff_time_sky_bg_scale": _or_nan(usual.sky_bg) / sky_rate if sky_rate > 0 else NAN,
            "eff_time_zero_point_scale": _at_most(10 ** (0.8 * zero_point), self.config.max_zero_point_scale),
        }

    def _depth(self, exposure: Exposure, summary: Mapping[str, float]) -> float:
        """Limiting magnitude of a point source, LSST's `magLim` with the gain and noise that the image shows."""
        if not math.isfinite(summary["zero_point"]) or not math.isfinite(summary["psf_area"]):
            return NAN
        gain = exposure.detector.gain or NAN
        snr = self.config.depth_snr
        background = summary["sky_noise"] ** 2 * summary["psf_area"]
        source = snr**2 / (2 * gain) if math.isfinite(gain) else 0.0
        counts = source + math.sqrt(source**2 + snr**2 * background)
        return float(summary["zero_point"] - 2.5 * math.log10(counts))


def _psf_at_centre(exposure: Exposure) -> dict[str, float]:
    names = ("psf_sigma", "psf_ixx", "psf_iyy", "psf_ixy", "psf_area", "psf_fwhm")
    if exposure.psf is None:
        return dict.fromkeys(names, NAN)
    psf: Psf = exposure.psf
    ny, nx = exposure.image.shape
    x, y = (nx - 1) / 2, (ny - 1) / 2
    moments = psf.moments(x=x, y=y)
    area = _effective_area(psf, x=x, y=y)
    return dict(
        zip(names, (moments.sigma, moments.ixx, moments.iyy, moments.ixy, area, psf.fwhm(x=x, y=y)), strict=True)
    )


def _effective_area(psf: Psf, *, x: float, y: float) -> float:
    """Return the effective area [pixel^2] of a star near a position, averaged over where it falls in its pixel.

    A star of 1.5 pixel full width at half maximum has 7 % less on the middle of a pixel than on average.
    """
    steps = (np.arange(PIXEL_PHASES) - PIXEL_PHASES // 2) / PIXEL_PHASES
    shift_y, shift_x = (shift.ravel() for shift in np.meshgrid(steps, steps, indexing="ij"))
    stamps = psf.images(x=np.rint(x) + shift_x, y=np.rint(y) + shift_y)
    return float(np.mean(stamps.sum(axis=(1, 2)) ** 2 / np.sum(stamps**2, axis=(1, 2))))


def _distance_to_psf_stars(exposure: Exposure, psf_stars: Table | None) -> dict[str, float]:
    """Largest distance [pixel] of a usable pixel, on a grid of 8 pixels, to the nearest star of the PSF model."""
    if psf_stars is None or _n_used(psf_stars) == 0:
        return {"max_dist_to_nearest_psf": NAN}
    used = np.asarray(psf_stars["calib_psf_used"], dtype=bool)
    tree = KDTree(np.column_stack([psf_stars["x"][used], psf_stars["y"][used]]))
    y, x = _grid(exposure, 8)
    if len(x) == 0:
        return {"max_dist_to_nearest_psf": NAN}
    distance, _ = tree.query(np.column_stack([x, y]))
    return {"max_dist_to_nearest_psf": float(distance.max())}


def _slope(image: FloatArray, free: BoolArray) -> float:
    """Return the change of the residual sky from edge to edge [count], the larger of the two axes of a plane."""
    ny, nx = image.shape
    plane = fit_mesh_background(image, bad=~free, bin_size=max(32, min(ny, nx) // 16), order=1, source_passes=0)
    corners = plane.evaluate_grid(x=np.array([0.0, nx - 1]), y=np.array([0.0, ny - 1]))
    return float(max(abs(corners[0, 1] - corners[0, 0]), abs(corners[1, 0] - corners[0, 0])))


def _where(exposure: Exposure) -> dict[str, float]:
    airmass = exposure.observation.airmass
    zenith = math.degrees(math.acos(1 / airmass)) if airmass is not None and airmass >= 1 else NAN
    corner_names = [f"{axis}_corner_{i}" for i in range(4) for axis in ("ra", "dec")]
    if exposure.wcs is None:
        return {"zenith_distance": zenith, **dict.fromkeys(("ra", "dec", "pixel_scale", *corner_names), NAN)}
    ny, nx = exposure.image.shape
    x, y = (nx - 1) / 2, (ny - 1) / 2
    ra, dec = exposure.wcs.pixel_to_sky(x=x, y=y)
    scale = float(exposure.wcs.pixel_scale(x=x, y=y))
    result = {"zenith_distance": zenith, "ra": float(ra), "dec": float(dec), "pixel_scale": scale}
    corners = exposure.wcs.pixel_to_sky(x=np.array([0.0, nx - 1, nx - 1, 0]), y=np.array([0.0, 0, ny - 1, ny - 1]))
    for i, (corner_ra, corner_dec) in enumerate(zip(*corners, strict=True)):
        result[f"ra_corner_{i}"], result[f"dec_corner_{i}"] = float(corner_ra), float(corner_dec)
    return result


def _grid(exposure: Exposure, spacing: int) -> tuple[FloatArray, FloatArray]:
    """Usable pixels on a regular grid that reaches both ends of each axis."""
    ny, nx = exposure.image.shape
    rows = np.unique(np.linspace(0, ny - 1, max(2, -(-ny // spacing))).round().astype(int))
    columns = np.unique(np.linspace(0, nx - 1, max(2, -(-nx // spacing))).round().astype(int))
    usable = (exposure.mask.array[np.ix_(rows, columns)] & exposure.mask.bits(*UNUSABLE)) == 0
    y, x = np.meshgrid(rows, columns, indexing="ij")
    return y[usable].astype(float), x[usable].astype(float)


def _shape(stars: Table, prefix: str, keep: BoolArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Ellipticities e1, e2 and trace radius [pixel] of the second moments."""
    ixx, iyy, ixy = (np.asarray(stars[f"{prefix}{name}"])[keep] for name in ("ixx", "iyy", "ixy"))
    trace = ixx + iyy
    return (ixx - iyy) / trace, 2 * ixy / trace, np.sqrt(trace / 2)


def _n_used(psf_stars: Table) -> int:
    return int(np.sum(psf_stars["calib_psf_used"])) if "calib_psf_used" in psf_stars.colnames else 0


def _mad_sigma(values: FloatArray) -> float:
    return float(1.4826 * np.median(np.abs(values - np.median(values))))


def _at_most(value: float, limit: float) -> float:
    """Return the smaller of the two; NaN stays."""
    return limit if value > limit else value


def _or_nan(value: float | None) -> float:
    return NAN if value is None else float(value)
