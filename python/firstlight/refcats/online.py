"""Reference catalogues asked for by name: VizieR sends a region, which is kept for the next image."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import structlog
from astropy import units as u
from astropy.coordinates import SkyCoord, angular_separation
from astropy.table import Table

from firstlight.errors import OutputError, ReferenceCatalogError
from firstlight.images.atomic import write_text_atomically
from firstlight.refcats.catalog import ReferenceCatalog, ReferenceStars
from firstlight.refcats.formats import TableReferenceCatalog
from firstlight.refcats.service_answers import table_of, why_in_vain
from firstlight.refcats.store import MANIFEST, StoredReferenceCatalog, prepare_store_folder, write_store

REGION = "region.json"
MAX_RADIUS = 5.0
"""A larger circle [deg] is not asked for."""

SPARE = 1.2
"""The circle asked for, over that needed, where its stars may be as faint: for dithered images of the field."""

LIMITS = ((0.6, 20.0), (1.2, 18.0), (2.5, 16.0), (np.inf, 14.0))
"""Largest radius [deg] and faintest star [mag]: in the Milky Way that is less than half a million stars."""


@dataclass(frozen=True)
class VizierCatalog:
    """One catalogue of VizieR.

    Parameters
    ----------
    table
        What VizieR calls it.
    columns
        Columns to ask for; the names are those that `firstlight.refcats.formats` knows.
    limited
        The magnitude by which faint stars are left out.
    epoch : [Julian year]
        Of the positions; None where they have no proper motions.
    about
        For people.
    """

    table: str
    columns: tuple[str, ...]
    limited: str
    epoch: float | None
    about: str


def _with_errors(*names: str) -> tuple[str, ...]:
    return tuple(each for name in names for each in (name, f"e_{name}"))


CATALOGS: Mapping[str, VizierCatalog] = {
    "gaia_dr3": VizierCatalog(
        "I/355/gaiadr3",
        (*_with_errors("RA_ICRS", "DE_ICRS"), "pmRA", "pmDE", *_with_errors("Gmag", "BPmag", "RPmag")),
        limited="Gmag",
        epoch=2016.0,
        about="Gaia DR3: the whole sky, best positions, G BP RP",
    ),
    "refcat2": VizierCatalog(
        "J/ApJ/867/105/refcat2",
        ("RA_ICRS", "DE_ICRS", "pmRA", "pmDE", *_with_errors("gmag", "rmag", "imag", "zmag")),
        limited="rmag",
        epoch=2015.5,
        about="ATLAS-REFCAT2: the whole sky, g r i z",
    ),
    "ps1_dr1": VizierCatalog(
        "II/349/ps1",
        (*_with_errors("RAJ2000", "DEJ2000"), *_with_errors("gmag", "rmag", "imag", "zmag", "ymag")),
        limited="rmag",
        epoch=None,
        about="Pan-STARRS DR1: north of -30 deg, deep, g r i z y, no proper motions",
    ),
}
"""Name -> what to ask VizieR for (Gaia Collaboration 2023, A&A 674, A1; Tonry et al. 2018, ApJ 867, 105; Chambers et
al. 2016, arXiv:1612.05560)."""


class OnlineReferenceCatalog(ReferenceCatalog):
    """A catalogue of VizieR, of which regions are kept as stores.

    Parameters
    ----------
    name
        One of `CATALOGS`.
    folder
        Where regions are kept; None for the user's cache.
    timeout : [s], whole
        After so long without an answer VizieR counts as out of reach.

    Raises
    ------
    ReferenceCatalogError
        If there is no such catalogue.
    """

    def __init__(self, name: str, *, folder: Path | None = None, timeout: int = 120) -> None:
        if name not in CATALOGS:
            raise ReferenceCatalogError(
                f"No catalogue {name!r} can be downloaded; those that can: {', '.join(CATALOGS)}."
            )
        self.name = name
        self._folder = (cache_folder() if folder is None else folder) / name
        self._timeout = timeout
        self._stores: dict[Path, StoredReferenceCatalog] = {}

    def stars(
        self,
        *,
        ra: float,
        dec: float,
        radius: float,
        epoch: float | None = None,
        columns: Mapping[str, str] | None = None,
    ) -> ReferenceStars:
        """Return the stars within ``radius`` [deg] of a point, from what is kept or else from VizieR.

        Raises
        ------
        ReferenceCatalogError
            If the circle is too large, VizieR is out of reach or refuses, or has no star there.
        OutputError
            If the region cannot be kept.
        """
        kept = self._kept_region(ra, dec, radius) or self._fetched(ra, dec, _with_spare(radius))
        if kept not in self._stores:
            self._stores[kept] = StoredReferenceCatalog(kept)
        return self._stores[kept].stars(ra=ra, dec=dec, radius=radius, epoch=epoch, columns=columns)

    def _kept_region(self, ra: float, dec: float, radius: float) -> Path | None:
        """Return the folder of a region that holds a circle, as deep as one that is asked for now would be."""
        for folder, region in _regions(self._folder):
            if region["faintest"] != _faintest(radius):
                continue
            places = np.radians([ra, dec, region["ra"], region["dec"]])
            if np.degrees(angular_separation(*places)) + radius <= region["radius"]:
                return folder
        return None

    def _fetched(self, ra: float, dec: float, radius: float) -> Path:
        """Ask for a circle, keep it, and return its folder."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            scratch = Path(tempfile.mkdtemp(prefix=".new-", dir=self._folder))
        except OSError as error:
            raise OutputError(f"Cannot keep reference stars in {self._folder}: {error.strerror or error}.") from error
        try:
            fetch_store(self.name, scratch / "store", ra=ra, dec=dec, radius=radius, timeout=self._timeout)
            target = self._folder / f"{ra:.4f}{dec:+.4f}_{radius:.4f}"
            if not target.exists():
                (scratch / "store").replace(target)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        return target


def fetch_store(name: str, folder: str | Path, *, ra: float, dec: float, radius: float, timeout: int = 120) -> Path:
    """Write the stars of a circle, as VizieR has them, as a store.

    Parameters
    ----------
    name
        One of `CATALOGS`.
    folder
        New or empty.
    ra, dec, radius : [deg]
        The faintest stars are left out where the circle is large, as `LIMITS` says.
    timeout : [s], whole

    Returns
    -------
    the folder.

    Raises
    ------
    ReferenceCatalogError
        If there is no such catalogue, the circle is too large, or VizieR is out of reach, refuses or has no star there.
    OutputError
        If the folder cannot be written or is not empty.
    """
    if name not in CATALOGS:
        raise ReferenceCatalogError(f"No catalogue {name!r} can be downloaded; those that can: {', '.join(CATALOGS)}.")
    if radius > MAX_RADIUS:
        raise ReferenceCatalogError(
            f"Stars within {radius:.3g} deg are too many to download ({MAX_RADIUS:g} deg at most); say better where "
            "the image is (--ra, --dec, --radius), or bring a table."
        )
    folder = Path(folder)
    prepare_store_folder(folder)
    catalog = TableReferenceCatalog(_asked(name, ra, dec, radius, timeout), name=name)
    if not len(catalog.table):
        raise ReferenceCatalogError(f"{name} has no star within {radius:.3g} deg of ra {ra:.4f}, dec {dec:+.4f}.")
    write_store(catalog, folder)
    about = {"catalog": name, "table": CATALOGS[name].table, "date": datetime.now(UTC).isoformat(timespec="seconds")}
    region = {**about, "ra": ra, "dec": dec, "radius": radius, "faintest": _faintest(radius)}
    write_text_atomically(folder / REGION, json.dumps(region) + "\n")
    structlog.get_logger().info(
        "reference_stars_downloaded", catalog=name, n=len(catalog.table), radius=round(radius, 3)
    )
    return folder


def cache_folder() -> Path:
    """Return where downloaded regions are kept: below ``$XDG_CACHE_HOME``, or ``~/.cache``."""
    given = os.environ.get("XDG_CACHE_HOME")
    return (Path(given) if given else Path.home() / ".cache") / "firstlight" / "refcats"


def _asked(name: str, ra: float, dec: float, radius: float, timeout: int) -> Table:
    """Return the table of a circle from VizieR, with an epoch for each star."""
    wanted = CATALOGS[name]
    from astroquery.vizier import Vizier

    try:
        vizier = Vizier(
            columns=list(wanted.columns),
            column_filters={wanted.limited: f"<{_faintest(radius):g}"},
            row_limit=-1,
            timeout=timeout,
        )
        answer = vizier.query_region_async(
            SkyCoord(ra, dec, unit="deg"), radius=radius * u.deg, catalog=wanted.table, cache=False
        )
        table = table_of(answer)
    except (OSError, ValueError, LookupError) as error:
        raise ReferenceCatalogError(
            f"{name} cannot be had from VizieR ({why_in_vain(error)}); bring a table of stars."
        ) from error
    if wanted.epoch is not None and len(table):
        table["epoch"] = wanted.epoch
    return table


def _faintest(radius: float) -> float:
    """Return the magnitude of the faintest stars that are asked for within a radius [deg]."""
    return next(limit for largest, limit in LIMITS if radius <= largest)


def _with_spare(radius: float) -> float:
    """Return a larger radius [deg] that is asked for in its place, with stars as faint."""
    largest = next(largest for largest, _ in LIMITS if radius <= largest)
    return max(radius, min(SPARE * radius, largest, MAX_RADIUS))


def _regions(folder: Path) -> Iterator[tuple[Path, Mapping[str, float]]]:
    """Yield the regions that are kept whole, in the order of their names."""
    for path in sorted(folder.glob(f"*/{REGION}")):
        if (path.parent / MANIFEST).is_file() and not path.parent.name.startswith("."):
            yield path.parent, json.loads(path.read_text(encoding="utf-8"))
