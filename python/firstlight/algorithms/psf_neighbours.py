"""Take the light of other sources off the stamps of stars."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from firstlight.algorithms.psf_moffat import MoffatField
from firstlight.algorithms.psf_stamps import StarStamps
from firstlight.kernels.arrays import FloatArray
from firstlight.kernels.psf_profiles import moffat_sums

_SAME_FWHM = 0.5
_REACH_FWHM = 3.0
_FAINTEST = 0.1
_ERROR = 0.1


@dataclass(frozen=True)
class Neighbours:
    """Sources of an image; those at the place of a star are taken to be the star.

    Parameters
    ----------
    x, y : (n,) [pixel]
    flux : (n,) [count]
        NaN where it is not known: pixels near such a source are not used.
    """

    x: FloatArray
    y: FloatArray
    flux: FloatArray


def subtract_neighbours(
    stamps: StarStamps,
    *,
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    flux: NDArray[np.float64],
    neighbours: Neighbours,
    field: MoffatField,
) -> StarStamps:
    """Subtract all other sources with the current profile, and add what is uncertain about them to the noise.

    Parameters
    ----------
    stamps
        Stars with their neighbours.
    x, y, flux : (n,) [pixel], [count]
        Current fit of the stars; where a neighbour is the star itself, the ratio of the fluxes sets the scale of all.
    neighbours
        All sources; the stars may be among them.
    field
        Profile of a star.
    """
    fwhm = field.fwhm
    tree = cKDTree(np.column_stack([neighbours.x, neighbours.y]))
    distance, nearest = tree.query(np.column_stack([x, y]))
    ratios = (flux / neighbours.flux[nearest])[distance < _SAME_FWHM * fwhm]
    ratios = ratios[np.isfinite(ratios) & (ratios > 0)]
    scale = float(np.median(ratios)) if len(ratios) else 1.0
    noise_level = float(np.sqrt(np.median(stamps.noise[stamps.noise > 0])))
    member, stamp = _pairs(tree, stamps, x=x, y=y, fwhm=fwhm, neighbours=neighbours)
    known = np.isfinite(neighbours.flux[member])
    bright = scale * np.nan_to_num(neighbours.flux[member]) * 0.5 / fwhm**2 > _FAINTEST * noise_level
    keep = known & bright
    model = _draw(stamps, stamp[keep], member[keep], scale=scale, neighbours=neighbours, field=field)
    noise = np.where(stamps.noise > 0, stamps.noise + stamps.gain_slope * model + (_ERROR * model) ** 2, 0.0)
    for i, j in zip(stamp[~known], member[~known], strict=True):
        noise[i] *= _distance_from(stamps, i, float(neighbours.x[j]), float(neighbours.y[j])) > fwhm
    return replace(stamps, data=np.where(noise > 0, stamps.data - model, 0.0), noise=noise)


def _pairs(
    tree: cKDTree,
    stamps: StarStamps,
    *,
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    fwhm: float,
    neighbours: Neighbours,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return neighbour and stamp of every neighbour whose light falls on a stamp, ordered by stamp."""
    reach = np.sqrt(2.0) * stamps.radius + _REACH_FWHM * fwhm
    lists = tree.query_ball_point(np.column_stack([x, y]), reach)
    stamp = np.repeat(np.arange(len(stamps)), [len(members) for members in lists])
    member = np.concatenate([np.asarray(members, dtype=np.int64) for members in lists])
    apart = np.hypot(neighbours.x[member] - x[stamp], neighbours.y[member] - y[stamp])
    other = apart >= _SAME_FWHM * fwhm
    return member[other], stamp[other]


def _draw(
    stamps: StarStamps,
    stamp: NDArray[np.int64],
    member: NDArray[np.int64],
    *,
    scale: float,
    neighbours: Neighbours,
    field: MoffatField,
) -> NDArray[np.float64]:
    x, y = np.asarray(neighbours.x, np.float64)[member], np.asarray(neighbours.y, np.float64)[member]
    first = np.searchsorted(stamp, np.arange(len(stamps) + 1))
    flux = scale * np.asarray(neighbours.flux, np.float64)[member]
    model: NDArray[np.float64] = moffat_sums(
        first, x - stamps.x[stamp], y - stamps.y[stamp], flux, field.shapes(x=x, y=y), field.beta, stamps.radius
    )
    return model


def _distance_from(stamps: StarStamps, i: int, x: float, y: float) -> NDArray[np.float64]:
    steps = np.arange(-stamps.radius, stamps.radius + 1)
    return np.asarray(np.hypot(steps[None, :] + stamps.x[i] - x, steps[:, None] + stamps.y[i] - y))
