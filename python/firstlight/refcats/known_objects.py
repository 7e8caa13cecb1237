"""What is known to shine at a place and a time: stars, galaxies, variable stars and bodies of the solar system.

Tables come from the caller, or over the network through astroquery (VSX of the AAVSO by way of VizieR, Watson et al.
2006, SASS 25, 47; SkyBoT, Berthier et al. 2006, ADASS XV, 367).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord, angular_separation
from astropy.table import Table
from astropy.time import Time

from firstlight.errors import ReferenceCatalogError
from firstlight.refcats.service_answers import table_of, why_in_vain

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

    astroquery asks; the answers are read here, so that what a service refuses is told apart from an empty sky.

    Parameters
    ----------
    timeout : [s], whole
        After so long without an answer a service counts as out of reach.
    rest : [s]
        So long it is not asked again then: otherwise every image of a night would wait for it.
    """

    def __init__(self, *, timeout: int = 30, rest: float = 300.0) -> None:
        self._timeout = timeout
        self._rest = rest
        self._in_vain: dict[str, tuple[float, str]] = {}

    def find(self, kind: str, region: SkyRegion) -> Table:
        """Ask the service for a region; for one without extent none is asked."""
        services: Mapping[str, Callable[[SkyRegion], Table]] = {
            VARIABLE_STARS: self._variable_stars,
            MINOR_PLANETS: self._minor_planets,
        }
        if kind not in services:
            raise ReferenceCatalogError(f"No service on the network is asked for {kind}; give a table of them.")
        if region.radius <= 0.0:
            return _nothing()
        when, why = self._in_vain.get(kind, (-math.inf, ""))
        if monotonic() - when < self._rest:
            raise ReferenceCatalogError(why)
        try:
            return services[kind](region)
        except (OSError, ValueError, LookupError) as error:
            why = f"The service for {kind} cannot be reached ({why_in_vain(error)})."
            self._in_vain[kind] = monotonic(), why
            raise ReferenceCatalogError(why) from error

    def _variable_stars(self, region: SkyRegion) -> Table:
        from astroquery.vizier import Vizier

        # VizieR computes _RAJ2000 and _DEJ2000 for every catalogue, in degrees whatever the catalogue has.
        vizier = Vizier(columns=["Name", "Type", "_RAJ2000", "_DEJ2000"], row_limit=-1, timeout=self._timeout)
        answer = vizier.query_region_async(
            _centre(region), radius=region.radius * u.deg, catalog="B/vsx/vsx", cache=False
        )
        return variable_stars_from_vsx(table_of(answer))

    def _minor_planets(self, region: SkyRegion) -> Table:
        from astroquery.imcce import Skybot, conf

        time = Time(region.mjd, format="mjd", scale="tai").utc
        with conf.set_temp("timeout", self._timeout):
            answer = Skybot.cone_search_async(
                _centre(region), region.radius * u.deg, time, location=region.observatory, cache=False
            )
        return minor_planets_from_skybot(table_of(answer))


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
    """Return ``name``, ``ra``, ``dec`` [deg] of what VizieR answers for ``B/vsx/vsx``."""
    if not len(answer):
        return _nothing()
    names, kinds = _texts(answer, "Name"), _texts(answer, "Type")
    table = Table({"name": [f"{name} ({kind})" if kind else name for name, kind in zip(names, kinds, strict=True)]})
    table["ra"], table["dec"] = _degrees(answer, "_RAJ2000"), _degrees(answer, "_DEJ2000")
    return table


def minor_planets_from_skybot(answer: Table) -> Table:
    """Return ``name``, ``ra``, ``dec`` [deg] and ``position_error`` [arcsec] of what SkyBoT answers."""
    if not len(answer):
        return _nothing()
    places = SkyCoord(_texts(answer, "ra"), _texts(answer, "de"), unit=(u.hourangle, u.deg))
    table = Table({"name": _texts(answer, "name"), "ra": places.ra.deg, "dec": places.dec.deg})
    table["position_error"] = np.ma.filled(np.ma.asarray(answer["errpos"], dtype=np.float64), np.nan)
    table["position_error"].unit = u.arcsec
    return table


def _texts(table: Table, name: str) -> list[str]:
    return [str(each).strip() for each in np.ma.filled(np.ma.asarray(table[name], dtype=str), "")]


def _nothing() -> Table:
    return Table({"name": np.empty(0, dtype=str), "ra": np.empty(0), "dec": np.empty(0)})


def _degrees(table: Table, name: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    column = table[name]
    values = np.ma.filled(np.ma.asarray(getattr(column, "value", column), dtype=np.float64), np.nan)
    return np.asarray(values * (column.unit.to("deg") if column.unit else 1.0))


def _centre(region: SkyRegion) -> SkyCoord:
    return SkyCoord(region.ra, region.dec, unit="deg")
