"""The catalogue of a difference: two signs in one table."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from astropy import units as u
from astropy.table import Column, Table

from firstlight.algorithms.detection import Detections
from firstlight.algorithms.difference_sources import MergedSigns

OF_BLENDS = ("parent", "parent_n_child", "blended", "isolated", "primary", "sky_source")
OF_DEBLENDING = ("deblend_skipped", "deblend_point_like", "deblend_symmetric")


def with_merging(table: Table, other: Detections, merged: MergedSigns, *, sign: int) -> Table:
    """Return the catalogue of one sign with the strongest peak of the other sign in each footprint.

    Parameters
    ----------
    table
    other
        What was found of the other sign.
    merged
    sign
        0 for positive sources, 1 for negative ones.
    """
    partner = (merged.positive_partner, merged.negative_partner)[sign]
    region = (merged.positive_region, merged.negative_region)[sign]
    known = partner >= 0
    for axis, peaks in (("x", other.peak_x), ("y", other.peak_y)):
        column = np.full(len(table), np.nan)
        column[known] = peaks[partner[known]]
        table[f"partner_{axis}"] = Column(column, unit=u.pix)
    table["merged_area"] = Column(merged.area[region], unit=u.pix)
    return table


def with_sign(table: Table, *, negative: bool) -> Table:
    """Return the catalogue without what only blends have, with the sign of its sources."""
    table.remove_columns([name for name in (*OF_BLENDS, *OF_DEBLENDING) if name in table.colnames])
    if negative:
        for name in table.colnames:
            if name.endswith("_inst_flux") or name in ("snr", "peak_snr"):
                table[name] = -table[name]
    table["is_negative"] = np.full(len(table), negative)
    return table


def without_rejected(catalog: Table, *, flags: Sequence[str], min_snr: float) -> Table:
    """Return the sources that have none of the flags and, where it was measured, at least a significance."""
    rejected = np.zeros(len(catalog), dtype=bool)
    for name in flags:
        if name in catalog.colnames:
            rejected |= np.asarray(catalog[name], dtype=bool)
    if "snr" in catalog.colnames:
        rejected |= ~(np.abs(np.asarray(catalog["snr"], dtype=np.float64)) >= min_snr)
    return catalog[~rejected]
