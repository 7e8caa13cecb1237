"""Kernels that match one exposure to another, as JSON."""

from __future__ import annotations

from pathlib import Path

from firstlight.images.spatial_kernel import MatchingKernel
from firstlight.repo.storage.model_files import read_model, write_models

TYPES = (MatchingKernel,)
NAME = "MatchingKernel"


def write(model: MatchingKernel, path: Path) -> None:
    """Write the model."""
    write_models([model], path, names=[NAME])


def read(path: Path) -> object:
    """Return the model that `write` wrote."""
    return read_model(path, {NAME: MatchingKernel})
