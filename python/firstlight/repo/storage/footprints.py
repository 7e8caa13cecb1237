"""Footprints, as FITS: the label image and the peaks."""

from __future__ import annotations

from pathlib import Path

from firstlight.images.footprint import Footprints

TYPES = (Footprints,)


def write(footprints: Footprints, path: Path) -> None:
    """Write the footprints."""
    footprints.write(path)


def read(path: Path) -> object:
    """Return the footprints that `write` wrote."""
    return Footprints.read(path)
