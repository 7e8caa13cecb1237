"""Raw frames of a camera whose bias pattern, dark current, response and defects are known exactly."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from astropy.io import fits
from astropy.time import Time
from numpy.typing import NDArray

from firstlight.errors import ConfigError
from firstlight.simulation.detector import Defects, draw_defects, read_out
from firstlight.simulation.settings import DetectorSettings
from firstlight.simulation.streams import Stream, random_stream

FloatArray = NDArray[np.float64]
FrameKind = Literal["bias", "dark", "flat", "science"]

FIRST_DATE = 2025.5
SECONDS_BETWEEN_FRAMES = 60.0
SECONDS_PER_DAY = 86400.0
LARGEST = 65535
"""Highest number that a camera with 16 bits writes."""


@dataclass(frozen=True, kw_only=True)
class RawCameraSettings:
    """What a raw camera can be told, next to its seed."""

    shape: tuple[int, int] = (512, 512)
    """Size of the light-sensitive part (ny, nx) [pixel]."""

    overscan: int = 32
    """Columns of overscan to the right of it [pixel]."""

    bias_level: float = 1000.0
    """Mean level of the electronics [adu]."""

    bias_drift: float = 0.3
    """Step of the level from row to row, a random walk that is another one in each frame [adu]."""

    bias_pattern: float = 3.0
    """Standard deviation of the fixed pattern of columns and pixels, together [adu]."""

    dark_rate: float = 0.02
    """Dark current of a usual pixel [adu/s]."""

    glow_rate: float = 0.2
    """Glow of the amplifier in a corner [adu/s]."""

    hot_time: float = 30.0
    """Length of the exposure for which the detector's hot pixels and cosmic rays are given [s]."""

    response: float = 0.01
    """Standard deviation of the response of the pixels."""

    vignetting: float = 0.15
    """Loss of light in the corners."""

    dust: int = 6
    """Number of dust grains, whose rings take away some percent."""

    filter: str = "r"
    """Filter in the header."""

    detector: DetectorSettings = field(default_factory=DetectorSettings)
    """Noise and defects; `saturation` counts from above the bias."""


@dataclass(frozen=True)
class RawCamera:
    """A camera and everything that is true about it.

    Parameters
    ----------
    settings, seed
    bias : (ny, nx) [adu]
        Fixed pattern, without the level of the electronics.
    sound_dark_rate : (ny, nx) [adu/s]
        Dark current without defects.
    sound_flat : (ny, nx)
        Response to light without defects; 1 in the median.
    defects
        Hot pixels and insensitive columns.
    """

    settings: RawCameraSettings
    seed: int
    bias: FloatArray
    sound_dark_rate: FloatArray
    sound_flat: FloatArray
    defects: Defects

    @property
    def flat(self) -> FloatArray:
        """Return the response to light, insensitive columns included (ny, nx)."""
        flat = self.sound_flat.copy()
        for column, start, stop, response in self.defects.columns:
            flat[start:stop, column] *= response
        return flat

    @property
    def dark_rate(self) -> FloatArray:
        """Return the dark current, hot pixels included (ny, nx) [adu/s]."""
        rate = self.sound_dark_rate.copy()
        for column, start, stop, response in self.defects.columns:
            rate[start:stop, column] *= response
        rate[self.defects.hot_rows, self.defects.hot_columns] += self.defects.hot_counts / self.settings.hot_time
        return rate

    @property
    def defect_pixels(self) -> NDArray[np.bool_]:
        """Return where there are hot pixels or insensitive columns, bool (ny, nx)."""
        bad = np.zeros(self.settings.shape, dtype=bool)
        bad[self.defects.hot_rows, self.defects.hot_columns] = True
        for column, start, stop, _ in self.defects.columns:
            bad[start:stop, column] = True
        return bad

    @property
    def variance_of_reading(self) -> float:
        """Return the variance of read noise and rounding [adu2]."""
        detector = self.settings.detector
        return (detector.read_noise / detector.gain) ** 2 + (1 / 12 if detector.rounding else 0.0)


@dataclass(frozen=True)
class RawFrame:
    """What the camera writes.

    Parameters
    ----------
    image : (ny, nx + overscan) uint16 [adu]
    header
    mask : (ny, nx) uint8
        Sum of `firstlight.simulation.detector.TruthBit`, without the overscan.
    """

    image: NDArray[np.uint16]
    header: fits.Header
    mask: NDArray[np.uint8]


def make_raw_camera(settings: RawCameraSettings | None = None, *, seed: int = 0) -> RawCamera:
    """Draw the pattern, the dark current, the response and the defects of a camera."""
    settings = settings or RawCameraSettings()
    ny, nx = settings.shape
    rng = random_stream(seed, Stream.CAMERA)
    half = settings.bias_pattern / np.sqrt(2.0)
    bias = half * rng.standard_normal((1, nx)) + half * rng.standard_normal((ny, nx))
    y, x = np.mgrid[0:ny, 0:nx]
    dark = settings.dark_rate * rng.gamma(4.0, 0.25, (ny, nx))
    dark += settings.glow_rate * np.exp(-np.hypot(x / nx, y / ny) / 0.15)
    defects = draw_defects(settings.shape, settings=settings.detector, seed=seed)
    flat = _optics(settings, rng) * (1.0 + settings.response * rng.standard_normal((ny, nx)))
    flat /= np.median(flat)
    return RawCamera(settings, seed, bias, dark, flat, defects)


def take_raw_frame(
    camera: RawCamera, kind: FrameKind, *, number: int, exposure_time: float = 0.0, light: FloatArray | float = 0.0
) -> RawFrame:
    """Take one frame.

    Parameters
    ----------
    camera
    kind
        What the header calls it.
    number
        Frames of one camera with other numbers have other noise, cosmic rays and drift.
    exposure_time : [s]
    light : (ny, nx) [adu]
        Expected light before the response of the pixels; a number for an even one.

    Raises
    ------
    ConfigError
        If a bias is exposed.
    """
    if kind == "bias" and exposure_time > 0:
        raise ConfigError(f"A bias is not exposed; got an exposure time of {exposure_time:.6g} s.")
    settings, detector = camera.settings, camera.settings.detector
    ny = settings.shape[0]
    readout = read_out(
        np.broadcast_to(light, settings.shape) * camera.sound_flat + camera.sound_dark_rate * exposure_time,
        settings=replace(detector, rounding=False),
        seed=camera.seed,
        epoch=number,
        dark_time=exposure_time / settings.hot_time,
    )
    rng = random_stream(camera.seed, Stream.ELECTRONICS, epoch=number)
    level = settings.bias_level + np.cumsum(settings.bias_drift * rng.standard_normal((ny, 1)), axis=0)
    overscan = np.zeros((ny, settings.overscan))
    if detector.noise:
        overscan += detector.read_noise / detector.gain * rng.standard_normal(overscan.shape)
    counts = np.hstack([readout.image + camera.bias, overscan]) + level
    return RawFrame(
        image=np.clip(np.round(counts), 0, LARGEST).astype(np.uint16),
        header=_header(camera, kind, number=number, exposure_time=exposure_time),
        mask=readout.mask,
    )


def _optics(settings: RawCameraSettings, rng: np.random.Generator) -> FloatArray:
    ny, nx = settings.shape
    y, x = np.mgrid[0:ny, 0:nx]
    radius = np.hypot((x - nx / 2) / nx, (y - ny / 2) / ny) / np.hypot(0.5, 0.5)
    light = 1.0 - settings.vignetting * radius**2
    for _ in range(settings.dust):
        distance = np.hypot(x - rng.uniform(0, nx), y - rng.uniform(0, ny))
        outer = rng.uniform(0.02, 0.06) * min(ny, nx)
        light *= 1.0 - rng.uniform(0.01, 0.05) * ((distance < outer) & (distance > 0.4 * outer))
    return np.asarray(light)


def _header(camera: RawCamera, kind: FrameKind, *, number: int, exposure_time: float) -> fits.Header:
    settings, detector = camera.settings, camera.settings.detector
    ny, nx = settings.shape
    start = Time(FIRST_DATE, format="jyear", scale="utc").mjd + number * SECONDS_BETWEEN_FRAMES / SECONDS_PER_DAY
    header = fits.Header()
    for card in (
        ("INSTRUME", "firstlight simulated camera", "not a real instrument"),
        ("IMAGETYP", kind, "kind of exposure"),
        ("FILTER", settings.filter, ""),
        ("EXPTIME", exposure_time, "[s] exposure time"),
        ("DATE-OBS", Time(start, format="mjd", scale="utc").isot, "[UTC] start of the exposure"),
        ("MJD-OBS", float(start), "[d] start of the exposure (UTC)"),
        ("GAIN", detector.gain, "[electron/adu]"),
        ("RDNOISE", detector.read_noise, "[electron]"),
        ("SATURATE", min(detector.saturation + settings.bias_level, LARGEST), "[adu] with the bias"),
        ("BIASSEC", f"[{nx + 1}:{nx + settings.overscan},1:{ny}]", "overscan"),
        ("TRIMSEC", f"[1:{nx},1:{ny}]", "light-sensitive part"),
        ("XBINNING", 1, ""),
        ("YBINNING", 1, ""),
        ("BUNIT", "adu", "unit of the pixels"),
    ):
        header.append(card, end=True)
    return header
