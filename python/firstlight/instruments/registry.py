"""Finding the instrument of a header, of a name or of a YAML file."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path

from firstlight.errors import ConfigError
from firstlight.framework import did_you_mean, load_config
from firstlight.framework.config_folder import config_folder
from firstlight.images.exposure import HeaderValue
from firstlight.images.instrument import Instrument
from firstlight.images.instrument_config import InstrumentConfig
from firstlight.instruments.ztf import ZtfInstrument

GENERIC = "generic"
FILE_NAME = "instrument.yaml"
OWN_CLASSES: Mapping[str, type[Instrument]] = {"ZtfInstrument": ZtfInstrument}
GROUP = "firstlight.instruments"
"""Entry-point group in which packages name their `Instrument` classes."""


def find_instrument(header: Mapping[str, HeaderValue]) -> Instrument:
    """Return the instrument that recognises a header; the generic one if none does.

    Cameras of other packages are asked first, then our own in the order of their names.
    """
    for name, instrument in known_instruments().items():
        if name != GENERIC and instrument.recognise(header):
            return instrument
    return known_instruments()[GENERIC]


def get_instrument(name_or_path: str | Path) -> Instrument:
    """Return an instrument by its name, or from a YAML file.

    Parameters
    ----------
    name_or_path
        A name from `known_instruments`, or a path that ends with ``.yaml`` or ``.yml``.

    Raises
    ------
    ConfigError
        If there is no such instrument, or the file does not fit.
    """
    if Path(name_or_path).suffix in (".yaml", ".yml"):
        return from_file(Path(name_or_path))
    name = str(name_or_path)
    if name not in known_instruments():
        hint = did_you_mean(name, known_instruments()) or f"; there are {', '.join(known_instruments())}"
        raise ConfigError(f"no instrument is named {name!r}{hint}")
    return known_instruments()[name]


@cache
def known_instruments() -> Mapping[str, Instrument]:
    """Return name -> instrument: those of installed packages, then our own.

    The scan happens once; ``known_instruments.cache_clear()`` forgets it.
    """
    found: dict[str, Instrument] = {}
    for cls in _plug_in_classes().values():
        if cls.default_config is not None:
            found.setdefault(cls.default_config.name, cls())
    for path in sorted((config_folder() / "instruments").glob(f"*/{FILE_NAME}")):
        instrument = from_file(path)
        found.setdefault(instrument.name, instrument)
    return found


def from_file(path: Path) -> Instrument:
    """Return the instrument of a YAML file, of the class that the file names.

    Raises
    ------
    ConfigError
        If the file does not fit, or no package has the class.
    """
    config = load_config(InstrumentConfig, path)
    if config.implementation is None:
        return Instrument(config, folder=path.parent)
    classes = {**OWN_CLASSES, **_plug_in_classes()}
    if config.implementation not in classes:
        hint = did_you_mean(config.implementation, classes)
        raise ConfigError(f"{path}: no instrument class is named {config.implementation!r}{hint}")
    return classes[config.implementation](config, folder=path.parent)


def _plug_in_classes() -> dict[str, type[Instrument]]:
    return {entry.name: entry.load() for entry in entry_points(group=GROUP)}
