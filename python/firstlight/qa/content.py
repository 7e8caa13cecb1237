"""What the page of one exposure is made from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from firstlight.framework import Funnel, Gate
from firstlight.images.exposure import Exposure
from firstlight.kernels.arrays import BoolArray, IntArray
from firstlight.qa import columns


@dataclass(frozen=True)
class PassTime:
    """How long a pass took [s]."""

    name: str
    wall_s: float
    cpu_s: float


@dataclass(frozen=True)
class PageContent:
    """What there is to show; what is None or empty is shown as missing.

    Parameters
    ----------
    exposure
        Background-subtracted exposure.
    title
        First line of the page: file, filter, exposure time.
    note
        Second line, for a result that is not complete.
    stars, psf_stars, sources
        Catalogues of `SingleFrameTask`.
    astrometry_matches, photometry_matches
        Tables of matched pairs.
    summary
        Name -> value of the summary statistics; None or NaN where not known.
    gates, funnels
        How good each step was, and what each selection cut.
    times
        Of the passes, in order.
    settings
        Path of each setting that differs from its default -> value and origin.
    versions
        Package -> version.
    """

    exposure: Exposure
    title: str
    note: str = ""
    stars: Table | None = None
    psf_stars: Table | None = None
    sources: Table | None = None
    astrometry_matches: Table | None = None
    photometry_matches: Table | None = None
    summary: Mapping[str, float | None] = field(default_factory=dict)
    gates: tuple[Gate, ...] = ()
    funnels: tuple[Funnel, ...] = ()
    times: tuple[PassTime, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the image."""
        return self.exposure.shape

    @property
    def aspect(self) -> float:
        """Height of the image over its width."""
        return self.shape[0] / self.shape[1]

    def number(self, name: str) -> float:
        """Return a summary statistic; NaN where it is not known."""
        value = self.summary.get(name)
        return math.nan if value is None else float(value)

    def filled(self, *names: str) -> Table | None:
        """Return the first of the tables ``names`` that has rows."""
        tables = (getattr(self, name) for name in names)
        return next((table for table in tables if table is not None and len(table) > 0), None)


def positions(
    table: Table, rows: IntArray | BoolArray | None = None, *, prefix: str = ""
) -> dict[str, NDArray[np.float64]]:
    """Return x and y [pixel] of some rows of a catalogue."""
    chosen = slice(None) if rows is None else rows
    return {name: columns.column(table, f"{prefix}{name}")[chosen] for name in ("x", "y")}


def clean_points(table: Table) -> BoolArray:
    """Return which sources are point-like, unblended, unflagged and not empty sky."""
    bad = ("psf_flux_flag", "calib_flux_flag", "saturated", "sky_source", "edge")
    clean = ~np.logical_or.reduce([columns.flag(table, name, default=False) for name in bad])
    if "extendedness" in table.colnames:
        clean &= columns.column(table, "extendedness") < 0.5
    return np.asarray(clean, dtype=bool)


def decimals(value: float, form: str, *, unit: str = "") -> str:
    """Return a number with its unit, or a dash where it is not known."""
    return f"{form.format(value)} {unit}".strip() if math.isfinite(value) else "-"
