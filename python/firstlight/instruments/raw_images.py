"""Reading a raw image of a repository with the instrument that took it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from firstlight.errors import ImageFileError
from firstlight.framework.dimensions import Value
from firstlight.images import header_values
from firstlight.images.companions import mask_beside
from firstlight.images.exposure import Exposure
from firstlight.images.fits import RawHeader, read_headers
from firstlight.images.instrument import Instrument
from firstlight.instruments.registry import get_instrument


def read_raw(path: Path, data_id: Mapping[str, Value]) -> Exposure:
    """Return the exposure of one detector in a raw file, named as the repository names it.

    Parameters
    ----------
    path
        FITS file.
    data_id
        With ``instrument``, ``exposure`` and ``detector``.

    Raises
    ------
    ImageFileError, HeaderError
        If the file is damaged or lacks the detector, or its header cannot be understood.
    ConfigError
        If the instrument is not installed here.
    """
    camera = get_instrument(str(data_id["instrument"]))
    # A repository keeps the mask beside the image under the name that any camera's mask may have.
    mask = camera.mask_path(path) or mask_beside(path)
    exposure = camera.read(path, hdu=_hdu_of(path, camera, data_id["detector"]), mask=mask)
    observation = replace(exposure.observation, exposure_id=int(data_id["exposure"]))
    return exposure.replace(observation=observation)


def detector_images(headers: list[RawHeader], camera: Instrument) -> list[RawHeader]:
    """Return the first image of every detector that is numbered; the first of all where none is."""
    keywords = camera.config.keywords.detector_id
    first: dict[float, RawHeader] = {}
    for each in headers:
        number = header_values.first_number(each.header, keywords, above=-1)
        if number is not None:
            first.setdefault(number, each)
    return list(first.values()) or headers[:1]


def _hdu_of(path: Path, camera: Instrument, detector: Value) -> int:
    images = detector_images(read_headers(path), camera)
    for each in images:
        if len(images) == 1 or camera.detector(each.header, None).id == detector:
            return each.hdu
    raise ImageFileError(f"{path} has no image of detector {detector}.")
