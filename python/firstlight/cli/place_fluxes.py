"""Measure the images of a repository at one place on the sky, whether anything was detected there or not."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy import units as u
from astropy.table import Table
from numpy.typing import NDArray

from firstlight.errors import InputError, NoWorkFound, RepoError
from firstlight.execution.provenance import place_now
from firstlight.images.exposure import Exposure
from firstlight.images.photo_calib import ab_magnitude, ab_magnitude_error
from firstlight.images.spatial_kernel import MatchingKernel
from firstlight.repo.records import VisitRecord
from firstlight.repo.regions import visits_at
from firstlight.repo.repo import Repo
from firstlight.repo.rows import DatasetRow
from firstlight.tasks.measure_place import FluxScale, MeasurePlaceTask

TEMPLATE, KERNEL, STARS = "template", "difference_kernel", "difference_kernel_sources"
LIMIT_SIGMA, SEEN_SIGMA = 5.0, 3.0
MEANINGS = {
    "mjd": ("d", "Middle of the exposure, MJD TAI."),
    "flux": ("nJy", "Flux of the PSF on the difference, on the scale of the template."),
    "flux_err": ("nJy", "Its error, with that of the scale where the place shines in the template."),
    "snr": ("", "Flux over its error."),
    "scale": ("", "How much brighter stars are on the image than on the template, at the place."),
    "scale_err": ("", "Relative error of the scale, that of all fluxes of the image together."),
    "template_flux": ("nJy", "Flux of the place on the template that the image was subtracted from."),
    "total_flux": ("nJy", "Flux of the template, and that of the difference in a circle, together."),
    "total_flux_err": ("nJy", "Error of the total flux from image to image; that of the template is common to all."),
    "mag": ("mag", "AB magnitude of the total flux; NaN where it is below 3 errors."),
    "mag_err": ("mag", "Its error."),
    "limit_mag": ("mag", "AB magnitude of 5 errors of the difference: what would have been seen."),
    "flag": ("", "True for a flux at an edge, beside saturated light, or on bad pixels."),
    "total_flag": ("", "True for a total flux with a bad pixel in the circle, or beyond the image."),
}


@dataclass(frozen=True)
class Place:
    """What is measured.

    Parameters
    ----------
    ra, dec : [deg]
    type_name
        Dataset type of the differences.
    collections
        Searched in this order.
    where
        Condition on the images; empty for all.
    """

    ra: float
    dec: float
    type_name: str
    collections: tuple[str, ...]
    where: str = ""


def place_light_curve(repo: Repo, place: Place) -> Table:
    """Return how bright the place was on each image that shows it, in the order of time.

    Raises
    ------
    NoWorkFound
        If no image shows the place.
    InputError
        If the datasets hold no images.
    """
    visits = {(each.instrument, each.visit): each for each in visits_at(repo, ra=place.ra, dec=place.dec)}
    found = repo.datasets(place.type_name, collections=place.collections, where=place.where)
    known = [(row, visit) for row in found if (visit := visits.get(_visit_of(row))) is not None]
    templates = _Templates(repo, place)
    rows = [row for each in known if (row := _measured(repo, place, *each, templates)) is not None]
    if not rows:
        raise NoWorkFound(
            f"None of {len(found)} {place.type_name} shows ra {place.ra:g}, dec {place.dec:g} in "
            f"{', '.join(place.collections) or 'any run'}."
        )
    curve = Table(rows=sorted(rows, key=lambda row: (row["mjd"], row["visit"], row["detector"])))
    return _described(curve)


class _Templates:
    """Flux of the place on the template that each difference was made with; each template is measured once."""

    def __init__(self, repo: Repo, place: Place) -> None:
        self._repo, self._place = repo, place
        self._known: dict[Path, float] = {}
        self._used: dict[str, dict[str | None, Path]] = {}
        runs = [each.name for each in repo.collections() if each.kind == "RUN"]
        kept = repo.datasets(TEMPLATE, collections=runs, find_first=False) if TEMPLATE in repo.type_names() else []
        self._kept = {row.path: row for row in kept}

    def flux(self, difference: DatasetRow) -> float:
        """Return the flux [nJy]; NaN if the template is not known, is gone, or does not show the place well."""
        if difference.run not in self._used:
            self._used[difference.run] = _inputs_of(self._repo, difference.run, TEMPLATE)
        path = self._used[difference.run].get(difference.producer)
        if path is None or path not in self._kept:
            return float("nan")
        if path not in self._known:
            self._known[path] = self._measured(self._kept[path])
        return self._known[path]

    def _measured(self, row: DatasetRow) -> float:
        template = self._repo.read(row)
        if not isinstance(template, Exposure) or template.unit != "nJy":
            return float("nan")
        found = MeasurePlaceTask().run(template, ra=np.array([self._place.ra]), dec=np.array([self._place.dec]))
        return float("nan") if found.flag[0] else float(found.flux[0])


def _inputs_of(repo: Repo, run: str, type_name: str) -> dict[str | None, Path]:
    """Return the file of a type that each piece of work of a run read."""
    return {
        f"{each.label}:{each.data_key}": place_now(one["path"], root=repo.root)
        for each in repo.quanta(run)
        for several in each.record.get("inputs", {}).values()
        for one in several
        if one["type"] == type_name
    }


def _measured(
    repo: Repo, place: Place, row: DatasetRow, visit: VisitRecord, templates: _Templates
) -> dict[str, object] | None:
    difference = repo.read(row)
    if not isinstance(difference, Exposure):
        raise InputError(f"{place.type_name} holds no images.")
    found = MeasurePlaceTask().run(difference, ra=np.array([place.ra]), dec=np.array([place.dec]))
    if not np.isfinite(found.flux[0]):
        return None
    scale = _scale(repo, place, row, difference)
    base = templates.flux(row) if difference.unit == "nJy" else float("nan")
    factor, doubt = (1.0 / scale.scale[0], scale.error) if scale else (1.0, float("nan"))
    common = float(np.nan_to_num(base * doubt))
    flux, error = float(found.flux[0]) * factor, float(np.hypot(found.flux_err[0] * factor, common))
    total, total_err = (
        base + float(found.aperture_flux[0]) * factor,
        float(np.hypot(found.aperture_flux_err[0] * factor, common)),
    )
    return {
        "mjd": float("nan") if visit.mjd_tai is None else visit.mjd_tai,
        "kind": "forced",
        "band": visit.band or "",
        "instrument": visit.instrument,
        "visit": visit.visit,
        "detector": int(row.data_id.get("detector") or 0),
        "flux": flux,
        "flux_err": error,
        "snr": flux / error,
        "scale": 1.0 / factor if scale else float("nan"),
        "scale_err": doubt,
        "template_flux": base,
        "total_flux": total,
        "total_flux_err": total_err if np.isfinite(total) else float("nan"),
        "flag": bool(found.flag[0]),
        "total_flag": bool(found.aperture_flag[0]),
    }


def _scale(repo: Repo, place: Place, row: DatasetRow, difference: Exposure) -> FluxScale | None:
    """Return how much brighter stars are on the image than on its template; None where its kernel was not kept."""
    kept = repo.type_names()
    if KERNEL not in kept or STARS not in kept or difference.wcs is None:
        return None
    kernel, stars = (_beside(repo, row, name) for name in (KERNEL, STARS))
    if not isinstance(kernel, MatchingKernel) or not isinstance(stars, Table):
        return None
    x, y = difference.wcs.sky_to_pixel(ra=np.array([place.ra]), dec=np.array([place.dec]))
    ratios: NDArray[np.float64] = np.asarray(stars["flux_ratio"], np.float64)[np.asarray(stars["used"], bool)]
    return FluxScale.of(kernel, ratios, x=x, y=y)


def _beside(repo: Repo, row: DatasetRow, name: str) -> object:
    """Return what the same run made of the same image; None where it was not kept."""
    instrument, visit = _visit_of(row)
    try:
        return repo.get(
            name,
            collections=row.run,
            instrument=instrument,
            visit=visit,
            detector=int(row.data_id.get("detector") or 0),
        )
    except RepoError:
        return None


def _visit_of(row: DatasetRow) -> tuple[str, int]:
    return str(row.data_id.get("instrument", "")), int(row.data_id.get("visit") or 0)


def _described(curve: Table) -> Table:
    total, error = (np.asarray(curve[name], np.float64) for name in ("total_flux", "total_flux_err"))
    seen = np.isfinite(total) & (total > SEEN_SIGMA * error)
    curve["mag"] = np.where(seen, ab_magnitude(np.where(seen, total, 1.0)), np.nan)
    curve["mag_err"] = np.where(seen, ab_magnitude_error(np.where(seen, total, 1.0), error), np.nan)
    curve["limit_mag"] = ab_magnitude(LIMIT_SIGMA * np.asarray(curve["flux_err"], np.float64))
    for name, (unit, meaning) in MEANINGS.items():
        curve[name].unit, curve[name].description = u.Unit(unit) if unit else None, meaning
    flags = ("flag", "total_flag")
    return curve[[*(name for name in curve.colnames if name not in flags), *flags]]
