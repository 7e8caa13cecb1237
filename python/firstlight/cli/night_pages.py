"""What ``firstlight pages`` and ``firstlight watch`` do: gather a night, and write its pages."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table

from firstlight.cli.night_exposures import night_exposures
from firstlight.cli.night_images import CatalogImages, FollowedImages, NightImages
from firstlight.errors import NoWorkFound
from firstlight.execution import night_log
from firstlight.execution.association import SCORES
from firstlight.execution.follow_log import FollowedImage, FollowLog
from firstlight.execution.night_log import NightEntry, NightLog
from firstlight.images.atomic import write_text_atomically
from firstlight.images.photo_calib import ab_magnitude
from firstlight.qa.night import CurvePoint, NightCandidate, NightContent, ObjectContent
from firstlight.qa.night_page import candidates_page, night_page, object_page
from firstlight.qa.stamps import Triplet
from firstlight.repo.light_curves import DETECTION, light_curves
from firstlight.repo.object_schema import detection, sky_object
from firstlight.repo.objects import has_tables, select_in
from firstlight.repo.records import visits
from firstlight.repo.repo import Repo

PAGES = "pages"
MOST = 500
"""Candidates on one page; a browser sorts so many at once."""

FEW = 100
"""So many visits are asked for by their numbers; with more of them all are read."""

FLAGS = {
    "is_dipole": "dipole",
    "is_trail": "trail",
    "streak_center": "satellite",
    "saturated_center": "saturated",
    "sat_template_center": "saturated in template",
    "cr_center": "cosmic ray",
    "bad_center": "bad pixel",
    "interpolated_center": "interpolated",
    "spike_center": "spike",
    "high_variance_center": "high variance",
    "at_edge": "edge",
    "vet_undefined": "not judged",
}
"""Flags of candidates -> the words on the page."""


@dataclass
class NightPages:
    """Writes the pages of an output; what was read once is kept, so that writing them again is cheap.

    Parameters
    ----------
    repo
    output
        The chain that shows the results.
    """

    repo: Repo
    output: str
    _followed: FollowedImages = field(init=False)
    _catalogs: CatalogImages = field(init=False)

    def __post_init__(self) -> None:
        self._followed = FollowedImages(self.repo.root / self.output)
        self._catalogs = CatalogImages(self.repo, self.output)

    @property
    def folder(self) -> Path:
        """Where the pages of all nights go."""
        return self.repo.root / self.output / PAGES

    def last_night(self) -> int:
        """Return the last night of which something is there.

        Raises
        ------
        NoWorkFound
            If there is none.
        """
        self.repo.resolve([self.output])
        known = {(each.instrument, each.visit): each.day_obs for each in visits(self.repo)}
        nights = {known.get(place) for place in self._places()} - {None}
        if not nights:
            raise NoWorkFound(f"Nothing of {self.output} belongs to a night; its images have no date.")
        return max(night for night in nights if night is not None)

    def update(self, entries: Sequence[NightEntry]) -> None:
        """Write the pages of the nights of files, and those of the objects that these show.

        Raises
        ------
        OutputError
            If a page cannot be written.
        """
        places = {(each.instrument, each.exposure) for each in entries}
        numbers = sorted({exposure for _, exposure in places if exposure is not None})
        few = f"visit in ({', '.join(map(str, numbers))})" if 0 < len(numbers) <= FEW else ""
        nights = {each.day_obs for each in visits(self.repo, few) if (each.instrument, each.visit) in places}
        for day_obs in sorted(night for night in nights if night is not None):
            self.write(day_obs, places=places)

    def write(
        self, day_obs: int, folder: Path | None = None, *, places: Collection[tuple[str, int | None]] | None = None
    ) -> Path:
        """Write the pages of a night and return the first one.

        Parameters
        ----------
        day_obs
        folder
            Where they go; below `folder` when left out.
        places
            Instrument and number of the exposures whose objects get a page; None for all.

        Raises
        ------
        NoWorkFound
            If there is nothing of that night.
        OutputError
            If a page cannot be written.
        """
        folder = folder or self.folder / str(day_obs)
        found, log = self._images(day_obs)
        content = self._content(day_obs, found, log)
        folder.mkdir(parents=True, exist_ok=True)
        write_text_atomically(folder / "index.html", night_page(content))
        if not content.is_followed:
            return folder / "index.html"
        write_text_atomically(folder / "candidates.html", candidates_page(content))
        followed = log.entries.values()
        images = {each.name for each in followed if places is None or (each.instrument, each.visit) in places}
        wanted = {each.object_id for each in content.candidates if each.object_id and each.image in images}
        if wanted:
            (folder / "objects").mkdir(exist_ok=True)
        for one in self._objects(found, followed, wanted, content.curves):
            write_text_atomically(folder / "objects" / f"{one.object_id}.html", object_page(one))
        return folder / "index.html"

    def _images(self, day_obs: int) -> tuple[NightImages, FollowLog]:
        """Return what followed the tasks, or else the catalogues of the output, and its images."""
        log = self._followed.log(day_obs)
        return (self._followed, log) if log.entries else (self._catalogs, self._catalogs.log(day_obs))

    def _content(self, day_obs: int, found: NightImages, log: FollowLog) -> NightContent:
        """Return what there is to show of a night.

        Raises
        ------
        NoWorkFound
            If there is nothing of that night.
        """
        night = NightLog.open(self.repo.root / self.output / night_log.NAME)
        exposures = night_exposures(self.repo, self.output, day_obs, night=night, followed=log)
        if not exposures:
            raise NoWorkFound(f"Nothing of {self.output} is of the night {day_obs}.")
        images = [each for each in log.entries.values() if each.day_obs == day_obs and not each.error]
        candidates = sorted(self._candidates(found, images), key=lambda each: each.rank)
        shown = candidates[:MOST]
        return NightContent(
            self.output,
            day_obs,
            exposures=exposures,
            candidates=shown,
            curves=self._curves({each.object_id for each in shown if each.object_id}),
            n_left_out=len(candidates) - len(shown),
            not_done={name: why for image in images for name, why in image.not_done.items()},
            is_followed=bool(images),
        )

    def _places(self) -> set[tuple[str, int]]:
        log = NightLog.open(self.repo.root / self.output / night_log.NAME)
        places = {(each.instrument, each.exposure) for each in log.entries.values() if each.exposure is not None}
        for name in ("dia_source", "visit_image", "preliminary_visit_image", "post_isr_image"):
            if name in self.repo.type_names():
                rows = self.repo.datasets(name, collections=self.output)
                ids = [
                    (str(row.data_id["instrument"]), row.data_id.get("visit", row.data_id.get("exposure")))
                    for row in rows
                ]
                places |= {(instrument, int(number)) for instrument, number in ids if number is not None}
        return places

    def _candidates(self, found: NightImages, images: Sequence[FollowedImage]) -> Iterator[NightCandidate]:
        tables = {image.name: found.table(image) for image in images}
        owners = self._owners(images)
        ids = {owner for owner, _ in owners.values() if owner}
        known = self._known_objects(ids)
        for image in images:
            stamps = found.stamps(image)
            for row in tables[image.name]:
                number = int(row["id"])
                owner, body = owners.get((image.instrument, image.visit, image.detector, number), (0, ""))
                n, first = known.get(owner, (0, np.nan))
                yield _candidate(row, image, owner, body, n, is_new=first == image.mjd, stamps=stamps.get(number))

    def _owners(self, images: Sequence[FollowedImage]) -> dict[tuple[str, int, int, int], tuple[int, str]]:
        """Return the object and the body of the solar system that each detection belongs to now."""
        with self.repo.database.read() as connection:
            if not has_tables(connection):
                return {}
            seen = select_in(connection, detection, detection.c.visit, sorted({each.visit for each in images}))
        columns = [
            seen[name].tolist()
            for name in ("instrument", "visit", "detector", "source_id", "object_id", "solar_system")
        ]
        return {(a, b, c, d): (owner, body) for a, b, c, d, owner, body in zip(*columns, strict=True)}

    def _known_objects(self, ids: Collection[int]) -> dict[int, tuple[int, float]]:
        """Return for each object how often it was seen, and when first."""
        if not ids:
            return {}
        with self.repo.database.read() as connection:
            rows = select_in(connection, sky_object, sky_object.c.id, sorted(ids))
        columns = [rows[name].tolist() for name in ("id", "n_detections", "first_mjd")]
        return {number: (n, first) for number, n, first in zip(*columns, strict=True)}

    def _curves(self, ids: Collection[int]) -> dict[int, list[CurvePoint]]:
        if not ids:
            return {}
        curves = light_curves(self.repo, ids)
        found: dict[int, list[CurvePoint]] = {}
        columns = [curves[name].tolist() for name in ("object_id", "mjd", "flux", "flux_err", "band", "kind")]
        for number, mjd, flux, error, band, kind in zip(*columns, strict=True):
            found.setdefault(number, []).append(CurvePoint(mjd, flux, error, str(band), detected=kind == DETECTION))
        return found

    def _objects(
        self,
        found: NightImages,
        followed: Iterable[FollowedImage],
        ids: Collection[int],
        curves: Mapping[int, Sequence[CurvePoint]],
    ) -> Iterator[ObjectContent]:
        """Yield objects with all detections of the output."""
        if not ids:
            return
        with self.repo.database.read() as connection:
            rows = select_in(connection, sky_object, sky_object.c.id, sorted(ids))
            seen = select_in(connection, detection, detection.c.object_id, sorted(ids))
        places = {(a, b, c) for a, b, c in seen["instrument", "visit", "detector"]}
        images = [each for each in followed if (each.instrument, each.visit, each.detector) in places]
        mine: dict[int, list[NightCandidate]] = {}
        for each in self._candidates(found, images):
            if each.object_id in ids:
                mine.setdefault(each.object_id, []).append(each)
        for row in rows:
            number = int(row["id"])
            yield ObjectContent(
                number,
                ra=float(row["ra"]),
                dec=float(row["dec"]),
                error=float(max(row["ra_err"], row["dec_err"])),
                n_detections=int(row["n_detections"]),
                first_mjd=float(row["first_mjd"]),
                last_mjd=float(row["last_mjd"]),
                curve=curves.get(number, ()),
                detections=mine.get(number, ()),
            )


def _candidate(
    row: Table.Row, image: FollowedImage, owner: int, body: str, n: int, *, is_new: bool, stamps: Triplet | None
) -> NightCandidate:
    names = set(row.colnames)
    flux = _first(row, names, ("psf_flux", "flux"))
    snr = _first(row, names, ("snr",))
    return NightCandidate(
        owner,
        image=image.name,
        mjd=image.mjd if image.mjd is not None else np.nan,
        band=image.band,
        ra=float(row["ra"]),
        dec=float(row["dec"]),
        flux=flux,
        flux_err=_first(row, names, ("psf_flux_err", "flux_err")),
        mag=float(ab_magnitude(abs(flux))) if flux and abs(snr) >= 3.0 else np.nan,
        snr=snr,
        score=_first(row, names, SCORES),
        is_new=is_new,
        n_detections=n,
        body=body,
        notes=_words(row, names, "notes"),
        rejected_by=_words(row, names, "rejected_by"),
        flags=tuple(words for name, words in FLAGS.items() if name in names and bool(row[name])),
        stamps=stamps,
    )


def _first(row: Table.Row, names: Collection[str], wanted: Sequence[str]) -> float:
    """Return the first of several columns that is there; NaN where none is, or it is masked."""
    name = next((each for each in wanted if each in names), None)
    value: Any = np.nan if name is None or np.ma.is_masked(row[name]) else row[name]
    return float(value)


def _words(row: Table.Row, names: Collection[str], name: str) -> str:
    return str(row[name]) if name in names and not np.ma.is_masked(row[name]) else ""
