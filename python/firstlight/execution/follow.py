"""Follow the images of a run: objects of their candidates, fluxes at known places, alerts, each image once."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from firstlight.errors import FirstlightError, InputError, RepoError
from firstlight.execution.alerts import AlertSource, AlertSubject, find_product, image_alerts, read_images
from firstlight.execution.association import Associate, VisitOutcome, add_visit
from firstlight.execution.follow_log import FollowedImage, FollowLog, image_name, place_of
from firstlight.execution.forced_fluxes import MeasurePlaces, add_forced_fluxes, objects_key
from firstlight.images.alert_file import write_alerts
from firstlight.images.alert_packet import DIFFERENCE
from firstlight.images.catalog import write_catalog
from firstlight.images.exposure import Exposure
from firstlight.repo.objects import VisitKey, detections_of_visit
from firstlight.repo.records import VisitRecord, visits
from firstlight.repo.repo import Repo
from firstlight.repo.rows import DatasetRow

if TYPE_CHECKING:
    from collections.abc import Iterator

ALERTS, CANDIDATES = "alerts", "candidates"
"""Folders beside the RUNs of an output: files of alerts by night, and candidates with what was found out about them."""

LATE = "not measured at the objects that were found after it"
"""What is wrong with an image whose fluxes are those of a part of the objects."""


@dataclass(frozen=True)
class CheckedCandidates:
    """What is known of the candidates of one image before they are associated."""

    candidates: Table
    """All of them; where they were checked with ``kept``, ``rejected_by`` and ``notes``."""

    kept: NDArray[np.bool_]
    """(n,) Those that are associated."""

    bodies: Table | None = None
    """Where bodies of the solar system are predicted: ``name``, ``ra``, ``dec`` [deg]."""

    not_done: Mapping[str, str] = field(default_factory=dict)
    """Check that could not be made -> why."""


Check = Callable[[Table, float], CheckedCandidates]
"""Checks the candidates of an image that was taken at a time [MJD TAI]."""


class SeenImage(NamedTuple):
    """One image that was followed just now, for whoever draws it."""

    key: VisitKey
    images: Mapping[str, Exposure]
    """Kind of stamp -> image; only those that are there."""

    candidates: Table
    """All candidates, with ``kept``, ``rejected_by``, ``notes`` and ``object_id`` (0 for none)."""


@dataclass(frozen=True)
class FollowSettings:
    """What is done with each image.

    Parameters
    ----------
    associate
        Finds objects.
    check
        Says which candidates are kept.
    source
        Names of the dataset types, and what alerts contain.
    measure
        Measures places on an image.
    forced
        Dataset type of images that are measured at the places of all objects; None for none.
    forced_days : [d]
        At the end, images of so many days are measured at the objects that were found after them.
    alerts
        Whether alerts are written.
    draw
        Called with each image; what it makes is none of the business here.
    """

    associate: Associate
    check: Check
    source: AlertSource
    measure: MeasurePlaces
    forced: str | None = None
    forced_days: float = 30.0
    alerts: bool = True
    draw: Callable[[SeenImage], None] | None = None


@dataclass
class Follower:
    """Does for each image of an output what is left to do; each `follow` goes on where the last one ended.

    Objects depend on the images alone, not on their order (`firstlight.execution.association`). An image counts as
    followed once everything is written; killed before, it is done again, with the same result.

    Parameters
    ----------
    repo
    output
        The chain that shows the results.
    settings
    log
        What was done.
    """

    repo: Repo
    output: str
    settings: FollowSettings
    log: FollowLog
    _tried: dict[str, str] = field(default_factory=dict)

    def follow(self, *, stop: Callable[[], bool] | None = None) -> list[FollowedImage]:
        """Do the images whose candidates are new, in the order of time, and return what became of each.

        Parameters
        ----------
        stop
            Once it returns true, images that are not begun are left for another time; None for never.
        """
        new = [row for row in self._candidates() if self._is_new(row)]
        if not new:
            return []
        records = {(each.instrument, each.visit): each for each in visits(self.repo)}
        done = []
        for row in sorted(new, key=lambda row: _time_of(row, records)):
            done.append(self._follow(row, records))
            self._tried[_name_of(row)] = row.checksum
            self.log.save()
            if stop is not None and stop():
                break
        return done

    def finish(self, *, stop: Callable[[], bool] | None = None) -> list[FollowedImage]:
        """Measure recent images at the objects that were found after them, and return these images.

        One that cannot be measured says why (`FollowedImage.late_error`), and is tried again by the next call.

        Parameters
        ----------
        stop
            Once it returns true, the images that are left are left for another call; None for never.
        """
        name = self.settings.forced
        followed = [each for each in self.log.entries.values() if each.mjd is not None and not each.error]
        if name is None or name not in self.repo.type_names() or not followed:
            return []
        since = max(each.mjd or 0.0 for each in followed) - self.settings.forced_days
        records = {(each.instrument, each.visit): each for each in visits(self.repo)}
        done = []
        for row in self.repo.datasets(name, collections=self.output):
            entry = self.log.entries.get(_name_of(row))
            if entry is None or entry.error or not entry.circle or (entry.mjd or 0.0) < since:
                continue
            ra, dec, radius = entry.circle
            if stop is not None and stop():
                break
            if objects_key(self.repo, (ra, dec, radius)) != entry.objects:
                self._measure_late(row, entry, records)
                done.append(entry)
                self.log.save()
        return done

    def _measure_late(
        self, row: DatasetRow, entry: FollowedImage, records: Mapping[tuple[str, int], VisitRecord]
    ) -> None:
        try:
            entry.n_forced = self._measure(self.repo.read(row), entry, key_of(row, records))
        except FirstlightError as error:
            entry.late_error = f"{LATE}: {_first_line(error)}"
        else:
            entry.late_error = ""

    def _candidates(self) -> list[DatasetRow]:
        name = self.settings.source.candidates
        if name not in self.repo.type_names() or not self.repo.collections(self.output):
            return []
        return self.repo.datasets(name, collections=self.output)

    def _is_new(self, row: DatasetRow) -> bool:
        entry = self.log.entries.get(_name_of(row))
        if entry is not None and entry.checksum == row.checksum and not entry.error:
            return False
        return self._tried.get(_name_of(row)) != row.checksum

    def _follow(self, row: DatasetRow, records: Mapping[tuple[str, int], VisitRecord]) -> FollowedImage:
        entry = FollowedImage.of(row)
        self.log.entries[entry.name] = entry
        try:
            self._do(row, records, entry)
        except FirstlightError as error:
            entry.error = _first_line(error)
        return entry

    def _do(self, row: DatasetRow, records: Mapping[tuple[str, int], VisitRecord], entry: FollowedImage) -> None:
        key = key_of(row, records)
        record = records[key.instrument, key.visit]
        entry.mjd, entry.band, entry.day_obs = key.mjd, record.band or "", record.day_obs or 0
        with _timed(entry, "read images"):
            candidates = read_candidates(self.repo, row)
            images, runs = read_images(self.repo, key, self.settings.source)
        with _timed(entry, "associate"):
            checked = self.settings.check(candidates, key.mjd)
            outcome = associate_candidates(self.repo, self.settings.associate, checked, key=key, band=record.band)
            table = self._with_objects(checked, key)
        with _timed(entry, "measure objects"):
            image = self._forced_image(key, images)
            if image is not None:
                entry.n_forced = self._measure(image, entry, key)
        with _timed(entry, "write alerts"):
            if self.settings.alerts:
                subject = AlertSubject(key, entry.day_obs, table, images, tuple(sorted({*runs, row.run})))
                packets = list(image_alerts(self.repo, subject, self.settings.source))
                write_alerts(packets, self._file(ALERTS, entry, ".avro"))
                entry.n_alerts = len(packets)
        with _timed(entry, "draw stamps"):
            write_catalog(table, self._file(CANDIDATES, entry, ".parquet"))
            if self.settings.draw is not None:
                self.settings.draw(SeenImage(key, images, table))
        entry.count(len(candidates), outcome, rejected_counts(checked), checked.not_done)

    def _forced_image(self, key: VisitKey, images: Mapping[str, Exposure]) -> object:
        """Return the image that is measured at the places of objects; None where there is none."""
        name = self.settings.forced
        if name is None or name == self.settings.source.difference:
            return None if name is None else images.get(DIFFERENCE)
        return find_product(self.repo, name, key, self.settings.source.collections)[0]

    def _measure(self, image: object, entry: FollowedImage, key: VisitKey) -> int:
        if not isinstance(image, Exposure):
            raise InputError(f"{self.settings.forced} holds no images.")
        circle = image.sky_circle()
        # Asked for before, so that an object that somebody else adds meanwhile is seen to be new.
        objects = objects_key(self.repo, circle)
        n = add_forced_fluxes(self.repo, self.settings.measure, key, image, band=entry.band or None)
        entry.circle, entry.objects = list(circle), objects
        return n

    def _with_objects(self, checked: CheckedCandidates, key: VisitKey) -> Table:
        """Return all candidates with the object that each belongs to."""
        with self.repo.database.read() as connection:
            seen = detections_of_visit(connection, key)
        objects = dict(zip(np.asarray(seen["source_id"]).tolist(), np.asarray(seen["object_id"]).tolist(), strict=True))
        bodies = dict(
            zip(np.asarray(seen["source_id"]).tolist(), np.asarray(seen["solar_system"]).tolist(), strict=True)
        )
        table = checked.candidates.copy(copy_data=False)
        ids = [int(each) for each in table["id"]] if len(table) else []
        table["object_id"] = np.array([objects.get(each, 0) for each in ids], dtype=np.int64)
        table["solar_system"] = np.array([bodies.get(each, "") for each in ids], dtype=str)
        return table

    def _file(self, kind: str, entry: FollowedImage, ending: str) -> Path:
        folder = self.repo.root / self.output / kind / (str(entry.day_obs) if kind == ALERTS else "")
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{entry.name}{ending}"


def associate_candidates(
    repo: Repo, associate: Associate, checked: CheckedCandidates, *, key: VisitKey, band: str | None
) -> VisitOutcome:
    """Keep the candidates of one image that passed their checks, and find their objects.

    Raises
    ------
    RepoError
        If other images were associated with other settings.
    """
    kept = checked.candidates[checked.kept]
    return add_visit(repo, associate, kept, key=key, band=band, solar_system=checked.bodies)


def read_candidates(repo: Repo, row: DatasetRow) -> Table:
    """Return a catalogue of candidates.

    Raises
    ------
    InputError
        If the dataset is no catalogue.
    """
    candidates = repo.read(row)
    if not isinstance(candidates, Table):
        raise InputError(f"{row.type} holds no catalogues.")
    return candidates


def key_of(row: DatasetRow, records: Mapping[tuple[str, int], VisitRecord]) -> VisitKey:
    """Return the image that a dataset is of.

    Raises
    ------
    RepoError
        If its time is not known.
    """
    instrument, visit, detector = place_of(row)
    record = records.get((instrument, visit))
    if record is None or record.mjd_tai is None:
        raise RepoError(f"The time of {instrument} visit {visit} is not known, so its candidates cannot be associated.")
    return VisitKey(record.mjd_tai, instrument, visit, detector)


def rejected_counts(checked: CheckedCandidates) -> dict[str, int]:
    """Return the name of each check -> how many candidates it rejected."""
    if "rejected_by" not in checked.candidates.colnames:
        return {}
    names = [name for name in ",".join(map(str, checked.candidates["rejected_by"])).split(",") if name]
    return {name: names.count(name) for name in sorted(set(names))}


def _name_of(row: DatasetRow) -> str:
    return image_name(*place_of(row))


def _time_of(row: DatasetRow, records: Mapping[tuple[str, int], VisitRecord]) -> tuple[float, str]:
    record = records.get(place_of(row)[:2])
    return (record.mjd_tai if record is not None and record.mjd_tai is not None else 0.0), _name_of(row)


def _first_line(error: FirstlightError) -> str:
    return str(error).partition("\n")[0]


@contextmanager
def _timed(entry: FollowedImage, step: str) -> Iterator[None]:
    """Note how long a step took."""
    begun = time.monotonic()
    try:
        yield
    finally:
        entry.seconds[step] = time.monotonic() - begun
