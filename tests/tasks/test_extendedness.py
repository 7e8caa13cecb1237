"""Stars and galaxies told apart: sizes and fluxes that noise alone does not make extended."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from astropy.table import Table

from firstlight.algorithms.extendedness import flux_extendedness, size_extendedness
from firstlight.tasks.detect import MatchedFilterDetectTask
from firstlight.tasks.measure import PluginMeasureTask

from .frames import NOISE, PSF, add_stars, exposure_of, noise

SIDE, SPACING = 800, 40
SIZE = {"size_err": 0.02, "psf_size": 2.0, "least_excess": 0.08, "n_sigma": 2.5}


def disc(n: int = 24):
    """Return points that hold equal parts of an exponential disc of unit scale length, spread over it."""
    share = (np.arange(n) + 0.5) / n
    radii = np.linspace(0.0, 12.0, 4000)
    radius = np.interp(share, 1.0 - (1.0 + radii) * np.exp(-radii), radii)
    angle = np.arange(n) * np.pi * (3.0 - np.sqrt(5.0))
    return radius * np.cos(angle), radius * np.sin(angle)


@cache
def field_of(kind: str, *, snr: float = 40.0, seed: int = 8):
    """Return what is measured of sources of one S/N: stars, or exponential discs of half-light radius 0.35 FWHM."""
    rng = np.random.default_rng(seed)
    y, x = (a.ravel() for a in np.mgrid[20:SIDE:SPACING, 20:SIDE:SPACING] + rng.uniform(-0.5, 0.5, (2, 20, 20)))
    flux = snr * NOISE / np.sqrt((PSF.image(x=0, y=0) ** 2).sum())
    dx, dy = disc() if kind == "galaxy" else (np.zeros(1), np.zeros(1))
    scale = 0.35 * PSF.fwhm(x=0, y=0) / 1.678
    points = Table({"x": np.add.outer(x, scale * dx).ravel(), "y": np.add.outer(y, scale * dy).ravel()})
    points["flux"] = flux / len(dx)
    found = MatchedFilterDetectTask().run(exposure_of(add_stars(noise((SIDE, SIDE), seed=seed), points)))
    catalog = PluginMeasureTask().run(found.exposure, found.detections, aperture_radius=5.6).catalog
    return catalog[catalog["snr"] > 0.7 * snr]


@pytest.mark.parametrize("column", ["extendedness", "flux_extendedness"])
@pytest.mark.parametrize(("kind", "least"), [("star", 0.98), ("galaxy", 0.95)])
def test_sources_are_told_at_a_signal_to_noise_ratio_of_forty(column, kind, least):
    catalog = field_of(kind)
    right = catalog[column] < 0.5 if kind == "star" else catalog[column] > 0.5

    assert len(catalog) > 350
    assert right.mean() > least - 2 * np.sqrt(least * (1 - least) / len(catalog))


def test_a_size_is_extended_beyond_the_error_of_the_model_and_of_the_noise():
    size = 2.0 * (1 + np.array([-0.5, 0.0, 0.07, 0.09, 2.0]))
    values = size_extendedness(size, **SIZE)

    assert values[0] == values[1] == 0.0
    assert (values[:3] < 0.5).all()
    assert (values[3:] > 0.5).all()
    assert size_extendedness(size, **{**SIZE, "size_err": 2.0}).max() < 0.5
    assert np.isnan(size_extendedness(np.array([np.nan]), **SIZE)).all()


def test_a_flux_is_extended_where_the_model_holds_more_light_than_stars_have():
    model = np.array([90.0, 91.0, 95.0, np.nan])
    settings = {"model_flux_err": np.full(4, 0.1), "of_star": 0.9, "least_excess": 0.03, "n_sigma": 2.5}
    values = flux_extendedness(model, psf_flux=np.full(4, 100.0), **settings)

    assert values[:3].tolist() == [0.0, 0.0, 1.0]
    assert np.isnan(values[3])
