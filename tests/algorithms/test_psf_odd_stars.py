"""A star with a hidden neighbour does not bend the profile where it is the only one, and good stars are not odd."""

from dataclasses import replace

import numpy as np
import pytest

from firstlight.algorithms.psf_model import begin_fit
from firstlight.algorithms.psf_moffat import fit_moffat_field, with_order
from firstlight.algorithms.psf_odd_stars import find_odd_stars, shape_chi2

from .psf_fields import Field, stamps

PROFILE = "moffat"


def corner(*, neighbour):
    """Return a field, its candidates, and which is alone in a corner, with a neighbour of a share of its flux."""
    field = Field(PROFILE, 144, faintest=2e4)
    lone = int(np.argmax(field.x + field.y))
    x, y = field.x[[lone]] + 0.9, field.y[[lone]] + 0.9
    row, column = round(y[0]), round(x[0])
    light = neighbour * field.flux[lone] * stamps(PROFILE, x, y, 14)[0]
    field.image[row - 14 : row + 15, column - 14 : column + 15] += light
    far = np.hypot(field.x - field.x[lone], field.y - field.y[lone]) > 250
    far[lone] = True
    return field, far, int(np.count_nonzero(far[:lone]))


def test_a_star_with_a_hidden_neighbour_makes_no_model_where_it_is_alone_and_without_one_it_does():
    used = []
    for neighbour in (0.0, 0.08):
        field, candidates, lone = corner(neighbour=neighbour)
        fit = field.fit(x=field.found_x[candidates], y=field.found_y[candidates])
        used.append(bool(fit.used[lone]))
        assert fit.n_used > 0.95 * candidates.sum()

    assert used == [True, False]


def settled(n, *, seed, order, floor=None):
    """Return the arguments of `shape_chi2` for the stars of a field."""
    field = Field(PROFILE, n, seed=seed)
    start = begin_fit(field.image, variance=field.variance, bad=field.bad, x=field.found_x, y=field.found_y)
    weights = start.weights if floor is None else replace(start.weights, floor=floor)
    given = {"weights": weights, "stars": start.state.stars, "field": with_order(start.state.field, order=order)}
    profile, stars, _ = fit_moffat_field(start.state.stamps, **given)
    return {"stamps": start.state.stamps, "field": profile, "stars": stars, "weights": weights}


def test_shapes_of_good_stars_differ_from_the_profile_of_the_others_by_their_errors_however_few_there_are():
    chi2 = []
    for seed in range(10):
        fit = settled(12, seed=seed, order=2, floor=1e-4)
        chi2.extend(shape_chi2(fit.pop("stamps"), **fit))

    # Compared with a profile that they made themselves, with six terms from twelve stars, they would have half of that.
    assert abs(np.mean(chi2) - 3.0) < 4 * np.sqrt(6.0 / len(chi2))


@pytest.mark.parametrize(("n", "order"), [(1, 0), (3, 1)])
def test_no_star_is_odd_that_alone_makes_the_profile_at_its_place(n, order):
    fit = settled(n, seed=0, order=order)
    stamps = fit.pop("stamps")

    assert np.isnan(shape_chi2(stamps, **fit)).all()
    assert not find_odd_stars(stamps, share=1.0, **fit).any()
