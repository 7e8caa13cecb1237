"""Pairs of calibrated exposures to learn vetting from: simulated fields full of artefacts, or a user's images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray
from scipy import ndimage

from firstlight.errors import InputError
from firstlight.framework import Layer, build_config
from firstlight.images.exposure import Exposure, plain_header
from firstlight.images.fits import RawImage, read_exposure
from firstlight.images.psf import FWHM_PER_SIGMA
from firstlight.instruments.registry import get_instrument
from firstlight.kernels.arrays import FloatArray
from firstlight.simulation import SimulatedExposure, SimulationSettings, simulate_exposure
from firstlight.simulation.detector import TruthBit
from firstlight.tasks.align import sky_map
from firstlight.tasks.calibrate_image import CalibrateImageTask
from firstlight.tasks.calibrate_image_contract import CalibrateImageConfig
from firstlight.tasks.measurement_scene import psf_sigma

KINDS = ("trail", "cosmic_ray", "hot_pixel", "bad_column", "saturated", "edge", "star", "galaxy", "noise", "unknown")
"""What an artefact can be; the first that fits."""

_BITS = {
    "trail": TruthBit.TRAIL,
    "cosmic_ray": TruthBit.COSMIC_RAY,
    "hot_pixel": TruthBit.HOT,
    "bad_column": TruthBit.BAD_COLUMN,
    "saturated": TruthBit.SATURATED,
}
OVERLAYS = tuple(_BITS)
"""Artefacts that may lie on top of a new source."""

_SEEING = (1.5, 5.0)
_WILD_SEEING = (1.8 / 1.3, 4.2 * 1.3)
_EDGE = 16.0
_STAR_SNR = 15.0

Classifier = Callable[[FloatArray, FloatArray], NDArray[np.str_]]
"""Positions [pixel] to the kind that an artefact there is."""


@dataclass(frozen=True)
class TrainingField:
    """Two calibrated exposures of a field, neither aligned nor subtracted.

    Parameters
    ----------
    number
        Fields, not candidates, are divided into those to learn from and those to judge by.
    science, template
        With PSF and WCS.
    hosts : (n, 3) [pixel]
        x, y and half-light radius of galaxies on the science exposure.
    stars : (m, 2) [pixel]
        x, y of well-seen stars that are not saturated.
    kinds
        Tells artefacts apart.
    """

    number: int
    science: Exposure
    template: Exposure
    hosts: NDArray[np.float64]
    stars: NDArray[np.float64]
    kinds: Classifier


def draw_settings(seed: int, *, side: int, wild: bool = False) -> tuple[SimulationSettings, SimulationSettings, bool]:
    """Draw how a field looks: settings of the science exposure and of the template, and whether rays are repaired.

    Parameters
    ----------
    seed
    side : [pixel]
    wild
        Draw seeing, density and rates of artefacts from wider ranges, to judge a model beyond what it knows.
    """
    rng = np.random.default_rng([seed, 11])
    stretch = 1.3 if wild else 1.0

    def between(low: float, high: float) -> float:
        return float(np.exp(rng.uniform(np.log(low / stretch), np.log(high * stretch))))

    fwhm = float(np.exp(rng.uniform(*np.log(_WILD_SEEING if wild else _SEEING))))
    settings = SimulationSettings(shape=(side, side), header_wcs="exact").varied(
        fwhm=fwhm,
        beta=between(2.6, 4.5),
        ellipticity=min(0.12 * stretch * rng.random(), 0.3),
        star_density=between(8_000, 60_000),
        galaxy_fraction=between(0.1, 0.4),
        variable_fraction=0.0,
        transient_density=0.0,
        sky_level=between(80, 1500),
        gain=between(1.5, 8.0),
        cosmic_rays=between(40, 300),
        hot_pixels=between(20, 150),
        bad_columns=between(1.0, 5.0),
        satellite_trails=int(rng.random() < 0.4 * stretch),
        dither=20.0,
        saturation=between(20_000, 60_000),
    )
    template = settings.varied(
        fwhm=max(fwhm * float(rng.uniform(0.75, 1.1)), 1.2),
        gain=settings.detector.gain * float(rng.choice([1.0, 3.0, 8.0])),
        satellite_trails=int(rng.random() < 0.15),
    )
    return settings, template, bool(rng.random() < 0.6)


def simulate_field(number: int, *, seed: int, side: int, wild: bool = False) -> TrainingField:
    """Simulate a field and calibrate its two exposures as ``firstlight process`` does, with the WCS that is true.

    Parameters
    ----------
    number
    seed
        Of the sky and of the camera.
    side : [pixel]
    wild
        See `draw_settings`.

    Raises
    ------
    AlgorithmError
        If an exposure cannot be calibrated.
    """
    science_settings, template_settings, repaired = draw_settings(seed, side=side, wild=wild)
    truths = (
        simulate_exposure(science_settings, seed=seed, epoch=0, n_epochs=2),
        simulate_exposure(template_settings, seed=seed, epoch=1, n_epochs=2),
    )
    layers = [] if repaired else [Layer.from_assignment("cosmic_rays=null")]
    task = CalibrateImageTask(build_config(CalibrateImageConfig, layers, labelled=False))
    instrument = get_instrument("simulated")
    science, template = (
        task.run(instrument.to_exposure(RawImage(truth.image, plain_header(truth.header), 0))).exposure
        for truth in truths
    )
    sources = truths[0].sources
    kind, snr = np.asarray(sources["kind"]), _source_snr(sources, science)
    at = np.stack([sources["x"].data, sources["y"].data], axis=1)
    galaxies = (kind == "galaxy") & (snr > 3.0)
    radius = sources["half_light_radius"].data / science_settings.optics.pixel_scale
    return TrainingField(
        number=number,
        science=science,
        template=template,
        hosts=np.column_stack([at, radius])[galaxies],
        stars=at[(kind == "star") & (snr > _STAR_SNR) & ~sources["saturated"].data],
        kinds=_truth_classifier(truths, science, template, at=at, snr=snr, galaxy=kind == "galaxy"),
    )


def read_field(number: int, *, science: Path, template: Path) -> TrainingField:
    """Read a pair that ``firstlight process`` calibrated.

    Parameters
    ----------
    number
    science, template

    Raises
    ------
    InputError
        If a file is no exposure with a PSF and a WCS.
    """
    exposures = [read_exposure(path) for path in (science, template)]
    for path, exposure in zip((science, template), exposures, strict=True):
        if exposure.psf is None or exposure.wcs is None:
            raise InputError(f"{path}: needs a PSF and a WCS; 'firstlight process' writes such exposures.")
    seen = exposures[0].mask.any_of("DETECTED") & ~exposures[0].mask.any_of("SAT")
    labels, n = ndimage.label(seen)
    area = np.bincount(labels.ravel(), minlength=n + 1)[1:]
    middle = np.array(ndimage.center_of_mass(seen, labels, np.arange(1, n + 1))).reshape(-1, 2)[:, ::-1]
    # Without a catalogue the large footprints stand for galaxies: new sources lie on extended light too.
    large = area > 3.0 * (FWHM_PER_SIGMA * psf_sigma(exposures[0])) ** 2
    return TrainingField(
        number=number,
        science=exposures[0],
        template=exposures[1],
        hosts=np.column_stack([middle, np.sqrt(area / np.pi) / 2.0])[large],
        stars=middle[~large],
        kinds=lambda x, y: np.full(len(x), "unknown"),
    )


def _source_snr(sources: Table, exposure: Exposure) -> NDArray[np.float64]:
    """Return a rough significance of each source: its flux over the noise of the sky under a PSF."""
    noise = float(np.sqrt(np.median(exposure.variance)))
    return np.asarray(sources["flux"].data / (noise * np.sqrt(4.0 * np.pi) * psf_sigma(exposure)))


def _truth_classifier(
    truths: tuple[SimulatedExposure, SimulatedExposure],
    science: Exposure,
    template: Exposure,
    *,
    at: NDArray[np.float64],
    snr: NDArray[np.float64],
    galaxy: NDArray[np.bool_],
) -> Classifier:
    if science.wcs is None or template.wcs is None:
        raise AssertionError("Simulated exposures carry their WCS.")
    to_template = sky_map(template.wcs, science.wcs)
    fwhm = FWHM_PER_SIGMA * psf_sigma(science)
    reach = {name: max(2, round(0.8 * fwhm)) for name in _BITS} | {"saturated": round(2.0 * fwhm)}
    grown = [
        {name: ndimage.binary_dilation((truth.mask & bit) > 0, iterations=reach[name]) for name, bit in _BITS.items()}
        for truth in truths
    ]
    # Wings fall about with the fourth power of the distance: what is left of a brighter star lies farther out.
    reach_of = 1.5 * fwhm * np.maximum(snr / _STAR_SNR, 0.0) ** 0.25
    bright = {"star": ~galaxy & (snr > _STAR_SNR), "galaxy": galaxy & (snr > _STAR_SNR)}

    def classify(x: FloatArray, y: FloatArray) -> NDArray[np.str_]:
        positions = (np.asarray(x), np.asarray(y)), to_template(np.asarray(x), np.asarray(y))
        kinds = np.full(len(x), "noise", dtype="U10")
        for name in ("galaxy", "star"):
            gap = np.hypot(*(axis[:, None] - at[bright[name], k] for k, axis in enumerate((x, y))))
            kinds[(gap < reach_of[bright[name]]).any(axis=1)] = name
        for (at_x, at_y), truth in zip(positions, truths, strict=True):
            ny, nx = truth.mask.shape
            kinds[(np.minimum(at_x, at_y) < _EDGE) | (at_x > nx - _EDGE) | (at_y > ny - _EDGE)] = "edge"
        for name in reversed(_BITS):
            for (at_x, at_y), maps in zip(positions, grown, strict=True):
                ny, nx = maps[name].shape
                column = np.clip(np.rint(at_x), 0, nx - 1).astype(int)
                kinds[maps[name][np.clip(np.rint(at_y), 0, ny - 1).astype(int), column]] = name
        return kinds

    return classify
