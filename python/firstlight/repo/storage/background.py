"""Backgrounds, as JSON."""

from __future__ import annotations

from pathlib import Path

from firstlight.images.background import BackgroundList, MeshBackground
from firstlight.repo.storage.model_files import read_models, write_models

TYPES = (BackgroundList,)
NAME = "MeshBackground"


def write(background: BackgroundList, path: Path) -> None:
    """Write every model of the list."""
    write_models(background, path, names=[NAME] * len(background))


def read(path: Path) -> BackgroundList:
    """Return the list that `write` wrote."""
    return BackgroundList(read_models(path, {NAME: MeshBackground}))
