"""Photometric calibrations, as JSON."""

from __future__ import annotations

from pathlib import Path

from firstlight.images.photo_calib import PhotoCalib
from firstlight.repo.storage.model_files import read_model, write_models

TYPES = (PhotoCalib,)
NAME = "PhotoCalib"


def write(model: PhotoCalib, path: Path) -> None:
    """Write the model."""
    write_models([model], path, names=[NAME])


def read(path: Path) -> object:
    """Return the model that `write` wrote."""
    return read_model(path, {NAME: PhotoCalib})
