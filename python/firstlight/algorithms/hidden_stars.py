"""Find the stars that show only when their neighbours are taken off."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from firstlight.algorithms.deblending import DeblendLimits, is_point_like
from firstlight.algorithms.detection import Detections, detect_sources, smooth_for_detection
from firstlight.algorithms.detection_lists import with_members
from firstlight.algorithms.psf_flux import StarScene, fit_star_scene
from firstlight.images.psf import FWHM_PER_SIGMA, Psf
from firstlight.kernels.arrays import BoolArray, FloatArray
from firstlight.kernels.planes import as_plane

_REFINED_SNR = 8.0
_GROUP_FWHM = 2.0
_STEPS_APART = 2


@dataclass(frozen=True)
class HiddenLimits:
    """What counts as a star beside its neighbours.

    Parameters
    ----------
    threshold : [standard deviation]
        Significance in the residual, and of the flux once all are fitted together.
    model_error
        What the stars that were taken off may be wrong by, in units of their smoothed light; it adds to the noise.
    min_separation : [FWHM]
        Least distance from any other source.
    """

    threshold: float = 5.0
    model_error: float = 0.02
    min_separation: float = 0.5


def find_hidden_stars(
    image: FloatArray,
    *,
    variance: FloatArray,
    bad: BoolArray,
    psf: Psf,
    psf_sigma: float,
    detections: Detections,
    limits: HiddenLimits | None = None,
    stars: DeblendLimits | None = None,
) -> Detections:
    """Return the detections with the stars after them that were hidden in the light of others.

    All sources are fitted as stars, together, and taken off. What then stands out within their footprints is fitted
    along with them. It stays if its flux is significant and it is a star, and so is every source beside it: what is no
    star leaves a residual that is none either. That is how DAOPHOT finds stars in crowded fields (Stetson 1987, PASP
    99, 191, section III.D.3).

    Parameters
    ----------
    image, variance : (ny, nx) [count], [count^2]
        Without sky.
    bad : (ny, nx)
        Pixels that tell nothing about a source.
    psf
    psf_sigma : [pixel]
        Its standard deviation.
    detections
        From `firstlight.algorithms.detection`.
    limits, stars
        The defaults of `HiddenLimits` if None; and when a source is a star, those of `DeblendLimits`.
    """
    limits, stars = limits or HiddenLimits(), stars or DeblendLimits()
    image = as_plane(image)
    known = np.flatnonzero((detections.peak_snr > 0) & ~detections.sky)
    fit = partial(fit_star_scene, image, variance=variance, bad=bad, psf=psf)
    scene = fit(x=detections.x[known], y=detections.y[known], refinements=1, refine_snr=_REFINED_SNR)
    found = _residual_peaks(image, variance, bad, scene, psf_sigma=psf_sigma, limits=limits)
    inside = np.flatnonzero(detections.footprints[found.peak_y, found.peak_x])
    if len(inside) == 0:
        return detections
    x, y = np.append(scene.fluxes.x, found.x[inside]), np.append(scene.fluxes.y, found.y[inside])
    # A single star was fitted between the two: both have to move apart.
    both = fit(x=x, y=y, refinements=_STEPS_APART, refine_snr=limits.threshold)
    new = np.arange(len(x)) >= len(known)
    kept = np.flatnonzero((new & credible_stars(both, new, FWHM_PER_SIGMA * psf_sigma, limits, stars))[len(known) :])
    rows = len(known) + kept
    return _with_stars(detections, found, inside[kept], x=both.fluxes.x[rows], y=both.fluxes.y[rows])


def _residual_peaks(
    image: NDArray[np.float32],
    variance: FloatArray,
    bad: BoolArray,
    scene: StarScene,
    *,
    psf_sigma: float,
    limits: HiddenLimits,
) -> Detections:
    """Return what stands out of the image without the stars."""
    smooth = partial(smooth_for_detection, variance=variance, bad=bad, psf_sigma=psf_sigma)
    residual, taken = smooth(scene.residual), smooth(image - scene.residual)
    noise = np.hypot(residual.sigma, np.float32(limits.model_error) * taken.flux)
    return detect_sources(replace(residual, sigma=noise), threshold=limits.threshold)


def credible_stars(
    scene: StarScene, new: BoolArray, fwhm: float, limits: HiddenLimits, stars: DeblendLimits
) -> NDArray[np.bool_]:
    """Return which sources are significant stars among stars, and not too near to an older or brighter source.

    Parameters
    ----------
    scene
        All sources fitted together.
    new : (n,)
        Sources that were not known before.
    fwhm : [pixel]
    limits, stars
        As `find_hidden_stars` takes them.
    """
    fluxes, star = scene.fluxes, is_point_like(scene.fluxes, stars)
    with np.errstate(invalid="ignore", divide="ignore"):
        good = star & (fluxes.flux > limits.threshold * fluxes.flux_err)
    pairs = cKDTree(np.column_stack([fluxes.x, fluxes.y])).query_pairs(_GROUP_FWHM * fwhm, output_type="ndarray")
    near = np.hypot(*(places[pairs[:, 0]] - places[pairs[:, 1]] for places in (fluxes.x, fluxes.y)))
    for one, two in (pairs.T, pairs.T[::-1]):
        behind = new[one] & (~new[two] | (fluxes.flux[one] <= fluxes.flux[two]))
        good[one[behind & (near < limits.min_separation * fwhm)]] = False
        good[one[~star[two] & ~new[two]]] = False
    return np.asarray(good)


def _with_stars(
    detections: Detections,
    found: Detections,
    rows: NDArray[np.int64],
    *,
    x: NDArray[np.float64],
    y: NDArray[np.float64],
) -> Detections:
    """Return the detections with some of those in the residual after them, at better positions, in the same families.

    Pixels of theirs that are nearer to them than to their former owner become theirs; it may be none.
    """
    ny, nx = detections.labels.shape
    column, row = np.clip(np.rint(x).astype(np.int64), 0, nx - 1), np.clip(np.rint(y).astype(np.int64), 0, ny - 1)
    n = len(rows)
    number = np.full(found.n_peaks + 1, -1, dtype=np.int64)
    number[rows + 1] = np.arange(n)
    pixel_y, pixel_x = np.nonzero(number[found.labels] >= 0)
    source = number[found.labels[pixel_y, pixel_x]]
    owner = detections.labels[found.peak_y[rows], found.peak_x[rows]]
    fresh = int(detections.parent.max(initial=-1)) + 1 + np.arange(n)
    parent = np.where(owner > 0, detections.parent[owner - 1], fresh)
    added = {"x": x, "y": y, "peak_x": column, "peak_y": row, "merged": np.zeros(n, bool), "sky": np.zeros(n, bool)}
    added["parent"] = parent
    added |= {"x_min": np.minimum(found.x_min[rows], column), "x_max": np.maximum(found.x_max[rows], column)}
    added |= {"y_min": np.minimum(found.y_min[rows], row), "y_max": np.maximum(found.y_max[rows], row)}
    added |= {name: getattr(found, name)[rows] for name in ("peak_snr", "flux", "a", "b", "theta", "edge")}
    return with_members(detections, added, row=pixel_y, column=pixel_x, source=source)
