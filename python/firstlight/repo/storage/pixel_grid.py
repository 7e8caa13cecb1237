"""Pixel grids, as JSON."""

from __future__ import annotations

from pathlib import Path

from firstlight.images.pixel_grid import PixelGrid
from firstlight.repo.storage.model_files import read_model, write_models

TYPES = (PixelGrid,)
NAME = "PixelGrid"


def write(model: PixelGrid, path: Path) -> None:
    """Write the model."""
    write_models([model], path, names=[NAME])


def read(path: Path) -> object:
    """Return the model that `write` wrote."""
    return read_model(path, {NAME: PixelGrid})
