"""Point-spread functions, as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from firstlight.images.psf import Psf
from firstlight.images.psf_classes import psf_classes
from firstlight.repo.storage.model_files import read_model, write_models

TYPES = (Psf,)


def write(psf: Any, path: Path) -> None:
    """Write a PSF of a class that is known by name.

    Raises
    ------
    TypeError
        If no package registers its class in the entry-point group ``firstlight.psfs``.
    """
    names = [name for name, cls in psf_classes().items() if type(psf) is cls]
    if not names:
        raise TypeError("no package registers its class in 'firstlight.psfs'.")
    write_models([psf], path, names=names[:1])


def read(path: Path) -> object:
    """Return the PSF that `write` wrote."""
    return read_model(path, psf_classes())
