"""What a season can be told: how many nights and fields, what changes on the sky, how bad the weather is."""

from __future__ import annotations

from dataclasses import dataclass, field

from firstlight.errors import ConfigError
from firstlight.simulation.settings import SimulationSettings

BETWEEN_FIELDS = 0.004
"""Time from one exposure to the next [day]."""

LONGEST_NIGHT = 0.5
"""Time in which all exposures of a night are taken [day]."""


@dataclass(frozen=True, kw_only=True)
class SeasonSettings:
    """Which fields are observed when, and what changes there."""

    n_nights: int = 30
    """Nights from the first to the last, those that are lost included."""

    n_fields: int = 4
    """Fields of one exposure each; the first two lie across right ascension 0 and at declination 80."""

    centres: tuple[tuple[float, float], ...] = ()
    """Right ascension and declination of the first fields [deg]; the others are drawn."""

    visits_per_night: int = 1
    """Exposures of each field in a night, half an hour apart, or as long as all fields take."""

    n_templates: int = 6
    """Exposures of each field long before the season, one a night, of which a template can be made."""

    template_lead: float = 60.0
    """Time from the last of them to the first night [day]."""

    lost_nights: float = 0.2
    """Share of the nights on which nothing is observed."""

    cloudy_nights: float = 0.3
    """Share of the other nights on which clouds pass."""

    n_supernovae: int = 50
    """Stars that explode, most of them in galaxies; some before the first night, none before the templates."""

    supernova_magnitudes: tuple[float, float] = (17.0, 21.5)
    """Range of their brightness at maximum [AB mag in r]."""

    n_variables: int = 50
    """Periodic variable stars."""

    variable_magnitudes: tuple[float, float] = (15.5, 20.0)
    """Range of their mean brightness [AB mag in r]."""

    variable_amplitudes: tuple[float, float] = (0.1, 1.2)
    """Range from their maximum to their minimum [mag]."""

    n_movers: int = 20
    """Bodies of the solar system, each of which is in a field at one night at least."""

    mover_magnitudes: tuple[float, float] = (16.5, 20.5)
    """Range of their brightness [AB mag in r]."""

    mover_rates: tuple[float, float] = (3.0, 60.0)
    """Range of their rates: beyond Jupiter to the main belt [arcsec/h]."""

    known_movers: float = 0.7
    """Share of them whose places are predicted."""

    image: SimulationSettings = field(default_factory=lambda: SimulationSettings(shape=(512, 512)))
    """Camera and sky; its `date` is the first night. Variable stars and transients of its own are left out."""

    def __post_init__(self) -> None:
        for name, least in (("n_nights", 1), ("n_fields", 1), ("visits_per_night", 1), ("n_templates", 0)):
            _require(getattr(self, name) >= least, name, getattr(self, name), f"at least {least}")
        for name in ("n_supernovae", "n_variables", "n_movers"):
            _require(getattr(self, name) >= 0, name, getattr(self, name), "at least 0")
        for name in ("lost_nights", "cloudy_nights", "known_movers"):
            _require(0 <= getattr(self, name) <= 1, name, getattr(self, name), "between 0 and 1")
        for name in ("supernova_magnitudes", "variable_magnitudes", "mover_magnitudes"):
            low, high = getattr(self, name)
            _require(low <= high, name, (low, high), "from bright to faint")
        for name in ("variable_amplitudes", "mover_rates"):
            low, high = getattr(self, name)
            _require(0 < low <= high, name, (low, high), "above 0, the smaller first")
        _require(self.visits_per_night <= 6, "visits_per_night", self.visits_per_night, "at most 6")
        most = int(LONGEST_NIGHT / BETWEEN_FIELDS / self.visits_per_night)
        _require(self.n_fields <= most, "n_fields", self.n_fields, f"at most {most}, for a night of half a day")
        _require(self.template_lead >= 0, "template_lead", self.template_lead, "at least 0 days")
        _require(len(self.centres) <= self.n_fields, "centres", self.centres, "at most one for each field")
        for _, dec in self.centres:
            _require(-90 <= dec <= 90, "centres", self.centres, "declinations between -90 and 90 deg")


def _require(valid: bool, name: str, value: object, allowed: str) -> None:  # noqa: FBT001 - reads as an assertion
    if not valid:
        raise ConfigError(f"Season setting {name!r} is {value}; it must be {allowed}.")
