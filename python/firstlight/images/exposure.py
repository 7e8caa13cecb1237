"""`Exposure`: an image with everything that is known about it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self

import numpy as np
from astropy import units as u
from astropy.io.fits import VerifyError
from astropy.nddata import CCDData, InverseVariance, StdDevUncertainty, VarianceUncertainty
from numpy.typing import ArrayLike, NDArray

from firstlight.errors import HeaderError
from firstlight.framework import ReadOnlyMapping
from firstlight.images.aperture_correction import ApertureCorrectionMap
from firstlight.images.background import BackgroundList
from firstlight.images.box import Box
from firstlight.images.mask import Mask
from firstlight.images.observation import DetectorInfo, Filter, ObservationInfo
from firstlight.images.photo_calib import PhotoCalib
from firstlight.images.psf import Psf
from firstlight.images.wcs import SkyWcs

Unit = Literal["count", "nJy"]
UNITS: tuple[Unit, ...] = ("count", "nJy")

HeaderValue = str | int | float | bool


@dataclass(frozen=True, eq=False, repr=False)
class Exposure:
    """An image, its mask and variance, and the models that belong to it; never changed, only replaced.

    Parameters
    ----------
    image : (ny, nx) [unit]
        float32; not copied when it is float32 already, and not to be changed any more.
    mask
        What is wrong with each pixel.
    variance : (ny, nx) [unit^2]
        float32, like the image.
    unit
        ``count`` or ``nJy``.
    wcs, psf, photo_calib, aperture_corrections
        None until they are known. `photo_calib` is from `unit` to nJy.
    background
        The sky models that were subtracted, in `unit`; image + their sum is the image before.
    filter, observation, detector
        What is known from the header.
    summary
        Name -> number, statistics of the whole exposure; None until they are made.
    header
        The cards of the telescope's header.

    Raises
    ------
    ValueError
        If the planes differ in shape, are not two-dimensional, or the unit is not known.
    """

    image: NDArray[np.float32]
    mask: Mask
    variance: NDArray[np.float32]
    unit: Unit = "count"
    wcs: SkyWcs | None = None
    psf: Psf | None = None
    photo_calib: PhotoCalib | None = None
    aperture_corrections: ApertureCorrectionMap | None = None
    background: BackgroundList = field(default_factory=BackgroundList)
    filter: Filter | None = None
    observation: ObservationInfo = field(default_factory=ObservationInfo)
    detector: DetectorInfo = field(default_factory=DetectorInfo)
    summary: Mapping[str, float] | None = None
    header: Mapping[str, HeaderValue] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("image", "variance"):
            object.__setattr__(self, name, np.ascontiguousarray(getattr(self, name), dtype=np.float32))
        if self.image.ndim != 2 or not self.image.size:
            raise ValueError(f"An exposure needs an image [y, x]; got shape {self.image.shape}.")
        if not self.image.shape == self.mask.shape == self.variance.shape:
            raise ValueError(
                f"The planes differ in shape: image {self.image.shape}, mask {self.mask.shape}, "
                f"variance {self.variance.shape}."
            )
        if self.unit not in UNITS:
            raise ValueError(f"The unit of an exposure is one of {', '.join(UNITS)}; got {self.unit!r}.")
        object.__setattr__(self, "header", ReadOnlyMapping(self.header))
        if self.summary is not None:
            object.__setattr__(self, "summary", ReadOnlyMapping(self.summary))

    def __repr__(self) -> str:
        known = [name for name in ("wcs", "psf", "photo_calib", "summary") if getattr(self, name) is not None]
        with_ = f", with {', '.join(known)}" if known else ""
        return f"Exposure({self.shape[0]} x {self.shape[1]} [{self.unit}], id {self.observation.exposure_id}{with_})"

    def replace(self, **changes: Any) -> Self:
        """Return the exposure with some of its fields changed; arrays that stay are shared, not copied."""
        return replace(self, **changes)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.image.shape[0], self.image.shape[1]

    @property
    def box(self) -> Box:
        """All pixels."""
        return Box.of_shape(self.shape)

    def sky_circle(self) -> tuple[float, float, float]:
        """Return right ascension, declination and radius [deg] of a circle on the sky that holds the image.

        Without a WCS it is taken from the stated pointing and pixel scale, and grown by the pointing error.

        Raises
        ------
        HeaderError
            If there is neither a WCS nor a pointing and a pixel scale.
        """
        x, y = self.box.center
        if self.wcs is not None:
            ra, dec = self.wcs.pixel_to_sky(x=x, y=y)
            edge_x = np.array([-0.5, self.box.x1 - 0.5, self.box.x1 - 0.5, -0.5, -0.5, x, self.box.x1 - 0.5, x])
            edge_y = np.array([-0.5, -0.5, self.box.y1 - 0.5, self.box.y1 - 0.5, y, -0.5, y, self.box.y1 - 0.5])
            edge = self.wcs.pixel_to_sky(x=edge_x, y=edge_y)
            return float(ra), float(dec), float(np.max(separation(float(ra), float(dec), *edge)))
        observation, scale = self.observation, self.detector.pixel_scale
        if observation.ra is None or observation.dec is None or scale is None:
            raise HeaderError("The exposure has no WCS, and its header gives no pointing or no pixel scale.")
        radius = math.hypot(self.box.width, self.box.height) / 2 * scale / 3600
        return observation.ra, observation.dec, radius + (observation.pointing_error or 0.0) / 60

    def cutout(self, box: Box) -> Self:
        """Return the part of the exposure inside ``box``, clipped to the image, as an exposure of its own.

        The PSF, the calibrations and the background models belong to the pixels of the whole image and are left out.
        """
        box = box.clip(self.box)
        return self.replace(
            image=self.image[box.slices],
            mask=self.mask.cutout(box.slices),
            variance=self.variance[box.slices],
            wcs=None if self.wcs is None else self.wcs.shifted(x=box.x0, y=box.y0),
            psf=None,
            photo_calib=None if self.photo_calib is None or self.photo_calib.variation else self.photo_calib,
            aperture_corrections=None,
            background=BackgroundList(),
            summary=None,
        )

    @classmethod
    def from_ccddata(
        cls,
        ccd: CCDData,
        *,
        observation: ObservationInfo | None = None,
        detector: DetectorInfo | None = None,
        variance: ArrayLike | None = None,
    ) -> Self:
        """Make an exposure of an astropy `CCDData`.

        Parameters
        ----------
        ccd
            In adu, electron, count or a unit of flux density; its mask becomes plane BAD, what is not finite NO_DATA.
        observation, detector
            What its header means, for instance from an instrument's ``translate``.
        variance : (ny, nx)
            Used when ``ccd`` has no uncertainty.

        Raises
        ------
        ValueError
            If there is no variance, or the unit is neither counts nor a flux density.
        """
        unit, factor = _unit_of(ccd.unit)
        spread = _variance_of(ccd) if ccd.uncertainty is not None else variance
        if spread is None:
            raise ValueError("The CCDData has no uncertainty; give 'variance'.")
        image = np.asarray(ccd.data, dtype=np.float32) * np.float32(factor)
        mask = Mask.empty(image.shape).with_plane("NO_DATA", ~np.isfinite(image))
        if ccd.mask is not None:
            mask = mask.with_plane("BAD", np.broadcast_to(np.asarray(ccd.mask, dtype=bool), image.shape))
        return cls(
            image=image,
            mask=mask,
            variance=np.asarray(spread, dtype=np.float32) * np.float32(factor**2),
            unit=unit,
            wcs=None if ccd.wcs is None else SkyWcs.from_header(ccd.wcs.to_header(relax=True)),
            observation=observation or ObservationInfo(),
            filter=None if observation is None else observation.filter,
            detector=detector or DetectorInfo(),
            header=plain_header(ccd.meta),
        )

    def to_ccddata(self, *, bad_planes: tuple[str, ...] = ("BAD", "SAT", "CR", "NO_DATA")) -> CCDData:
        """Return image, variance, WCS and header as an astropy `CCDData`.

        Parameters
        ----------
        bad_planes
            Planes that make up its mask.
        """
        return CCDData(
            self.image,
            uncertainty=VarianceUncertainty(self.variance),
            mask=self.mask.any_of(*bad_planes),
            unit=u.adu if self.unit == "count" else u.nJy,
            wcs=None if self.wcs is None else self.wcs.to_astropy(),
            meta=dict(self.header),
        )


def plain_header(header: Any) -> dict[str, HeaderValue]:
    """Return the cards of a FITS header, or of any mapping, as plain values; comments are joined by line breaks."""
    plain: dict[str, HeaderValue] = {}
    for keyword in header:
        value = _card_value(header, keyword)
        if not isinstance(keyword, str) or not keyword:
            continue
        if isinstance(value, str | bool | int | float):
            plain[keyword] = value
        elif isinstance(value, np.generic):
            plain[keyword] = value.item()
        elif value is not None and keyword in ("COMMENT", "HISTORY"):
            plain[keyword] = "\n".join(str(line) for line in value)
    return plain


def _card_value(header: Any, keyword: str) -> Any:
    """Return the value of a card; None for one that breaks the standard beyond reading."""
    try:
        return header[keyword]
    except VerifyError:
        return None


def separation(ra: float, dec: float, other_ra: ArrayLike, other_dec: ArrayLike) -> NDArray[np.float64]:
    """Return the angle [deg] between a position and others, all in degrees (haversine)."""
    d_ra = np.radians(np.asarray(other_ra) - ra) / 2
    d_dec = np.radians(np.asarray(other_dec) - dec) / 2
    cosines = np.cos(np.radians(dec)) * np.cos(np.radians(other_dec))
    haversine = np.sin(d_dec) ** 2 + cosines * np.sin(d_ra) ** 2
    return np.asarray(np.degrees(2 * np.arcsin(np.sqrt(np.clip(haversine, 0, 1)))))


def _unit_of(unit: Any) -> tuple[Unit, float]:
    if unit in (u.adu, u.electron, u.ct, u.count, u.dimensionless_unscaled):
        return "count", 1.0
    try:
        return "nJy", float(unit.to(u.nJy))
    except u.UnitConversionError as error:
        raise ValueError(f"An exposure is in counts or in nJy; the CCDData is in {unit}.") from error


def _variance_of(ccd: CCDData) -> NDArray[Any]:
    array = np.asarray(ccd.uncertainty.array)
    if isinstance(ccd.uncertainty, StdDevUncertainty):
        return array**2
    if isinstance(ccd.uncertainty, InverseVariance):
        with np.errstate(divide="ignore"):
            return 1.0 / array
    return array
