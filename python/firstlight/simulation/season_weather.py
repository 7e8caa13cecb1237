"""When a season's exposures are taken, and through which sky: lost nights, clouds, seeing, the Moon."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from astropy.time import Time

from firstlight.simulation.conditions import Conditions
from firstlight.simulation.season_settings import BETWEEN_FIELDS, SeasonSettings
from firstlight.simulation.streams import Stream, random_stream

MONTH = 29.53
"""From one full Moon to the next [day]."""

MOONLIGHT = 2.0
"""Sky at full Moon, in units of the dark sky, above it."""

SEEING_SCATTER = 0.15
"""Scatter of the logarithm of the seeing from night to night."""

BETWEEN_VISITS = 0.02
"""Least time between two exposures of a field [day]."""


@dataclass(frozen=True, kw_only=True)
class Visit:
    """One exposure of a season."""

    number: int
    """Counts all exposures in the order of time, from 0."""

    field: int
    """Number of the field, from 0."""

    night: int
    """Number of the night, from 0; below 0 for the exposures that are meant for templates."""

    turn: int
    """Number of the exposure of this field in this night, from 0."""

    conditions: Conditions
    """State of sky and telescope."""

    @property
    def is_template(self) -> bool:
        """Tell whether the exposure was taken before the season."""
        return self.night < 0

    @property
    def name(self) -> str:
        """Name of its file below the folder of the season."""
        if self.is_template:
            return f"template/field_{self.field}_{-self.night - 1:02}.fits"
        return f"night_{self.night:02}/field_{self.field}_{self.turn}.fits"

    @property
    def mjd_tai(self) -> float:
        """Middle of the exposure [d]."""
        return float(Time(self.conditions.middle, format="jyear", scale="tt").tai.mjd)


def schedule(settings: SeasonSettings, *, centres: list[tuple[float, float]], seed: int) -> list[Visit]:
    """Return all exposures, those for templates first, in the order of time; at least one night is not lost.

    Parameters
    ----------
    settings
    centres : [deg]
        Right ascension and declination of each field.
    seed
    """
    rng = random_stream(seed, Stream.WEATHER)
    lost = rng.random(settings.n_nights) < settings.lost_nights
    lost[rng.integers(settings.n_nights)] = False
    full_moon = MONTH * rng.random()
    visits: list[Visit] = []
    for night in [*range(-settings.n_templates, 0), *np.flatnonzero(~lost).tolist()]:
        # Templates are made on clear nights without a Moon.
        sky = _Night(settings, number=night, seed=seed, full_moon=full_moon)
        for turn in range(1 if night < 0 else settings.visits_per_night):
            for field, centre in enumerate(centres):
                conditions = sky.conditions(len(visits), field=field, turn=turn, centre=centre)
                visits.append(Visit(number=len(visits), field=field, night=night, turn=turn, conditions=conditions))
    return visits


class _Night:
    """The weather of one night, which changes little from exposure to exposure."""

    def __init__(self, settings: SeasonSettings, *, number: int, seed: int, full_moon: float) -> None:
        self._settings, self._number = settings, number
        self._rng = random_stream(seed, Stream.WEATHER, epoch=10_000 + number)
        always = random_stream(seed, Stream.OPTICS, epoch=2)
        rotation = settings.image.optics.rotation
        self._rotation = always.uniform(-3.0, 3.0) if rotation is None else rotation
        # All fields are observed before the first comes again.
        self._round = max(BETWEEN_VISITS, settings.n_fields * BETWEEN_FIELDS)
        self._start = number - (settings.template_lead if number < 0 else 0.0) + self._rng.uniform(0.0, 0.02)
        self._seeing = float(np.exp(SEEING_SCATTER * self._rng.normal()))
        is_cloudy = number >= 0 and self._rng.random() < settings.cloudy_nights
        self._cloud = self._rng.exponential(0.4) if is_cloudy else 0.0
        illuminated = 0.0 if number < 0 else 0.5 + 0.5 * np.cos(2.0 * np.pi * (number - full_moon) / MONTH)
        self._sky = 1.0 + MOONLIGHT * float(illuminated) ** 2

    def conditions(self, epoch: int, *, field: int, turn: int, centre: tuple[float, float]) -> Conditions:
        """Draw those of one exposure."""
        image, rng = self._settings.image, self._rng
        airmass = rng.uniform(1.0, 1.6)
        east, north = image.dither * rng.normal(size=2) / 3600.0
        direction = 2.0 * np.pi * rng.random()
        cloud = self._cloud * rng.uniform(0.5, 1.5)
        days = self._start + field * BETWEEN_FIELDS + turn * self._round
        ra, dec = centre
        return Conditions(
            epoch=epoch,
            days=days,
            middle=image.date + days / 365.25,
            ra=(ra + east / np.cos(np.deg2rad(dec))) % 360.0,
            dec=float(np.clip(dec + north, -90.0, 90.0)),
            rotation=self._rotation + rng.normal(0.0, 0.15),
            fwhm=max(image.optics.fwhm * self._seeing * airmass**0.6 * float(np.exp(0.05 * rng.normal())), 0.8),
            transparency=image.transparency * float(np.exp(-cloud - 0.08 * (airmass - 1.0))),
            sky_level=image.sky_level * self._sky * rng.uniform(0.95, 1.05),
            sky_gradient=(
                0.5 * image.sky_gradient * float(np.cos(direction)),
                0.5 * image.sky_gradient * float(np.sin(direction)),
            ),
            airmass=airmass,
        )
