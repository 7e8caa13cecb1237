"""Libraries of colour terms: how the magnitudes of a camera follow from those of a catalogue."""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path

from firstlight.errors import ConfigError
from firstlight.framework import Config, load_config
from firstlight.framework.config_folder import config_folder

NEIGHBOURS = {
    "u": ("g", "r"),
    "g": ("r", "i"),
    "r": ("g", "i"),
    "i": ("r", "g"),
    "z": ("i", "r"),
    "y": ("z", "i"),
    "G": ("RP", "BP"),
    "BP": ("RP", "G"),
    "RP": ("BP", "G"),
    "VT": ("BT",),
    "BT": ("VT",),
    "B": ("V",),
    "V": ("B", "R", "I"),
    "R": ("V", "I"),
    "I": ("R", "V"),
    "J": ("H", "K"),
    "H": ("J", "K"),
    "K": ("J", "H"),
}
"""Band -> the bands that make a colour with it, the best first: near in wavelength, and measured for the same stars."""


class ColorTerm(Config):
    """The magnitude of a camera as ``primary + c0 + c1 (primary - secondary) + c2 (primary - secondary)^2``."""

    catalog: str
    """Pattern of the names of reference catalogues that it is for (``*sdss*``), whatever the case."""

    filter: str
    """Pattern of the names of physical filters that it is for (``g DECam*``)."""

    primary: str
    """Reference magnitude that is nearest to the filter."""

    secondary: str
    """The other reference magnitude of the colour."""

    c0: float = 0.0
    """Difference at colour zero [mag]."""

    c1: float = 0.0
    """Slope with the colour."""

    c2: float = 0.0
    """Curvature [1 / mag]."""

    def fits(self, *, catalog: str, physical_filter: str) -> bool:
        """Return whether it is for a catalogue and a filter."""
        return fnmatch(catalog.lower(), self.catalog.lower()) and fnmatch(physical_filter, self.filter)


class ColorTermLibrary(Config):
    """Colour terms of a camera."""

    description: str
    """Where they come from and for which stars they hold."""

    terms: tuple[ColorTerm, ...]
    """The terms; the first that fits is taken."""

    def find(self, *, catalog: str, physical_filter: str) -> ColorTerm | None:
        """Return the term for a catalogue and a filter; None where there is none."""
        fitting = (term for term in self.terms if term.fits(catalog=catalog, physical_filter=physical_filter))
        return next(fitting, None)


def read_color_terms(name: str) -> ColorTermLibrary:
    """Read a library: a name of those that come with firstlight, or the path of a YAML file.

    Raises
    ------
    ConfigError
        If there is none, or it does not fit `ColorTermLibrary`.
    """
    if name.endswith((".yaml", ".yml")):
        return load_config(ColorTermLibrary, name)
    folder = config_folder() / "colorterms"
    known = sorted(path.stem for path in folder.glob("*.yaml"))
    if name not in known:
        raise ConfigError(
            f"No library of colour terms {name!r}; there are {', '.join(known)}, or give the path of a YAML file."
        )
    return load_config(ColorTermLibrary, Path(folder / f"{name}.yaml"))


def second_band(band: str, bands: frozenset[str]) -> str | None:
    """Return the band of ``bands`` that makes a colour with ``band``; None where none is known to."""
    return next((other for other in NEIGHBOURS.get(band, ()) if other in bands), None)
