"""Files that come from a telescope: what is in them, and which of them are new to a repository."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import sqlalchemy as sa

from firstlight.errors import FirstlightError, NoImageError
from firstlight.framework.dimensions import DataId, Value
from firstlight.repo.collections import known_collection
from firstlight.repo.dataset_types import DatasetType, data_key
from firstlight.repo.files import checksum_of
from firstlight.repo.names import require_collection_name, require_data_id
from firstlight.repo.repo import Repo
from firstlight.repo.schema import dataset, exposure
from firstlight.repo.translated import Translate, Translated
from firstlight.repo.type_registry import TypeRegistry

RAW = DatasetType("raw", ("instrument", "exposure", "detector"), "raw")
"""Type of every image that is ingested, also of biases, darks and flats."""

RAW_MASK = DatasetType("raw_mask", RAW.dimensions, "raw_mask")
"""Type of the masks that lie beside images and go in with them."""

SAME_EXPOSURE = 60.0 / 86_400.0
"""How far apart [day] the dates of two detectors of one exposure may be."""

_AT_ONCE = 1000

Tell = Callable[[str, int, int], None]
"""Called with what is being done, how many files that is done for, and of how many."""


class Reject(NamedTuple):
    """A file that was not ingested, and why: what follows its name in a sentence."""

    path: Path
    reason: str


@dataclass(frozen=True)
class IncomingFile:
    """A file that could be ingested.

    Parameters
    ----------
    path
    run
        Where it goes.
    checksum
    images, data_ids
        The detectors in it.
    mask, mask_checksum
        The file with their mask.
    """

    path: Path
    run: str
    checksum: str
    images: tuple[Translated, ...]
    data_ids: tuple[DataId, ...]
    mask: Path | None = None
    mask_checksum: str | None = None

    @property
    def keys(self) -> list[str]:
        """Data keys of the detectors."""
        return [data_key(data_id, RAW.dimensions) for data_id in self.data_ids]


class Examined(NamedTuple):
    """Files that can be ingested, images that cannot be used, and what is no image."""

    found: list[IncomingFile]
    rejected: list[Reject]
    skipped: list[Reject]


class SortedOut(NamedTuple):
    """Files that are new, those that are there, and those that contradict what is known."""

    new: list[IncomingFile]
    there: list[Path]
    refused: list[Reject]


def examine_files(files: Iterable[str | Path], translate: Translate, run: str | None, tell: Tell) -> Examined:
    """Look into files, each once; masks that belong to images among them are no files of their own."""
    examined = Examined([], [], [])
    paths = list(dict.fromkeys(Path(file).absolute() for file in files))
    for number, path in enumerate(paths):
        tell("reading headers", number, len(paths))
        try:
            examined.found.append(_examine(path, translate, run))
        except _UnusableError as error:
            examined.rejected.append(Reject(path, str(error)))
        except NoImageError as error:
            examined.skipped.append(Reject(path, _without_name(error, path)))
        except FirstlightError as error:
            examined.rejected.append(Reject(path, _without_name(error, path)))
    masks = {file.mask for file in examined.found}
    return examined._replace(skipped=[each for each in examined.skipped if each.path not in masks])


def sort_out(repo: Repo, files: Sequence[IncomingFile]) -> SortedOut:
    """Compare files with what a repository has, and with each other."""
    with repo.database.read() as connection:
        seen = _known_checksums(connection, repo, files, RAW)
        masks = _known_checksums(connection, repo, files, RAW_MASK)
        exposures = known_exposures(connection, files)
    sorted_out = SortedOut([], [], [])
    for file in files:
        known = [seen.get((file.run, key)) for key in file.keys]
        if all(checksum == file.checksum for checksum in known):
            if strange := _other_mask(file, masks):
                sorted_out.refused.append(Reject(file.path, strange))
            else:
                sorted_out.there.append(file.path)
        elif taken := [key for key, checksum in zip(file.keys, known, strict=True) if checksum is not None]:
            listed = taken[0].replace(",", " ")
            reason = f"has the data id {listed}, which a file of another content has."
            sorted_out.refused.append(Reject(file.path, reason))
        elif strange := _contradiction(file, exposures):
            sorted_out.refused.append(Reject(file.path, strange))
        else:
            sorted_out.new.append(file)
            seen |= {(file.run, key): file.checksum for key in file.keys}
            masks |= {(file.run, key): file.mask_checksum for key in file.keys if file.mask_checksum is not None}
            for image in file.images:
                exposures.setdefault(
                    exposure_key(image), (image.observation.physical_filter, image.observation.mjd_tai)
                )
    return sorted_out


def exposure_key(image: Translated) -> tuple[str, int]:
    """Return instrument and number of the exposure of an image."""
    return image.observation.instrument or "unknown", image.observation.exposure_id


def known_exposures(
    connection: sa.Connection, files: Sequence[IncomingFile]
) -> dict[tuple[str, int], tuple[str | None, float | None]]:
    """Return instrument and number -> filter and date, for those of the files' exposures that are there."""
    wanted: dict[str, set[int]] = {}
    for file in files:
        for image in file.images:
            instrument, number = exposure_key(image)
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


class _UnusableError(Exception):
    """Why a file cannot be ingested, as what follows its name in a sentence."""


def _without_name(error: FirstlightError, path: Path) -> str:
    """Return what an error says of a file, without the name of the file in front."""
    text = str(error)
    return text.removeprefix(f"{path} ") if text.startswith(f"{path} ") else f"cannot be used: {text}"


def _examine(path: Path, translate: Translate, run: str | None) -> IncomingFile:
    images = tuple(translate(path))
    if not images:
        raise _UnusableError("holds no image.")
    for image in images:
        if image.observation.mjd_tai is None:
            raise _UnusableError(
                "has no date that can be read; name its keyword under 'keywords: date' of the instrument."
            )
    name = run or f"raw/{images[0].observation.instrument}"
    mask = images[0].mask
    return IncomingFile(
        path,
        require_collection_name(name),
        checksum_of(path),
        images,
        tuple(_data_id(image) for image in images),
        mask,
        None if mask is None else checksum_of(mask),
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


def _other_mask(file: IncomingFile, masks: Mapping[tuple[str, str], str]) -> str:
    """Return how the mask beside an image differs from that of the same image in the repository; empty if not."""
    known = {masks.get((file.run, key)) for key in file.keys}
    if file.mask is None or known == {file.mask_checksum}:
        return ""
    how = "without a mask" if known == {None} else "with another mask"
    return f"is there {how}, and {file.mask.name} lies beside it; take both into another run (--run NAME)."


def _contradiction(file: IncomingFile, exposures: Mapping[tuple[str, int], tuple[str | None, float | None]]) -> str:
    """Return in what a file differs from another detector of its exposure; empty if in nothing that matters."""
    for image in file.images:
        observation, known = image.observation, exposures.get(exposure_key(image))
        if known is None:
            continue
        name = f"says that exposure {observation.exposure_id}"
        if known[0] != observation.physical_filter:
            return f"{name} has filter {observation.physical_filter}, and another detector has {known[0]}."
        if abs((known[1] or 0.0) - (observation.mjd_tai or 0.0)) > SAME_EXPOSURE:
            return f"{name} is of MJD {observation.mjd_tai:.5f} TAI, and another detector is of {known[1]:.5f}."
    return ""


def _known_checksums(
    connection: sa.Connection, repo: Repo, files: Sequence[IncomingFile], kind: DatasetType
) -> dict[tuple[str, str], str]:
    """Return run and data key -> checksum, for those of the files' data ids that are there."""
    if kind.name not in repo.type_names():
        return {}
    known = TypeRegistry(repo.database).find(kind.name)
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
