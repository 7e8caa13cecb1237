"""Find an object by its number or its place, and tell how bright it was at each time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import sqlalchemy as sa
from astropy import units as u
from astropy.coordinates import angular_separation
from astropy.table import Column, Table, vstack
from numpy.typing import NDArray

from firstlight.errors import RepoError
from firstlight.images.photo_calib import ab_magnitude, ab_magnitude_error
from firstlight.repo import objects as store
from firstlight.repo.object_schema import detection, forced_flux, sky_object
from firstlight.repo.objects import VisitKey

if TYPE_CHECKING:
    from firstlight.repo.repo import Repo

DETECTION, FORCED = "detection", "forced"
"""Values of the column ``kind``: seen by itself, or measured where the object is known to be."""

LIMIT_SIGMA = 5.0
"""Upper limits are so many errors."""

OWN = ("object_id", "detection_id")
"""Columns that tell the light curves of several objects apart."""

MEANINGS = {
    "mjd": "Middle of the exposure, MJD TAI.",
    "kind": "'detection', or 'forced' for a flux measured at the place of the object.",
    "flux": "Flux of the difference; negative where the object was fainter than in the template.",
    "snr": "Flux over its error.",
    "mag": "AB magnitude of the flux; NaN where it is below 3 errors.",
    "limit_mag": "AB magnitude of 5 errors: what would have been seen.",
}


def find_objects(repo: Repo, *, ra: float, dec: float, radius: float) -> Table:
    """Return the objects within ``radius`` [arcsec] of a place [deg], the nearest first, with ``separation`` [arcsec].

    Raises
    ------
    RepoError
        If no detections were ever kept.
    """
    with repo.database.read() as connection:
        _require_tables(connection, repo)
        found = store.objects_near(connection, np.array([ra]), np.array([dec]), radius=radius)
    places = [np.radians(np.asarray(found[name])) for name in ("ra", "dec")]
    apart = np.degrees(angular_separation(np.radians(ra), np.radians(dec), *places)) * 3600.0
    found["separation"] = Column(apart, unit=u.arcsec)
    found = found[np.asarray(apart) <= radius]
    return found[np.argsort(np.asarray(found["separation"]), kind="stable")]


def find_object(repo: Repo, number: int) -> Table:
    """Return the row of an object, given its number now, one that it had, or that of any detection of it.

    Raises
    ------
    RepoError
        If there is none.
    """
    with repo.database.read() as connection:
        _require_tables(connection, repo)
        found = store.select_rows(connection, sky_object, sky_object.c.id == number)
        if not len(found):
            belongs = sa.select(detection.c.object_id).where(detection.c.id == number).scalar_subquery()
            found = store.select_rows(connection, sky_object, sky_object.c.id == belongs)
        if not len(found):
            raise RepoError(
                f"{repo.root} has no object {number}; 'firstlight lightcurve RA DEC -b {repo.root}' looks at a place."
            )
    return found


def light_curve(repo: Repo, object_id: int) -> Table:
    """Return all that is known of the brightness of an object, in the order of time.

    Where an image has a detection and a forced flux there is a row of each.

    Parameters
    ----------
    repo
    object_id
        Its number now.

    Returns
    -------
    with ``mjd`` [d], ``kind``, ``band``, ``instrument``, ``visit``, ``detector``, ``flux``, ``flux_err`` [nJy],
    ``snr``, ``mag``, ``mag_err``, ``limit_mag`` [AB mag] and ``score``.
    """
    curve = light_curves(repo, [object_id])
    return curve[[name for name in curve.colnames if name not in OWN]]


def light_curves(repo: Repo, object_ids: Iterable[int]) -> Table:
    """Return all that is known of the brightness of several objects: those in the order of their numbers, then of time.

    Returns
    -------
    with the columns of `light_curve`, and ``object_id`` and ``detection_id``, 0 for a flux measured at a known place.
    """
    ids = sorted({int(each) for each in object_ids})
    with repo.database.read() as connection:
        seen = store.select_in(connection, detection, detection.c.object_id, ids)
        forced = store.select_in(connection, forced_flux, forced_flux.c.object_id, ids)
    names = ["object_id", "mjd", "band", "instrument", "visit", "detector", "flux", "flux_err"]
    forced = forced[names]
    forced["score"], forced["kind"], forced["detection_id"] = np.nan, FORCED, np.int64(0)
    seen["kind"], seen["detection_id"] = DETECTION, seen["id"]
    seen = seen[[*names, "score", "kind", "detection_id"]]
    curve = vstack([seen, forced], join_type="exact", metadata_conflicts="silent")
    order = [curve[name] for name in ("kind", "detector", "visit", "mjd", "object_id")]
    return _with_magnitudes(curve[np.lexsort(order)])


def save_forced_fluxes(
    repo: Repo,
    key: VisitKey,
    *,
    band: str | None,
    object_ids: NDArray[np.int64],
    flux: NDArray[np.float64],
    flux_err: NDArray[np.float64],
) -> None:
    """Keep fluxes measured at the places of objects on one image, instead of all that are there of this image.

    Parameters
    ----------
    repo
    key
    band
    object_ids : (n,)
        Those that are no object any more are left out.
    flux, flux_err : (n,) [nJy]
        NaN where nothing could be measured.
    """
    n = len(object_ids)
    same = {name: np.full(n, value, dtype=object) for name, value in {**key._asdict(), "band": band}.items()}
    columns = {**same, "object_id": object_ids, "flux": flux, "flux_err": flux_err}
    with repo.database.write() as connection:
        store.make_tables(connection)
        connection.execute(sa.delete(forced_flux).where(store.same_visit(forced_flux, key)))
        there = np.isin(object_ids, store.select_in(connection, sky_object, sky_object.c.id, object_ids.tolist())["id"])
        store.insert_rows(connection, forced_flux, {name: values[there] for name, values in columns.items()})


def _with_magnitudes(curve: Table) -> Table:
    flux, error = np.asarray(curve["flux"]), np.asarray(curve["flux_err"])
    known = np.isfinite(flux) & (error > 0)
    snr = np.where(known, flux / np.where(known, error, 1.0), np.nan)
    seen = snr >= 3.0
    curve["snr"] = snr
    curve["mag"] = Column(np.where(seen, ab_magnitude(flux), np.nan), unit=u.mag)
    curve["mag_err"] = Column(np.where(seen, ab_magnitude_error(flux, error), np.nan), unit=u.mag)
    limit = np.where(error > 0, LIMIT_SIGMA * error, np.nan)
    curve["limit_mag"] = Column(ab_magnitude(limit), unit=u.mag)
    for name, meaning in MEANINGS.items():
        curve[name].description = meaning
    order = ("mjd", "kind", "band", "instrument", "visit", "detector", "flux", "flux_err", "snr")
    return curve[[*order, "mag", "mag_err", "limit_mag", "score", *OWN]]


def _require_tables(connection: sa.Connection, repo: Repo) -> None:
    if not store.has_tables(connection):
        raise RepoError(f"{repo.root} has no objects yet; 'firstlight associate -b {repo.root}' makes them.")
