"""What changes in a season: supernovae beside their galaxies, periodic variables, bodies of the solar system."""

from __future__ import annotations

import numpy as np
from astropy.table import Table, vstack
from numpy.typing import NDArray

from firstlight.errors import ConfigError
from firstlight.simulation.season_settings import SeasonSettings
from firstlight.simulation.season_weather import Visit
from firstlight.simulation.sky import apply_proper_motion

FloatArray = NDArray[np.float64]

REACH = 0.42
"""Objects lie within so much of the side of the image from the middle of their field."""

HOSTLESS = 0.2
"""Share of the supernovae without a galaxy."""

FAINTEST_HOST = 21.0
"""Galaxies brighter than this have supernovae [AB mag in r]."""

DARK = 1e-3
"""A supernova that is fainter than this share of its maximum does not shine."""

YEAR = 365.25

COLUMNS = {
    "ra": "deg",
    "dec": "deg",
    "pmra": "mas/yr",
    "pmdec": "mas/yr",
    "ref_days": "day",
    "mag": "mag",
    "g_r": "mag",
    "r_i": "mag",
    "peak_days": "day",
    "rise": "day",
    "fall": "day",
    "amplitude": "mag",
    "period": "day",
    "phase": None,
    "skew": None,
}
"""Columns of numbers of a table of objects and their units; what does not concern a kind is 0."""


def draw_supernovae(
    settings: SeasonSettings, *, centres: list[tuple[float, float]], skies: list[Table], rng: np.random.Generator
) -> Table:
    """Draw stars that are brightest from ten days before the first night to the last one, one in a galaxy at most.

    Parameters
    ----------
    settings
    centres : [deg]
        Right ascension and declination of each field.
    skies
        What `firstlight.simulation.night_sky` returned for each.
    rng
    """
    table = _empty(settings.n_supernovae, "supernova", settings.n_fields)
    galaxies = [_galaxies(settings, centre, sky) for centre, sky in zip(centres, skies, strict=True)]
    hosts = [list(each[rng.permutation(len(each))]) for each in galaxies]
    for row, field in zip(table, table["field"], strict=True):
        if hosts[field] and rng.random() > HOSTLESS:
            host = hosts[field].pop()
            row["host"], (row["ra"], row["dec"]) = host["id"], _beside(host, rng)
        else:
            row["ra"], row["dec"] = _anywhere(settings, centres[field], rng)
    n = len(table)
    table["mag"] = rng.uniform(*settings.supernova_magnitudes, n)
    table["rise"], table["fall"] = rng.uniform(2.0, 4.0, n), rng.uniform(12.0, 35.0, n)
    table["peak_days"] = rng.uniform(-10.0, max(settings.n_nights - 2.0, 1.0), n)
    table["g_r"], table["r_i"] = rng.normal(0.1, 0.2, n), rng.normal(0.0, 0.1, n)
    return table


def draw_variables(
    settings: SeasonSettings, *, centres: list[tuple[float, float]], skies: list[Table], rng: np.random.Generator
) -> Table:
    """Choose stars of each field that vary; they keep their numbers, places, motions and colours.

    Raises
    ------
    ConfigError
        If a field has too few stars of their magnitudes.
    """
    table = _empty(settings.n_variables, "variable", settings.n_fields)
    for field, (centre, sky) in enumerate(zip(centres, skies, strict=True)):
        rows = np.flatnonzero(table["field"] == field)
        low, high = settings.variable_magnitudes
        fits = (sky["kind"] == "star") & (sky["r_mag"] >= low) & (sky["r_mag"] <= high)
        stars = sky[fits & _inside(settings, centre, sky)]
        if len(stars) < len(rows):
            raise ConfigError(
                f"Field {field} has {len(stars)} stars of magnitudes {low:g} to {high:g}; {len(rows)} are to vary."
            )
        chosen = stars[rng.choice(len(stars), len(rows), replace=False)]
        for name in ("id", "ra", "dec", "pmra", "pmdec"):
            table[name][rows] = chosen[name].data
        table["mag"][rows] = chosen["r_mag"].data
        table["g_r"][rows] = chosen["g_mag"].data - chosen["r_mag"].data
        table["r_i"][rows] = chosen["r_mag"].data - chosen["i_mag"].data
    n = len(table)
    low, high = np.log(settings.variable_amplitudes)
    table["amplitude"] = np.exp(rng.uniform(low, high, n))
    table["period"] = 10.0 ** rng.uniform(-0.5, 1.3, n)
    table["phase"], table["skew"] = rng.random(n), rng.random(n)
    table["ref_days"] = (2016.0 - settings.image.date) * YEAR
    return table


def draw_movers(
    settings: SeasonSettings, *, centres: list[tuple[float, float]], visits: list[Visit], rng: np.random.Generator
) -> Table:
    """Draw bodies that move evenly along great circles, and are in a field at one of its exposures at least."""
    table = _empty(settings.n_movers, "mover", settings.n_fields)
    for row, field in zip(table, table["field"], strict=True):
        row["ra"], row["dec"] = _anywhere(settings, centres[field], rng)
        times = [visit.conditions.days for visit in visits if visit.field == field and not visit.is_template]
        row["ref_days"] = times[int(rng.integers(len(times)))]
    n = len(table)
    low, high = np.log(settings.mover_rates)
    per_year, angle = np.exp(rng.uniform(low, high, n)) * 1000.0 * 24.0 * YEAR, 2.0 * np.pi * rng.random(n)
    table["pmra"], table["pmdec"] = per_year * np.sin(angle), per_year * np.cos(angle)
    table["mag"] = rng.uniform(*settings.mover_magnitudes, n)
    table["g_r"], table["r_i"] = rng.normal(0.55, 0.1, n), rng.normal(0.2, 0.05, n)
    return table


def places_at(objects: Table, *, days: float | FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return where objects are [deg].

    Parameters
    ----------
    objects
        With the columns of `COLUMNS`.
    days
        Time since the beginning of the first night [day].
    """
    years = (np.asarray(days) - objects["ref_days"].data) / YEAR
    return apply_proper_motion(
        objects["ra"].data,
        objects["dec"].data,
        pmra=objects["pmra"].data,
        pmdec=objects["pmdec"].data,
        years=years,
    )


def magnitudes_of(objects: Table, *, days: float) -> FloatArray:
    """Return how bright objects are [AB mag in r]; infinite for what does not shine.

    Supernovae follow the function of Bazin et al. 2009 (A&A 499, 653, equation 1), without a constant; variables a
    sine and its next two harmonics, which make the rise steeper than the fall.

    Parameters
    ----------
    objects
        With the columns of `COLUMNS` and ``kind``.
    days
        Time since the beginning of the first night [day].
    """
    magnitude = np.array(objects["mag"].data, dtype=np.float64)
    kind = objects["kind"].data
    explodes, varies = kind == "supernova", kind == "variable"
    with np.errstate(divide="ignore"):
        magnitude[explodes] -= 2.5 * np.log10(_explosion(objects[explodes], days=days))
    stars = objects[varies]
    turns = days / stars["period"].data + stars["phase"].data
    magnitude[varies] += stars["amplitude"].data * _wave(turns, skew=stars["skew"].data)
    return magnitude


def _explosion(objects: Table, *, days: float) -> FloatArray:
    """Return the flux in units of its maximum; 0 where it is below `DARK`."""
    rise, fall = objects["rise"].data, objects["fall"].data
    # The maximum of the function lies so much after its time zero.
    to_peak = rise * np.log(fall / rise - 1.0)

    def flux(t: FloatArray) -> FloatArray:
        return np.asarray(np.exp(-t / fall) / (1.0 + np.exp(-np.clip(t / rise, -60.0, 60.0))))

    share = flux(days - objects["peak_days"].data + to_peak) / flux(to_peak)
    return np.where(share > DARK, share, 0.0)


def _wave(turns: FloatArray, *, skew: FloatArray) -> FloatArray:
    """Return periodic curves that reach from -0.5 to 0.5 about, each by its skewness from 0 to 1."""

    def curve(t: FloatArray) -> FloatArray:
        angle = 2.0 * np.pi * t
        return np.asarray(np.sin(angle) + skew * (np.sin(2.0 * angle) / 2.0 + np.sin(3.0 * angle) / 3.0))

    whole = curve(np.linspace(0.0, 1.0, 201)[:, None])
    return curve(turns) / np.ptp(whole, axis=0) if len(turns) else np.empty(0)


def _empty(n: int, kind: str, n_fields: int) -> Table:
    table = Table({"id": np.full(n, -1, dtype=np.int64), "kind": np.full(n, kind, dtype="U9")})
    table["field"], table["host"] = np.arange(n, dtype=np.int64) % n_fields, np.full(n, -1, dtype=np.int64)
    for name in COLUMNS:
        table[name] = np.zeros(n)
    return table


def _half_side(settings: SeasonSettings) -> FloatArray:
    """Return half the height and width in which objects are [deg]."""
    return REACH * settings.image.optics.pixel_scale / 3600.0 * np.array(settings.image.shape)


def _anywhere(settings: SeasonSettings, centre: tuple[float, float], rng: np.random.Generator) -> tuple[float, float]:
    north, east = rng.uniform(-1.0, 1.0, 2) * _half_side(settings)
    return _shifted(centre, east=east, north=north)


def _shifted(place: tuple[float, float], *, east: float, north: float) -> tuple[float, float]:
    """Return the place so far away in the tangent plane [deg]."""
    ra, dec = apply_proper_motion(
        np.array([place[0]]),
        np.array([place[1]]),
        pmra=np.array([east * 3.6e6]),
        pmdec=np.array([north * 3.6e6]),
        years=1.0,
    )
    return float(ra[0]), float(dec[0])


def _inside(settings: SeasonSettings, centre: tuple[float, float], sky: Table) -> NDArray[np.bool_]:
    high, wide = _half_side(settings)
    east = (sky["ra"].data - centre[0] + 180.0) % 360.0 - 180.0
    north = sky["dec"].data - centre[1]
    return np.asarray((np.abs(east) * np.cos(np.deg2rad(sky["dec"].data)) < wide) & (np.abs(north) < high))


def _galaxies(settings: SeasonSettings, centre: tuple[float, float], sky: Table) -> Table:
    is_host = (sky["kind"] == "galaxy") & (sky["r_mag"] < FAINTEST_HOST)
    return sky[is_host & _inside(settings, centre, sky)]


def _beside(host: Table.Row, rng: np.random.Generator) -> tuple[float, float]:
    """Return a place in a galaxy: distances follow an exponential disk, directions its shape."""
    radius = host["half_light_radius"] / 3600.0 * rng.gamma(2.0, 1.0 / 1.678)
    around, turned = 2.0 * np.pi * rng.random(), np.deg2rad(host["position_angle"])
    along, across = radius * np.cos(around), radius * host["axis_ratio"] * np.sin(around)
    east = along * np.sin(turned) + across * np.cos(turned)
    north = along * np.cos(turned) - across * np.sin(turned)
    return _shifted((host["ra"], host["dec"]), east=east, north=north)


def stack_objects(*tables: Table, first_id: int) -> Table:
    """Join tables of objects, and number those that have no number yet from ``first_id`` on."""
    objects = vstack(tables, metadata_conflicts="silent")
    unnumbered = np.flatnonzero(objects["id"].data < 0)
    objects["id"][unnumbered] = first_id + np.arange(len(unnumbered))
    for name, unit in COLUMNS.items():
        objects[name].unit = unit
    return objects
