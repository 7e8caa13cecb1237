"""Making the images of a telescope known: their headers, visits, regions on the sky, and files."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from firstlight.errors import InputError, RepoError
from firstlight.images.companions import FITS_ENDING, stem_of
from firstlight.repo.collections import require_collection
from firstlight.repo.files import checksum_of, delete_file, rename, temporary_beside
from firstlight.repo.incoming import (
    RAW,
    RAW_MASK,
    IncomingFile,
    Reject,
    Tell,
    examine_files,
    exposure_key,
    known_exposures,
    sort_out,
)
from firstlight.repo.regions import Region, add_regions
from firstlight.repo.repo import Repo
from firstlight.repo.rows import NewDataset
from firstlight.repo.schema import exposure
from firstlight.repo.translated import Translate, Translated
from firstlight.repo.type_registry import TypeRegistry
from firstlight.repo.visits import VisitRule, add_visits, one_visit_each
from firstlight.repo.writing import add_datasets

Mode = Literal["copy", "link", "direct"]
"""``copy``: into the repository. ``link``: a second name for the file, in the repository. ``direct``: it stays where it
is, and the repository remembers where."""

MODES: Mapping[str, Mode] = {"copy": "copy", "link": "link", "direct": "direct"}


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
        Images that cannot be used.
    skipped
        Files that are no images.
    masks
        Those that go in with images that are new.
    """

    added: tuple[Path, ...]
    there_already: tuple[Path, ...]
    rejected: tuple[Reject, ...]
    skipped: tuple[Reject, ...] = ()
    masks: tuple[Path, ...] = ()


def ingest(
    repo: Repo,
    files: Iterable[str | Path],
    *,
    translate: Translate,
    run: str | None = None,
    mode: Mode = "copy",
    dry_run: bool = False,
    visit_of: VisitRule = one_visit_each,
    tell: Tell = lambda what, done, total: None,
) -> IngestReport:
    """Make images known as datasets of type ``raw``, with their exposures, visits and regions; all at once or none.

    A mask that lies beside an image goes in with it, as ``raw_mask``, and is read with it from then on. What is there
    already is left as it is, so a call can be repeated. A file that cannot be used does not stop the others: it is in
    the report.

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
    tell
        Called before each file.

    Raises
    ------
    RepoError
        If the collection is no run, or another process ingests the same files.
    OutputError
        If the repository cannot be written.
    """
    found, rejected, skipped = examine_files(files, translate, run, tell)
    new, there, refused = sort_out(repo, found)
    masks = tuple(each.mask for each in new if each.mask is not None)
    if new and not dry_run:
        for kind in (RAW, *([RAW_MASK] if masks else [])):
            repo.register_type(kind)
        for name in sorted({each.run for each in new}):
            repo.make_run(name)
        with ExitStack() as undo:
            placed = [_place(repo, each, mode, undo) for each in _told(new, mode, tell)]
            try:
                with repo.database.write() as connection:
                    _insert(connection, repo, placed, visit_of)
            except IntegrityError as error:
                undo.pop_all()  # the files are those of the other process too
                raise RepoError("Another process ingested some of these files just now; ingest them again.") from error
            undo.pop_all()
    return IngestReport(
        added=tuple(each.path for each in new),
        there_already=tuple(there),
        rejected=(*rejected, *refused),
        skipped=tuple(skipped),
        masks=masks,
    )


class _Placed(NamedTuple):
    """A file, and where it and its mask lie now."""

    file: IncomingFile
    path: Path
    mask: Path | None


def _told(files: Sequence[IncomingFile], mode: Mode, tell: Tell) -> Iterator[IncomingFile]:
    for number, file in enumerate(files):
        tell(_DOING[mode], number, len(files))
        yield file


def _place(repo: Repo, file: IncomingFile, mode: Mode, undo: ExitStack) -> _Placed:
    """Bring a file and its mask into the repository, or leave them where they are."""
    if mode == "direct":
        return _Placed(file, file.path, file.mask)
    path = repo.path_for(file.run, RAW.name, file.data_ids[0])
    if ending := FITS_ENDING.search(file.path.name):
        path = path.with_suffix(ending.group().lower())
    _bring(repo, file.path, path, file.checksum, mode, undo)
    if file.mask is None or file.mask_checksum is None:
        return _Placed(file, path, None)
    packed = FITS_ENDING.search(file.mask.name)
    # Where `firstlight.images.companions.mask_beside` looks for it.
    mask = path.with_name(f"{stem_of(path)}_mask.fits{((packed and packed[2]) or '').lower()}")
    _bring(repo, file.mask, mask, file.mask_checksum, mode, undo)
    return _Placed(file, path, mask)


def _bring(repo: Repo, source: Path, path: Path, checksum: str, mode: Mode, undo: ExitStack) -> None:
    with temporary_beside(path) as temporary:
        _PLACERS[mode](source, temporary)
        if checksum_of(temporary) != checksum:
            raise InputError(f"{source} changed while it was read; ingest it again when it is finished.")
        rename(temporary, path)
    undo.callback(delete_file, path, root=repo.root)


def _link(source: Path, path: Path) -> None:
    try:
        os.link(source.resolve(), path)
    except OSError:
        path.symlink_to(source.resolve())


_PLACERS: Mapping[str, Callable[[Path, Path], object]] = {"copy": shutil.copyfile, "link": _link}
_DOING: Mapping[Mode, str] = {"copy": "copying", "link": "linking", "direct": "looking"}


def _insert(connection: sa.Connection, repo: Repo, placed: Sequence[_Placed], visit_of: VisitRule) -> None:
    """Write all that is known of new files."""
    files = [each.file for each in placed]
    images = {data_id: image for file in files for data_id, image in zip(file.data_ids, file.images, strict=True)}
    there = known_exposures(connection, files)
    rows = {exposure_key(image): _exposure_row(image) for image in reversed(images.values())}
    if new := [row for key, row in sorted(rows.items()) if key not in there]:
        connection.execute(sa.insert(exposure), new)
    visits: dict[tuple[str, int], int] = {}
    regions: list[Region] = []
    for image in images.values():
        number = visit_of(image.observation)
        if number is None:
            continue
        key = exposure_key(image)
        visits[key] = number
        if image.ra is not None and image.dec is not None and image.radius is not None:
            regions.append(Region(key[0], number, image.detector.id, image.ra, image.dec, image.radius))
    add_visits(connection, visits)
    add_regions(connection, regions)
    types = TypeRegistry(repo.database)
    for name in sorted({file.run for file in files}):
        run = require_collection(connection, name, "RUN")
        datasets = [new for each in placed if each.file.run == name for new in _datasets(each)]
        add_datasets(connection, types, repo.root, run, datasets)


def _datasets(placed: _Placed) -> Iterator[NewDataset]:
    """Yield the datasets of every detector in a file."""
    file = placed.file
    for data_id in file.data_ids:
        size = placed.path.stat().st_size
        yield NewDataset(RAW.name, data_id, placed.path, size, file.checksum)
        if placed.mask is not None and file.mask_checksum is not None:
            yield NewDataset(RAW_MASK.name, data_id, placed.mask, placed.mask.stat().st_size, file.mask_checksum)


def _exposure_row(image: Translated) -> dict[str, Any]:
    instrument, number = exposure_key(image)
    told = {column.name: getattr(image.observation, column.name, None) for column in exposure.c}
    return {**told, "instrument": instrument, "exposure": number}
