"""Making the images of a telescope known: their headers, visits, regions on the sky, and files."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from firstlight.errors import FirstlightError, InputError, RepoError
from firstlight.framework.dimensions import DIMENSIONS, DataId, Value
from firstlight.repo.collections import known_collection, require_collection
from firstlight.repo.data_ids import records_of
from firstlight.repo.dataset_types import DatasetType, data_key
from firstlight.repo.datasets import fitting_id, stored_path
from firstlight.repo.files import checksum_of, delete_file, rename, temporary_beside
from firstlight.repo.names import require_collection_name, require_data_id
from firstlight.repo.regions import Region, add_regions
from firstlight.repo.repo import Repo
from firstlight.repo.schema import dataset, exposure
from firstlight.repo.translated import Translate, Translated
from firstlight.repo.type_registry import TypeRegistry
from firstlight.repo.visits import VisitRule, add_visits, one_visit_each

RAW = DatasetType("raw", ("instrument", "exposure", "detector"), "raw")
"""Type of everything that is ingested, also biases, darks and flats."""

Mode = Literal["copy", "link", "direct"]
"""``copy``: into the repository. ``link``: a second name for the file, in the repository. ``direct``: it stays where it
is, and the repository remembers where."""

MODES: Mapping[str, Mode] = {"copy": "copy", "link": "link", "direct": "direct"}
SAME_EXPOSURE = 60.0 / 86_400.0
"""How far apart [day] the dates of two detectors of one exposure may be."""

FITS_ENDING = re.compile(r"\.(fits|fit|fts)(\.(gz|fz))?$", re.IGNORECASE)
_AT_ONCE = 1000


class Reject(NamedTuple):
    """A file that was not ingested, and why: what follows its name in a sentence."""

    path: Path
    reason: str


@dataclass(frozen=True)
class IngestReport:
    """What became of the files.

    Parameters
    ----------
    added
        Files that are new, or would be in a dry run.
    there_already
        Files whose content and data ids the repository has.
    rejected
        The others.
    """

    added: tuple[Path, ...]
    there_already: tuple[Path, ...]
    rejected: tuple[Reject, ...]


def ingest(
    repo: Repo,
    files: Iterable[str | Path],
    *,
    translate: Translate,
    run: str | None = None,
    mode: Mode = "copy",
    dry_run: bool = False,
    visit_of: VisitRule = one_visit_each,
) -> IngestReport:
    """Make files known as datasets of type ``raw``, with their exposures, visits and regions; all at once or none.

    What is there already is left as it is, so a call can be repeated. A file that cannot be used does not stop the
    others: it is in the report.

    Parameters
    ----------
    repo
    files
    translate
        Reads a header.
    run
        Where the datasets go; None takes ``raw/<instrument>``.
    mode
        What happens with the files.
    dry_run
        Only report.
    visit_of
        Which visit an exposure belongs to; snaps have the same.

    Raises
    ------
    RepoError
        If the collection is no run, or another process ingests the same files.
    OutputError
        If the repository cannot be written.
    """
    found, rejected = _examined(files, translate, run)
    new, there, refused = _sorted_out(repo, found)
    if new and not dry_run:
        repo.register_type(RAW)
        for name in sorted({each.run for each in new}):
            repo.make_run(name)
        with ExitStack() as undo:
            placed = [(each, _place(repo, each, mode, undo)) for each in new]
            try:
                with repo.database.write() as connection:
                    _insert(connection, repo, placed, visit_of)
            except IntegrityError as error:
                undo.pop_all()  # the files are those of the other process too
                raise RepoError("Another process ingested some of these files just now; ingest them again.") from error
            undo.pop_all()
    return IngestReport(
        added=tuple(each.path for each in new), there_already=tuple(there), rejected=(*rejected, *refused)
    )


class _UnusableError(Exception):
    """Why a file cannot be ingested, as what follows its name in a sentence."""


@dataclass(frozen=True)
class _File:
    """A file that could be ingested."""

    path: Path
    run: str
    checksum: str
    images: tuple[Translated, ...]
    data_ids: tuple[DataId, ...]

    @property
    def keys(self) -> list[str]:
        return [data_key(data_id, RAW.dimensions) for data_id in self.data_ids]


def _examined(files: Iterable[str | Path], translate: Translate, run: str | None) -> tuple[list[_File], list[Reject]]:
    """Return the files that can be ingested, each once, and the others."""
    found, rejected = [], []
    for path in dict.fromkeys(Path(file).absolute() for file in files):
        try:
            found.append(_examine(path, translate, run))
        except _UnusableError as error:
            rejected.append(Reject(path, str(error)))
        except FirstlightError as error:
            text = str(error)
            about_it = text.startswith(f"{path} ")
            rejected.append(Reject(path, text.removeprefix(f"{path} ") if about_it else f"cannot be used: {text}"))
    return found, rejected


def _examine(path: Path, translate: Translate, run: str | None) -> _File:
    images = tuple(translate(path))
    if not images:
        raise _UnusableError("holds no image.")
    for image in images:
        if image.observation.mjd_tai is None:
            raise _UnusableError(
                "has no date that can be read; name its keyword under 'keywords: date' of the instrument."
            )
    name = run or f"raw/{images[0].observation.instrument}"
    return _File(
        path, require_collection_name(name), checksum_of(path), images, tuple(_data_id(image) for image in images)
    )


def _data_id(image: Translated) -> DataId:
    observation = image.observation
    known: dict[str, Value | None] = {
        "instrument": observation.instrument or "unknown",
        "exposure": observation.exposure_id,
        "detector": image.detector.id,
        "day_obs": observation.day_obs,
        "physical_filter": observation.physical_filter,
        "band": observation.band,
    }
    return require_data_id({name: value for name, value in known.items() if value is not None})


def _sorted_out(repo: Repo, files: Sequence[_File]) -> tuple[list[_File], list[Path], list[Reject]]:
    """Return the files that are new, those that are there, and those that contradict what is known."""
    with repo.database.read() as connection:
        seen = _known_checksums(connection, repo, files)
        exposures = _known_exposures(connection, files)
    new, there, refused = [], [], []
    for file in files:
        known = [seen.get((file.run, key)) for key in file.keys]
        if all(checksum == file.checksum for checksum in known):
            there.append(file.path)
        elif taken := [key for key, checksum in zip(file.keys, known, strict=True) if checksum is not None]:
            listed = taken[0].replace(",", " ")
            refused.append(Reject(file.path, f"has the data id {listed}, which a file of another content has."))
        elif strange := _contradiction(file, exposures):
            refused.append(Reject(file.path, strange))
        else:
            new.append(file)
            seen |= {(file.run, key): file.checksum for key in file.keys}
            for image in file.images:
                exposures.setdefault(
                    _exposure_key(image), (image.observation.physical_filter, image.observation.mjd_tai)
                )
    return new, there, refused


def _contradiction(file: _File, exposures: Mapping[tuple[str, int], tuple[str | None, float | None]]) -> str:
    """Return in what a file differs from another detector of its exposure; empty if in nothing that matters."""
    for image in file.images:
        observation, known = image.observation, exposures.get(_exposure_key(image))
        if known is None:
            continue
        name = f"says that exposure {observation.exposure_id}"
        if known[0] != observation.physical_filter:
            return f"{name} has filter {observation.physical_filter}, and another detector has {known[0]}."
        if abs((known[1] or 0.0) - (observation.mjd_tai or 0.0)) > SAME_EXPOSURE:
            return f"{name} is of MJD {observation.mjd_tai:.5f} TAI, and another detector is of {known[1]:.5f}."
    return ""


def _exposure_key(image: Translated) -> tuple[str, int]:
    return image.observation.instrument or "unknown", image.observation.exposure_id


def _known_checksums(connection: sa.Connection, repo: Repo, files: Sequence[_File]) -> dict[tuple[str, str], str]:
    """Return run and data key -> checksum, for those of the files' data ids that are there."""
    if RAW.name not in repo.type_names():
        return {}
    known = TypeRegistry(repo.database).find(RAW.name)
    found: dict[tuple[str, str], str] = {}
    for run in sorted({file.run for file in files}):
        there = known_collection(connection, run)
        if there is None:
            continue
        keys = sorted({key for file in files if file.run == run for key in file.keys})
        query = sa.select(dataset.c.data_key, dataset.c.checksum)
        query = query.where(dataset.c.type == known.id, dataset.c.run == there.id)
        for start in range(0, len(keys), _AT_ONCE):
            part = query.where(dataset.c.data_key.in_(keys[start : start + _AT_ONCE]))
            found |= {(run, key): checksum for key, checksum in connection.execute(part)}
    return found


def _known_exposures(
    connection: sa.Connection, files: Sequence[_File]
) -> dict[tuple[str, int], tuple[str | None, float | None]]:
    """Return instrument and number -> filter and date, for those of the files' exposures that are there."""
    wanted: dict[str, set[int]] = {}
    for file in files:
        for image in file.images:
            instrument, number = _exposure_key(image)
            wanted.setdefault(instrument, set()).add(number)
    found: dict[tuple[str, int], tuple[str | None, float | None]] = {}
    columns = sa.select(exposure.c.exposure, exposure.c.physical_filter, exposure.c.mjd_tai)
    for instrument, numbers in wanted.items():
        ordered = sorted(numbers)
        for start in range(0, len(ordered), _AT_ONCE):
            part = exposure.c.exposure.in_(ordered[start : start + _AT_ONCE])
            for number, name, date in connection.execute(columns.where(exposure.c.instrument == instrument, part)):
                found[instrument, number] = (name, date)
    return found


def _place(repo: Repo, file: _File, mode: Mode, undo: ExitStack) -> Path:
    """Bring a file into the repository, or leave it where it is, and return its path."""
    if mode == "direct":
        return file.path
    path = repo.path_for(file.run, RAW.name, file.data_ids[0])
    if ending := FITS_ENDING.search(file.path.name):
        path = path.with_suffix(ending.group().lower())
    with temporary_beside(path) as temporary:
        _PLACERS[mode](file.path, temporary)
        if checksum_of(temporary) != file.checksum:
            raise InputError(f"{file.path} changed while it was read; ingest it again when it is finished.")
        rename(temporary, path)
    undo.callback(delete_file, path, root=repo.root)
    return path


def _link(source: Path, path: Path) -> None:
    try:
        os.link(source.resolve(), path)
    except OSError:
        path.symlink_to(source.resolve())


_PLACERS: Mapping[str, Callable[[Path, Path], object]] = {"copy": shutil.copyfile, "link": _link}


def _insert(connection: sa.Connection, repo: Repo, placed: Sequence[tuple[_File, Path]], visit_of: VisitRule) -> None:
    """Write all that is known of new files."""
    images = {data_id: image for file, _ in placed for data_id, image in zip(file.data_ids, file.images, strict=True)}
    there = _known_exposures(connection, [file for file, _ in placed])
    rows = {_exposure_key(image): _exposure_row(image) for image in reversed(images.values())}
    if new := [row for key, row in sorted(rows.items()) if key not in there]:
        connection.execute(sa.insert(exposure), new)
    visits: dict[tuple[str, int], int] = {}
    regions: list[Region] = []
    for image in images.values():
        number = visit_of(image.observation)
        if number is None:
            continue
        key = _exposure_key(image)
        visits[key] = number
        if image.ra is not None and image.dec is not None and image.radius is not None:
            regions.append(Region(key[0], number, image.detector.id, image.ra, image.dec, image.radius))
    add_visits(connection, visits)
    add_regions(connection, regions)
    _insert_datasets(connection, repo, placed)


def _insert_datasets(connection: sa.Connection, repo: Repo, placed: Sequence[tuple[_File, Path]]) -> None:
    known = TypeRegistry(repo.database).find(RAW.name)
    runs = {file.run: require_collection(connection, file.run, "RUN").id for file, _ in placed}
    records = records_of(connection, [data_id for file, _ in placed for data_id in file.data_ids])
    rows: list[dict[str, Any]] = []
    for file, path in placed:
        for key, data_id in zip(file.keys, file.data_ids, strict=True):
            rows.append(
                {
                    "type": known.id,
                    "run": runs[file.run],
                    "data_key": key,
                    **dict.fromkeys(DIMENSIONS),
                    **fitting_id(known.type, data_id, records),
                    "path": stored_path(path, repo.root),
                    "size": path.stat().st_size,
                    "checksum": file.checksum,
                    "partial": False,
                    "producer": None,
                }
            )
    connection.execute(sa.insert(dataset), rows)


def _exposure_row(image: Translated) -> dict[str, Any]:
    instrument, number = _exposure_key(image)
    told = {column.name: getattr(image.observation, column.name, None) for column in exposure.c}
    return {**told, "instrument": instrument, "exposure": number}
