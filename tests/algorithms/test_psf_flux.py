import numpy as np
import pytest

from firstlight.algorithms.psf_flux import measure_psf_flux
from firstlight.images.psf import MoffatPsf

SHAPE = (400, 420)
NOISE = 5.0
GAIN = 3.0
PSF = MoffatPsf(fwhm=2.3, beta=3.0, radius=10, e1=0.05)


def add(image, x, y, flux):
    r = PSF.radius
    padded = np.pad(image, 2 * r)
    for a, b, f, stamp in zip(x, y, flux, PSF.images(x=x, y=y), strict=True):
        row, column = round(b) + r, round(a) + r
        padded[row : row + 2 * r + 1, column : column + 2 * r + 1] += f * stamp
    image[:] = padded[2 * r : -2 * r, 2 * r : -2 * r]


def frame(x, y, flux, *, seed=1, noise=NOISE):
    image = np.zeros(SHAPE)
    add(image, x, y, flux)
    sky_variance = noise**2
    variance = sky_variance + image / GAIN
    return image + np.random.default_rng(seed).normal(size=SHAPE) * np.sqrt(variance), variance


def measure(image, variance, x, y, **changes):
    arguments = {"variance": variance, "bad": np.zeros(SHAPE, dtype=bool), "psf": PSF, "x": x, "y": y, **changes}
    return measure_psf_flux(image, **arguments)


def lattice(n=15, seed=2):
    rng = np.random.default_rng(seed)
    columns, rows = np.meshgrid(np.linspace(20, 400, n), np.linspace(20, 380, n))
    return columns.ravel() + rng.uniform(-1, 1, n * n), rows.ravel() + rng.uniform(-1, 1, n * n)


@pytest.mark.parametrize("weighting", ["uniform", "inverse_variance"])
@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("flux", [300.0, 3e3, 1e5])
def test_fluxes_scatter_about_the_truth_by_their_errors(flux, weighting, together):
    x, y = lattice()
    image, variance = frame(x, y, np.full(225, flux))

    found = measure(image, variance, x, y, weighting=weighting, together=together)

    pull = (found.flux - flux) / found.flux_err
    assert abs(pull.mean()) < 0.2
    assert 0.86 < pull.std() < 1.14
    assert 0.95 < found.chi2.mean() < 1.05
    assert not found.flag.any()
    assert not found.edge.any()


def test_lone_flux_is_the_formula_of_uniform_weights():
    x, y = np.array([100.3]), np.array([90.8])
    image, variance = frame(x, y, np.array([1e4]))

    found = measure(image, variance, x, y, together=False)

    r = 5
    core = PSF.cores(r, x=x, y=y)[0]
    cut = np.s_[91 - r : 91 + r + 1, 100 - r : 100 + r + 1]
    assert found.flux[0] == pytest.approx((core * image[cut]).sum() / (core**2).sum(), rel=1e-5)
    expected = np.sqrt((core**2 * variance[cut]).sum()) / (core**2).sum()
    assert found.flux_err[0] == pytest.approx(expected, rel=1e-5)
    assert found.n_good[0] == (2 * r + 1) ** 2


def test_blended_stars_are_unbiased_together_and_biased_alone():
    x, y = lattice()
    n = len(x)
    faint_x, faint_y = x + 2.8, y + 0.7
    both_x, both_y = np.append(x, faint_x), np.append(y, faint_y)
    flux = np.append(np.full(n, 8000.0), np.full(n, 2500.0))
    image, variance = frame(both_x, both_y, flux)

    found = measure(image, variance, both_x, both_y)
    alone = measure(image, variance, both_x, both_y, together=False)

    pull = (found.flux - flux) / found.flux_err
    for part in (slice(None, n), slice(n, None)):
        assert abs(pull[part].mean()) < 0.2
        assert 0.86 < pull[part].std() < 1.14
    assert np.median(alone.flux[n:]) > 1.3 * 2500
    assert np.median(found.flux_err[n:]) > np.median(alone.flux_err[n:])


def test_wing_of_a_bright_star_does_not_reach_its_neighbours():
    x, y = lattice(12)
    flux = np.full(144, 2e5)
    near_x, near_y = x + 8.0, y - 3.0
    image, variance = frame(np.append(x, near_x), np.append(y, near_y), np.append(flux, np.full(144, 400.0)))

    found = measure(image, variance, np.append(x, near_x), np.append(y, near_y))

    error = found.flux[144:] - 400.0
    assert abs(error.mean()) < 4 * found.flux_err[144:].mean() / 12


def test_chain_of_blends_settles():
    x, y = 30.0 + 2.0 * np.arange(150), np.full(150, 200.3)
    flux = np.tile([1000.0, 3000.0, 500.0], 50)
    image, variance = frame(x, y, flux)

    found = measure(image, variance, x, y)

    pull = (found.flux - flux) / found.flux_err
    assert abs(np.mean(found.flux - flux)) < 30
    assert 0.85 < pull.std() < 1.25


def test_masked_pixels_do_not_change_the_flux():
    x, y = lattice()
    image, variance = frame(x, y, np.full(225, 1e4))
    bad = np.zeros(SHAPE, dtype=bool)
    rows, columns = np.rint(y).astype(int), np.rint(x).astype(int)
    bad[rows, columns + 1] = True
    image[bad] = 1e7
    variance[rows + 1, columns] = np.nan

    found = measure(image, variance, x, y, bad=bad)

    pull = (found.flux - 1e4) / found.flux_err
    assert abs(pull.mean()) < 0.2
    assert 0.86 < pull.std() < 1.14
    assert (found.n_good == 119).all()


def test_star_on_bad_pixels_is_flagged():
    image, variance = frame(np.array([100.0, 200.0]), np.array([100.0, 100.0]), np.full(2, 1e4))
    bad = np.zeros(SHAPE, dtype=bool)
    bad[80:120, 80:120] = True

    found = measure(image, variance, np.array([100.0, 200.0]), np.array([100.0, 100.0]), bad=bad)

    np.testing.assert_array_equal(found.flag, [True, False])
    np.testing.assert_array_equal(found.no_good_pixels, [True, False])
    assert np.isnan(found.flux[0])
    assert np.isnan(found.flux_err[0])


def test_star_at_the_edge_is_measured_and_marked():
    x, y = np.array([0.2, 200.0, 419.4, -30.0]), np.array([100.0, 399.0, 0.3, 50.0])
    flux = np.array([1e4, 1e4, 1e4, 1e4])
    image, variance = frame(x[:3], y[:3], flux[:3])

    found = measure(image, variance, x, y)

    assert found.edge.all()
    np.testing.assert_allclose(found.flux[:3], 1e4, atol=5 * found.flux_err[:3].max())
    np.testing.assert_array_equal(found.flag[3], True)


def test_source_without_a_position_is_flagged_and_the_others_are_not():
    x, y = np.array([100.0, np.nan, 200.0]), np.array([100.0, 50.0, np.inf])
    image, variance = frame(x[:1], y[:1], np.array([1e4]))

    found = measure(image, variance, x, y)

    np.testing.assert_array_equal(found.flag, [False, True, True])
    assert np.isfinite(found.flux[0])
    assert np.isnan(found.flux[1:]).all()


@pytest.mark.parametrize("apart", [0.0, 1e-9, 5e-4])
@pytest.mark.parametrize("refinements", [0, 2])
def test_sources_at_the_same_place_share_the_flux_equally_and_say_so(apart, refinements):
    x, y = np.array([100.3, 180.1]), np.array([90.8, 80.2])
    image, variance = frame(x, y, np.array([9e3, 4e3]))
    alone = measure(image, variance, x, y, refinements=refinements)
    all_x = np.array([100.3, 180.1, np.nan, 100.3 + apart, 100.3])
    all_y = np.array([90.8, 80.2, np.nan, 90.8, 90.8 - apart])
    same = [0, 3, 4]

    found = measure(image, variance, all_x, all_y, refinements=refinements)

    np.testing.assert_allclose(found.flux[same], alone.flux[0] / 3, rtol=1e-6)
    np.testing.assert_allclose(found.flux_err[same], alone.flux_err[0] / 3, rtol=1e-6)
    np.testing.assert_allclose(found.flux[1], alone.flux[1], rtol=1e-6)
    assert np.flatnonzero(found.same_place).tolist() == same
    assert np.flatnonzero(found.flag).tolist() == [0, 2, 3, 4]
    assert len({(a, b) for a, b in zip(found.x[same], found.y[same], strict=True)}) == 1


def test_measured_alone_sources_at_the_same_place_all_have_its_flux():
    x, y = np.array([100.3, 100.3]), np.array([90.8, 90.8])
    image, variance = frame(x[:1], y[:1], np.array([9e3]))

    found = measure(image, variance, x, y, together=False)

    assert found.flux[0] == found.flux[1] == pytest.approx(9e3, abs=5 * found.flux_err[0])
    assert not found.flag.any()


def test_no_source_gives_an_empty_answer():
    image, variance = frame(np.array([]), np.array([]), np.array([]))

    found = measure(image, variance, np.array([]), np.array([]))

    assert len(found.flux) == 0


def test_refined_positions_are_those_of_the_stars():
    x, y = lattice()
    image, variance = frame(x, y, np.full(225, 3e4))
    rng = np.random.default_rng(8)
    near_x, near_y = x + rng.normal(0, 0.2, 225), y + rng.normal(0, 0.2, 225)

    found = measure(image, variance, near_x, near_y, refinements=3)

    assert np.std(found.x - x) < 0.015
    assert np.std(found.y - y) < 0.015
    assert np.median(found.flux / 3e4) == pytest.approx(1.0, abs=2e-3)


def test_faint_positions_stay_as_given():
    x, y = lattice()
    image, variance = frame(x, y, np.full(225, 200.0))

    found = measure(image, variance, x, y, refinements=1, refine_snr=20.0)

    np.testing.assert_array_equal(found.x, x)


def test_input_is_left_as_it_was():
    x, y = lattice(3)
    image, variance = frame(x, y, np.full(9, 1e3))
    before = image.copy(), variance.copy(), x.copy()

    measure(image, variance, x, y, refinements=1)

    for old, new in zip(before, (image, variance, x), strict=True):
        np.testing.assert_array_equal(old, new)
