"""The images of an output that have candidates, as its pages show them: followed by ``afterwards``, or not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import structlog
from astropy.table import Table

from firstlight.cli.night_stamps import FOLDER, draw_stamps, read_stamps
from firstlight.errors import FirstlightError
from firstlight.execution import follow_log
from firstlight.execution.alerts import AlertSource, find_product, read_images
from firstlight.execution.follow import CANDIDATES, SeenImage
from firstlight.execution.follow_log import FollowedImage, FollowLog
from firstlight.images.catalog import read_catalog
from firstlight.qa.stamps import Triplet
from firstlight.repo.object_schema import associated
from firstlight.repo.objects import VisitKey, detections_of_visit, has_tables, select_in
from firstlight.repo.records import visits
from firstlight.repo.repo import Repo

CHECKS = "checks"
"""What rejected a candidate that ``firstlight associate`` did not keep."""

NOT_ASSOCIATED = {"flags, what is known there": "'firstlight associate' does that, and makes objects"}
NOT_KEPT = {"what is known there": "'firstlight associate' keeps no notes; night.yaml does"}

Version = tuple[str, str]
"""Name of an image and checksum of its candidates: what was read once of it is kept."""


class NightImages(Protocol):
    """Where the pages find images with candidates."""

    def log(self, day_obs: int) -> FollowLog:
        """Return all images, with what is counted for those of a night."""

    def table(self, image: FollowedImage) -> Table:
        """Return the candidates of an image, with ``rejected_by`` and ``notes`` where they are known."""

    def stamps(self, image: FollowedImage) -> dict[int, Triplet]:
        """Return the stamps of an image by the number of the candidate."""


@dataclass
class FollowedImages:
    """Images whose candidates were followed; stamps and candidates lie in folders beside the RUNs.

    Parameters
    ----------
    folder
        Of the output.
    """

    folder: Path
    _tables: dict[Version, Table] = field(default_factory=dict)
    _stamps: dict[Version, dict[int, Triplet]] = field(default_factory=dict)

    def log(self, day_obs: int) -> FollowLog:
        """Return all images; those of all nights are counted."""
        return FollowLog.open(self.folder / follow_log.NAME)

    def table(self, image: FollowedImage) -> Table:
        """Return the candidates of an image; none where the file is gone or damaged."""
        version = image.name, image.checksum
        if version not in self._tables:
            path = self.folder / CANDIDATES / f"{image.name}.parquet"
            try:
                self._tables[version] = read_catalog(path) if path.exists() else Table()
            except FirstlightError as error:
                _tell("candidates", image, error)
                self._tables[version] = Table()
        return self._tables[version]

    def stamps(self, image: FollowedImage) -> dict[int, Triplet]:
        """Return the stamps that were drawn when the image was followed."""
        version = image.name, image.checksum
        if version not in self._stamps:
            self._stamps[version] = read_stamps(self.folder / FOLDER, image.name)
        return self._stamps[version]


@dataclass
class CatalogImages:
    """Images of which the repository has a catalogue of candidates; stamps are drawn when they are first asked for.

    A file that cannot be read is told in the log, and takes nothing from the other images.

    Parameters
    ----------
    repo
    output
        The chain that shows the results.
    """

    repo: Repo
    output: str
    _keys: dict[str, VisitKey] = field(default_factory=dict)
    _kept: set[tuple[str, int, int]] = field(default_factory=set)
    _tables: dict[Version, Table] = field(default_factory=dict)
    _errors: dict[Version, str] = field(default_factory=dict)
    _stamps: dict[Version, dict[int, Triplet]] = field(default_factory=dict)

    @property
    def _source(self) -> AlertSource:
        return AlertSource((self.output,))

    def log(self, day_obs: int) -> FollowLog:
        """Return all images; those of the night are counted as ``firstlight associate`` left them.

        One whose candidates cannot be read has the reason as its error.
        """
        log = FollowLog(self.repo.root / self.output / follow_log.NAME)
        name = self._source.candidates
        if name not in self.repo.type_names() or not self.repo.collections(self.output):
            return log
        records = {(each.instrument, each.visit): each for each in visits(self.repo)}
        images = [FollowedImage.of(row) for row in self.repo.datasets(name, collections=self.output)]
        self._kept = self._associated(sorted({image.visit for image in images}))
        for image in images:
            record = records.get((image.instrument, image.visit))
            if record is not None:
                image.mjd, image.band, image.day_obs = record.mjd_tai, record.band or "", record.day_obs or 0
            self._keys[image.name] = VisitKey(image.mjd or 0.0, image.instrument, image.visit, image.detector)
            image.not_done = dict(NOT_KEPT if self._is_kept(image) else NOT_ASSOCIATED)
            if image.day_obs == day_obs:
                self._count(image)
            log.entries[image.name] = image
        return log

    def table(self, image: FollowedImage) -> Table:
        """Return the candidates of an image; once it is associated, those that were not kept are rejected."""
        table = self._catalog(image)
        if not len(table) or not self._is_kept(image):
            return table
        table = table.copy(copy_data=False)
        kept = np.isin(np.asarray(table["id"]), np.asarray(self._seen(image)["source_id"]))
        table["kept"], table["rejected_by"] = kept, np.where(kept, "", CHECKS)
        return table

    def stamps(self, image: FollowedImage) -> dict[int, Triplet]:
        """Return the stamps of an image, none where it cannot be read; they stay beside the RUNs for the next time."""
        version = image.name, image.checksum
        if version not in self._stamps:
            folder, name = self.repo.root / self.output / FOLDER, "_".join(version)
            try:
                if not (folder / f"{name}.json").exists():
                    images, _ = read_images(self.repo, self._keys[image.name], self._source)
                    draw_stamps(folder, SeenImage(self._keys[image.name], images, self._catalog(image)), name=name)
            except FirstlightError as error:
                _tell("stamps", image, error)
            self._stamps[version] = read_stamps(folder, name)
        return self._stamps[version]

    def _catalog(self, image: FollowedImage) -> Table:
        version = image.name, image.checksum
        if version not in self._tables:
            try:
                found, _ = find_product(self.repo, self._source.candidates, self._keys[image.name], (self.output,))
            except FirstlightError as error:
                found, self._errors[version] = None, _tell("candidates", image, error)
            self._tables[version] = found if isinstance(found, Table) else Table()
        return self._tables[version]

    def _count(self, image: FollowedImage) -> None:
        image.n_candidates = image.n_kept = len(self._catalog(image))
        image.error = self._errors.get((image.name, image.checksum), "")
        if not self._is_kept(image):
            return
        seen = self._seen(image)
        image.n_kept = len(seen)
        # An object has the number of its earliest detection.
        image.n_new = int(np.sum(np.asarray(seen["object_id"]) == np.asarray(seen["id"])))
        image.n_bodies = int(np.sum(np.asarray(seen["solar_system"]) != ""))

    def _is_kept(self, image: FollowedImage) -> bool:
        return (image.instrument, image.visit, image.detector) in self._kept

    def _seen(self, image: FollowedImage) -> Table:
        with self.repo.database.read() as connection:
            return detections_of_visit(connection, self._keys[image.name])

    def _associated(self, numbers: Sequence[int]) -> set[tuple[str, int, int]]:
        """Return instrument, visit and detector of the images of some visits that are associated."""
        with self.repo.database.read() as connection:
            if not has_tables(connection):
                return set()
            rows = select_in(connection, associated, associated.c.visit, numbers)
        return set(zip(*(rows[name].tolist() for name in ("instrument", "visit", "detector")), strict=True))


def _tell(what: str, image: FollowedImage, error: FirstlightError) -> str:
    """Log that a page goes without something of an image, and return why."""
    reason = str(error).partition("\n")[0]
    structlog.get_logger().warning(f"no_{what}", image=image.name, reason=reason)
    return reason
