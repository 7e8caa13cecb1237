"""Labelled candidates: what align, subtract and detect find on a field with injected sources, and what each is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import KDTree

from firstlight.algorithms.candidate_features import STAMP_FWHM, candidate_features
from firstlight.algorithms.candidate_fits import fit_candidates
from firstlight.algorithms.injection import effective_gain, light_of_stars, point_source_errors
from firstlight.algorithms.network_channels import network_channels
from firstlight.algorithms.warping import PositionMap
from firstlight.errors import BadSubtractionError
from firstlight.framework import Layer, build_config
from firstlight.images.exposure import Exposure
from firstlight.images.psf import FWHM_PER_SIGMA
from firstlight.kernels.arrays import BoolArray, FloatArray
from firstlight.tasks.align import LanczosAlignTask, both_wcs, sky_map
from firstlight.tasks.detect_difference import DetectDifferenceConfig, DetectDifferenceResult, DetectDifferenceTask
from firstlight.tasks.measurement_scene import psf_sigma
from firstlight.tasks.subtract_alard_lupton import AlardLuptonSubtractTask
from firstlight.tasks.vet import VetConfig, candidate_stamps, known_enough, psfs_of, stamp_half
from firstlight.tasks.vet_features import SMALLEST_HALF
from firstlight.training.vet_fields import OVERLAYS, TrainingField

NETWORK_HALF = 12
"""Half size of what the network looks at [pixel]."""

THRESHOLD = 4.5
"""Significance from which candidates are taken: a little below where they are looked for, so that the edge is known."""

_SPACING = 40.0
_SNR_RANGES = ((4.5, 12.0), (12.0, 100.0))
_LABEL_RADIUS = 1.5
_ON_STARS = 0.15
_BENT = 0.02
_WAVE = 200.0


@dataclass(frozen=True)
class VetExamples:
    """Candidates with their labels, one row each.

    Parameters
    ----------
    features : (n, n_features)
    channels : (n, 8, s, s) float16
        One pixel wider on each side than the network looks, so that it can be shown shifted.
    real : (n,)
    snr : (n,)
        True significance of real ones, measured one of false ones.
    peak_snr : (n,)
        Measured significance of every one, by which the detection hands it on.
    kind : (n,)
        What an artefact is; ``real`` for others.
    number : (n,)
        Of the field.
    fwhm : (n,) [pixel]
    weight : (n,)
        How many candidates each stands for.
    """

    features: NDArray[np.float32]
    channels: NDArray[np.float16]
    real: NDArray[np.bool_]
    snr: NDArray[np.float32]
    peak_snr: NDArray[np.float32]
    kind: NDArray[np.str_]
    number: NDArray[np.int64]
    fwhm: NDArray[np.float32]
    weight: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.real)

    def __getitem__(self, rows: NDArray[np.bool_] | NDArray[np.intp]) -> Self:
        return type(self)(**{each.name: getattr(self, each.name)[rows] for each in fields(self)})

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Put examples of several fields together."""
        return cls(**{each.name: np.concatenate([getattr(p, each.name) for p in parts]) for each in fields(cls)})


def make_examples(field: TrainingField, *, seed: int, n_visits: int, hard: bool = False) -> VetExamples:
    """Return the candidates of a field, seen several times with other injections and other registrations.

    Visits whose subtraction leaves so much of the stars that the detection refuses it are left out.

    Parameters
    ----------
    field
    seed
    n_visits
    hard
        As one learns: in half of the visits nothing allows for imperfect subtraction, so that residuals of stars come
        by in numbers; in half the PSF of the template is not quite the one that it says, and stars vary.

    Raises
    ------
    AlgorithmError
        If the pair cannot be subtracted, or no visit is left.
    """
    parts, refused = [], []
    for visit in range(n_visits):
        try:
            parts.append(_visit(field, np.random.default_rng([seed, field.number, visit]), hard=hard))
        except BadSubtractionError as error:
            refused.append(error)
    if not parts:
        raise refused[-1]
    return VetExamples.joined(parts)


def _visit(field: TrainingField, rng: np.random.Generator, *, hard: bool) -> VetExamples:
    into_template = bool(rng.random() < 0.25)
    trusting, rough = (hard and bool(rng.random() < 0.5) for _ in range(2))
    x, y = draw_positions(field, rng, on_stars=_ON_STARS if rough else 0.0)
    science, template = field.science, misshapen(field.template, rng) if rough else field.template
    errors = _rough_errors(field, x, y)
    snr = np.exp(rng.uniform(*np.log(np.array(_SNR_RANGES)[rng.integers(0, 2, len(x))]).T))
    if into_template:
        source, target = both_wcs(template, science)
        at_x, at_y = sky_map(source, target)(x, y)
        template = injected(template, x=at_x, y=at_y, flux=snr * errors / _flux_ratio(field), rng=rng)
    else:
        science = injected(science, x=x, y=y, flux=snr * errors, rng=rng)
    aligned = _aligned(template, science, rng)
    subtracted = AlardLuptonSubtractTask().run(science, aligned)
    settings = {"threshold": THRESHOLD} | ({"systematic_share": 0.0} if trusting else {})
    config = build_config(DetectDifferenceConfig, [Layer.from_mapping(settings, origin="training")], labelled=False)
    found = DetectDifferenceTask(config).run(
        subtracted.difference,
        science=science,
        template=aligned,
        kernel=subtracted.kernel,
        score=subtracted.score,
        kernel_sources=subtracted.kernel_sources,
    )
    return _labelled(field, science, aligned, found, x=x, y=y, flux=snr * errors, negative=into_template)


def draw_positions(
    field: TrainingField, rng: np.random.Generator, *, on_stars: float = 0.0
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Draw where new sources lie: 40 % anywhere, 40 % on galaxies, 20 % beside stars; well apart from each other.

    Parameters
    ----------
    field
    rng
    on_stars
        Share of further ones that lie on stars, as if those varied.
    """
    ny, nx = field.science.shape
    fwhm = FWHM_PER_SIGMA * psf_sigma(field.science)
    n = max(4, round(ny * nx / _SPACING**2))
    anywhere = np.column_stack([rng.uniform(4, nx - 5, n), rng.uniform(4, ny - 5, n)])
    drawn = [anywhere[: round(0.4 * n)]]
    angle, share = rng.uniform(0, 2 * np.pi, n), np.sqrt(rng.random(n))
    turn = np.column_stack([np.cos(angle), np.sin(angle)])
    if len(field.hosts):
        hosts = field.hosts[rng.integers(0, len(field.hosts), round(0.4 * n))]
        m = len(hosts)
        drawn.append(hosts[:, :2] + turn[:m] * (1.5 * hosts[:, 2] * share[:m])[:, None])
    if len(field.stars):
        stars = field.stars[rng.integers(0, len(field.stars), round(0.2 * n))]
        m = len(stars)
        drawn.append(stars + turn[-m:] * (fwhm * (1.0 + 3.0 * share[-m:]))[:, None])
        if on_stars > 0:
            drawn.append(field.stars[rng.integers(0, len(field.stars), round(on_stars * n))])
    places = rng.permutation(np.concatenate(drawn))
    places = places[(places > 3).all(axis=1) & (places[:, 0] < nx - 4) & (places[:, 1] < ny - 4)]
    kept = np.ones(len(places), dtype=bool)
    for first, second in sorted(KDTree(places).query_pairs(max(6.0 * fwhm, 16.0))):
        kept[second] &= not kept[first]
    return places[kept, 0], places[kept, 1]


def injected(
    exposure: Exposure, *, x: FloatArray, y: FloatArray, flux: FloatArray, rng: np.random.Generator
) -> Exposure:
    """Add point sources with photon noise and a PSF that is up to 2 % wider or narrower than the model, each way.

    Parameters
    ----------
    exposure
    x, y : (n,) [pixel]
    flux : (n,) [unit of the exposure]
    rng
    """
    if exposure.psf is None:
        raise AssertionError("Fields carry their PSF.")
    light = light_of_stars(exposure.shape, psf=exposure.psf, x=x, y=y, flux=flux)
    light = np.maximum(light + _bends(light, rng.uniform(-1.0, 1.0, 3) * _BENT * psf_sigma(exposure) ** 2), 0.0)
    bad = exposure.mask.any_of("SAT", "BAD", "NO_DATA", "CR")
    gain = effective_gain(exposure.image, exposure.variance, bad=bad)
    gain = gain or (exposure.detector.gain if exposure.detector and exposure.detector.gain else 1.0)
    seen = rng.poisson(light * gain) / gain
    return exposure.replace(
        image=(exposure.image + seen).astype(np.float32),
        variance=(exposure.variance + light / gain).astype(np.float32),
    )


def misshapen(exposure: Exposure, rng: np.random.Generator) -> Exposure:
    """Return an exposure whose PSF is up to 3 % wider or narrower than it says along each axis, in waves.

    Parameters
    ----------
    exposure
    rng
    """
    sigma = psf_sigma(exposure)
    # Of a smooth image, so that the noise stays as it is; its curvature at a star is a quarter of the star's own.
    smooth = ndimage.gaussian_filter(np.nan_to_num(exposure.image), sigma)
    rows, columns = np.mgrid[: exposure.shape[0], : exposure.shape[1]]
    bends = []
    for _ in range(3):
        (along_x, along_y), phase = rng.normal(0.0, 1.0 / _WAVE, 2), rng.uniform(0, 2 * np.pi)
        wave = np.sin(2 * np.pi * (along_x * columns + along_y * rows) + phase)
        bends.append(rng.random() * 4.0 * 1.5 * _BENT * sigma**2 * wave)
    return exposure.replace(image=(exposure.image + _bends(smooth, bends)).astype(np.float32))


def _bends(light: FloatArray, bends: Sequence[FloatArray] | FloatArray) -> NDArray[np.float64]:
    """Return what makes light wider along x, y and the diagonals [pixel^2], where it is negative narrower."""
    yy, xx = (ndimage.correlate1d(light, (1.0, -2.0, 1.0), axis=axis) for axis in (0, 1))
    xy = np.gradient(np.gradient(light, axis=0), axis=1)
    return np.asarray(bends[0] * xx + bends[1] * yy + bends[2] * xy)


def as_bright(height: FloatArray, expected: FloatArray, *, overlaid: BoolArray) -> BoolArray:
    """Return (n,) which detections are as significant as the sources injected there: others are neither real nor false.

    What the subtraction leaves may take half away from a source or add half to it. On an artefact only the noise and
    the PSF excuse a difference, for then the artefact may be most of what was detected.

    Parameters
    ----------
    height, expected : (n,)
        Significance measured, and that of the injected source.
    overlaid : (n,)
        Whether an artefact lies there.
    """
    change = height - expected
    return np.asarray(np.where(overlaid, np.abs(change) < 3.0 + 0.1 * expected, np.abs(change) < 3.0 + 0.5 * expected))


def _rough_errors(field: TrainingField, x: FloatArray, y: FloatArray) -> NDArray[np.float64]:
    """Return the expected error of a faint flux on the difference, from the skies of both exposures."""
    science = field.science
    if science.psf is None:
        raise AssertionError("Fields carry their PSF.")
    errors = point_source_errors(science.variance, psf=science.psf, x=x, y=y, bad=~(science.variance > 0))
    share = np.median(field.template.variance) * _flux_ratio(field) ** 2 / np.median(science.variance)
    known = np.nan_to_num(errors, nan=float(np.nanmedian(errors)))
    return np.asarray(known * np.sqrt(1.0 + float(share)))


def _flux_ratio(field: TrainingField) -> float:
    """Return the flux of a star in the science exposure over that in the template, as far as calibrations tell."""
    calibs = field.science.photo_calib, field.template.photo_calib
    if calibs[0] is None or calibs[1] is None or field.science.unit == "nJy":
        return 1.0
    return float(calibs[1].mean / calibs[0].mean)


def _aligned(template: Exposure, science: Exposure, rng: np.random.Generator) -> Exposure:
    """Resample the template, a third of the time with a shift and a third with waves of up to half a pixel."""
    source, target = both_wcs(template, science)
    exact = sky_map(source, target)
    way = rng.integers(0, 3)
    shift, wave = rng.uniform(-0.35, 0.35, 2), rng.uniform(-0.3, 0.3, 2) * float(way == 2)
    length, phase = rng.uniform(150, 500, 2), rng.uniform(0, 2 * np.pi, 2)

    def position(x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
        at_x, at_y = exact(x, y)
        return (
            at_x + shift[0] * (way > 0) + wave[0] * np.sin(2 * np.pi * y / length[0] + phase[0]),
            at_y + shift[1] * (way > 0) + wave[1] * np.sin(2 * np.pi * x / length[1] + phase[1]),
        )

    chosen: PositionMap = exact if way == 0 else position
    return LanczosAlignTask().warped(template, science.shape, wcs=science.wcs, position=chosen).exposure


def _labelled(
    field: TrainingField,
    science: Exposure,
    template: Exposure,
    found: DetectDifferenceResult,
    *,
    x: FloatArray,
    y: FloatArray,
    flux: FloatArray,
    negative: bool,
) -> VetExamples:
    difference, sources = found.difference, found.sources
    psfs = psfs_of(science, template, difference)
    fwhm = FWHM_PER_SIGMA * psf_sigma(difference)
    at_x, at_y = (np.asarray(sources[name], dtype=np.float64) for name in ("x", "y"))
    placed = np.isfinite(at_x) & np.isfinite(at_y)
    sources, at_x, at_y = sources[placed], at_x[placed], at_y[placed]
    errors = point_source_errors(
        difference.variance, psf=psfs.difference, x=x, y=y, bad=difference.mask.any_of("NO_DATA", "SAT")
    )
    truth = np.nan_to_num(flux / errors, nan=0.0)
    gap, nearest = KDTree(np.column_stack([x, y])).query(np.column_stack([at_x, at_y]))
    kinds = field.kinds(at_x, at_y)
    sign = np.asarray(sources["is_negative"], dtype=bool)
    height = np.abs(np.nan_to_num(np.asarray(sources["peak_snr"], dtype=np.float64)))
    expected = truth[nearest]
    real = (gap < max(_LABEL_RADIUS, 0.5 * fwhm)) & (sign == negative)
    real &= as_bright(height, expected, overlaid=np.isin(kinds, OVERLAYS))
    kept = real | (gap > max(3.0 * fwhm, 8.0))
    own = stamp_half(fwhm, in_fwhm=STAMP_FWHM, at_least=SMALLEST_HALF)
    half = max(NETWORK_HALF + 1, own)
    stamps = candidate_stamps(science, template, difference, x=at_x, y=at_y, half=half)
    kept &= known_enough(stamps, fwhm=fwhm, config=VetConfig())
    stamps = stamps[kept].upright(sign[kept])
    fits = fit_candidates(stamps, psfs=psfs, fwhm=fwhm)
    return VetExamples(
        features=candidate_features(stamps.cropped(own), fits, fwhm=fwhm).astype(np.float32),
        channels=network_channels(stamps.cropped(NETWORK_HALF + 1), fits, fwhm=fwhm).astype(np.float16),
        real=real[kept],
        snr=np.where(real, expected, height)[kept].astype(np.float32),
        peak_snr=height[kept].astype(np.float32),
        kind=np.where(real, "real", kinds)[kept].astype("U10"),
        number=np.full(int(kept.sum()), field.number, dtype=np.int64),
        fwhm=np.full(int(kept.sum()), fwhm, dtype=np.float32),
        weight=np.ones(int(kept.sum()), dtype=np.float32),
    )
