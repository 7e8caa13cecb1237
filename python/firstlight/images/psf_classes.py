"""The point-spread functions that can be kept in a file, by the name under which they are kept."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.metadata import entry_points


@cache
def psf_classes() -> Mapping[str, type]:
    """Return name -> class of every PSF in the entry-point group ``firstlight.psfs``, our own included."""
    return {entry.name: entry.load() for entry in entry_points(group="firstlight.psfs")}
