"""Select sources of a catalogue that are fit for a purpose."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray
from pydantic import PositiveFloat, model_validator
from typing_extensions import TypeVar

from firstlight.errors import ConfigError
from firstlight.framework import Config, Funnel, Struct, Task
from firstlight.kernels.arrays import BoolArray


@dataclass(frozen=True)
class StarSelectResult(Struct):
    """What a `StarSelectTask` returns."""

    selected: BoolArray
    """(n_sources,) True for the sources that are fit."""

    funnel: Funnel
    """How many sources each cut left."""


StarSelectConfigT = TypeVar("StarSelectConfigT", bound=Config, covariant=True, default=Config)


class StarSelectTask(Task[StarSelectConfigT], ABC):
    """Interface: anything that chooses sources of a catalogue."""

    @abstractmethod
    def run(self, catalog: Table) -> StarSelectResult:
        """Choose sources.

        Parameters
        ----------
        catalog
            From a `MeasureTask`.

        Raises
        ------
        ConfigError
            If a column that the settings name is not in the catalogue.
        """


class ScienceStarSelectConfig(Config):
    """Settings of `ScienceStarSelectTask`; a limit that is empty is not applied, and a value that is NaN fails."""

    bad_flags: tuple[str, ...] = ("edge", "no_data", "saturated", "psf_flux_flag")
    """A source with any of these flags is left out."""

    good_flags: tuple[str, ...] = ()
    """A source without any one of these flags is left out."""

    flux: str = "psf_flux"
    """Column to which `min_flux` and `max_flux` apply; ``psf_inst_flux`` before calibration."""

    min_flux: float | None = None
    """Sources must be brighter than this [unit of the column]."""

    max_flux: float | None = None
    """Sources must be fainter than this [unit of the column]."""

    snr: str = "snr"
    """Column with the signal-to-noise ratio."""

    min_snr: float | None = None
    """The signal-to-noise ratio must be larger."""

    max_snr: float | None = None
    """The signal-to-noise ratio must be smaller."""

    extendedness: str = "extendedness"
    """Column that tells stars from galaxies."""

    max_extendedness: float | None = 0.5
    """Stars have less; empty to take galaxies as well."""

    max_centroid_error: PositiveFloat | None = None
    """The errors of both coordinates of the centroid must be smaller [pixel]."""

    isolated: bool = False
    """Only sources that share their footprint with no other."""

    primary: bool = False
    """Only sources of the clean catalogue: no part of a blend left whole, no hole."""

    finite_sky_position: bool = False
    """Only sources with a position on the sky."""

    sky_sources: bool = False
    """Empty sky positions are taken whatever the other cuts say."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        for name in ("flux", "snr"):
            low, high = getattr(self, f"min_{name}"), getattr(self, f"max_{name}")
            if low is not None and high is not None and low >= high:
                raise ValueError(f"min_{name} must be below max_{name}; got {low:g} and {high:g}")
        return self


class ScienceStarSelectTask(StarSelectTask[ScienceStarSelectConfig]):
    """Cuts by flags, brightness, size, neighbours and positions (LSST `ScienceSourceSelectorTask`)."""

    def run(self, catalog: Table) -> StarSelectResult:
        """Choose sources."""
        selected = np.ones(len(catalog), dtype=bool)
        funnel = Funnel("star_selection").then("sources", len(catalog))
        for name, passed in self._cuts(catalog):
            selected &= passed
            funnel = funnel.then(name, int(selected.sum()))
        if self.config.sky_sources:
            selected |= self._flag(catalog, "sky_source")
            funnel = funnel.then("with sky sources", int(selected.sum()))
        self.metadata.count("selected", int(selected.sum()))
        self.log.info("selected", of=len(catalog), selected=int(selected.sum()))
        return StarSelectResult(selected=selected, funnel=funnel)

    def _cuts(self, catalog: Table) -> Iterator[tuple[str, BoolArray]]:
        """Yield the name of each cut that is asked for, and which sources pass it."""
        config = self.config
        for name in config.bad_flags:
            yield f"not {name}", ~self._flag(catalog, name)
        for name in config.good_flags:
            yield name, self._flag(catalog, name)
        for column, low, high in (
            (config.flux, config.min_flux, config.max_flux),
            (config.snr, config.min_snr, config.max_snr),
            (config.extendedness, None, config.max_extendedness),
            ("x_err", None, config.max_centroid_error),
            ("y_err", None, config.max_centroid_error),
        ):
            if low is not None:
                yield f"{column} > {low:g}", self._number(catalog, column) > low
            if high is not None:
                yield f"{column} < {high:g}", self._number(catalog, column) < high
        if config.isolated:
            yield "isolated", self._flag(catalog, "isolated")
        if config.primary:
            yield "primary", self._flag(catalog, "primary")
        if config.finite_sky_position:
            yield "on the sky", np.isfinite(self._number(catalog, "ra")) & np.isfinite(self._number(catalog, "dec"))

    @staticmethod
    def _flag(catalog: Table, name: str) -> BoolArray:
        return np.asarray(_column(catalog, name), dtype=bool)

    @staticmethod
    def _number(catalog: Table, name: str) -> NDArray[np.float64]:
        column = _column(catalog, name)
        return np.asarray(column.filled(np.nan) if hasattr(column, "filled") else column, dtype=np.float64)


def _column(catalog: Table, name: str) -> Table.Column:
    if name not in catalog.colnames:
        raise ConfigError(
            f"The selection needs the column {name!r}, which the catalogue does not have; "
            f"add the plug-in that measures it or empty the setting."
        )
    return catalog[name]
