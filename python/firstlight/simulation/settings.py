"""What a simulation can be told, with defaults like a wide-field survey camera on a 1.2 m telescope."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, Self

from firstlight.errors import ConfigError

BANDS = ("g", "r", "i")


@dataclass(frozen=True, kw_only=True)
class SkySettings:
    """Which stars, galaxies and transients there are."""

    star_density: float = 24_000.0
    """Stars between `bright_limit` and `faint_limit` [1/deg2]; about half are too faint to be detected."""

    bright_limit: float = 10.0
    """Brightest star [AB mag in r]."""

    faint_limit: float = 22.0
    """Faintest star and galaxy [AB mag in r]."""

    galaxy_fraction: float = 0.12
    """Galaxies to `faint_limit` in units of the number of stars."""

    variable_fraction: float = 0.02
    """Share of the stars that vary."""

    transient_density: float = 600.0
    """New sources that shine at some epoch after the first [1/deg2]."""

    transient_magnitudes: tuple[float, float] = (17.0, 21.5)
    """Range of the transients at their brightest [AB mag in r]."""

    median_proper_motion: float = 6.0
    """Median total proper motion of the stars [mas/yr]."""

    bright_stars: tuple[float, ...] = ()
    """Stars that are put somewhere on the first image besides the drawn ones [AB mag in r]."""

    big_galaxy_radius: float = 0.0
    """Half-light radius of a galaxy near the middle of the first image [arcsec]; 0: there is none."""

    big_galaxy_magnitude: float = 13.0
    """Total brightness of that galaxy [AB mag in r]."""

    ra: float | None = None
    """Right ascension of the field [deg]; None: drawn from the seed."""

    dec: float | None = None
    """Declination of the field [deg]; None: drawn from the seed between -30 and +70."""

    def __post_init__(self) -> None:
        _require(self.star_density >= 0, "star_density", self.star_density, "at least 0 per square degree")
        _require(self.bright_limit < self.faint_limit, "bright_limit", self.bright_limit, "below faint_limit")
        _require(self.galaxy_fraction >= 0, "galaxy_fraction", self.galaxy_fraction, "at least 0")
        _require(0 <= self.variable_fraction <= 1, "variable_fraction", self.variable_fraction, "between 0 and 1")
        _require(self.transient_density >= 0, "transient_density", self.transient_density, "at least 0")
        _require(self.big_galaxy_radius >= 0, "big_galaxy_radius", self.big_galaxy_radius, "at least 0 arcsec")
        _require(self.dec is None or -90 <= self.dec <= 90, "dec", self.dec, "between -90 and 90 deg")


@dataclass(frozen=True, kw_only=True)
class OpticsSettings:
    """Where light falls and how it spreads."""

    pixel_scale: float = 1.012
    """Size of a pixel on the optical axis [arcsec]."""

    rotation: float | None = None
    """Position angle of the image's up direction, east of north [deg]; None: drawn between -3 and 3."""

    mirrored: bool = False
    """True: east is to the right when north is up."""

    distortion: float = 1.5
    """Largest displacement by distortion at the edge of a 3072 pixel frame, `FIELD_RADIUS` from the axis [arcsec]."""

    distortion_format: Literal["SIP", "TPV"] = "SIP"
    """Convention of the exact WCS."""

    fwhm: float = 2.2
    """Full width at half maximum of the Moffat profile at the image centre, before the pixel smears it [pixel]."""

    beta: float = 3.0
    """Exponent of the Moffat profile: 2 is wide, 5 nearly Gaussian wings."""

    fwhm_variation: float = 0.04
    """Largest relative change of the FWHM over the image."""

    ellipticity: float = 0.0
    """Ellipticity (a2 - b2) / (a2 + b2) that all stars share, as from tracking; its direction comes from the seed."""

    ellipticity_variation: float = 0.05
    """Largest ellipticity that is added over the image."""

    def __post_init__(self) -> None:
        _require(self.pixel_scale > 0, "pixel_scale", self.pixel_scale, "above 0 arcsec")
        _require(self.fwhm >= 0.8, "fwhm", self.fwhm, "at least 0.8 pixel")
        _require(self.beta > 1.5, "beta", self.beta, "above 1.5")
        _require(0 <= self.fwhm_variation < 0.5, "fwhm_variation", self.fwhm_variation, "between 0 and 0.5")
        _require(0 <= self.ellipticity <= 0.5, "ellipticity", self.ellipticity, "between 0 and 0.5")
        _require(0 <= self.ellipticity_variation < 0.5, "ellipticity_variation", self.ellipticity_variation, "0 to 0.5")
        _require(self.distortion_format in ("SIP", "TPV"), "distortion_format", self.distortion_format, "SIP or TPV")


@dataclass(frozen=True, kw_only=True)
class DetectorSettings:
    """How electrons become counts, and what spoils them."""

    gain: float = 6.2
    """Electrons per count [electron/adu]."""

    read_noise: float = 10.0
    """Standard deviation of the read-out [electron]."""

    saturation: float = 50_000.0
    """Level from which the camera calls a pixel saturated; wells are full 3 % above [adu]."""

    cosmic_rays: float = 40.0
    """Mean number of cosmic-ray tracks in 1024 x 1024 pixels."""

    silicon_thickness: float = 6.0
    """Depth of the sensitive layer [pixel]; a slanted track is as long as this times the tangent of its slant."""

    hot_pixels: float = 20.0
    """Mean number of hot pixels in 1024 x 1024 pixels."""

    bad_columns: float = 1.5
    """Mean number of defective (insensitive) columns in 1024 columns."""

    rounding: bool = True
    """Round to whole counts, as a camera does."""

    noise: bool = True
    """False: neither photon noise nor read noise."""

    def __post_init__(self) -> None:
        _require(self.gain > 0, "gain", self.gain, "above 0 electron/adu")
        _require(self.read_noise >= 0, "read_noise", self.read_noise, "at least 0 electron")
        _require(self.saturation > 0, "saturation", self.saturation, "above 0 adu")
        for name in ("cosmic_rays", "hot_pixels", "bad_columns", "silicon_thickness"):
            _require(getattr(self, name) >= 0, name, getattr(self, name), "at least 0")


@dataclass(frozen=True, kw_only=True)
class ReferenceSettings:
    """What the reference catalogue knows about the stars."""

    complete_to: float = 20.0
    """The catalogue has every star brighter than this [AB mag in r]."""

    margin_arcmin: float = 20.0
    """How far it reaches beyond the corners of the image [arcmin]."""

    epoch: float = 2016.0
    """Epoch of its positions [Julian year]."""

    position_error: tuple[float, float] = (1.0, 2.0)
    """Standard error per coordinate of bright stars and at `complete_to` [mas]."""

    proper_motion_error: tuple[float, float] = (0.03, 0.2)
    """Standard error per coordinate of bright stars and at `complete_to` [mas/yr]."""

    magnitude_error: tuple[float, float] = (0.005, 0.02)
    """Standard error of bright stars and at `complete_to` [mag]."""


@dataclass(frozen=True, kw_only=True)
class SimulationSettings:
    """Everything a simulated exposure is made from, next to its seed."""

    shape: tuple[int, int] = (1024, 1024)
    """Size of the image (ny, nx) [pixel]."""

    band: Literal["g", "r", "i"] = "r"
    """Filter of the camera."""

    exposure_time: float = 30.0
    """Length of an exposure [s]."""

    date: float = 2025.5
    """Middle of the first exposure [Julian year]."""

    zero_point: float = 26.2
    """AB magnitude of a source with one count in total at transparency 1."""

    transparency: float = 1.0
    """Share of the light that passes the clouds at the first epoch."""

    color_term: float = 0.0
    """Camera magnitude minus catalogue magnitude, per magnitude of g - r."""

    sky_level: float = 300.0
    """Sky at the image centre at the first epoch [adu]."""

    sky_gradient: float = 0.05
    """Sky from one side of the image to the other, relative to its centre; a tenth of it is curvature."""

    satellite_trails: int = 0
    """Number of satellites that cross the image during each exposure."""

    trail_peak: tuple[float, float] = (2.0, 50.0)
    """Range of the brightness of a trail along its middle [standard deviation of the sky noise of a pixel]."""

    dither: float = 25.0
    """Scatter of the later pointings [arcsec]."""

    header_wcs: Literal["approximate", "exact", "none"] = "approximate"
    """Which WCS the camera writes into its header."""

    pointing_error: float = 20.0
    """Largest error of the approximate WCS and of RA, DEC in the header [arcsec]."""

    sky: SkySettings = field(default_factory=SkySettings)
    """Stars, galaxies, transients."""

    optics: OpticsSettings = field(default_factory=OpticsSettings)
    """Distortion and point spread."""

    detector: DetectorSettings = field(default_factory=DetectorSettings)
    """Noise and defects."""

    reference: ReferenceSettings = field(default_factory=ReferenceSettings)
    """The reference catalogue."""

    def __post_init__(self) -> None:
        ny, nx = self.shape
        _require(min(ny, nx) >= 32 and max(ny, nx) <= 20_000, "shape", f"{nx}x{ny}", "between 32 and 20000 pixels")
        _require(self.band in BANDS, "band", self.band, "g, r or i")
        _require(self.exposure_time > 0, "exposure_time", self.exposure_time, "above 0 s")
        _require(0 < self.transparency <= 1, "transparency", self.transparency, "above 0 and at most 1")
        _require(self.satellite_trails >= 0, "satellite_trails", self.satellite_trails, "at least 0")
        _require(min(self.trail_peak) > 0, "trail_peak", self.trail_peak, "above 0")
        _require(self.sky_level >= 0, "sky_level", self.sky_level, "at least 0 adu")
        _require(self.pointing_error >= 0, "pointing_error", self.pointing_error, "at least 0 arcsec")

    @classmethod
    def crowded(cls) -> Self:
        """Return a dense field: 13,600 stars in 1024 x 1024 pixels of 1 arcsec."""
        return cls(sky=SkySettings(star_density=13_600 / (1024 / 3600) ** 2), optics=OpticsSettings(pixel_scale=1.0))

    @classmethod
    def quiet(cls) -> Self:
        """Return a field without cosmic rays, detector defects, galaxies, variables or transients."""
        return cls(
            sky=SkySettings(galaxy_fraction=0, variable_fraction=0, transient_density=0),
            detector=DetectorSettings(cosmic_rays=0, hot_pixels=0, bad_columns=0),
        )

    def varied(self, **changes: object) -> Self:
        """Return the same settings with some changed, wherever they live.

        Parameters
        ----------
        **changes
            Field names of this class or of one of its parts: ``settings.varied(fwhm=1.6, star_density=2500)``.

        Raises
        ------
        ConfigError
            If no part has such a field.
        """
        own: dict[str, Any] = {name: changes.pop(name) for name in list(changes) if name in _field_names(self)}
        for part_name in ("sky", "optics", "detector", "reference"):
            part: Any = own.get(part_name, getattr(self, part_name))
            names = [name for name in changes if name in _field_names(part)]
            own[part_name] = replace(part, **{name: changes.pop(name) for name in names})
        if changes:
            raise ConfigError(f"The simulation has no setting {', '.join(map(repr, changes))}.")
        return replace(self, **own)


def _field_names(part: Any) -> set[str]:
    return {field.name for field in fields(part)}


def _require(valid: bool, name: str, value: object, allowed: str) -> None:  # noqa: FBT001 - reads as an assertion
    if not valid:
        raise ConfigError(f"Simulation setting {name!r} is {value}; it must be {allowed}.")
