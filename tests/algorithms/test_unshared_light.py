"""Light that only one of two images shows: cosmic rays, not stars, whatever the seeing."""

from __future__ import annotations

import numpy as np
import pytest

from firstlight.algorithms.unshared_light import find_unshared_light

from .pairs import make_pair

SIDE = 256
RAYS = np.array([[40, 60], [90, 200], [150, 30], [220, 140]])


def unshared_of(pair, science, template, bad=None):
    bright = (pair.flux > 3000.0) & (np.abs(pair.x - SIDE / 2) < SIDE / 2) & (np.abs(pair.y - SIDE / 2) < SIDE / 2)
    middle = {"x": SIDE / 2, "y": SIDE / 2}
    return find_unshared_light(
        science,
        template,
        science_variance=pair.science.variance,
        template_variance=pair.template.variance,
        bad=np.zeros((SIDE, SIDE), dtype=bool) if bad is None else bad,
        peaks=tuple(each.psf.kernel_image(**middle).max() for each in (pair.science, pair.template)),
        x=np.append(pair.x[bright], RAYS[:, 1]),
        y=np.append(pair.y[bright], RAYS[:, 0]),
        radius=round(1.5 * max(each.psf.fwhm(**middle) for each in (pair.science, pair.template))),
    )


@pytest.mark.parametrize("fwhm", [(2.6, 2.4), (1.6, 2.6), (3.6, 2.0)])
def test_rays_of_either_image_are_found_and_no_star_is(fwhm):
    pair = make_pair(3, side=SIDE, fwhm=fwhm, scale=1.6, density=60_000.0, n_new=0, shift=0.7)
    # A ray beside one twice as bright, of the other image, would be taken for its star.
    rays, others = RAYS, RAYS[:, ::-1]
    science, template = pair.science.image.copy(), pair.template.image.copy()
    science[tuple(rays.T)] += 3000.0
    template[tuple(others.T)] += 3000.0

    found = unshared_of(pair, science, template)

    for plane, places in ((found.science, rays), (found.template, others)):
        expected = np.zeros((SIDE, SIDE), dtype=bool)
        for row, column in places:
            expected[row - 2 : row + 3, column - 2 : column + 3] = True
        np.testing.assert_array_equal(plane, expected)


@pytest.mark.parametrize("sides", [(1, 0), (0, 1)])
def test_a_nebula_or_sky_in_one_image_is_no_ray(sides):
    pair = make_pair(3, side=SIDE, n_new=0)
    y, x = np.mgrid[:SIDE, :SIDE]
    nebula = 600.0 * np.exp(-0.5 * ((x - 90) ** 2 + (y - 150) ** 2) / 90.0**2) + 300.0
    assert nebula.min() > 10.0 * np.sqrt(np.median(pair.science.variance))
    science, template = (
        each.image + side * nebula.astype(np.float32)
        for each, side in zip((pair.science, pair.template), sides, strict=True)
    )
    science[tuple(RAYS.T)] += 3000.0

    found = unshared_of(pair, science, template)

    assert not found.template.any()
    assert found.science[tuple(RAYS.T)].all()
    assert found.science.sum() == 25 * len(RAYS)


def test_bad_pixels_are_not_found():
    pair = make_pair(3, side=SIDE, n_new=0)
    science, bad = pair.science.image.copy(), np.zeros((SIDE, SIDE), dtype=bool)
    science[tuple(RAYS.T)] += 3000.0
    bad[tuple(RAYS[1:].T)] = True

    found = unshared_of(pair, science, pair.template.image, bad)

    assert found.science[tuple(RAYS.T)].tolist() == [True, False, False, False]


def test_nothing_is_found_where_no_star_is_in_both():
    pair = make_pair(3, side=SIDE, n_new=0)
    empty = np.zeros_like(pair.template.image)

    found = unshared_of(pair, pair.science.image, empty)

    assert not found.science.any()
    assert not found.template.any()


def test_nothing_is_found_where_hardly_a_pixel_is_good():
    pair = make_pair(3, side=SIDE, n_new=0)

    found = unshared_of(pair, pair.science.image, pair.template.image, np.ones((SIDE, SIDE), dtype=bool))

    assert not found.science.any()
    assert not found.template.any()
