"""Pairs of images of one field on one pixel grid, with everything that is true about them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from firstlight.images.exposure import Exposure
from firstlight.images.mask import Mask
from firstlight.images.observation import DetectorInfo, ObservationInfo
from firstlight.images.psf import MoffatPsf
from firstlight.simulation import OpticsSettings
from firstlight.simulation.point_spread import add_stars, draw_point_spread

GAIN = 6.2
READ_NOISE = 10.0
BETA = 3.0


@dataclass(frozen=True)
class Pair:
    """Two exposures without sky, the stars in both, and the new sources of the first."""

    science: Exposure
    template: Exposure
    x: np.ndarray
    y: np.ndarray
    flux: np.ndarray
    new_x: np.ndarray
    new_y: np.ndarray
    new_flux: np.ndarray
    variable: np.ndarray


@cache
def make_pair(
    seed=1,
    *,
    side=512,
    fwhm=(2.6, 2.2),
    sky=(300.0, 300.0),
    scale=1.0,
    density=24_000.0,
    variation=0.04,
    n_new=12,
    new_flux=(1500.0, 8000.0),
    shift=0.0,
    n_variable=0,
    faintest=22.0,
    brightest=14.5,
    noise=True,
) -> Pair:
    """Return a pair: (science, template) FWHM [pixel] and sky [adu]; template fluxes are 1 / scale of science."""
    rng = np.random.default_rng(seed)
    shape = (side, side)
    n_stars = int(density * (1.012 * (side + 60) / 3600) ** 2)
    x, y = rng.uniform(-30, side + 30, (2, n_stars))
    share = rng.random(n_stars)
    slope = 0.28
    mag = np.log10(10 ** (slope * brightest) + share * (10 ** (slope * faintest) - 10 ** (slope * brightest))) / slope
    flux = 10 ** (-0.4 * (mag - 26.2))
    new_x, new_y = rng.uniform(25, side - 25, (2, n_new))
    fluxes = np.exp(rng.uniform(*np.log(new_flux), n_new))
    variable = np.zeros(n_stars, dtype=bool)
    variable[rng.choice(n_stars, n_variable, replace=False)] = True
    optics = OpticsSettings(fwhm_variation=variation, ellipticity_variation=1.25 * variation)
    exposures = []
    for epoch in (0, 1):
        spread = draw_point_spread(optics, seed=seed, epoch=epoch, shape=shape, fwhm=fwhm[epoch])
        light = np.full(shape, float(sky[epoch]))
        stars = np.where(variable & (epoch == 0), 1.5, 1.0) * flux * (1.0 if epoch == 0 else 1.0 / scale)
        add_stars(light, x=x + epoch * shift, y=y, flux=stars, spread=spread, faintest=0.02)
        if epoch == 0:
            add_stars(light, x=new_x, y=new_y, flux=fluxes, spread=spread, faintest=0.02)
        exposures.append(_exposure(light, sky[epoch], fwhm[epoch], rng, noise=noise))
    return Pair(exposures[0], exposures[1], x, y, flux, new_x, new_y, fluxes, variable)


def _exposure(light, sky, fwhm, rng, *, noise) -> Exposure:
    variance = light / GAIN + (READ_NOISE / GAIN) ** 2
    counts = rng.poisson(light * GAIN) / GAIN + rng.normal(0, READ_NOISE / GAIN, light.shape) if noise else light
    saturated = counts > 50_000.0
    image = np.minimum(counts, 50_000.0) - sky
    return Exposure(
        image=image.astype(np.float32),
        mask=Mask.empty(light.shape).with_plane("SAT", saturated),
        variance=variance.astype(np.float32),
        psf=MoffatPsf(fwhm=fwhm, beta=BETA, radius=12),
        observation=ObservationInfo(exposure_id=7, exposure_time=30.0),
        detector=DetectorInfo(gain=GAIN, saturation=50_000.0),
    )
