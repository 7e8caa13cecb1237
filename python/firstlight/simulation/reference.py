"""A reference catalogue of the simulated stars with errors of a known size."""

from __future__ import annotations

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from firstlight.simulation.settings import BANDS, SimulationSettings
from firstlight.simulation.streams import Stream, random_stream


def make_reference(sky: Table, *, settings: SimulationSettings, seed: int) -> Table:
    """Return what a survey would have published about the stars.

    Parameters
    ----------
    sky
        What `night_sky` returned.

    Returns
    -------
    Table
        `id` (that of the truth), `ra`, `dec` [deg] at `ref_epoch` [yr], `ra_error` (with cos dec), `dec_error` [mas],
        `pmra` (with cos dec), `pmdec`, `pmra_error`, `pmdec_error` [mas/yr], `g_mag`, `r_mag`, `i_mag` [AB mag]
        and their `_error`. Values are true values plus a Gaussian error of the stated size.
    """
    reference = settings.reference
    stars = sky[(sky["kind"] == "star") & (sky["r_mag"] < reference.complete_to)]
    n = len(stars)
    rng = random_stream(seed, Stream.REFERENCE)
    faintness = np.clip(10.0 ** (0.2 * (stars["r_mag"].data - reference.complete_to)), 0.0, 1.0)

    def grow(errors: tuple[float, float]) -> NDArray[np.float64]:
        bright, faint = errors
        return np.asarray(np.sqrt(bright**2 + (faint**2 - bright**2) * faintness**2))

    position, motion, magnitude = map(
        grow, (reference.position_error, reference.proper_motion_error, reference.magnitude_error)
    )
    dec = stars["dec"].data
    table = Table({"id": stars["id"].data})
    table["ra"] = (stars["ra"].data + position * rng.normal(size=n) / 3.6e6 / np.cos(np.deg2rad(dec))) % 360.0
    table["dec"] = dec + position * rng.normal(size=n) / 3.6e6
    table["ra_error"] = table["dec_error"] = position
    table["pmra"] = stars["pmra"].data + motion * rng.normal(size=n)
    table["pmdec"] = stars["pmdec"].data + motion * rng.normal(size=n)
    table["pmra_error"] = table["pmdec_error"] = motion
    table["ref_epoch"] = np.full(n, reference.epoch)
    for band in BANDS:
        table[f"{band}_mag"] = stars[f"{band}_mag"].data + magnitude * rng.normal(size=n)
        table[f"{band}_mag_error"] = magnitude
    for name in table.colnames:
        table[name].unit = _unit(name)
    return table


def _unit(name: str) -> str | None:
    if name in ("ra", "dec"):
        return "deg"
    if name.startswith("pm"):
        return "mas/yr"
    if name in ("ra_error", "dec_error"):
        return "mas"
    if "mag" in name:
        return "mag"
    return "yr" if name == "ref_epoch" else None
