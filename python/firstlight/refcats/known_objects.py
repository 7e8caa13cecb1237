"""What is known to shine at a place and a time: stars, galaxies, variable stars and bodies of the solar system.

Tables come from the caller, or over the network through astroquery (VSX of the AAVSO by way of VizieR, Watson et al.
2006, SASS 25, 47; SkyBoT, Berthier et al. 2006, ADASS XV, 367).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord, angular_separation
from astropy.table import Table
from astropy.time import Time

from firstlight.errors import ReferenceCatalogError

VARIABLE_STARS, MINOR_PLANETS = "variable_stars", "minor_planets"
GEOCENTRE = "500"
"""Code of the Minor Planet Center for the middle of the Earth."""


@dataclass(frozen=True)
class SkyRegion:
    """A circle on the sky at one time.

    Parameters
    ----------
    ra, dec, radius : [deg]
    mjd : [d]
        TAI.
    observatory
        Code of the Minor Planet Center: bodies nearby are seen elsewhere from another place.
    """

    ra: float
    dec: float
    radius: float
    mjd: float
    observatory: str = GEOCENTRE


class KnownObjects(ABC):
    """Interface: anything that knows what shines in a region."""

    @abstractmethod
    def find(self, kind: str, region: SkyRegion) -> Table:
        """Return what is known, with ``name``, ``ra`` and ``dec`` [deg] and, where stated, ``position_error`` [arcsec].

        Parameters
        ----------
        kind
            Such as ``stars``, ``galaxies``, ``variable_stars`` or ``minor_planets``.
        region

        Raises
        ------
        ReferenceCatalogError
            If there is no such catalogue, or it cannot be reached.
        """


class LocalKnownObjects(KnownObjects):
    """Tables in memory, one for each kind.

    Parameters
    ----------
    tables
        Kind -> table with ``ra`` and ``dec`` [deg] and perhaps ``name`` and ``position_error`` [arcsec]; that of
        ``minor_planets`` must hold for the time that is asked for, or have a column ``mjd`` [d] (TAI), of which the
        rows within a minute count.

    Raises
    ------
    ReferenceCatalogError
        If a table has no positions.
    """

    def __init__(self, tables: Mapping[str, Table]) -> None:
        for kind, table in tables.items():
            if missing := {"ra", "dec"} - set(table.colnames):
                raise ReferenceCatalogError(
                    f"The table of {kind} has no column {', '.join(sorted(missing))}; it has "
                    f"{', '.join(table.colnames) or 'none'}."
                )
        self._tables = dict(tables)

    def find(self, kind: str, region: SkyRegion) -> Table:
        """Return the rows of a table that lie in the region."""
        if kind not in self._tables:
            known = ", ".join(sorted(self._tables)) or "none"
            raise ReferenceCatalogError(f"No table of {kind} was given; those given: {known}.")
        table = self._tables[kind]
        ra, dec = (_degrees(table, name) for name in ("ra", "dec"))
        apart = angular_separation(*(np.radians(each) for each in (region.ra, region.dec, ra, dec)))
        inside = apart <= np.radians(region.radius)
        if "mjd" in table.colnames:
            inside &= np.abs(np.asarray(table["mjd"], dtype=float) - region.mjd) <= 1.0 / 1440.0
        found = Table({"ra": ra[inside], "dec": dec[inside]}, units={"ra": "deg", "dec": "deg"})
        rows = np.flatnonzero(inside)
        names = table["name"] if "name" in table.colnames else [f"{kind} row {row}" for row in range(len(table))]
        found["name"] = np.asarray(names, dtype=str)[rows]
        if "position_error" in table.colnames:
            found["position_error"] = np.asarray(table["position_error"], dtype=float)[rows] * u.arcsec
        return found


class OnlineKnownObjects(KnownObjects):
    """Variable stars from VSX and minor planets from SkyBoT, over the network through astroquery.

    Parameters
    ----------
    timeout : [s]
        After so long without an answer a service counts as out of reach.
    """

    def __init__(self, *, timeout: float = 30.0) -> None:
        self._timeout = timeout

    def find(self, kind: str, region: SkyRegion) -> Table:
        """Ask the service for a region."""
        services: Mapping[str, Callable[[SkyRegion], Table]] = {
            VARIABLE_STARS: self._variable_stars,
            MINOR_PLANETS: self._minor_planets,
        }
        if kind not in services:
            raise ReferenceCatalogError(f"No service on the network is asked for {kind}; give a table of them.")
        try:
            return services[kind](region)
        except ImportError as error:
            raise ReferenceCatalogError(
                f"Asking for {kind} needs the package astroquery; 'pip install firstlight[online]' brings it."
            ) from error
        except (OSError, TimeoutError, ValueError) as error:
            said = str(error).partition("\n")[0][:100]
            raise ReferenceCatalogError(f"The service for {kind} cannot be reached ({said}).") from error

    def _variable_stars(self, region: SkyRegion) -> Table:
        from astroquery.vizier import Vizier

        vizier = Vizier(columns=["Name", "RAJ2000", "DEJ2000", "Type"], row_limit=-1, timeout=self._timeout)
        found = vizier.query_region(_centre(region), radius=region.radius * u.deg, catalog="B/vsx/vsx")
        return variable_stars_from_vsx(found[0] if len(found) else Table())

    def _minor_planets(self, region: SkyRegion) -> Table:
        from astroquery.imcce import Skybot

        Skybot.TIMEOUT = self._timeout
        time = Time(region.mjd, format="mjd", scale="tai").utc
        try:
            found = Skybot.cone_search(_centre(region), region.radius * u.deg, time, location=region.observatory)
        except RuntimeError as error:
            if "No solar system object" in str(error):
                return minor_planets_from_skybot(Table())
            raise OSError(str(error)) from error
        return minor_planets_from_skybot(found)


class FirstKnownObjects(KnownObjects):
    """Several, of which the first counts that knows a kind.

    Parameters
    ----------
    members
        In the order in which they are asked.
    """

    def __init__(self, members: Sequence[KnownObjects]) -> None:
        self._members = tuple(members)

    def find(self, kind: str, region: SkyRegion) -> Table:
        """Return what the first member says that can."""
        reasons = []
        for member in self._members:
            try:
                return member.find(kind, region)
            except ReferenceCatalogError as error:
                reasons.append(str(error))
        raise ReferenceCatalogError(" ".join(reasons) or f"Nothing was given that knows {kind}.")


def variable_stars_from_vsx(answer: Table) -> Table:
    """Return the columns that are used of what VizieR answers for ``B/vsx/vsx``: ``name``, ``ra``, ``dec`` [deg]."""
    if not len(answer):
        return _nothing()
    names = [
        f"{name} ({kind})" if kind else str(name) for name, kind in zip(answer["Name"], answer["Type"], strict=True)
    ]
    return Table({"name": names, "ra": _degrees(answer, "RAJ2000"), "dec": _degrees(answer, "DEJ2000")})


def minor_planets_from_skybot(answer: Any) -> Table:
    """Return the columns that are used of what SkyBoT answers: ``name``, ``ra``, ``dec`` [deg], ``position_error``."""
    if not len(answer):
        return _nothing()
    table = Table({"name": np.asarray(answer["Name"], dtype=str)})
    table["ra"], table["dec"] = _degrees(answer, "RA"), _degrees(answer, "DEC")
    if "posunc" in answer.colnames:
        error = answer["posunc"]
        table["position_error"] = np.asarray(u.Quantity(error, u.arcsec).to_value(u.arcsec), dtype=float)
    return table


def _nothing() -> Table:
    return Table({"name": np.empty(0, dtype=str), "ra": np.empty(0), "dec": np.empty(0)})


def _degrees(table: Table, name: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    column = table[name]
    values = np.ma.filled(np.ma.asarray(getattr(column, "value", column), dtype=np.float64), np.nan)
    return np.asarray(values * (column.unit.to("deg") if column.unit else 1.0))


def _centre(region: SkyRegion) -> SkyCoord:
    return SkyCoord(region.ra, region.dec, unit="deg")
