"""Reading a raw image of a repository with the instrument that took it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from firstlight.framework.dimensions import Value
from firstlight.images.exposure import Exposure
from firstlight.instruments.registry import get_instrument


def read_raw(path: Path, data_id: Mapping[str, Value]) -> Exposure:
    """Return the exposure in a raw file, named as the repository names it.

    Parameters
    ----------
    path
        FITS file.
    data_id
        With ``instrument``, ``exposure`` and ``detector``.

    Raises
    ------
    ImageFileError, HeaderError
        If the file is damaged, or its header cannot be understood.
    ConfigError
        If the instrument is not installed here.
    """
    exposure = get_instrument(str(data_id["instrument"])).read(path)
    observation = replace(exposure.observation, exposure_id=int(data_id["exposure"]))
    return exposure.replace(observation=observation)
