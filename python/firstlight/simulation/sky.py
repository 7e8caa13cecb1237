"""The sky: stars with realistic counts, colours and motions, galaxies, variables and transients."""

from __future__ import annotations

import numpy as np
from astropy.table import Table, vstack
from numpy.typing import NDArray

from firstlight.simulation.settings import BANDS, SimulationSettings, SkySettings
from firstlight.simulation.streams import Stream, random_stream

FloatArray = NDArray[np.float64]

COUNT_SLOPES = (0.32, 0.20)
"""d log10(N) / dm of the stars at magnitudes 12 and 22 (Galactic latitude about 20 degrees)."""

GALAXY_COUNT_SLOPE = 0.42
"""d log10(N) / dm of the galaxies."""

SOLAR_REFLEX = (-1.5, -3.0)
"""Mean motion of distant stars that mirrors the Sun's own [mas/yr]."""

UNITS = {
    "ra": "deg",
    "dec": "deg",
    "pmra": "mas/yr",
    "pmdec": "mas/yr",
    "g_mag": "mag",
    "r_mag": "mag",
    "i_mag": "mag",
    "amplitude": "mag",
    "period": "day",
    "half_light_radius": "arcsec",
    "position_angle": "deg",
}
"""Unit of each column that has one."""


def field_centre(settings: SkySettings, *, seed: int) -> tuple[float, float]:
    """Return where the first exposure should point [deg]."""
    rng = random_stream(seed, Stream.FIELD)
    low, high = np.sin(np.deg2rad([-30.0, 70.0]))
    ra, dec = 360.0 * rng.random(), float(np.rad2deg(np.arcsin(rng.uniform(low, high))))
    return (ra if settings.ra is None else settings.ra % 360.0, dec if settings.dec is None else settings.dec)


def draw_sky(settings: SimulationSettings, *, seed: int, radius: float, n_epochs: int = 1) -> Table:
    """Draw every source within a circle around the field centre.

    Parameters
    ----------
    radius
        Angular radius of the circle [deg].
    n_epochs
        Number of exposures; transients shine at some of those after the first.

    Returns
    -------
    Table
        One row a source: `id`; `kind` ("star", "galaxy", "transient"); `ra`, `dec` at the reference epoch; `pmra`
        (with cos dec), `pmdec`; `g_mag`, `r_mag`, `i_mag` (mean magnitudes); `amplitude` [mag], `period` [day] and
        `phase` of variables, else 0; `half_light_radius` [arcsec, major axis], `sersic_index`, `axis_ratio`,
        `position_angle` [deg, east of north] of galaxies; `first_epoch`, `last_epoch`: when the source shines.
    """
    sky = settings.sky
    centre = field_centre(sky, seed=seed)
    area = 2.0 * np.pi * (1.0 - np.cos(np.deg2rad(radius))) * np.rad2deg(1.0) ** 2
    stars = _draw_stars(sky, area=area, centre=centre, radius=radius, rng=random_stream(seed, Stream.STARS))
    galaxies = _draw_galaxies(sky, area=area, centre=centre, radius=radius, rng=random_stream(seed, Stream.GALAXIES))
    transients = _draw_transients(
        sky,
        area=area,
        centre=centre,
        radius=radius,
        hosts=galaxies,
        n_epochs=n_epochs,
        rng=random_stream(seed, Stream.TRANSIENTS),
    )
    placed = _place_sources(settings, centre=centre, rng=random_stream(seed, Stream.PLACED))
    table = vstack([stars, galaxies, transients, placed])
    table.add_column(np.arange(len(table), dtype=np.int64), name="id", index=0)
    for name, unit in UNITS.items():
        table[name].unit = unit
    return table


def apply_proper_motion(
    ra: FloatArray, dec: FloatArray, *, pmra: FloatArray, pmdec: FloatArray, years: float | FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Move stars along great circles.

    Parameters
    ----------
    ra, dec : (n,) [deg]
    pmra, pmdec : (n,) [mas/yr]
        `pmra` includes cos(dec).
    years
        Time to move, one for all or (n,) [Julian year].
    """
    a, d = np.deg2rad(ra), np.deg2rad(dec)
    radial = np.stack([np.cos(d) * np.cos(a), np.cos(d) * np.sin(a), np.sin(d)])
    east = np.stack([-np.sin(a), np.cos(a), np.zeros_like(a)])
    north = np.stack([-np.sin(d) * np.cos(a), -np.sin(d) * np.sin(a), np.cos(d)])
    shift = np.deg2rad(years / 3.6e6)
    moved = radial + shift * (pmra * east + pmdec * north)
    return (
        np.rad2deg(np.arctan2(moved[1], moved[0])) % 360.0,
        np.rad2deg(np.arctan2(moved[2], np.hypot(moved[0], moved[1]))),
    )


def magnitudes_at(sources: Table, *, band: str, days: float, epoch: int, color_term: float = 0.0) -> FloatArray:
    """Return each source's magnitude in the camera's system; infinite when it does not shine.

    Parameters
    ----------
    days
        Time since the first exposure [day].
    epoch
        Number of the exposure.
    """
    color = sources["g_mag"].data - sources["r_mag"].data
    magnitude = sources[f"{band}_mag"].data + color_term * color
    period = np.where(sources["period"].data > 0, sources["period"].data, 1.0)
    magnitude += 0.5 * sources["amplitude"].data * np.sin(2.0 * np.pi * (days / period + sources["phase"].data))
    shines = (sources["first_epoch"].data <= epoch) & (epoch <= sources["last_epoch"].data)
    return np.where(shines, magnitude, np.inf)


def draw_magnitudes(
    n: int, *, bright: float, faint: float, slopes: tuple[float, float], rng: np.random.Generator
) -> FloatArray:
    """Draw magnitudes whose log counts rise with a slope that changes linearly from magnitude 12 to 22."""
    grid = np.linspace(bright, faint, 2001)
    start, end = slopes
    log_counts = start * (grid - 12.0) + 0.5 * (end - start) * (grid - 12.0) ** 2 / 10.0
    density = 10.0 ** (log_counts - log_counts.max())
    cumulative = np.concatenate([[0.0], np.cumsum(0.5 * (density[1:] + density[:-1]))])
    return np.asarray(np.interp(rng.random(n) * cumulative[-1], cumulative, grid))


def _draw_stars(
    sky: SkySettings, *, area: float, centre: tuple[float, float], radius: float, rng: np.random.Generator
) -> Table:
    n = int(rng.poisson(sky.star_density * area))
    table = _empty_table(n, kind="star")
    table["ra"], table["dec"] = _draw_positions(n, centre=centre, radius=radius, rng=rng)
    r_mag = draw_magnitudes(n, bright=sky.bright_limit, faint=sky.faint_limit, slopes=COUNT_SLOPES, rng=rng)
    is_red = rng.random(n) < np.interp(r_mag, [13.0, 22.0], [0.08, 0.6])
    g_r = np.where(is_red, rng.normal(1.38, 0.10, n), np.clip(rng.gamma(6.0, 0.055, n) + 0.25, 0.0, 1.3))
    r_i = np.where(is_red, 0.55 + rng.gamma(3.0, 0.15, n), 0.40 * g_r - 0.03 + rng.normal(0.0, 0.02, n))
    table["g_mag"], table["r_mag"], table["i_mag"] = r_mag + g_r, r_mag, r_mag - r_i
    table["pmra"], table["pmdec"] = _draw_proper_motions(n, median=sky.median_proper_motion, rng=rng)
    varies = rng.random(n) < sky.variable_fraction
    table["amplitude"] = np.where(varies, np.clip(rng.lognormal(np.log(0.3), 0.6, n), 0.05, 1.5), 0.0)
    table["period"] = np.where(varies, 10.0 ** rng.uniform(-0.5, 2.0, n), 0.0)
    table["phase"] = np.where(varies, rng.random(n), 0.0)
    return table


def _draw_galaxies(
    sky: SkySettings, *, area: float, centre: tuple[float, float], radius: float, rng: np.random.Generator
) -> Table:
    n = int(rng.poisson(sky.galaxy_fraction * sky.star_density * area))
    table = _empty_table(n, kind="galaxy")
    table["ra"], table["dec"] = _draw_positions(n, centre=centre, radius=radius, rng=rng)
    bright = min(max(14.5, sky.bright_limit), sky.faint_limit - 0.5)
    slopes = (GALAXY_COUNT_SLOPE, GALAXY_COUNT_SLOPE)
    r_mag = draw_magnitudes(n, bright=bright, faint=sky.faint_limit, slopes=slopes, rng=rng)
    is_early = rng.random(n) < 0.3
    g_r = np.where(is_early, rng.normal(0.95, 0.12, n), rng.normal(0.55, 0.15, n))
    table["g_mag"], table["r_mag"], table["i_mag"] = r_mag + g_r, r_mag, r_mag - 0.45 * g_r
    table["sersic_index"] = np.where(is_early, 4.0, 1.0)
    # SDSS: 2.4 arcsec at r = 18, 0.75 arcsec at r = 22, scatter 0.2 dex.
    table["half_light_radius"] = 2.4 * 10.0 ** (-0.126 * (r_mag - 18.0) + rng.normal(0.0, 0.2, n))
    table["axis_ratio"] = np.where(is_early, rng.uniform(0.5, 1.0, n), rng.uniform(0.2, 1.0, n))
    table["position_angle"] = rng.uniform(0.0, 180.0, n)
    return table


def _draw_transients(
    sky: SkySettings,
    *,
    area: float,
    centre: tuple[float, float],
    radius: float,
    hosts: Table,
    n_epochs: int,
    rng: np.random.Generator,
) -> Table:
    n = int(rng.poisson(sky.transient_density * area))
    table = _empty_table(n, kind="transient")
    ra, dec = _draw_positions(n, centre=centre, radius=radius, rng=rng)
    if n and len(hosts):
        has_host = rng.random(n) < 0.5
        host = hosts[rng.integers(0, len(hosts), n)]
        offset = 1.2 * rng.random((2, n)) - 0.6
        host_dec = host["dec"].data + offset[0] * host["half_light_radius"].data / 3600.0
        host_ra = host["ra"].data + offset[1] * host["half_light_radius"].data / 3600.0 / np.cos(np.deg2rad(host_dec))
        ra, dec = np.where(has_host, host_ra % 360.0, ra), np.where(has_host, host_dec, dec)
    table["ra"], table["dec"] = ra, dec
    table["r_mag"] = rng.uniform(*sky.transient_magnitudes, n)
    table["g_mag"], table["i_mag"] = table["r_mag"] + rng.normal(0.1, 0.2, n), table["r_mag"] + rng.normal(0.0, 0.1, n)
    first = rng.integers(1, max(n_epochs, 2), n)
    table["first_epoch"] = first
    table["last_epoch"] = first + rng.geometric(0.4, n) - 1
    return table


def _place_sources(settings: SimulationSettings, *, centre: tuple[float, float], rng: np.random.Generator) -> Table:
    """Put the bright stars and the big galaxy of the settings on the first image."""
    sky = settings.sky
    half = 0.5 * settings.optics.pixel_scale / 3600.0 * np.array(settings.shape)
    stars, galaxy = _empty_table(len(sky.bright_stars), kind="star"), _empty_table(1, kind="galaxy")
    stars["r_mag"] = np.array(sky.bright_stars, dtype=float)
    galaxy["r_mag"], galaxy["half_light_radius"] = sky.big_galaxy_magnitude, sky.big_galaxy_radius
    galaxy["sersic_index"], galaxy["axis_ratio"], galaxy["position_angle"] = 1.0, 0.7, 180.0 * rng.random()
    for table, reach in ((galaxy, 0.2), (stars, 0.8)):
        north, east = reach * half[:, None] * rng.uniform(-1.0, 1.0, (2, len(table)))
        table["dec"] = np.clip(centre[1] + north, -90.0, 90.0)
        table["ra"] = (centre[0] + east / np.cos(np.deg2rad(table["dec"].data))) % 360.0
        table["g_mag"], table["i_mag"] = table["r_mag"].data + 0.6, table["r_mag"].data - 0.25
    return vstack([stars, galaxy]) if sky.big_galaxy_radius > 0 else stars


def _empty_table(n: int, *, kind: str) -> Table:
    table = Table({"kind": np.full(n, kind, dtype="U9")})
    for name in ("ra", "dec", "pmra", "pmdec", *(f"{band}_mag" for band in BANDS), "amplitude", "period", "phase"):
        table[name] = np.zeros(n)
    for name in ("half_light_radius", "sersic_index", "axis_ratio", "position_angle"):
        table[name] = np.zeros(n)
    table["first_epoch"] = np.zeros(n, dtype=np.int64)
    table["last_epoch"] = np.full(n, np.iinfo(np.int32).max, dtype=np.int64)
    return table


def _draw_positions(
    n: int, *, centre: tuple[float, float], radius: float, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """Draw positions uniform on a spherical cap [deg]."""
    height = 1.0 - rng.random(n) * (1.0 - np.cos(np.deg2rad(radius)))
    angle = 2.0 * np.pi * rng.random(n)
    ring = np.sqrt(1.0 - height**2)
    a, d = np.deg2rad(centre)
    pole = np.array([np.cos(d) * np.cos(a), np.cos(d) * np.sin(a), np.sin(d)])
    east = np.array([-np.sin(a), np.cos(a), 0.0])
    north = np.cross(pole, east)
    x, y, z = pole[:, None] * height + east[:, None] * ring * np.cos(angle) + north[:, None] * ring * np.sin(angle)
    return np.rad2deg(np.arctan2(y, x)) % 360.0, np.rad2deg(np.arctan2(z, np.hypot(x, y)))


def _draw_proper_motions(n: int, *, median: float, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """Draw a log-normal spread with a tail of fast nearby stars, around the Sun's reflex [mas/yr]."""
    is_near = rng.random(n) < 0.03
    size = 0.85 * median * rng.lognormal(0.0, 0.75, n) * np.where(is_near, 8.0, 1.0)
    angle = 2.0 * np.pi * rng.random(n)
    drift = median / 6.0
    return SOLAR_REFLEX[0] * drift + size * np.cos(angle), SOLAR_REFLEX[1] * drift + size * np.sin(angle)
