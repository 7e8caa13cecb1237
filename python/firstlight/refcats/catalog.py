"""Reference stars: positions at an epoch and magnitudes by band, asked for by region."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

import numpy as np

from firstlight.errors import ReferenceCatalogError
from firstlight.kernels.arrays import BoolArray, FloatArray, IntArray

MAS_PER_DEGREE = 3_600_000.0
FALLBACK_BANDS = ("r", "G", "g", "i", "V", "VT", "RP", "BP", "z", "J", "y", "BT", "B", "R", "I", "u", "H", "K")
"""Order in which another band stands in when the wanted one is absent."""


@dataclass(frozen=True)
class ReferenceStars:
    """Stars of one region at one epoch.

    Parameters
    ----------
    ra, dec : (n,) [deg]
        ICRS positions at `epoch`, or at the catalogue's own epoch where proper motions are unknown.
    position_error : (n,) [mas]
        One-axis error of the position at `epoch`; NaN where unknown.
    magnitudes, magnitude_errors
        Band name -> (n,) [mag]; errors are NaN where unknown.
    row : (n,)
        Row of each star in its table.
    epoch : [Julian year]
        NaN when proper motions were not applied.
    """

    ra: FloatArray
    dec: FloatArray
    position_error: FloatArray
    magnitudes: Mapping[str, FloatArray]
    magnitude_errors: Mapping[str, FloatArray]
    row: IntArray
    epoch: float = np.nan
    n_without_proper_motion: int = 0

    def __len__(self) -> int:
        return len(self.ra)

    def __getitem__(self, keep: BoolArray | IntArray) -> Self:
        return type(self)(
            ra=self.ra[keep],
            dec=self.dec[keep],
            position_error=self.position_error[keep],
            magnitudes={band: value[keep] for band, value in self.magnitudes.items()},
            magnitude_errors={band: value[keep] for band, value in self.magnitude_errors.items()},
            row=self.row[keep],
            epoch=self.epoch,
            n_without_proper_motion=self.n_without_proper_motion,
        )

    def choose_band(self, wanted: str | None) -> str:
        """Return ``wanted`` where the catalogue has it, otherwise the nearest stand-in.

        Raises
        ------
        ReferenceCatalogError
            If the catalogue has no magnitudes at all.
        """
        if wanted in self.magnitudes:
            return str(wanted)
        for band in (*FALLBACK_BANDS, *self.magnitudes):
            if band in self.magnitudes:
                return band
        raise ReferenceCatalogError("The reference table has no magnitude column that is known; name it in 'columns'.")


class ReferenceCatalog(ABC):
    """Interface: anything that gives reference stars for a region."""

    name: str = ""
    """What it is called, by which colour terms are looked up."""

    @abstractmethod
    def stars(
        self,
        *,
        ra: float,
        dec: float,
        radius: float,
        epoch: float | None = None,
        columns: Mapping[str, str] | None = None,
    ) -> ReferenceStars:
        """Return the stars within ``radius`` of a point.

        Parameters
        ----------
        ra, dec, radius : [deg]
        epoch : [Julian year]
            Epoch to which proper motions are applied; None leaves positions as tabulated.
        columns
            Meaning -> column name, for tables whose names are not known (see `firstlight.refcats.formats`).
        """


@dataclass(frozen=True)
class StarColumns:
    """A whole reference table in plain arrays and known units."""

    ra: FloatArray
    dec: FloatArray
    position_error: FloatArray
    pm_ra_cosdec: FloatArray
    pm_dec: FloatArray
    epoch: FloatArray
    magnitudes: Mapping[str, FloatArray]
    magnitude_errors: Mapping[str, FloatArray]
    notes: tuple[str, ...] = field(default=())


def stars_of_region(
    table: StarColumns, *, ra: float, dec: float, radius: float, epoch: float | None = None
) -> ReferenceStars:
    """Cut a circle out of a table and move its stars to ``epoch`` by linear proper motion on the sphere.

    Parameters
    ----------
    table
        Positions [deg], proper motions [mas/yr, with cos dec], epochs [Julian year].
    ra, dec, radius : [deg]
    epoch : [Julian year]
    """
    rows = np.flatnonzero(_inside(table.ra, table.dec, ra=ra, dec=dec, radius=radius))
    moved_ra, moved_dec = table.ra[rows], table.dec[rows]
    error = table.position_error[rows]
    unknown = ~(np.isfinite(table.pm_ra_cosdec[rows]) & np.isfinite(table.pm_dec[rows]))
    if epoch is not None:
        years = np.where(np.isfinite(table.epoch[rows]), epoch - table.epoch[rows], 0.0)
        step_ra = np.where(unknown, 0.0, table.pm_ra_cosdec[rows]) * years / MAS_PER_DEGREE
        step_dec = np.where(unknown, 0.0, table.pm_dec[rows]) * years / MAS_PER_DEGREE
        moved_ra, moved_dec = _step(moved_ra, moved_dec, step_ra, step_dec)
    return ReferenceStars(
        ra=moved_ra,
        dec=moved_dec,
        position_error=error,
        magnitudes={band: value[rows] for band, value in table.magnitudes.items()},
        magnitude_errors={band: value[rows] for band, value in table.magnitude_errors.items()},
        row=rows,
        epoch=np.nan if epoch is None else epoch,
        n_without_proper_motion=int(unknown.sum()),
    )


def _inside(all_ra: FloatArray, all_dec: FloatArray, *, ra: float, dec: float, radius: float) -> BoolArray:
    inside: BoolArray = np.abs(all_dec - dec) <= radius
    near = np.flatnonzero(inside)
    half_dra = np.deg2rad(all_ra[near] - ra) / 2
    half_ddec = np.deg2rad(all_dec[near] - dec) / 2
    haversine = (
        np.sin(half_ddec) ** 2 + np.cos(np.deg2rad(all_dec[near])) * np.cos(np.deg2rad(dec)) * np.sin(half_dra) ** 2
    )
    inside[near] = haversine <= np.sin(np.deg2rad(min(radius, 180.0)) / 2) ** 2
    return inside


def _step(ra: FloatArray, dec: FloatArray, east: FloatArray, north: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Move positions by small tangential steps [deg] along straight lines in space, safe at the poles."""
    a, d = np.deg2rad(ra), np.deg2rad(dec)
    e, n = np.deg2rad(east), np.deg2rad(north)
    x = np.cos(d) * np.cos(a) - e * np.sin(a) - n * np.sin(d) * np.cos(a)
    y = np.cos(d) * np.sin(a) + e * np.cos(a) - n * np.sin(d) * np.sin(a)
    z = np.sin(d) + n * np.cos(d)
    return np.rad2deg(np.arctan2(y, x)) % 360.0, np.rad2deg(np.arctan2(z, np.hypot(x, y)))
