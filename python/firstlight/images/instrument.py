"""`Instrument`: from the files of a camera to exposures and what is known of them."""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import structlog
from numpy.typing import NDArray

from firstlight.errors import ConfigError, HeaderError, ImageFileError
from firstlight.framework import ClassOverrides, load_config
from firstlight.images import header_values
from firstlight.images.companions import mask_beside, why_no_image
from firstlight.images.exposure import Exposure, HeaderValue
from firstlight.images.fits import RawImage, read_image
from firstlight.images.header_words import band_of, is_in_electrons, observation_type_of, unit_of
from firstlight.images.instrument_config import FilterConfig, InstrumentConfig
from firstlight.images.mask import Mask
from firstlight.images.noise_model import clip_level, make_variance
from firstlight.images.observation import DetectorInfo, ObservationInfo, VarianceSource
from firstlight.images.wcs import SkyWcs
from firstlight.images.wcs_header import has_celestial_wcs
from firstlight.kernels.arrays import BoolArray
from firstlight.kernels.matched_filter import grow_mask

Header = Mapping[str, HeaderValue]
PixelSource = str | Path | NDArray[Any]
"""A file with one plane of pixels, or the pixels themselves."""

MJD_2000 = 51544.0
ID_SECONDS = 1 << 31
ARCSEC_MM_PER_MICROMETRE = 206.265
"""Angle [arcsec] of one micrometre at a focal length of one millimetre."""


class Translation(NamedTuple):
    """What a header means."""

    observation: ObservationInfo
    detector: DetectorInfo


class Instrument:
    """A camera. A subclass changes how its files are read; its settings are those of ``instrument.yaml``.

    Parameters
    ----------
    config
        None takes the `default_config` of the class.
    folder
        Where files ``<TaskClass>.yaml`` with its settings for tasks are; None takes the `default_folder` of the class.

    Raises
    ------
    ConfigError
        If there is no config.
    """

    default_config: ClassVar[InstrumentConfig | None] = None
    """Settings of a camera that has a class of its own and no YAML file."""

    default_folder: ClassVar[Path | None] = None
    """Where such a camera keeps its settings for tasks."""

    def __init__(self, config: InstrumentConfig | None = None, *, folder: Path | None = None) -> None:
        config = config or self.default_config
        if config is None:
            raise ConfigError(f"{type(self).__name__} has no settings; give an InstrumentConfig or an instrument.yaml.")
        self.config = config
        self.folder = folder or self.default_folder

    @classmethod
    def from_yaml(cls, path: str | Path) -> Self:
        """Make the instrument that a YAML file describes.

        Raises
        ------
        ConfigError
            If the file cannot be read or does not fit `InstrumentConfig`.
        """
        return cls(load_config(InstrumentConfig, path), folder=Path(path).parent)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"

    @property
    def name(self) -> str:
        """Name of the instrument."""
        return self.config.name

    def overrides(self) -> ClassOverrides:
        """Return its settings for tasks: of every label of a class, above the defaults of the class.

        Raises
        ------
        ConfigError
            If a file is named almost like a task, and like none.
        """
        return ClassOverrides(self.folder) if self.folder is not None else ClassOverrides()

    def recognise(self, header: Header) -> bool:
        """Return whether a header was written by this camera."""
        patterns = self.config.recognise
        return bool(patterns) and all(
            keyword in header and re.search(pattern, str(header[keyword])) for keyword, pattern in patterns.items()
        )

    def translate(self, header: Header, *, shape: tuple[int, int] | None = None) -> Translation:
        """Return what a header says about observation and detector; None for what it does not tell.

        Parameters
        ----------
        header
        shape
            Rows and columns of the image, to find its middle with the WCS.

        Raises
        ------
        HeaderError
            If a keyword that is there cannot be understood.
        """
        wcs = self.wcs(header)
        detector = self.detector(header, wcs)
        return Translation(self.observation(header, wcs, shape), detector)

    def wcs(self, header: Header) -> SkyWcs | None:
        """Return the WCS of the header; None if there is none that can be used."""
        if not (self.config.trust_wcs and has_celestial_wcs(header)):
            return None
        try:
            return SkyWcs.from_header(header)
        except HeaderError:
            return None

    def observation(self, header: Header, wcs: SkyWcs | None, shape: tuple[int, int] | None) -> ObservationInfo:
        """Return when, how and where the exposure was taken."""
        keywords = self.config.keywords
        exposure_time = header_values.first_number(header, keywords.exposure_time, above=-1e-9)
        mjd_tai, date_source = self.date(header, exposure_time)
        filter_ = self.filter(header)
        ra, dec = self.pointing(header, wcs, shape) or (None, None)
        return ObservationInfo(
            exposure_id=self.exposure_id(header, mjd_tai),
            instrument=self.name,
            mjd_tai=mjd_tai,
            date_source=date_source,
            day_obs_offset=self.config.day_obs_offset,
            physical_filter=filter_.physical,
            band=filter_.band,
            reference_column=filter_.reference_column,
            exposure_time=exposure_time,
            airmass=self.airmass(header),
            ra=ra,
            dec=dec,
            pointing_error=self.config.pointing_error,
            object_name=_text(header, keywords.object_name),
            observation_type=observation_type_of(_text(header, keywords.observation_type)),
        )

    def detector(self, header: Header, wcs: SkyWcs | None) -> DetectorInfo:
        """Return what is known of the detector."""
        config, keywords = self.config, self.config.keywords
        number = header_values.first_number(header, keywords.detector_id, above=-1)
        gain = header_values.first_number(header, keywords.gain, above=config.min_gain, below=config.max_gain)
        if is_in_electrons(header):
            gain = 1.0
        read_noise = header_values.first_number(header, keywords.read_noise, above=-1e-9)
        saturation = header_values.first_number(header, keywords.saturation, above=0)
        return DetectorInfo(
            id=0 if number is None else int(number),
            name=self.detector_name(header),
            gain=config.gain if gain is None else gain,
            read_noise=config.read_noise if read_noise is None else read_noise,
            saturation=config.saturation if saturation is None else saturation,
            pixel_scale=self.pixel_scale(header, wcs),
        )

    def exposure_id(self, header: Header, mjd_tai: float | None) -> int:
        """Return the number of the exposure: from its keyword, or its date in seconds, or a checksum of the header."""
        given = header_values.first_number(header, self.config.keywords.exposure_id, above=0)
        if given is not None:
            return int(given)
        if mjd_tai is not None:
            return round((mjd_tai - MJD_2000) * header_values.SECONDS_PER_DAY) % ID_SECONDS
        return zlib.crc32(repr(sorted((key, str(value)) for key, value in header.items())).encode()) % ID_SECONDS

    def date(self, header: Header, exposure_time: float | None) -> tuple[float | None, str | None]:
        """Return the middle of the exposure [MJD, TAI], and which keyword gave it; None where it is not known."""
        default_scale = str(header.get("TIMESYS", "utc")).strip() or "utc"
        for source in self.config.keywords.date:
            if source.keyword not in header:
                continue
            time_of_day = None if source.time_keyword is None else header.get(source.time_keyword)
            if source.time_keyword is not None and time_of_day is None and "T" not in str(header[source.keyword]):
                continue
            scale = source.scale or default_scale
            mjd = header_values.mjd_tai(header[source.keyword], time_of_day=time_of_day, scale=scale)
            if mjd is not None:
                half = (exposure_time or 0.0) / 2 / header_values.SECONDS_PER_DAY
                shift = {"start": half, "middle": 0.0, "end": -half}[source.at]
                return mjd + shift, f"{source.keyword} ({source.at}, {scale.upper()})"
        return None, None

    def filter(self, header: Header) -> FilterConfig:
        """Return the filter; its fields are None where the header or the settings do not tell."""
        for keyword in self.config.keywords.filter:
            name = _text(header, (keyword,))
            if name is not None:
                known = self.config.filters.get(name) or band_of(name)
                return FilterConfig(
                    physical=known.physical or name, band=known.band, reference_column=known.reference_column
                )
        return FilterConfig()

    def pointing(self, header: Header, wcs: SkyWcs | None, shape: tuple[int, int] | None) -> tuple[float, float] | None:
        """Return the ICRS position [deg] of the middle of the image: from the WCS, or from the keywords."""
        if wcs is not None:
            x, y = wcs.crpix if shape is None else ((shape[1] - 1) / 2, (shape[0] - 1) / 2)
            ra, dec = wcs.pixel_to_sky(x=x, y=y)
            if math.isfinite(float(ra)):
                return float(ra), float(dec)
        keywords = self.config.keywords
        return header_values.position(header, keywords.ra, keywords.dec, numbers_in_hours=self.config.ra_in_hours)

    def pixel_scale(self, header: Header, wcs: SkyWcs | None) -> float | None:
        """Return the side of a pixel [arcsec]."""
        if wcs is not None:
            x, y = wcs.crpix
            return float(wcs.pixel_scale(x=x, y=y))
        keywords = self.config.keywords
        given = header_values.first_number(header, keywords.pixel_scale, above=0)
        if given is not None:
            return given
        size = header_values.first_number(header, keywords.pixel_size, above=0)
        focal_length = header_values.first_number(header, keywords.focal_length, above=0)
        if size is not None and focal_length is not None:
            return ARCSEC_MM_PER_MICROMETRE * size / focal_length
        return self.config.pixel_scale

    def airmass(self, header: Header) -> float | None:
        """Return the airmass: from its keyword, or from the altitude (Kasten & Young 1989)."""
        given = header_values.first_number(header, self.config.keywords.airmass, above=0.9, below=100)
        if given is not None:
            return given
        altitude = header_values.first_number(header, self.config.keywords.altitude, above=0, below=90.001)
        if altitude is None:
            return None
        return 1.0 / (math.sin(math.radians(altitude)) + 0.50572 * math.pow(altitude + 6.07995, -1.6364))

    def detector_name(self, header: Header) -> str:
        """Return the name of the detector; empty when a keyword of its pattern is missing."""
        try:
            return self.config.detector_name.format_map(dict(header))
        except (KeyError, ValueError):
            return ""

    def mask_of_bits(self, bits: NDArray[Any]) -> Mask:
        """Return the planes that the camera's own mask stands for; without `mask_bits`, all that is not 0 is BAD."""
        if bits.dtype == bool or not self.config.mask_bits:
            return Mask.empty(bits.shape).with_plane("BAD", bits != 0)
        whole = _as_unsigned(bits)
        mask = Mask.empty(bits.shape)
        for plane in sorted(set(self.config.mask_bits.values())):
            value = sum(1 << bit for bit, name in self.config.mask_bits.items() if name == plane)
            where = (whole & whole.dtype.type(value & int(np.iinfo(whole.dtype).max))) != 0
            if where.any():
                mask = mask.with_plane(plane, where)
        return mask

    def bits_of(self, mask: RawImage) -> NDArray[Any]:
        """Return the pixels (ny, nx) of a mask file as `mask_of_bits` takes them."""
        return mask.image

    def mask_path(self, path: Path) -> Path | None:
        """Return the mask file that lies beside an image: ``NAME_mask.fits``; None if there is none."""
        return mask_beside(path)

    def why_no_image(self, path: Path, header: Header) -> str:
        """Return why a file with this header is no image but belongs to one; empty for an image."""
        return why_no_image(path, dated=self.date(header, None)[0] is not None)

    def read(
        self,
        path: str | Path,
        *,
        hdu: int | str | None = None,
        mask: PixelSource | None = None,
        variance: PixelSource | None = None,
    ) -> Exposure:
        """Read an image file as an exposure.

        Parameters
        ----------
        path
        hdu
            Number or name of the HDU; None takes the first with a two-dimensional image.
        mask
            The camera's bits, or True where a pixel is bad; None looks for the camera's own mask file.
        variance : [count^2]
            None makes it from gain and read noise, or from the scatter of the pixels; `DetectorInfo` tells which.

        Raises
        ------
        ImageFileError
            If a file cannot be read, or mask or variance differ in shape from the image.
        HeaderError
            If the header cannot be understood.
        """
        raw = read_image(path, hdu=hdu)
        if mask is None:
            mask = self.mask_path(Path(path))
        if isinstance(mask, str | Path):
            structlog.get_logger().info("mask", image=str(path), mask=str(mask))
            mask = self.bits_of(read_image(mask, preferred=raw.hdu))
        return self.to_exposure(raw, mask=_pixels(mask, raw, "mask"), variance=_pixels(variance, raw, "variance"))

    def to_exposure(
        self, raw: RawImage, *, mask: NDArray[Any] | None = None, variance: NDArray[Any] | None = None
    ) -> Exposure:
        """Return the exposure that a raw image and its header stand for."""
        observation, detector = self.translate(raw.header, shape=(raw.image.shape[0], raw.image.shape[1]))
        unit, factor = unit_of(raw.header, observation.exposure_time)
        image = raw.image.astype(np.float32, copy=False)
        if factor != 1.0:
            image = image * np.float32(factor)
        saturation = clip_level(image) if detector.saturation is None else detector.saturation * factor
        detector = replace(detector, saturation=saturation, gain=None if unit == "nJy" else detector.gain)
        planes = Mask.empty(image.shape) if mask is None else self.mask_of_bits(mask)
        margin = self.config.saturation_margin if observation.is_science else 0
        saturated = grow_mask(image >= self._saturated_from(saturation), margin)
        planes = _with_planes(planes, SAT=saturated, NO_DATA=~np.isfinite(image))
        source: VarianceSource = "file"
        if variance is None:
            variance, source = make_variance(image, detector, assumed_gain=self.config.assumed_gain)
        return Exposure(
            image=image,
            mask=planes,
            variance=np.asarray(variance, dtype=np.float32),
            unit=unit,
            wcs=self.wcs(raw.header),
            filter=observation.filter,
            observation=observation,
            detector=replace(detector, variance_source=source),
            header=raw.header,
        )

    def _saturated_from(self, saturation: float | None) -> float:
        return math.inf if saturation is None else saturation * self.config.saturated_fraction


def _with_planes(mask: Mask, **planes: BoolArray) -> Mask:
    """Return the mask with planes set where they are True."""
    for name, where in planes.items():
        if where.any():
            mask = mask.with_plane(name, where)
    return mask


def _as_unsigned(bits: NDArray[Any]) -> NDArray[Any]:
    """Return whole numbers as their bits, without a copy where they are integers already."""
    whole = bits if bits.dtype.kind in "iu" else bits.astype(np.int64)
    return whole.view(f"u{whole.dtype.itemsize}")


def _pixels(source: PixelSource | None, raw: RawImage, what: str) -> NDArray[Any] | None:
    if source is None:
        return None
    pixels = read_image(source, preferred=raw.hdu).image if isinstance(source, str | Path) else np.asarray(source)
    if pixels.shape != raw.image.shape:
        raise ImageFileError(f"The {what} has shape {pixels.shape}, the image {raw.image.shape}; they must be equal.")
    return pixels


def _text(header: Header, keywords: tuple[str, ...]) -> str | None:
    found = header_values.first_value(header, keywords)
    return None if found is None else str(found.value).strip()
