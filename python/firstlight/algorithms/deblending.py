"""Take the sources of an image apart: stars by fitting them, all else by symmetry."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from firstlight.algorithms.detection import Detections
from firstlight.algorithms.psf_flux import PsfFluxes, StarScene, fit_star_scene
from firstlight.algorithms.source_light import SourceLight
from firstlight.images.psf import Psf
from firstlight.kernels.arrays import BoolArray, FloatArray, IntArray
from firstlight.kernels.deblending import share_light, star_light, symmetric_templates
from firstlight.kernels.planes import as_plane
from firstlight.kernels.psf_flux_fit import add_star

_GROWTH = 1.5
_MARGIN = 2
_MAX_MEDIAN = 3
_NEAR_FWHM = 4.4
_REFINED_SNR = 8.0


@dataclass(frozen=True)
class DeblendLimits:
    """What the deblender takes on.

    Parameters
    ----------
    max_chi2
        A source whose fit as a star has a smaller chi-square per degree of freedom is one.
    max_misfit
        So is one whose residual is no larger than this share of it, where noise no longer matters.
    max_area : [pixel]
        Larger blends are left alone.
    max_peaks
        So are blends of more sources.
    bright_snr
        Sources above this are taken off their surroundings even where no other is near.
    """

    max_chi2: float = 1.5
    max_misfit: float = 0.03
    max_area: int = 100_000
    max_peaks: int = 10_000
    bright_snr: float = 300.0


def deblend(
    image: FloatArray,
    *,
    variance: FloatArray,
    bad: BoolArray,
    psf: Psf,
    detections: Detections,
    limits: DeblendLimits | None = None,
) -> SourceLight:
    """Tell apart the light of all sources that come near another one.

    First all of them are fitted as stars, together, from their isophotal centroids, and those that fit are taken off
    the image. What is left of the others is shared, pixel by pixel, in the ratio of their templates: the fainter of
    each pixel and its mirror image about the centre, smoothed by a median, nowhere brighter than further in. That is
    the deblender of SDSS (Lupton 2005, "SDSS Image Processing I: The Deblender"; Bosch et al. 2018, PASJ 70, S5,
    section 4.8), except that stars are recognised first and with their wings. Holes and empty positions are left in
    the image, and so are sources without a neighbour within two radii of a star.

    Parameters
    ----------
    image, variance : (ny, nx) [count], [count^2]
        Without sky.
    bad : (ny, nx)
        Pixels that tell nothing about a source.
    psf
    detections
        From `firstlight.algorithms.detection`.
    limits
        The defaults of `DeblendLimits` if None.
    """
    limits = limits or DeblendLimits()
    image = as_plane(image)
    snr = detections.peak_snr
    blend_area = np.bincount(detections.parent, detections.area, minlength=1)[detections.parent]
    blend_size = np.bincount(detections.parent, minlength=1)[detections.parent]
    real = (snr > 0) & ~detections.sky
    skipped = real & ((blend_area > limits.max_area) | (blend_size > limits.max_peaks))
    which = np.flatnonzero(
        real & ~skipped & (_near_another(detections, psf, of=real) | (blend_size > 1) | (snr > limits.bright_snr))
    )
    at = {"x": detections.x[which], "y": detections.y[which]}
    scene = fit_star_scene(image, variance=variance, bad=bad, psf=psf, **at, refinements=1, refine_snr=_REFINED_SNR)
    point_like = is_point_like(scene.fluxes, limits)
    boxes, first, light = light_of_stars(scene, detections, which=which, point_like=point_like)
    if not point_like.all():
        _share_others(scene, ~point_like, which, boxes, first, light, bad=bad, fwhm=_fwhm(psf), detections=detections)
    result = np.zeros((2, detections.n_peaks), dtype=bool)
    result[0, which], result[1, which] = point_like, ~point_like
    return SourceLight(
        residual=scene.residual,
        light=light,
        boxes=boxes,
        first=first,
        labels=detections.labels,
        point_like=result[0],
        symmetric=result[1],
        skipped=skipped,
    )


def light_of_stars(
    scene: StarScene, detections: Detections, *, which: NDArray[np.int64], point_like: BoolArray
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Return ``boxes``, ``first`` and ``light`` of a `SourceLight` in which only the stars have light.

    Parameters
    ----------
    scene
    detections
    which : (m,)
        The detection that each source of the scene is.
    point_like : (m,)
        Those that are stars.
    """
    boxes = _boxes(detections, scene, which, point_like, scene.residual.shape)
    first = np.concatenate([[0], np.cumsum(boxes[:, 2] * boxes[:, 3])])
    light = np.zeros(first[-1], dtype=np.float32)
    for stamps, among in _stamps(scene, point_like):
        place = scene.column[among], scene.row[among]
        star_light(stamps, scene.fluxes.flux[among], *place, boxes, first, which[among], light)
    return boxes, first, light


def put_back(scene: StarScene, among: BoolArray) -> None:
    """Add some of the stars of a scene to its residual, in place.

    Parameters
    ----------
    scene
    among : (n,)
    """
    for stamps, rows in _stamps(scene, among):
        for k, stamp in zip(rows, stamps, strict=True):
            add_star(scene.residual, stamp, scene.column[k], scene.row[k], scene.fluxes.flux[k])


def _near_another(detections: Detections, psf: Psf, *, of: BoolArray) -> BoolArray:
    """Return which sources have another one so near that its light could matter."""
    reach = _NEAR_FWHM * _fwhm(psf)
    near = np.zeros(detections.n_peaks, dtype=bool)
    rows = np.flatnonzero(of)
    if len(rows) > 1:
        positions = np.column_stack([detections.peak_x[rows], detections.peak_y[rows]]).astype(np.float64)
        distance, _ = cKDTree(positions).query(positions, k=2, distance_upper_bound=reach)
        near[rows] = np.isfinite(distance[:, 1])
    return near


def is_point_like(fluxes: PsfFluxes, limits: DeblendLimits) -> BoolArray:
    """Return which sources fit as stars.

    Parameters
    ----------
    fluxes
        Of the fit of all sources together.
    limits
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        excess = (fluxes.chi2 - limits.max_chi2) * np.maximum(fluxes.n_good - 1, 1)
        small = excess < (limits.max_misfit * fluxes.flux / fluxes.flux_err) ** 2
    return np.asarray(~fluxes.flag & (fluxes.flux > 0) & ((fluxes.chi2 < limits.max_chi2) | small))


def _boxes(
    detections: Detections, scene: StarScene, which: IntArray, point_like: BoolArray, shape: tuple[int, ...]
) -> NDArray[np.int64]:
    """Return the boxes of all sources, which hold their regions, and the stamps or templates of those told apart."""
    low = np.column_stack([detections.x_min, detections.y_min]).astype(np.int64)
    high = np.column_stack([detections.x_max, detections.y_max]).astype(np.int64)
    centre = np.column_stack([scene.column, scene.row])
    span = np.maximum(centre - low[which], high[which] - centre).max(axis=1, initial=0)
    reach = np.where(point_like, scene.radius, (_GROWTH * span).astype(np.int64) + _MARGIN)[:, None]
    low[which], high[which] = np.minimum(low[which], centre - reach), np.maximum(high[which], centre + reach)
    low, high = np.maximum(low, 0), np.minimum(high, [shape[1] - 1, shape[0] - 1])
    return np.concatenate([low, np.maximum(high - low + 1, 0)], axis=1)


def _stamps(scene: StarScene, among: BoolArray) -> list[tuple[NDArray[np.float64], IntArray]]:
    """Return the unit stars as they were taken off, small ones and large ones, and which sources they are."""
    small, large = np.flatnonzero(among & (scene.wide_of < 0)), np.flatnonzero(among & (scene.wide_of >= 0))
    return [(scene.cores[small], small), (scene.wide[scene.wide_of[large]], large)]


def _share_others(
    scene: StarScene,
    among: BoolArray,
    which: IntArray,
    boxes: NDArray[np.int64],
    first: NDArray[np.int64],
    light: NDArray[np.float32],
    *,
    bad: BoolArray,
    fwhm: float,
    detections: Detections,
) -> None:
    """Put the sources that are no stars back into the residual, and share what is there among them."""
    put_back(scene, among)
    rows = np.flatnonzero(among)
    sources = which[rows]
    own = (sources + 1).astype(np.int64)
    size = boxes[sources, 2] * boxes[sources, 3]
    part = np.concatenate([[0], np.cumsum(size)])
    templates = symmetric_templates(
        scene.residual,
        ~bad,
        detections.labels,
        detections.parent,
        own,
        np.rint(2.0 * scene.fluxes.x[rows]).astype(np.int64),
        np.rint(2.0 * scene.fluxes.y[rows]).astype(np.int64),
        boxes[sources],
        part,
        min(_MAX_MEDIAN, int(0.4 * fwhm)),
    )
    shared = share_light(scene.residual, detections.labels, own, boxes[sources], part, templates)
    for k, source in enumerate(sources):
        light[first[source] : first[source + 1]] = shared[part[k] : part[k + 1]]


def _fwhm(psf: Psf) -> float:
    x, y = psf.average_position
    return psf.fwhm(x=x, y=y)
