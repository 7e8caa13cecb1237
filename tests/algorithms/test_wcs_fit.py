from dataclasses import replace

import numpy as np
import pytest

from firstlight.algorithms.tan_sip import sky_to_tan_sip, tan_sip_to_sky
from firstlight.algorithms.wcs_fit import StarPairs, WcsFitSettings, fit_tan_sip
from firstlight.errors import AstrometryError
from firstlight.images.wcs import SkyWcs, TanSip

from .star_fields import error_over_frame, make_field


def start_of(field, *, shift_px=(3.0, -2.0), turn_deg=0.2):
    turn = np.radians(turn_deg)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    crpix = field.wcs.wcs.crpix - 1 + np.array(shift_px)
    return TanSip(tuple(field.wcs.wcs.crval), tuple(crpix), rotation @ field.wcs.wcs.cd)


def pairs_of(field, *, n=None, error_px=0.0, stated_px=None, seed=0):
    rng = np.random.default_rng(seed)
    n = field.n_inside if n is None else n
    noise = rng.normal(size=(2, n)) * error_px
    stated = np.full(n, error_px if stated_px is None else stated_px)
    return StarPairs(
        x=field.x[:n] + noise[0],
        y=field.y[:n] + noise[1],
        x_err=stated,
        y_err=stated,
        ra=field.ra[:n],
        dec=field.dec[:n],
        sky_err=np.zeros(n),
    )


def solution_error(field, fit):
    return error_over_frame(field, lambda x, y: tan_sip_to_sky(fit.tan_sip, x=x, y=y))


@pytest.mark.parametrize("parity", [1, -1])
@pytest.mark.parametrize("center", [(150.0, 30.0), (0.01, -60.0), (40.0, 89.7)])
def test_perfect_stars_give_the_perfect_solution(parity, center):
    field = make_field(1, n_stars=400, parity=parity, center=center)

    fit = fit_tan_sip(pairs_of(field), start=start_of(field), shape=field.shape)

    assert fit.order >= 4
    assert solution_error(field, fit) < 1e-5
    assert np.hypot(fit.dx, fit.dy).max() < 1e-5


def test_the_header_says_the_same_to_astropy_in_both_directions():
    field = make_field(2, n_stars=400)
    fit = fit_tan_sip(pairs_of(field, error_px=0.05), start=start_of(field), shape=field.shape)
    x, y = np.random.default_rng(0).uniform(0, 1023, (2, 500))

    wcs = SkyWcs.from_tan_sip(fit.tan_sip)
    ra, dec = wcs.to_astropy().all_pix2world(x, y, 0)

    np.testing.assert_allclose(tan_sip_to_sky(fit.tan_sip, x=x, y=y), (ra, dec), atol=1e-10)
    assert np.abs(np.subtract(sky_to_tan_sip(fit.tan_sip, ra=ra, dec=dec), (x, y))).max() < 1e-3
    assert fit.tan_sip.crpix == (511.5, 511.5)


@pytest.mark.parametrize("n_stars", [12, 60, 300, 1500])
def test_the_stated_error_is_the_error(n_stars):
    ratios = []
    for seed in range(12):
        field = make_field(seed, n_stars=n_stars, margin_deg=0.0, distortion_px=0.0)
        fit = fit_tan_sip(pairs_of(field, error_px=0.1, seed=seed), start=start_of(field), shape=field.shape)
        ratios.append(solution_error(field, fit) / fit.stated_error_px)

    # A dozen fits tell the typical ratio to about 15 %.
    assert 0.6 < np.sqrt(np.mean(np.square(ratios))) < 1.4


def test_an_order_is_used_when_the_stars_show_it_and_not_before():
    orders = {
        n: [
            fit_tan_sip(
                pairs_of(
                    field := make_field(seed, n_stars=n, distortion_px=0.3, margin_deg=0.0), error_px=0.1, seed=seed
                ),
                start=start_of(field),
                shape=field.shape,
            ).order
            for seed in range(5)
        ]
        for n in (8, 30, 3000)
    }

    assert max(orders[8]) == 1
    assert max(orders[30]) <= 3
    assert min(orders[3000]) >= 3


def test_stars_without_distortion_get_a_linear_solution():
    orders = []
    for seed in range(20):
        field = make_field(seed, n_stars=200, distortion_px=0.0, margin_deg=0.0)
        orders.append(
            fit_tan_sip(pairs_of(field, error_px=0.1, seed=seed), start=start_of(field), shape=field.shape).order
        )

    # Four tests at 1 % each may let one or two of twenty pass.
    assert np.count_nonzero(np.array(orders) > 1) <= 3


def test_wrong_matches_are_clipped_on_both_sides():
    field = make_field(3, n_stars=300, margin_deg=0.0)
    pairs = pairs_of(field, error_px=0.05)
    wrong = np.arange(0, 300, 15)
    pairs.x[wrong] += np.where(np.arange(len(wrong)) % 2, 2.0, -2.0)

    fit = fit_tan_sip(pairs, start=start_of(field), shape=field.shape)

    assert not fit.used[wrong].any()
    assert fit.used.sum() > 270
    assert solution_error(field, fit) < 0.03


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("distortion_px", [0.0, 3.0])
def test_a_bright_star_with_the_wrong_partner_bends_nothing(seed, distortion_px):
    field = make_field(seed, n_stars=110, distortion_px=distortion_px, margin_deg=0.0)
    errors = np.exp(np.random.default_rng(seed).uniform(np.log(0.02), np.log(0.2), 110))
    pairs = pairs_of(field, stated_px=errors)
    noise = np.random.default_rng([seed, 1]).normal(size=(2, 110)) * errors
    pairs = replace(pairs, x=pairs.x + noise[0], y=pairs.y + noise[1])
    wrong = int(np.argmax(np.hypot(pairs.x - 511.5, pairs.y - 511.5)))
    pairs.x_err[wrong] = 0.001
    pairs.x[wrong] += 26.0

    fit = fit_tan_sip(pairs, start=start_of(field), shape=field.shape)

    assert not fit.used[wrong]
    assert fit.used.sum() > 95
    assert solution_error(field, fit) < 0.1


def test_residuals_are_detection_minus_reference():
    field = make_field(4, n_stars=300, margin_deg=0.0, distortion_px=0.5)
    pairs = pairs_of(field, error_px=0.01)
    pairs.x[7] += 0.5

    fit = fit_tan_sip(pairs, start=start_of(field), shape=field.shape)

    assert (fit.dx[7], fit.dy[7]) == pytest.approx((0.5, 0.0), abs=0.05)


def test_errors_that_are_stated_too_small_are_found_out():
    field = make_field(5, n_stars=500, margin_deg=0.0)

    fit = fit_tan_sip(pairs_of(field, error_px=0.1, stated_px=0.01), start=start_of(field), shape=field.shape)

    assert fit.error_floor_px == pytest.approx(0.1, rel=0.2)
    assert fit.chi2_dof == pytest.approx(1.0, abs=0.2)


def test_accurate_stars_count_more():
    field = make_field(6, n_stars=400, margin_deg=0.0, distortion_px=0.0)
    rng = np.random.default_rng(6)
    error = np.where(np.arange(400) < 100, 0.01, 0.3)
    pairs = pairs_of(field)
    noisy = StarPairs(
        x=pairs.x + rng.normal(size=400) * error,
        y=pairs.y + rng.normal(size=400) * error,
        x_err=error,
        y_err=error,
        ra=pairs.ra,
        dec=pairs.dec,
        sky_err=pairs.sky_err,
    )

    fit = fit_tan_sip(noisy, start=start_of(field), shape=field.shape)

    # Three parameters per axis from 100 stars of 0.01 px: 0.0025 px; unweighted it would be 0.03 px.
    assert solution_error(field, fit) < 0.006


@pytest.mark.parametrize("n_stars", [3, 4, 5])
def test_few_stars_give_scale_rotation_and_shift_only(n_stars):
    field = make_field(7, n_stars=n_stars, distortion_px=0.0, margin_deg=0.0)

    fit = fit_tan_sip(pairs_of(field), start=start_of(field), shape=field.shape)

    assert (fit.order, fit.n_parameters) == (1, 2)
    assert fit.tan_sip.a is None
    assert solution_error(field, fit) < 1e-5


def test_held_out_stars_fit_worse_than_fitted_ones():
    field = make_field(8, n_stars=40, distortion_px=2.0, margin_deg=0.0)

    fit = fit_tan_sip(pairs_of(field, error_px=0.1), start=start_of(field), shape=field.shape)

    assert fit.held_out_rms_px > fit.rms_px


def test_the_order_can_be_limited():
    field = make_field(9, n_stars=400, margin_deg=0.0)

    fit = fit_tan_sip(pairs_of(field), start=start_of(field), shape=field.shape, settings=WcsFitSettings(max_order=2))

    assert fit.order <= 2


@pytest.mark.parametrize("n_stars", [0, 1, 2])
def test_two_stars_are_not_enough(n_stars):
    field = make_field(10, n_stars=5)

    with pytest.raises(AstrometryError, match="at least 3 matched stars") as error:
        fit_tan_sip(pairs_of(field, n=n_stars), start=start_of(field), shape=field.shape)

    assert error.value.facts["n_matched"] == n_stars


def test_stars_on_a_line_are_refused():
    field = make_field(11, n_stars=20, distortion_px=0.0, margin_deg=0.0)
    x = np.linspace(100.0, 900.0, 20)
    ra, dec = field.sky(x, x)
    pairs = StarPairs(x=x, y=x, x_err=np.full(20, 0.1), y_err=np.full(20, 0.1), ra=ra, dec=dec, sky_err=np.zeros(20))

    with pytest.raises(AstrometryError, match="on a line"):
        fit_tan_sip(pairs, start=start_of(field), shape=field.shape)
