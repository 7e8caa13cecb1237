"""Finding the instrument of a header, of a name or of a YAML file."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path

import structlog

from firstlight.errors import ConfigError
from firstlight.framework import did_you_mean, load_config
from firstlight.framework.config_folder import config_folder
from firstlight.images.exposure import HeaderValue
from firstlight.images.instrument import Instrument
from firstlight.images.instrument_config import InstrumentConfig
from firstlight.instruments.decam import DecamInstrument
from firstlight.instruments.translators import require_translators, translated_instrument, translated_instruments
from firstlight.instruments.ztf import ZtfInstrument

GENERIC = "generic"
FILE_NAME = "instrument.yaml"
OWN_CLASSES: Mapping[str, type[Instrument]] = {"DecamInstrument": DecamInstrument, "ZtfInstrument": ZtfInstrument}
GROUP = "firstlight.instruments"
"""Entry-point group in which packages name their `Instrument` classes."""


def find_instrument(header: Mapping[str, HeaderValue]) -> Instrument:
    """Return the instrument that recognises a header; the generic one if none does.

    Cameras of other packages are asked first, then our own in the order of their names, then those of translators.
    """
    for name, instrument in known_instruments().items():
        if name != GENERIC and instrument.recognise(header):
            return instrument
    return translated_instrument(header) or known_instruments()[GENERIC]


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
    if name in known_instruments():
        return known_instruments()[name]
    require_translators(name)
    there = {**translated_instruments(), **known_instruments()}
    if name not in there:
        hint = did_you_mean(name, there) or f"; there are {', '.join(sorted(there))}"
        raise ConfigError(f"no instrument is named {name!r}{hint}")
    return there[name]


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
    found: dict[str, type[Instrument]] = {}
    for entry in entry_points(group=GROUP):
        try:
            found[entry.name] = entry.load()
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a package of somebody else's may break in any way
            why = f"{type(error).__name__}: {error}".splitlines()[0]
            structlog.get_logger().warning("instrument cannot be imported", name=entry.name, why=why)
    return found
