"""Stars that repeat themselves, as on a lattice, are laid on the right ones or on none."""

import numpy as np
import pytest

from firstlight.algorithms.pattern_alignment import StarPositions, align_by_patterns
from firstlight.algorithms.rivals import best_rival, is_unrivalled
from firstlight.errors import AstrometryError

SIDE, STEP, ERROR = 600, 28.0, 0.05


def lattice(rng, *, jitter, n=20):
    x, y = np.meshgrid(20 + STEP * np.arange(n), 20 + STEP * np.arange(n))
    return x.ravel() + rng.normal(0, jitter, x.size), y.ravel() + rng.normal(0, jitter, x.size)


def seen(rng, x, y, flux, shift=(0.0, 0.0)):
    """Return the stars that an image shows, its pixels shifted."""
    x, y = x + shift[0] + rng.normal(0, ERROR, x.size), y + shift[1] + rng.normal(0, ERROR, x.size)
    inside = (x > 0) & (x < SIDE) & (y > 0) & (y < SIDE)
    measured = flux * np.exp(rng.normal(0, 0.1, x.size))
    return StarPositions(
        x=x[inside], y=y[inside], error=np.full(inside.sum(), ERROR), flux=measured[inside], shape=(SIDE, SIDE)
    )


@pytest.mark.parametrize(
    ("jitter", "shift"), [(0.0, (3.0, 1.0)), (0.0, (-61.0, 33.0)), (0.3, (31.0, 1.0)), (2.0, (31.0, 1.0))]
)
def test_stars_on_a_lattice_are_told_by_their_brightness(jitter, shift):
    rng = np.random.default_rng(3)
    x, y = lattice(rng, jitter=jitter)
    flux = rng.pareto(1.2, x.size)

    found = align_by_patterns(seen(rng, x, y, flux), seen(rng, x, y, flux, shift))

    there = found.position(np.array([300.0]), np.array([300.0]))
    np.testing.assert_allclose(np.ravel(there), np.add(300.0, shift), atol=4 * ERROR)
    assert found.rms < 2 * ERROR


def test_stars_on_a_lattice_that_are_all_alike_are_laid_nowhere():
    rng = np.random.default_rng(4)
    x, y = lattice(rng, jitter=0.0, n=12)

    with pytest.raises(AstrometryError, match="repeats itself"):
        align_by_patterns(
            seen(rng, x, y, rng.pareto(1.2, x.size)), seen(rng, x, y, rng.pareto(1.2, x.size), (31.0, 1.0))
        )


def test_spread_stars_need_no_brightness():
    rng = np.random.default_rng(5)
    x, y = rng.uniform(0, SIDE, (2, 200))
    shift = (31.0, -12.0)

    found = align_by_patterns(seen(rng, x, y, rng.pareto(1.2, 200)), seen(rng, x, y, rng.pareto(1.2, 200), shift))

    np.testing.assert_allclose(np.ravel(found.position(np.array([300.0]), np.array([300.0]))), [331, 288], atol=0.2)


def test_the_best_rival_of_a_lattice_is_one_step_away():
    x, y = lattice(np.random.default_rng(6), jitter=0.0)

    assert best_rival(x, y, x, y, radius=1.0) == 380
    assert not is_unrivalled(x, y, np.ones(400), x, y, np.ones(400), radius=1.0)


def test_spread_stars_have_no_rival():
    rng = np.random.default_rng(7)
    x, y = rng.uniform(0, SIDE, (2, 300))

    # A disc of a pixel holds 300 x 300 pi / (1200 x 1200) = 0.2 pairs of any two stars by chance, of a million discs.
    assert best_rival(x, y, x, y, radius=1.0) < 10
    assert is_unrivalled(x, y, np.ones(300), x, y, np.ones(300), radius=1.0)
