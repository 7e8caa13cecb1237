"""The images of an output that have candidates, as its pages show them: followed by ``afterwards``, or not."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from astropy.table import Table

from firstlight.cli.night_stamps import FOLDER, draw_stamps, read_stamps
from firstlight.execution import follow_log
from firstlight.execution.alerts import AlertSource, find_product, read_images
from firstlight.execution.follow import CANDIDATES, SeenImage
from firstlight.execution.follow_log import FollowedImage, FollowLog
from firstlight.images.catalog import read_catalog
from firstlight.qa.stamps import Triplet
from firstlight.repo.object_schema import associated
from firstlight.repo.objects import VisitKey, detections_of_visit, has_tables, select_rows
from firstlight.repo.records import visits
from firstlight.repo.repo import Repo

CHECKS = "checks"
"""What rejected a candidate that ``firstlight associate`` did not keep."""

NOT_ASSOCIATED = {"flags, what is known there": "'firstlight associate' does that, and makes objects"}
NOT_KEPT = {"what is known there": "'firstlight associate' keeps no notes; night.yaml does"}


class NightImages(Protocol):
    """Where the pages find images with candidates."""

    def log(self, day_obs: int) -> FollowLog:
        """Return all images, with what is counted for those of a night."""

    def table(self, image: FollowedImage) -> Table:
        """Return the candidates of an image, with ``rejected_by`` and ``notes`` where they are known."""

    def stamps(self, image: FollowedImage) -> dict[int, Triplet]:
        """Return the stamps of an image by the number of the candidate."""


def night_images(repo: Repo, output: str) -> NightImages:
    """Return where the images of an output are found: in what followed its tasks, or else among its catalogues."""
    folder = repo.root / output
    log = FollowLog.open(folder / follow_log.NAME)
    return FollowedImages(folder, log) if log.entries else CatalogImages(repo, output)


@dataclass
class FollowedImages:
    """Images whose candidates were followed; stamps and candidates lie in folders beside the RUNs."""

    folder: Path
    known: FollowLog

    def log(self, day_obs: int) -> FollowLog:
        """Return all images."""
        return self.known

    def table(self, image: FollowedImage) -> Table:
        """Return the candidates of an image; none where the file is gone."""
        path = self.folder / CANDIDATES / f"{image.name}.parquet"
        return read_catalog(path) if path.exists() else Table()

    def stamps(self, image: FollowedImage) -> dict[int, Triplet]:
        """Return the stamps that were drawn when the image was followed."""
        return read_stamps(self.folder / FOLDER, image.name)


@dataclass
class CatalogImages:
    """Images of which the repository has a catalogue of candidates; stamps are drawn when they are first asked for."""

    repo: Repo
    output: str
    _keys: dict[str, VisitKey] = field(default_factory=dict)
    _tables: dict[str, Table] = field(default_factory=dict)

    @property
    def _source(self) -> AlertSource:
        return AlertSource((self.output,))

    def log(self, day_obs: int) -> FollowLog:
        """Return all images; those of the night are counted as ``firstlight associate`` left them."""
        log = FollowLog(self.repo.root / self.output / follow_log.NAME)
        name = self._source.candidates
        if name not in self.repo.type_names() or not self.repo.collections(self.output):
            return log
        records = {(each.instrument, each.visit): each for each in visits(self.repo)}
        kept = self._associated()
        for row in self.repo.datasets(name, collections=self.output):
            image = FollowedImage.of(row)
            record = records.get((image.instrument, image.visit))
            if record is not None:
                image.mjd, image.band, image.day_obs = record.mjd_tai, record.band or "", record.day_obs or 0
            key = VisitKey(image.mjd or 0.0, image.instrument, image.visit, image.detector)
            self._keys[image.name] = key
            is_associated = key[1:] in kept
            image.not_done = dict(NOT_KEPT if is_associated else NOT_ASSOCIATED)
            if image.day_obs == day_obs:
                self._count(image, is_associated=is_associated)
            log.entries[image.name] = image
        return log

    def table(self, image: FollowedImage) -> Table:
        """Return the candidates of an image; once it is associated, those that were not kept are rejected."""
        if image.name not in self._tables:
            found, _ = find_product(self.repo, self._source.candidates, self._keys[image.name], (self.output,))
            self._tables[image.name] = table = found if isinstance(found, Table) else Table()
            if len(table) and self._keys[image.name][1:] in self._associated():
                kept = np.isin(np.asarray(table["id"]), np.asarray(self._seen(image)["source_id"]))
                table["kept"], table["rejected_by"] = kept, np.where(kept, "", CHECKS)
        return self._tables[image.name]

    def stamps(self, image: FollowedImage) -> dict[int, Triplet]:
        """Return the stamps of an image; they stay beside the RUNs for the next time."""
        folder = self.repo.root / self.output / FOLDER
        name = f"{image.name}_{image.checksum}"
        if not (folder / f"{name}.json").exists():
            images, _ = read_images(self.repo, self._keys[image.name], self._source)
            draw_stamps(folder, SeenImage(self._keys[image.name], images, self.table(image)), name=name)
        return read_stamps(folder, name)

    def _count(self, image: FollowedImage, *, is_associated: bool) -> None:
        image.n_candidates = len(self.table(image))
        if not is_associated:
            image.n_kept = image.n_candidates
            return
        seen = self._seen(image)
        image.n_kept = len(seen)
        # An object has the number of its earliest detection.
        image.n_new = int(np.sum(np.asarray(seen["object_id"]) == np.asarray(seen["id"])))
        image.n_bodies = int(np.sum(np.asarray(seen["solar_system"]) != ""))

    def _seen(self, image: FollowedImage) -> Table:
        with self.repo.database.read() as connection:
            return detections_of_visit(connection, self._keys[image.name])

    def _associated(self) -> set[tuple[str, int, int]]:
        """Return instrument, visit and detector of all images that are associated."""
        with self.repo.database.read() as connection:
            if not has_tables(connection):
                return set()
            rows = select_rows(connection, associated)
        return set(zip(*(rows[name].tolist() for name in ("instrument", "visit", "detector")), strict=True))
