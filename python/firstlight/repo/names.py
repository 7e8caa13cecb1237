"""Names that are safe as folders and as texts in the database, and the paths made of them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import PurePosixPath

from firstlight.errors import ConfigError, RepoError
from firstlight.framework.dimensions import DataId, Value
from firstlight.framework.lookup import did_you_mean

COLLECTION = re.compile(r"[A-Za-z0-9_+@][A-Za-z0-9_+@.,=-]*(/[A-Za-z0-9_+@][A-Za-z0-9_+@.,=-]*)*")
DATASET_TYPE = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
OWN_FILES = ("firstlight.sqlite", "repo.yaml")
"""Files of the repository itself, below its root."""

LONGEST_COLLECTION, LONGEST_FOLDER, LONGEST_TYPE, LONGEST_VALUE, LONGEST_PART = 200, 100, 64, 100, 80
LONGEST_FILE_NAME = 200
"""Characters of a file name without its suffix and without what marks it as temporary."""

LARGEST_NUMBER = 2**63 - 1
UNSAFE = re.compile(r"[^A-Za-z0-9.+-]|^\.")


def require_collection_name(name: str) -> str:
    """Return ``name`` if a collection can have it.

    Raises
    ------
    RepoError
        If it cannot.
    """
    parts = name.split("/")
    if len(name) > LONGEST_COLLECTION or any(len(part) > LONGEST_FOLDER for part in parts):
        raise RepoError(
            f"{_shown(name)} is too long for a collection; at most {LONGEST_COLLECTION} characters fit, "
            f"{LONGEST_FOLDER} between slashes."
        )
    if not COLLECTION.fullmatch(name):
        raise RepoError(
            f"{_shown(name)} cannot name a collection; use letters, digits and _ + @ . , = - in parts joined by '/', "
            "each beginning with a letter, a digit or one of _ + @."
        )
    if parts[0].startswith(OWN_FILES):
        raise RepoError(f"{_shown(name)} cannot name a collection; the repository keeps a file of its own there.")
    return name


def is_collection_name(name: str) -> bool:
    """Return whether a collection could be called so; only then is it looked for."""
    return len(name) <= LONGEST_COLLECTION and COLLECTION.fullmatch(name) is not None


def require_type_name(name: str) -> str:
    """Return ``name`` if a dataset type can have it.

    Raises
    ------
    RepoError
        If it cannot.
    """
    if len(name) > LONGEST_TYPE or not DATASET_TYPE.fullmatch(name):
        raise RepoError(
            f"{_shown(name)} cannot name a dataset type; use up to {LONGEST_TYPE} letters, digits and underscores, "
            "a letter first."
        )
    return name


def require_data_id(values: Mapping[str, Value]) -> DataId:
    """Return ``values`` as a data id whose values a database and a file system can hold.

    Raises
    ------
    RepoError
        If a dimension is not known, or a value is of the wrong type, too long or not printable.
    """
    try:
        data_id = values if isinstance(values, DataId) else DataId(values)
    except ConfigError as error:
        raise RepoError(_sentence(error)) from error
    for name, value in data_id.items():
        if isinstance(value, int):
            if not -LARGEST_NUMBER <= value <= LARGEST_NUMBER:
                raise RepoError(f"{name}: {_shown(str(value))} is too large; numbers have at most 63 bits.")
        elif not (0 < len(value) <= LONGEST_VALUE and value.isprintable()):
            raise RepoError(f"{name}: {_shown(value)} should be 1 to {LONGEST_VALUE} printable characters.")
    return data_id


def require_values(data_id: Mapping[str, Value], dimensions: tuple[str, ...]) -> None:
    """Make sure that ``data_id`` has a value of each dimension.

    Raises
    ------
    RepoError
        If it has not.
    """
    missing = [name for name in dimensions if name not in data_id]
    if missing:
        given = ", ".join(f"{name}={value!r}" for name, value in data_id.items()) or "nothing"
        raise RepoError(f"{', '.join(missing)} is missing from the data id; got {given}.")


def dataset_path(
    run: str, type_name: str, dimensions: tuple[str, ...], data_id: Mapping[str, Value], *, suffix: str
) -> PurePosixPath:
    """Return where the file of a dataset lies below the root of a repository.

    The same names give the same path, different ones another: ``night/1/visit_image/ztf/12/visit_image_ztf_12_3.fits``.

    Parameters
    ----------
    run
        Name of the run.
    type_name, dimensions
        The dataset type.
    data_id
        Has a value of each dimension.
    suffix
        End of the name, with its dot.

    Raises
    ------
    RepoError
        If a name is not allowed or a value is missing.
    """
    require_collection_name(run)
    require_type_name(type_name)
    require_values(data_id, dimensions)
    parts = [_path_part(data_id[name]) for name in dimensions]
    name = "_".join([type_name, *parts])
    if len(name) > LONGEST_FILE_NAME:
        name = f"{name[: LONGEST_FILE_NAME - 17]}-{_digest(name)}"
    return PurePosixPath(run, type_name, *parts[:-1], f"{name}{suffix}")


def no_such(what: str, name: str, known: list[str]) -> RepoError:
    """Return the error that says that nothing is called ``name``, with the nearest name or all there are."""
    if hint := did_you_mean(name, known):
        return RepoError(f"There is no {what} {_shown(name)}{hint}")
    listed = f"{', '.join(sorted(known)[:10])}{', ...' if len(known) > 10 else ''}" or "none yet"
    return RepoError(f"There is no {what} {_shown(name)}; there are: {listed}.")


def _sentence(error: ConfigError) -> str:
    text = str(error)
    return text if text.endswith("?") else f"{text}."


def _path_part(value: Value) -> str:
    text = UNSAFE.sub(_percent, str(value))
    return text if len(text) <= LONGEST_PART else f"{text[: LONGEST_PART - 17]}-{_digest(text)}"


def _percent(found: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in found.group().encode())


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _shown(text: str) -> str:
    return repr(text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 3]}...")
