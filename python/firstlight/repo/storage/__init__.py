"""Storages: how objects of each class are kept in files; never pickled.

======================== ========= ======================================================
storage                  file      objects
======================== ========= ======================================================
``exposure``             FITS      `firstlight.images.exposure.Exposure`
``table``                Parquet   astropy Tables, with units
``footprints``           FITS      `firstlight.images.footprint.Footprints`
``mask``                 FITS      `firstlight.images.mask.Mask`
``background``           JSON      `firstlight.images.background.BackgroundList`
``photo_calib``          JSON      `firstlight.images.photo_calib.PhotoCalib`
``wcs``                  JSON      `firstlight.images.wcs.SkyWcs`
``pixel_grid``           JSON      `firstlight.images.pixel_grid.PixelGrid`
``psf``                  JSON      PSFs of firstlight and of installed packages
``aperture_corrections`` JSON      `firstlight.images.aperture_correction.ApertureCorrectionMap`
``matching_kernel``      JSON      `firstlight.images.spatial_kernel.MatchingKernel`
``json``                 JSON      numbers, text, booleans, None, tuples and mappings of these
``raw``                  FITS      images as a telescope wrote them; read with its instrument, never written
``raw_mask``             FITS      masks that lay beside them; read as the camera's bits, never written
======================== ========= ======================================================

A package adds its own by an entry point in the group ``firstlight.storages``: name -> `Storage`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, get_origin

from firstlight.errors import RepoError
from firstlight.framework.lookup import did_you_mean
from firstlight.repo.file_systems import is_there

GROUP = "firstlight.storages"
"""Entry-point group in which packages name their storages."""


@dataclass(frozen=True)
class Storage:
    """How objects of some classes are kept in a file.

    Parameters
    ----------
    name
        What dataset types call it.
    suffix
        End of the file names, with its dot.
    module
        Has ``TYPES`` (a tuple of classes), ``write(obj, path)``, which writes a file whole or not at all, and
        ``read(path)``; imported when it is used first.
    """

    name: str
    suffix: str
    module: str

    @property
    def types(self) -> tuple[type, ...]:
        """Classes of the objects that it keeps."""
        found: tuple[type, ...] = _loaded(self.module).TYPES
        return found

    def write(self, obj: object, path: Path) -> None:
        """Write an object to a file.

        Raises
        ------
        RepoError
            If the object is of another class, or holds what cannot be kept.
        OutputError
            If the file cannot be written.
        """
        if not isinstance(obj, self.types):
            names = " or ".join(cls.__name__ for cls in self.types) or "nothing: such files are only read"
            raise RepoError(f"Storage {self.name!r} keeps {names}; got an object of class {type(obj).__name__}.")
        write: Callable[[Any, Path], None] = _loaded(self.module).write
        try:
            write(obj, path)
        except TypeError as error:
            raise RepoError(f"Storage {self.name!r} cannot keep this {type(obj).__name__}: {error}") from error

    def read(self, path: Path) -> object:
        """Return the object that a file keeps.

        Raises
        ------
        RepoError
            If the file is not there or holds something else.
        """
        if not is_there(path):
            raise RepoError(f"{path} is not there any more; 'firstlight repo check' lists all such files.")
        read: Callable[[Path], object] = _loaded(self.module).read
        return read(path)


_OWN = {
    "exposure": Storage("exposure", ".fits", f"{__name__}.exposure"),
    "table": Storage("table", ".parquet", f"{__name__}.table"),
    "footprints": Storage("footprints", ".fits", f"{__name__}.footprints"),
    "mask": Storage("mask", ".fits", f"{__name__}.mask"),
    "background": Storage("background", ".json", f"{__name__}.background"),
    "photo_calib": Storage("photo_calib", ".json", f"{__name__}.photo_calib"),
    "wcs": Storage("wcs", ".json", f"{__name__}.wcs"),
    "pixel_grid": Storage("pixel_grid", ".json", f"{__name__}.pixel_grid"),
    "psf": Storage("psf", ".json", f"{__name__}.psf"),
    "aperture_corrections": Storage("aperture_corrections", ".json", f"{__name__}.aperture_corrections"),
    "matching_kernel": Storage("matching_kernel", ".json", f"{__name__}.matching_kernel"),
    "json": Storage("json", ".json", f"{__name__}.json_file"),
    "raw": Storage("raw", ".fits", f"{__name__}.raw"),
    "raw_mask": Storage("raw_mask", ".fits", f"{__name__}.raw_mask"),
}


def find_storage(name: str) -> Storage:
    """Return the storage called ``name``.

    Raises
    ------
    RepoError
        If there is none.
    """
    if name not in known_storages():
        hint = did_you_mean(name, known_storages()) or f"; there are {', '.join(known_storages())}."
        raise RepoError(f"There is no storage {name!r}{hint}")
    return known_storages()[name]


def storage_of(cls: Any) -> Storage:
    """Return the storage that keeps objects of a class, or of an annotation such as ``Mapping[str, float]``.

    Raises
    ------
    RepoError
        If there is none.
    """
    origin = get_origin(cls) or cls
    for storage in known_storages().values():
        if isinstance(origin, type) and issubclass(origin, storage.types):
            return storage
    name = getattr(cls, "__name__", cls)
    raise RepoError(f"No storage keeps objects of class {name}; a package adds one in the entry-point group '{GROUP}'.")


@cache
def known_storages() -> Mapping[str, Storage]:
    """Return name -> storage: our own and those of installed packages."""
    found = dict(_OWN)
    for entry in entry_points(group=GROUP):
        found.setdefault(entry.name, entry.load())
    return found


def _loaded(module: str) -> Any:
    return importlib.import_module(module)
