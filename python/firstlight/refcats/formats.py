"""Read a reference catalogue from any table that astropy or pyarrow reads.

Column names of Gaia, Pan-STARRS 1, Tycho-2, ATLAS-refcat2, LSST and firstlight's own simulator are known. For others,
``columns`` maps a meaning (``ra``, ``dec``, ``pm_ra``, ``pm_dec``, ``epoch``, ``ra_error``, ``dec_error``,
``mag_<band>``, ``mag_error_<band>``) to the name in the table.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.lib
from astropy import units as u
from astropy.io.ascii import InconsistentTableError
from astropy.io.registry import IORegistryError
from astropy.table import Table

from firstlight.errors import ReferenceCatalogError
from firstlight.images.catalog import read_parquet
from firstlight.kernels.arrays import FloatArray
from firstlight.refcats.catalog import ReferenceCatalog, ReferenceStars, StarColumns, stars_of_region

POSITIONS = (
    ("ra", "dec", None),
    ("ra_icrs", "de_icrs", None),
    ("ra_ep2016", "dec_ep2016", 2016.0),
    ("ra_ep2000", "dec_ep2000", 2000.0),
    ("ra_j2000", "dec_j2000", 2000.0),
    ("raj2000", "dej2000", 2000.0),
    ("raj2000", "decj2000", 2000.0),
    ("_raj2000", "_dej2000", 2000.0),
    ("ramean", "decmean", None),
    ("rastack", "decstack", None),
    ("coord_ra", "coord_dec", None),
    ("alpha_j2000", "delta_j2000", None),
)
"""Column names of right ascension and declination, and the epoch [Julian year] that the name states."""

PROPER_MOTIONS = (("pmra", "pmdec"), ("pm_ra", "pm_dec"), ("pmra", "pmde"), ("pm_ra_cosdec", "pm_dec"))
EPOCHS = ("ref_epoch", "epoch")
POSITION_ERRORS = (
    ("ra_error", "dec_error"),
    ("e_raj2000", "e_dej2000"),
    ("e_ra_icrs", "e_de_icrs"),
    ("ra_err", "dec_err"),
    ("coord_raerr", "coord_decerr"),
    ("dra", "ddec"),
)

GAIA_VEGA_TO_AB = {"G": 25.8010 - 25.6874, "BP": 25.3540 - 25.3385, "RP": 25.1040 - 24.7479}
"""AB minus Vega zero points of Gaia (E)DR3 (Riello et al. 2021, table 3) [mag]."""

MAGNITUDES = (
    ("G", r"phot_g_mean_mag|gmag_gaia|gaia_g"),
    ("BP", r"phot_bp_mean_mag|bp_mag|bpmag"),
    ("RP", r"phot_rp_mean_mag|rp_mag|rpmag"),
    ("VT", r"vt|vt_mag|vtmag"),
    ("BT", r"bt|bt_mag|btmag"),
    ("{0}", r"([ugrizy])(?:_mag|mag|_psf_mag|meanpsfmag|_mean_psf_mag|mag_psf|psfmag)?"),
    ("{0}", r"([jhk])(?:_m|mag|_mag|s_m|smag)"),
    ("{0}", r"([bvri])(?:_johnson|_cousins|_bessell)(?:_mag)?"),
)
"""Band -> pattern of the magnitude's column name, lower case."""

FLUX = re.compile(r"(?:.*_)?([ugrizy])_flux")
GAIA_FLUX = re.compile(r"phot_(g|bp|rp)_mean_flux")
ERROR_FORMS = ("{0}_error", "{0}_err", "e_{0}", "{0}err", "{0}Err", "d{0}", "{0}_uncertainty", "sigma_{0}")
SCALES = {"deg": 1.0, "rad": math.degrees(1.0)}


def read_reference_catalog(path: str | Path, *, columns: Mapping[str, str] | None = None) -> TableReferenceCatalog:
    """Open a reference table: Parquet, FITS, CSV, VOTable or any other table that astropy reads.

    Raises
    ------
    ReferenceCatalogError
        If the file is missing or unreadable, or has no rows, no positions or no magnitudes.
    """
    path = Path(path)
    catalog = TableReferenceCatalog(_read_table(path), name=path.name, columns=columns)
    catalog.check()
    return catalog


class TableReferenceCatalog(ReferenceCatalog):
    """A reference catalogue held in one table.

    Parameters
    ----------
    table
        Any table; columns may carry units.
    name
        What messages call it.
    columns
        Meaning -> column name, for names that are not known.
    """

    def __init__(self, table: Table, *, name: str, columns: Mapping[str, str] | None = None) -> None:
        self.table = table
        self.name = name
        self.columns = dict(columns or {})

    def check(self) -> None:
        """Raise `ReferenceCatalogError` now if the table cannot serve."""
        if len(self.table) == 0:
            raise ReferenceCatalogError(f"The reference table {self.name} has no rows; give one that covers the field.")
        if not self._stars.magnitudes:
            raise ReferenceCatalogError(
                f"No magnitude column known in {self.name} (columns: {_listed(self.table)}); "
                "name one, e.g. -c calibrate:astrometry.reference_columns='{mag_r: NAME}'."
            )

    @cached_property
    def _stars(self) -> StarColumns:
        return extract_stars(self.table, name=self.name, columns=self.columns)

    def stars(
        self,
        *,
        ra: float,
        dec: float,
        radius: float,
        epoch: float | None = None,
        columns: Mapping[str, str] | None = None,
    ) -> ReferenceStars:
        """Return the stars within ``radius`` [deg] of a point, moved to ``epoch`` [Julian year]."""
        table = self._stars
        if columns and dict(columns) != self.columns:
            table = extract_stars(self.table, name=self.name, columns={**self.columns, **columns})
        return stars_of_region(table, ra=ra, dec=dec, radius=radius, epoch=epoch)


def extract_stars(table: Table, *, name: str, columns: Mapping[str, str] | None = None) -> StarColumns:
    """Understand the columns of a reference table.

    Raises
    ------
    ReferenceCatalogError
        If there are no positions, or ``columns`` names a column that is not there.
    """
    given = dict(columns or {})
    absent = [value for value in given.values() if value not in table.colnames]
    if absent:
        raise ReferenceCatalogError(f"No column {absent[0]!r} in {name}; it has {_listed(table)}.")
    lower = {column.lower(): column for column in reversed(table.colnames)}
    ra_name, dec_name, epoch = _positions(lower, given, name=name, table=table)
    magnitudes, errors = _magnitudes(table, lower, given)
    pm_ra, pm_dec = _pair(table, lower, given, ("pm_ra", "pm_dec"), PROPER_MOTIONS, u.mas / u.yr)
    ra_error, dec_error = _pair(table, lower, given, ("ra_error", "dec_error"), POSITION_ERRORS, u.mas)
    return StarColumns(
        ra=_angle(table, ra_name),
        dec=_angle(table, dec_name),
        position_error=np.sqrt((ra_error**2 + dec_error**2) / 2),
        pm_ra_cosdec=pm_ra,
        pm_dec=pm_dec,
        epoch=_epoch(table, lower, given, stated=epoch, gaia="G" in magnitudes),
        magnitudes=magnitudes,
        magnitude_errors=errors,
    )


def _read_table(path: Path) -> Table:
    if not path.exists():
        raise ReferenceCatalogError(f"No reference table {path}; check the path.")
    try:
        if path.suffix.lower() in {".parquet", ".pq"}:
            return read_parquet(
                path, lambda found: Table({name: found[name].to_numpy() for name in found.column_names})
            )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return Table.read(path)
    except (
        OSError,
        ValueError,
        TypeError,
        IORegistryError,
        InconsistentTableError,
        pyarrow.lib.ArrowException,
    ) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:160]
        raise ReferenceCatalogError(
            f"Cannot read {path} as a table ({reason}); give Parquet, FITS, CSV, ECSV or VOTable with ra, dec and "
            "magnitudes."
        ) from error


def _positions(
    lower: Mapping[str, str], given: Mapping[str, str], *, name: str, table: Table
) -> tuple[str, str, float | None]:
    if "ra" in given and "dec" in given:
        return given["ra"], given["dec"], None
    for ra, dec, epoch in POSITIONS:
        if ra in lower and dec in lower:
            return lower[ra], lower[dec], epoch
    raise ReferenceCatalogError(
        f"No position columns known in {name} (columns: {_listed(table)}); "
        "name them, e.g. -c calibrate:astrometry.reference_columns='{ra: NAME, dec: NAME}'."
    )


def _values(table: Table, column: str) -> FloatArray:
    data: Any = table[column]
    try:
        values = np.ma.filled(np.ma.asarray(data, dtype=np.float64), np.nan)
    except (ValueError, TypeError) as error:
        raise ReferenceCatalogError(f"Column {column!r} of the reference table is not numeric.") from error
    return np.asarray(values, dtype=np.float64)


def _unit(table: Table, column: str) -> u.UnitBase | None:
    unit: u.UnitBase | None = table[column].unit
    return unit


def _angle(table: Table, column: str) -> FloatArray:
    unit = _unit(table, column)
    if unit is not None and unit != u.dimensionless_unscaled:
        return np.asarray(_values(table, column) * unit.to(u.deg))
    return _values(table, column) * (SCALES["rad"] if column.lower().startswith("coord_") else 1.0)


def _pair(
    table: Table,
    lower: Mapping[str, str],
    given: Mapping[str, str],
    meanings: tuple[str, str],
    known: tuple[tuple[str, str], ...],
    unit: u.UnitBase,
) -> tuple[FloatArray, FloatArray]:
    """Two columns that belong together in ``unit``; NaN where the table has none."""
    names = (given[meanings[0]], given[meanings[1]]) if set(meanings) <= set(given) else None
    for first, second in known if names is None else ():
        if first in lower and second in lower:
            names = (lower[first], lower[second])
            break
    if names is None:
        nothing = np.full(len(table), np.nan)
        return nothing, nothing
    lsst = any(column.lower().startswith("coord_") for column in table.colnames)
    default = unit * (u.rad / u.mas) if lsst else unit
    scales = [(_unit(table, column) or default).to(unit) for column in names]
    return _values(table, names[0]) * scales[0], _values(table, names[1]) * scales[1]


def _epoch(
    table: Table, lower: Mapping[str, str], given: Mapping[str, str], *, stated: float | None, gaia: bool
) -> FloatArray:
    """Epoch of the positions [Julian year]; LSST's catalogues state it as MJD."""
    column = given.get("epoch") or next((lower[name] for name in EPOCHS if name in lower), None)
    if column is None:
        return np.full(len(table), stated if stated is not None else 2016.0 if gaia else np.nan)
    values = _values(table, column)
    return np.where(values > 10_000, 2000.0 + (values - 51_544.5) / 365.25, values)


def _magnitudes(
    table: Table, lower: Mapping[str, str], given: Mapping[str, str]
) -> tuple[dict[str, FloatArray], dict[str, FloatArray]]:
    magnitudes: dict[str, FloatArray] = {}
    errors: dict[str, FloatArray] = {}
    nothing = np.full(len(table), np.nan)
    for meaning, column in given.items():
        if meaning.startswith("mag_") and not meaning.startswith("mag_error_"):
            band = meaning.removeprefix("mag_")
            magnitudes[band] = _values(table, column)
            error_column = given.get(f"mag_error_{band}")
            errors[band] = _values(table, error_column) if error_column else nothing
    gaia = "bp_mag" in lower or "bpmag" in lower or any(name.startswith(("phot_g_", "phot_bp_")) for name in lower)
    for column in table.colnames:
        known = _band_of(column.lower(), gaia=gaia)
        if known is None or known in magnitudes:
            continue
        magnitude, error = _magnitude_of(table, lower, column)
        offset = GAIA_VEGA_TO_AB.get(known, 0.0) if gaia and not column.lower().endswith("flux") else 0.0
        magnitudes[known], errors[known] = magnitude + offset, error
    return magnitudes, errors


def _band_of(column: str, *, gaia: bool) -> str | None:
    if match := GAIA_FLUX.fullmatch(column):
        return match.group(1).upper()
    if match := FLUX.fullmatch(column):
        return match.group(1)
    if gaia and column in {"g_mag", "gmag"}:
        return "G"
    for band, pattern in MAGNITUDES:
        if match := re.fullmatch(pattern, column):
            letter = match.group(1) if match.groups() else ""
            return band.format(letter.upper() if letter in "jhkbv" else letter)
    return None


def _magnitude_of(table: Table, lower: Mapping[str, str], column: str) -> tuple[FloatArray, FloatArray]:
    """Magnitudes and errors of one column, also where it holds fluxes [nJy]."""
    values = _values(table, column)
    found = next((lower[name] for form in ERROR_FORMS if (name := form.format(column).lower()) in lower), None)
    error = _values(table, found) if found else np.full(len(table), np.nan)
    if not column.lower().endswith("flux"):
        return values, error
    with np.errstate(divide="ignore", invalid="ignore"):
        magnitude = np.where(values > 0, -2.5 * np.log10(values) + 31.4, np.nan)
        return magnitude, np.where(values > 0, 2.5 / math.log(10) * error / values, np.nan)


def _listed(table: Table) -> str:
    names = table.colnames
    return ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
