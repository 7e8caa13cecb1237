"""A season: fields observed night after night through changing weather, with everything that changes there known."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table, vstack
from numpy.typing import NDArray

from firstlight.errors import OutputError
from firstlight.simulation.exposure import SimulatedExposure, night_sky, simulate_exposure
from firstlight.simulation.optics import sky_to_pixel
from firstlight.simulation.output import make_folder, write_table
from firstlight.simulation.reference import make_reference
from firstlight.simulation.season_objects import (
    draw_movers,
    draw_supernovae,
    draw_variables,
    magnitudes_of,
    places_at,
    stack_objects,
)
from firstlight.simulation.season_settings import SeasonSettings
from firstlight.simulation.season_weather import Visit, schedule
from firstlight.simulation.settings import SimulationSettings
from firstlight.simulation.sky import field_centre
from firstlight.simulation.streams import Stream, random_stream

FloatArray = NDArray[np.float64]

NANOJANSKY = 31.4
"""AB magnitude of a flux of one nJy."""

STAMP_RADIUS = 15
"""Half the side of the square over which signal-to-noise ratios are summed [pixel]."""

TRAIL_STEP = 0.3
"""A body that moves during the exposure is drawn as points that are so far apart at most [pixel]."""

PREDICTION_ERROR = 0.3
"""Standard error per coordinate of where known bodies of the solar system are predicted [arcsec]."""

COLOR_COLUMNS = ("g_mag", "r_mag", "i_mag")


@dataclass(frozen=True)
class SeasonPlan:
    """What a season will show, before any image is drawn.

    Parameters
    ----------
    settings, seed
        What it was made from.
    centres : [deg]
        Right ascension and declination of each field.
    skies
        What does not change in each field; see `firstlight.simulation.night_sky`. Numbers are unique in the season.
    objects
        What changes, one row each: ``id``, ``kind`` (supernova, variable, mover), ``field``, ``host`` (number of its
        galaxy; -1 for none), ``known`` (its places are predicted) and the columns of
        `firstlight.simulation.season_objects.COLUMNS`.
    visits
        All exposures in the order of time.
    """

    settings: SeasonSettings
    seed: int
    centres: tuple[tuple[float, float], ...]
    skies: tuple[Table, ...]
    objects: Table
    visits: tuple[Visit, ...]

    def image_settings(self, field: int) -> SimulationSettings:
        """Return the settings of the exposures of one field."""
        ra, dec = self.centres[field]
        return _steady(self.settings).varied(ra=ra, dec=dec)

    def expose(self, visit: Visit) -> SimulatedExposure:
        """Take one exposure; its ``sources`` have what changes as ``kind`` and ``id`` of the object."""
        objects = self.objects[self.objects["field"] == visit.field]
        steady = self.skies[visit.field]
        steady = steady[~np.isin(steady["id"].data, objects["id"].data)]
        return simulate_exposure(
            self.image_settings(visit.field),
            seed=self.seed,
            epoch=visit.number,
            sky=vstack([steady, _shining(objects, steady, visit=visit, settings=self.settings)]),
            conditions=visit.conditions,
        )

    def truth(self, visit: Visit, exposure: SimulatedExposure) -> Table:
        """Return what is true about the objects of a field in one exposure; see `write_season`."""
        objects = self.objects[self.objects["field"] == visit.field]
        days, band = visit.conditions.days, self.settings.image.band
        ra, dec = places_at(objects, days=days)
        x, y = _on_image(exposure, ra=ra, dec=dec)
        color = {"g": objects["g_r"].data, "r": 0.0, "i": -objects["r_i"].data}[band]
        magnitude = magnitudes_of(objects, days=days) + color
        table = Table({"id": objects["id"].data, "kind": objects["kind"].data})
        for name, value in (("file", visit.name), ("field", visit.field), ("night", visit.night)):
            table[name] = np.full(len(table), value)
        table["mjd"] = np.full(len(table), visit.mjd_tai)
        table["ra"], table["dec"], table["x"], table["y"] = ra, dec, x, y
        table["mag"] = np.where(np.isfinite(magnitude), magnitude, np.nan)
        table["flux"] = 10.0 ** (-0.4 * (magnitude - NANOJANSKY))
        table["on_image"] = np.isfinite(x)
        counts = 10.0 ** (-0.4 * (magnitude - exposure.zero_point))
        table["snr"] = _signal_to_noise(exposure, x=x, y=y, counts=counts)
        units = {"mjd": "d", "ra": "deg", "dec": "deg", "x": "pix", "y": "pix", "mag": "mag", "flux": "nJy"}
        for name, unit in units.items():
            table[name].unit = unit
        return table

    def reference(self) -> Table:
        """Return the reference catalogue of all fields; see `firstlight.simulation.simulate_reference`."""
        return vstack(
            [
                make_reference(sky, settings=self.image_settings(field), seed=_field_seed(self.seed, field))
                for field, sky in enumerate(self.skies)
            ]
        )


def plan_season(settings: SeasonSettings | None = None, *, seed: int = 0) -> SeasonPlan:
    """Draw the fields, the weather and everything that changes.

    Raises
    ------
    ConfigError
        If a field has too few stars that could vary.
    """
    settings = settings or SeasonSettings()
    centres = _centres(settings, seed=seed)
    skies: list[Table] = []
    first_id = 0
    for field, (ra, dec) in enumerate(centres):
        sky = night_sky(_steady(settings).varied(ra=ra, dec=dec), seed=_field_seed(seed, field))
        sky["id"] += first_id
        first_id += len(sky)
        skies.append(sky)
    visits = schedule(settings, centres=centres, seed=seed)
    streams = [random_stream(seed, Stream.SEASON, epoch=kind) for kind in range(4)]
    objects = stack_objects(
        draw_supernovae(settings, centres=centres, skies=skies, rng=streams[0]),
        draw_variables(settings, centres=centres, skies=skies, rng=streams[1]),
        draw_movers(settings, centres=centres, visits=visits, rng=streams[2]),
        first_id=first_id,
    )
    moves = objects["kind"].data == "mover"
    objects["known"] = moves & (streams[3].random(len(objects)) < settings.known_movers)
    return SeasonPlan(settings, seed, tuple(centres), tuple(skies), objects, tuple(visits))


def write_season(folder: str | Path, settings: SeasonSettings | None = None, *, seed: int = 0) -> Iterator[Path]:
    """Simulate and write a season, one exposure in memory at a time, and yield each file as it is written.

    Parameters
    ----------
    folder
        Made when it is not there; files of the same names are replaced.

        - ``template/field_F_K.fits``, ``night_NN/field_F_K.fits``: what the camera delivers.
        - ``refcat.parquet``: the reference catalogue of all fields.
        - ``minor_planets.parquet``: predicted places of known bodies at each exposure: ``name``, ``ra``, ``dec`` [deg],
          ``mjd`` [d, TAI], ``position_error`` [arcsec].
        - ``truth_objects.parquet``: what changes; see `SeasonPlan`.
        - ``truth_light_curves.parquet``: a row for each object and exposure of its field: ``id``, ``kind``, ``file``,
          ``field``, ``night``, ``mjd`` [d, TAI], ``ra``, ``dec`` [deg], ``x``, ``y`` [pixel; NaN off the image],
          ``mag`` [AB], ``flux`` [nJy], ``on_image``, and ``snr`` against sky, galaxies and its own
          light, 0 near the edge.
        - ``visits.parquet``: when and through which sky each exposure was taken.
        - ``season.json``: settings and seed.

    Raises
    ------
    ConfigError
        If a field has too few stars that could vary.
    OutputError
        If the folder cannot be written.
    """
    settings, folder = settings or SeasonSettings(), Path(folder)
    make_folder(folder)
    plan = plan_season(settings, seed=seed)
    try:
        yield from _write(plan, folder)
    except OSError as error:
        raise OutputError(f"Cannot write the season into {folder}: {error.strerror or error}.") from error


def _write(plan: SeasonPlan, folder: Path) -> Iterator[Path]:
    truth: list[Table] = []
    for visit in plan.visits:
        exposure = plan.expose(visit)
        path = folder / visit.name
        path.parent.mkdir(parents=True, exist_ok=True)
        fits.PrimaryHDU(exposure.image, header=exposure.header).writeto(path, overwrite=True)
        truth.append(plan.truth(visit, exposure))
        yield path
    tables = {
        "refcat": plan.reference(),
        "minor_planets": _predictions(plan, vstack(truth)),
        "truth_objects": plan.objects,
        "truth_light_curves": vstack(truth),
        "visits": _visit_table(plan),
    }
    for name, table in tables.items():
        write_table(table, folder / f"{name}.parquet")
        yield folder / f"{name}.parquet"
    about = {"seed": plan.seed, "centres": plan.centres, "settings": asdict(plan.settings)}
    (folder / "season.json").write_text(json.dumps(about, indent=1) + "\n")
    yield folder / "season.json"


def _centres(settings: SeasonSettings, *, seed: int) -> list[tuple[float, float]]:
    sky = _steady(settings).sky
    centres = [field_centre(sky, seed=_field_seed(seed, field)) for field in range(settings.n_fields)]
    # Where right ascensions begin anew, and where they are dense, is where mistakes show.
    centres[0] = (0.0, centres[0][1])
    if settings.n_fields > 1:
        centres[1] = (centres[1][0], 80.0)
    return [*settings.centres, *centres[len(settings.centres) :]]


def _field_seed(seed: int, field: int) -> int:
    return 1000 * (seed + 1) + field


def _steady(settings: SeasonSettings) -> SimulationSettings:
    image = settings.image
    return replace(image, sky=replace(image.sky, variable_fraction=0.0, transient_density=0.0, ra=None, dec=None))


def _shining(objects: Table, steady: Table, *, visit: Visit, settings: SeasonSettings) -> Table:
    """Return the objects as they are at one exposure, in the columns of the sky; trails in pieces."""
    magnitude = magnitudes_of(objects, days=visit.conditions.days)
    pieces = _pieces(objects, settings=settings)
    table = steady[:0].copy()
    for number in range(int(pieces.max(initial=0))):
        shines = np.flatnonzero(np.isfinite(magnitude) & (pieces > number))
        part, count = objects[shines], pieces[shines]
        late = settings.image.exposure_time / 86400.0 * ((number + 0.5) / count - 0.5)
        rows = Table({"id": part["id"], "kind": part["kind"]})
        rows["ra"], rows["dec"] = places_at(part, days=visit.conditions.days + late)
        rows["r_mag"] = magnitude[shines] + 2.5 * np.log10(count)
        rows["g_mag"] = rows["r_mag"] + part["g_r"].data
        rows["i_mag"] = rows["r_mag"] - part["r_i"].data
        for name in steady.colnames:
            if name not in rows.colnames:
                rows[name] = np.zeros(len(rows), dtype=steady[name].dtype)
        rows["last_epoch"] = visit.number
        table = vstack([table, rows[steady.colnames]], metadata_conflicts="silent")
    return table


def _pieces(objects: Table, *, settings: SeasonSettings) -> NDArray[np.int64]:
    """Return of how many points the image of each object is made."""
    rate = np.hypot(objects["pmra"].data, objects["pmdec"].data) / (1000.0 * 365.25 * 86400.0)
    length = rate * settings.image.exposure_time / settings.image.optics.pixel_scale
    return np.asarray(np.maximum(np.ceil(length / TRAIL_STEP), 1), dtype=np.int64)


def _on_image(exposure: SimulatedExposure, *, ra: FloatArray, dec: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return zero-based pixel positions; NaN for what is not on the image."""
    ny, nx = exposure.image.shape
    linear_x, linear_y = (np.asarray(each) for each in exposure.wcs.wcs_world2pix(ra, dec, 0))
    near = (np.abs(linear_x - nx / 2) < nx) & (np.abs(linear_y - ny / 2) < ny)
    x, y = np.full(len(ra), np.nan), np.full(len(ra), np.nan)
    x[near], y[near] = sky_to_pixel(exposure.wcs, ra=ra[near], dec=dec[near])
    inside = (x > -0.5) & (x < nx - 0.5) & (y > -0.5) & (y < ny - 0.5)
    return np.where(inside, x, np.nan), np.where(inside, y, np.nan)


def _signal_to_noise(exposure: SimulatedExposure, *, x: FloatArray, y: FloatArray, counts: FloatArray) -> FloatArray:
    """Return the best that can be reached with the exact profile; 0 where a part of the stamp is off the image."""
    variance = exposure.variance
    ny, nx = variance.shape
    r = STAMP_RADIUS
    found = np.zeros(len(x))
    column, row = (np.round(np.nan_to_num(each, nan=-1.0)).astype(int) for each in (x, y))
    for k in np.flatnonzero((column >= r) & (column < nx - r) & (row >= r) & (row < ny - r)):
        star = exposure.point_spread.image(x=float(x[k]), y=float(y[k]), radius=r)
        noise = variance[row[k] - r : row[k] + r + 1, column[k] - r : column[k] + r + 1]
        found[k] = counts[k] * np.sqrt(np.sum(star**2 / noise))
    return found


def _predictions(plan: SeasonPlan, truth: Table) -> Table:
    """Return where known bodies are predicted, wrong by what is stated."""
    known = truth[np.isin(truth["id"].data, plan.objects["id"].data[plan.objects["known"].data])]
    rng = random_stream(plan.seed, Stream.SEASON, epoch=4)
    east, north = PREDICTION_ERROR / 3600.0 * rng.normal(size=(2, len(known)))
    dec = known["dec"].data + north
    table = Table({"name": [f"body {number}" for number in known["id"]]} if len(known) else {"name": np.empty(0, "U1")})
    table["ra"], table["dec"] = (known["ra"].data + east / np.cos(np.deg2rad(dec))) % 360.0, dec
    table["mjd"], table["position_error"] = known["mjd"].data, np.full(len(known), PREDICTION_ERROR)
    for name, unit in (("ra", "deg"), ("dec", "deg"), ("mjd", "d"), ("position_error", "arcsec")):
        table[name].unit = unit
    return table


def _visit_table(plan: SeasonPlan) -> Table:
    rows = [
        {
            "file": visit.name,
            "field": visit.field,
            "night": visit.night,
            "mjd": visit.mjd_tai,
            "fwhm": visit.conditions.fwhm,
            "transparency": visit.conditions.transparency,
            "sky_level": visit.conditions.sky_level,
            "airmass": visit.conditions.airmass,
        }
        for visit in plan.visits
    ]
    table = Table(rows)
    for name, unit in (("mjd", "d"), ("fwhm", "pix"), ("sky_level", "adu")):
        table[name].unit = unit
    return table
