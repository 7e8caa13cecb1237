"""Trails of known length, angle and flux."""

from __future__ import annotations

import numpy as np
import pytest

from firstlight.algorithms.trails import fit_trails, trail_image, trail_of_moments, trail_with_slopes

SIGMA = 1.3


@pytest.mark.parametrize(("length", "angle"), [(4.0, 10.0), (9.0, -75.0), (25.0, 42.0)])
def test_length_angle_and_flux_of_a_trail_are_found_with_honest_errors(length, angle):
    rng = np.random.default_rng(5)
    rows, columns = np.mgrid[:90, :90].astype(float)
    pulls, angles = [], []
    for _ in range(12):
        x, y = 45 + rng.uniform(-0.5, 0.5, 2)
        light = trail_image(x=x, y=y, length=length, angle=angle, sigma=SIGMA, columns=columns, rows=rows)
        image = 8000.0 * light + rng.normal(0, 5.0, rows.shape)
        found = fit_trails(
            image,
            variance=np.full(rows.shape, 25.0),
            bad=np.zeros(rows.shape, dtype=bool),
            sigma=SIGMA,
            x=np.array([45.0]),
            y=np.array([45.0]),
            length=np.array([0.6 * length]),
            angle=np.array([angle + 8.0]),
        )
        pulls.append([(found.length[0] - length) / found.length_err[0], (found.flux[0] - 8000.0) / found.flux_err[0]])
        angles.append(found.angle[0])
        assert found.chi2[0] < found.point_chi2[0]

    assert np.abs(np.mean(pulls, axis=0)).max() < 4 / np.sqrt(12)
    assert np.std(pulls, axis=0) == pytest.approx(1.0, abs=4 / np.sqrt(24))
    assert np.mean(angles) == pytest.approx(angle, abs=1.5)


@pytest.mark.parametrize("guess", [4.0, 12.0])
def test_a_trail_much_longer_than_the_first_guess_is_seen_as_far_as_its_ends(guess):
    found = of_trail(length=80.0, x=90.0, guess=guess)

    assert found.length[0] == pytest.approx(80.0, abs=5 * found.length_err[0])
    assert found.flux[0] == pytest.approx(60_000.0, abs=5 * found.flux_err[0])


@pytest.mark.parametrize(("length", "x"), [(400.0, 90.0), (130.0, 90.0), (60.0, 10.0)])
def test_a_trail_whose_ends_are_not_seen_has_no_length(length, x):
    found = of_trail(length=length, x=x, guess=12.0)

    assert np.isnan([found.length[0], found.flux[0]]).all()


def of_trail(*, length, x, guess):
    rows, columns = np.mgrid[:70, :180].astype(float)
    light = trail_image(x=x, y=35.0, length=length, angle=5.0, sigma=SIGMA, columns=columns, rows=rows)
    image = 60_000.0 * light + np.random.default_rng(8).normal(0, 5.0, rows.shape)
    return fit_trails(
        image,
        variance=np.full(rows.shape, 25.0),
        bad=np.zeros(rows.shape, dtype=bool),
        sigma=SIGMA,
        x=np.array([x]),
        y=np.array([35.0]),
        length=np.array([guess]),
        angle=np.array([0.0]),
    )


def test_a_trail_keeps_all_of_its_light():
    rows, columns = np.mgrid[:80, :80].astype(float)

    light = trail_image(x=40.2, y=39.7, length=20.0, angle=30.0, sigma=SIGMA, columns=columns, rows=rows)

    assert light.sum() == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize("length", [6.0, -0.4])
def test_slopes_of_a_trail_are_its_derivatives(length):
    rows, columns = np.mgrid[:24, :24].astype(float)
    place = {"x": 12.3, "y": 11.6, "length": length, "angle": 35.0}
    pixels = {"sigma": SIGMA, "columns": columns, "rows": rows}

    image, slopes = trail_with_slopes(**place, **pixels)

    np.testing.assert_array_equal(image, trail_image(**place, **pixels))
    for slope, name in zip(slopes, place, strict=True):
        ends = [trail_image(**place | {name: place[name] + step}, **pixels) for step in (1e-5, -1e-5)]
        np.testing.assert_allclose(slope, (ends[0] - ends[1]) / 2e-5, atol=1e-9)


def test_moments_of_a_star_tell_of_no_trail():
    length, _ = trail_of_moments(np.array([SIGMA**2]), np.array([SIGMA**2]), np.array([0.0]), sigma=SIGMA)

    assert length[0] == pytest.approx(0.0, abs=1e-6)


def test_nothing_to_measure_gives_nan():
    bad = np.ones((40, 40), dtype=bool)
    given = {"x": np.array([20.0]), "y": np.array([20.0]), "length": np.array([5.0]), "angle": np.array([0.0])}

    found = fit_trails(np.zeros((40, 40)), variance=np.ones((40, 40)), bad=bad, sigma=SIGMA, **given)

    assert np.isnan(found.length).all()
