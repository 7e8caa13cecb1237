"""Dipoles of known separation, flux and noise."""

from __future__ import annotations

import numpy as np
import pytest

from firstlight.algorithms.dipoles import DipoleImages, fit_dipoles
from firstlight.algorithms.injection import light_of_stars
from firstlight.images.psf import MoffatPsf

PSF = MoffatPsf(fwhm=2.6, beta=3.0, radius=10)
SIGMA = 5.0


def images(shift, flux=6000.0, *, seed=1, n=1, sky=0.0, negative_share=1.0):
    """Pairs of n sources that moved by ``shift`` (x, y) from template to science."""
    rng = np.random.default_rng(seed)
    shape = (60, 60 * n)
    x = 30.0 + 60.0 * np.arange(n) + rng.uniform(-0.5, 0.5, n)
    y = 30.0 + rng.uniform(-0.5, 0.5, n)
    planes = [
        light_of_stars(shape, psf=PSF, x=x + dx, y=y + dy, flux=np.full(n, total))
        + sky * np.linspace(0, 1, 60 * n)
        + rng.normal(0, SIGMA, shape)
        for dx, dy, total in ((*shift, flux), (0.0, 0.0, flux * negative_share))
    ]
    ones = np.ones(shape)
    made = DipoleImages(
        difference=planes[0] - planes[1],
        difference_variance=2 * SIGMA**2 * ones,
        science=planes[0],
        science_variance=SIGMA**2 * ones,
        template=planes[1],
        bad=np.zeros(shape, dtype=bool),
        difference_psf=PSF,
        science_psf=PSF,
        template_psf=PSF,
    )
    return made, x, y


def fitted(made, x, y, shift):
    """Fit from the peaks, which lie a PSF apart however small the shift is."""
    along = np.array(shift) / max(np.hypot(*shift), 1e-9)
    return fit_dipoles(
        made,
        positive_x=np.rint(x + 1.2 * along[0]),
        positive_y=np.rint(y + 1.2 * along[1]),
        negative_x=np.rint(x - 1.2 * along[0]),
        negative_y=np.rint(y - 1.2 * along[1]),
        radius=6,
        max_shift=5.0,
    )


@pytest.mark.parametrize("shift", [(0.3, 0.0), (0.5, -0.8), (3.0, 1.0)])
def test_places_and_fluxes_of_both_lobes_are_found_with_honest_errors(shift):
    n = 30
    made, x, y = images(shift, n=n, sky=300.0)

    found = fitted(made, x, y, shift)

    assert found.converged.all()
    pulls = [
        (found.separation - np.hypot(*shift)) / found.separation_err,
        (found.positive_flux - 6000.0) / found.positive_flux_err,
        (found.negative_flux - 6000.0) / found.negative_flux_err,
    ]
    for pull in pulls:
        assert abs(pull.mean()) < 4 / np.sqrt(n)
        assert pull.std() == pytest.approx(1.0, abs=4 / np.sqrt(2 * n))
    assert np.median(found.chi2) == pytest.approx(1.0, abs=0.2)
    assert np.median(found.angle) == pytest.approx(np.degrees(np.arctan2(shift[1], shift[0])), abs=6.0)


def test_difference_alone_cannot_tell_a_close_dipole_but_the_images_can():
    made, x, y = images((0.3, 0.0), n=20)
    start = {
        "positive_x": np.rint(x + 1),
        "positive_y": np.rint(y),
        "negative_x": np.rint(x - 1),
        "negative_y": np.rint(y),
    }

    both, alone = (fit_dipoles(made, **start, radius=6, max_shift=5.0, direct_weight=weight) for weight in (0.5, 0.0))

    assert np.std(both.separation) < 0.1 * np.std(alone.separation)


def test_a_lobe_at_its_limit_does_not_move_the_other_one():
    made, x, y = images((2.0, 0.0), n=1)

    found = fit_dipoles(
        made,
        positive_x=x + 1.5,
        positive_y=y,
        negative_x=x - 3.0,
        negative_y=y,
        radius=6,
        max_shift=1.0,
        direct_weight=20,
    )

    # The negative lobe cannot come nearer than 2 pixels to its place; the science image holds the positive one.
    assert found.negative_x[0] == pytest.approx(x[0] - 2.0, abs=0.3)
    assert abs(found.positive_x[0] - (x[0] + 2.0)) < 0.3
    assert abs(found.positive_y[0] - y[0]) < 0.3


def test_a_lone_source_is_better_explained_as_a_point():
    made, x, y = images((0.0, 0.0), n=10, negative_share=0.5)

    found = fitted(made, x, y, (1.0, 0.0))

    assert np.mean(found.separation > 3 * found.separation_err) < 0.2


def test_masked_places_give_no_dipole():
    made, x, y = images((1.0, 0.0))
    bad = DipoleImages(**{**vars(made), "bad": np.ones_like(made.bad)})

    found = fitted(bad, x, y, (1.0, 0.0))

    assert np.isnan(found.positive_flux).all()
    assert not found.converged.any()
