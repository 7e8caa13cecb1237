"""What was done with the candidates of each image of an output, kept in a JSON file beside its RUNs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from firstlight.execution.association import VisitOutcome
from firstlight.execution.entries_file import read_entries, write_entries
from firstlight.repo.rows import DatasetRow

NAME = "objects.json"


@dataclass
class FollowedImage:
    """One image.

    Parameters
    ----------
    name
        Stands for it in names of files.
    instrument, visit, detector
    run, checksum
        Of the candidates that were followed.
    mjd : [d]
        Middle of the exposure, TAI.
    band, day_obs
    n_candidates, n_kept, n_new, n_bodies
        Candidates; those that are kept; objects first seen here; known bodies of the solar system.
    n_forced, n_alerts
        Fluxes measured at the places of objects, and alerts written; None where none are written.
    circle : [deg]
        Right ascension and declination of the middle of the image, and radius; empty if nothing was measured.
    objects
        Key of the objects at which it was measured.
    rejected
        Name of a check -> how many candidates it rejected.
    not_done
        Name of a check that could not be made -> why.
    seconds
        Step -> how long it took [s].
    error
        Why it could not be followed; empty if it was.
    late_error
        Why it could not be measured at the objects that were found after it; empty if nothing is wrong.
    """

    name: str
    instrument: str
    visit: int
    detector: int
    run: str
    checksum: str
    mjd: float | None = None
    band: str = ""
    day_obs: int = 0
    n_candidates: int = 0
    n_kept: int = 0
    n_new: int = 0
    n_bodies: int = 0
    n_forced: int = 0
    n_alerts: int | None = None
    circle: list[float] = field(default_factory=list)
    objects: str = ""
    rejected: dict[str, int] = field(default_factory=dict)
    not_done: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    error: str = ""
    late_error: str = ""

    @classmethod
    def of(cls, row: DatasetRow) -> FollowedImage:
        """Return the entry of candidates of which nothing is known yet."""
        instrument, visit, detector = place_of(row)
        return cls(image_name(instrument, visit, detector), instrument, visit, detector, row.run, row.checksum)

    @property
    def trouble(self) -> str:
        """What is wrong with what is kept of it; empty if nothing is."""
        return self.error or self.late_error

    def count(
        self, n_candidates: int, outcome: VisitOutcome, rejected: Mapping[str, int], not_done: Mapping[str, str]
    ) -> None:
        """Write down how many candidates there were and what became of them."""
        self.n_candidates, self.n_kept = n_candidates, outcome.n_detections
        self.n_new, self.n_bodies = outcome.n_new, outcome.n_bodies
        self.rejected, self.not_done = dict(rejected), dict(not_done)


@dataclass
class FollowLog:
    """The images of an output that were followed, in a JSON file that is always whole."""

    path: Path
    entries: dict[str, FollowedImage] = field(default_factory=dict)

    @classmethod
    def open(cls, path: Path) -> FollowLog:
        """Read the log where there is one; a damaged one is begun anew."""
        return cls(path, {each.name: each for each in read_entries(path, "images", FollowedImage)})

    def save(self) -> None:
        """Write the log."""
        write_entries(self.path, "images", self.entries.values())


def place_of(row: DatasetRow) -> tuple[str, int, int]:
    """Return instrument, visit and detector of the image that a dataset is of."""
    about = row.data_id
    return str(about.get("instrument", "")), int(about.get("visit") or 0), int(about.get("detector") or 0)


def image_name(instrument: str, visit: int, detector: int) -> str:
    """Return a name for an image that can be part of a path."""
    return f"{instrument}_{visit}_{detector}"


def alerts_of(images: Iterable[FollowedImage]) -> int | None:
    """Return how many alerts of images were written; None where none are written."""
    known = [image.n_alerts for image in images if image.n_alerts is not None]
    return sum(known) if known else None
