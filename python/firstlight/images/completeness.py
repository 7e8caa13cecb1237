"""Whether a FITS file has arrived as a whole."""

from __future__ import annotations

from pathlib import Path

from firstlight.errors import ImageFileError
from firstlight.images.hdu_files import open_hdus


def missing_from(path: str | Path) -> str | None:
    """Return what is wrong with a FITS file, as the end of a sentence about it; None if it can be read to its end.

    Parameters
    ----------
    path
    """
    try:
        with open_hdus(path) as hdus:
            hdus[-1].data  # noqa: B018 - reading the last block is what tells a file that is cut off
    except ImageFileError as error:
        return str(error).removeprefix(str(path)).lstrip(": ").rstrip(".")
    return None
