"""How good a difference of a pair of known truth is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firstlight.algorithms.matching import match_points
from subtraction.methods import Difference
from subtraction.pairs import Pair

Floats = NDArray[np.floating]

MATCH_RADIUS = 2.5
"""A candidate this near is the transient [pixel]."""

LEAST_PIXELS = 2_000
"""Noise is told only of at least as many pixels."""

BRIGHT_SNR = 20.0


@dataclass(frozen=True)
class Verdict:
    """Numbers of one method on one pair; NaN where there is too little to tell."""

    numbers: dict[str, float]
    snr: list[float]
    """Ideal signal-to-noise ratios of transients on a clear sky."""
    found: list[bool]
    variables: list[int]
    """How many of the variable stars above 6 sigma are found, and of how many."""
    bright: list[list[float]]
    """True flux, measured flux and its error [nJy] of clear transients above 20 sigma."""

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return dict(vars(self))


def judge(pair: Pair, made: Difference) -> Verdict:
    """Compare a difference with the truth."""
    with np.errstate(invalid="ignore", divide="ignore"):
        z = np.where(made.good, made.image / np.sqrt(made.variance), np.nan)
    numbers = {"seconds": made.seconds, "masked": 100 * made.cores, **_of_pixels(pair, z)}
    at = np.rint(pair.new_y).astype(int), np.rint(pair.new_x).astype(int)
    clear = made.good[at] & ~pair.crowded
    pairs = match_points(pair.new_x, pair.new_y, made.x, made.y, radius=MATCH_RADIUS)
    found = np.zeros(len(pair.new_x), dtype=bool)
    found[pairs.first] = True
    numbers |= _false(pair, made)
    chosen = clear[pairs.first] & (pair.new_snr[pairs.first] > BRIGHT_SNR)
    first, second = pairs.first[chosen], pairs.second[chosen]
    offsets = np.concatenate([made.x[second] - pair.new_x[first], made.y[second] - pair.new_y[first]])
    numbers["place"] = float(np.sqrt(np.mean(offsets**2))) if len(offsets) else np.nan
    bright = np.stack([pair.new_flux[first], made.flux[second], made.flux_err[second]], axis=1)
    return Verdict(
        numbers=numbers,
        snr=pair.new_snr[clear].tolist(),
        found=found[clear].tolist(),
        variables=_variables(pair, made),
        bright=bright[np.isfinite(bright).all(axis=1)].tolist(),
    )


def _of_pixels(pair: Pair, z: Floats) -> dict[str, float]:
    """Return the noise of the empty sky, of its neighbours, and of what is left of stars."""
    reach = round(3 * pair.fwhm)
    busy = pair.changed | pair.near(*pair.between(0, 20), reach) | pair.near(*pair.between(0, 15), 3 * reach)
    sky = np.where(busy, np.nan, z)
    enough = np.isfinite(sky).sum() > LEAST_PIXELS
    middle = np.nanmedian(sky) if enough else np.nan
    numbers = {
        "sky std": float(np.nanstd(sky)) if enough else np.nan,
        "sky mad": float(1.4826 * np.nanmedian(np.abs(sky - middle))) if enough else np.nan,
        "lag 1": float(np.nanmean(sky[:, 1:] * sky[:, :-1]) / np.nanvar(sky)) if enough else np.nan,
    }
    for name, bright, faint in (("stars 14", 14.0, 15.5), ("15.5-17", 15.5, 17.0), ("17-18.5", 17.0, 18.5)):
        on = pair.near(*pair.between(bright, faint), 3) & ~pair.changed & np.isfinite(z)
        numbers[name] = float(np.std(z[on])) if on.sum() > 200 else np.nan
    return numbers


def _false(pair: Pair, made: Difference) -> dict[str, float]:
    """Return the candidates of either sign far from everything that changed, per megapixel that counts."""
    row, column = (
        np.clip(np.rint(at).astype(int), 0, side - 1)
        for at, side in zip((made.y, made.x), made.good.shape, strict=True)
    )
    apart = ~pair.changed[row, column] & made.good[row, column]
    area = (made.good & ~pair.changed).sum() / 1e6
    return {
        "false +": float(np.sum(apart & ~made.negative) / area),
        "false -": float(np.sum(apart & made.negative) / area),
    }


def _variables(pair: Pair, made: Difference) -> list[int]:
    """Return how many variable stars that changed by more than 6 sigma are found, and of how many."""
    at = np.rint(pair.variable_y).astype(int), np.rint(pair.variable_x).astype(int)
    use = (pair.variable_snr > 6) & made.good[at]
    if not len(made.x):
        return [0, int(use.sum())]
    distance = np.hypot(pair.variable_x[use, None] - made.x, pair.variable_y[use, None] - made.y)
    return [int((distance.min(axis=1) < MATCH_RADIUS).sum()), int(use.sum())]
