"""Masks that cameras write beside their images: only read, as the bits or codes of the camera."""

from __future__ import annotations

from pathlib import Path

from firstlight.errors import RepoError
from firstlight.images.fits import read_image

TYPES: tuple[type, ...] = ()


def write(_: object, path: Path) -> None:
    """Refuse to write.

    Raises
    ------
    RepoError
        Always.
    """
    raise RepoError(f"{path} would be the mask of a raw image, and such files are only ingested.")


def read(path: Path) -> object:
    """Return the pixels (ny, nx) of the first image in the file; of a mosaic, those of its first detector.

    Raises
    ------
    ImageFileError
        If there is none.
    """
    return read_image(path).image
