"""What changes from exposure to exposure: pointing, rotation, seeing, transparency, sky."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from astropy.time import Time, TimeDelta

from firstlight.simulation.settings import SimulationSettings
from firstlight.simulation.sky import field_centre
from firstlight.simulation.streams import Stream, random_stream

DAYS_BETWEEN_EPOCHS = 3.0
"""Mean time from one exposure to the next [day]."""


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """The state of sky and telescope in one exposure."""

    epoch: int
    """Number of the exposure, from 0."""

    days: float
    """Time since the first exposure [day]."""

    middle: float
    """Middle of the exposure [Julian year]."""

    ra: float
    """Right ascension of the optical axis [deg]."""

    dec: float
    """Declination of the optical axis [deg]."""

    rotation: float
    """Position angle of the image's up direction, east of north [deg]."""

    fwhm: float
    """FWHM at the image centre before pixel integration [pixel]."""

    transparency: float
    """Share of the light that arrives."""

    sky_level: float
    """Sky at the image centre [adu]."""

    sky_gradient: tuple[float, float]
    """Relative change of the sky from the centre to the right and to the top edge."""

    airmass: float
    """Air mass."""

    def start(self, *, exposure_time: float) -> Time:
        """Return when the shutter opens (UTC)."""
        return Time(self.middle, format="jyear", scale="tt").utc - TimeDelta(0.5 * exposure_time, format="sec")


def draw_conditions(settings: SimulationSettings, *, seed: int, epoch: int) -> Conditions:
    """Draw the conditions of one exposure; the first has the seeing, sky and transparency of the settings."""
    rng = random_stream(seed, Stream.CONDITIONS, epoch=epoch)
    always = random_stream(seed, Stream.OPTICS, epoch=2)
    ra, dec = field_centre(settings.sky, seed=seed)
    rotation = always.uniform(-3.0, 3.0) if settings.optics.rotation is None else settings.optics.rotation
    is_later = epoch > 0
    east, north = settings.dither * rng.normal(size=2) / 3600.0
    turn, later = rng.normal(0.0, 0.15), rng.normal(0.0, 0.2)
    seeing, transparency, brightening = rng.uniform([0.95, 0.8, 0.8], [1.3, 1.0, 1.7])
    angle, airmass = 2.0 * np.pi * rng.random(), rng.uniform(1.0, 1.8)
    days = DAYS_BETWEEN_EPOCHS * epoch + (later if is_later else 0.0)
    return Conditions(
        epoch=epoch,
        days=days,
        middle=settings.date + days / 365.25,
        ra=(ra + is_later * east / np.cos(np.deg2rad(dec))) % 360.0,
        dec=float(np.clip(dec + is_later * north, -90.0, 90.0)),
        rotation=rotation + is_later * turn,
        fwhm=settings.optics.fwhm * (seeing if is_later else 1.0),
        transparency=settings.transparency * (transparency if is_later else 1.0),
        sky_level=settings.sky_level * (brightening if is_later else 1.0),
        sky_gradient=(
            0.5 * settings.sky_gradient * float(np.cos(angle)),
            0.5 * settings.sky_gradient * float(np.sin(angle)),
        ),
        airmass=airmass,
    )
