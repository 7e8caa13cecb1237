import os
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import sep
from astropy.io import fits
from astropy.table import Table

from firstlight.algorithms.astrometry import SolveSettings, solve_field
from firstlight.algorithms.star_lists import Detections, References
from firstlight.algorithms.tan_sip import monomials, tan_sip_to_sky
from firstlight.algorithms.tangent_plane import separation_arcsec
from firstlight.errors import AstrometryError
from firstlight.images.wcs import SkyWcs, TanSip

from .star_fields import catalogue, error_over_frame, make_field, observe, offset_center

DATA = Path(os.environ.get("FIRSTLIGHT_TEST_DATA", "nowhere"))
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="FIRSTLIGHT_TEST_DATA names no folder with real images")
DENSE = int(24_000 * (1024 / 3600) ** 2)


def error_of(field, solution):
    return error_over_frame(field, lambda x, y: tan_sip_to_sky(solution.tan_sip, x=x, y=y))


def least_squares_error(field, detections, star, references):
    """Return the error over the frame of weighted least squares with all matches known, degree 4."""
    known = star >= 0
    middle = (field.shape[0] - 1) / 2

    def design(x, y):
        return monomials((x - middle) / middle, (y - middle) / middle, 4)

    weight = 1 / np.hypot(detections.x_err[known], references.sky_err[star[known]])
    target = np.stack(field.wcs.wcs_world2pix(references.ra[star[known]], references.dec[star[known]], 0), axis=1)
    rows = design(detections.x[known], detections.y[known]) * weight[:, None]
    solution = np.linalg.lstsq(rows, target * weight[:, None], rcond=None)[0]
    return error_over_frame(field, lambda x, y: field.wcs.wcs_pix2world(*(design(x, y) @ solution).T, 0))


def header_wcs(field, *, shift_px=(0.0, 0.0), turn_deg=0.0, scale=1.0):
    turn = np.radians(turn_deg)
    rotation = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    crpix = tuple(field.wcs.wcs.crpix - 1 + np.array(shift_px))
    return SkyWcs.from_tan_sip(TanSip(tuple(field.wcs.wcs.crval), crpix, rotation @ field.wcs.wcs.cd))


def assert_true_pairs(solution, star, tolerated=0.01):
    wrong = np.count_nonzero(star[solution.detection[solution.used]] != solution.reference[solution.used])
    assert wrong <= tolerated * solution.n_used


@pytest.mark.parametrize("seed", [0, 1, 2, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(3, 10))])
def test_a_frame_far_off_with_unknown_rotation_and_parity_is_solved_to_the_limit(seed):
    field = make_field(seed, n_stars=DENSE, parity=[-1, 1][seed % 2], center=(40.0 * seed, 15.0 * seed - 70))
    detections, star = observe(field, seed)
    references = catalogue(field, seed)

    solution = solve_field(
        detections, references, shape=field.shape, center=offset_center(field, 15.0, 70.0 * seed), radius_deg=0.3
    )

    assert solution.parity == [-1, 1][seed % 2]
    assert solution.scale_arcsec == pytest.approx(1.0, abs=0.01)
    assert_true_pairs(solution, star)
    assert error_of(field, solution) < 0.005
    assert error_of(field, solution) < 1.15 * least_squares_error(field, detections, star, references)
    assert 0.6 < error_of(field, solution) / solution.stated_error_arcsec < 1.7


@pytest.mark.parametrize("center", [(0.05, 0.0), (123.0, 89.8), (10.0, -89.5)])
def test_the_poles_and_the_meridian_are_like_any_other_place(center):
    field = make_field(1, n_stars=500, center=center)
    detections, star = observe(field, 1)

    solution = solve_field(
        detections, catalogue(field, 1), shape=field.shape, center=offset_center(field, 5.0, 90.0), radius_deg=0.2
    )

    assert_true_pairs(solution, star)
    assert error_of(field, solution) < 0.02


@pytest.mark.parametrize(
    ("changes", "how"),
    [
        ({}, "initial solution"),
        ({"shift_px": (0.8, -0.5)}, "initial solution"),
        ({"shift_px": (230.0, -140.0), "turn_deg": 1.0}, "on"),
        ({"turn_deg": 40.0}, "on"),
        ({"scale": 1.02, "shift_px": (30.0, 10.0)}, "on"),
    ],
    ids=["right", "near", "shifted", "turned", "scaled"],
)
def test_an_initial_solution_is_refined_however_wrong_it_is(changes, how):
    field = make_field(2, n_stars=400)
    detections, star = observe(field, 2)

    solution = solve_field(
        detections, catalogue(field, 2), shape=field.shape, initial_wcs=header_wcs(field, **changes), radius_deg=0.2
    )

    assert how in solution.how
    assert_true_pairs(solution, star)
    assert solution.n_matched > 330
    assert error_of(field, solution) < 0.02


@pytest.mark.parametrize("seed", range(5))
def test_matches_grow_into_strongly_distorted_corners(seed):
    field = make_field(seed, n_stars=150, distortion_px=15.0)
    detections, star = observe(field, seed)

    solution = solve_field(
        detections, catalogue(field, seed), shape=field.shape, initial_wcs=header_wcs(field), radius_deg=0.1
    )

    assert_true_pairs(solution, star)
    assert solution.n_matched > 0.9 * np.count_nonzero(star >= 0)
    assert error_of(field, solution) < 0.1


@pytest.mark.parametrize("seed", range(4))
def test_a_few_references_among_many_detections_are_found_without_their_ranks(seed):
    field = make_field(seed, n_stars=50, margin_deg=0.3)
    detections, star = observe(field, seed, missed=0.0, spurious=17.0, error_px=0.2, keep_ranks=False)

    solution = solve_field(
        detections,
        catalogue(field, seed),
        shape=field.shape,
        center=offset_center(field, 10.0, 90.0 * seed),
        radius_deg=0.2,
        scale_range=(0.99, 1.01),
    )

    assert_true_pairs(solution, star, tolerated=0.05)
    assert solution.n_matched >= 45


def test_a_sparse_field_stays_linear():
    field = make_field(3, n_stars=10, distortion_px=0.0, margin_deg=0.2)
    detections, _ = observe(field, 3, missed=0.0, spurious=0.0, error_px=0.1)

    solution = solve_field(
        detections,
        catalogue(field, 3),
        shape=field.shape,
        center=(150.0, 30.0),
        radius_deg=0.1,
        scale_range=(0.98, 1.02),
    )

    assert solution.order == 1
    assert solution.n_matched == 10
    assert error_of(field, solution) < 0.3


def test_three_stars_are_enough_for_a_good_initial_solution():
    field = make_field(4, n_stars=3, distortion_px=0.0, margin_deg=0.1)
    detections, _ = observe(field, 4, missed=0.0, spurious=0.0, error_px=0.05)

    solution = solve_field(
        detections, catalogue(field, 4), shape=field.shape, initial_wcs=header_wcs(field), radius_deg=0.1
    )

    assert (solution.n_matched, solution.order, solution.n_parameters) == (3, 1, 2)


@pytest.mark.parametrize("n_stars", [5, 60, 600])
def test_another_field_is_refused_with_the_numbers(n_stars):
    field, other = make_field(5, n_stars=n_stars), make_field(6, n_stars=n_stars)
    detections, _ = observe(field, 5, missed=0.0)

    with pytest.raises(AstrometryError, match="No placement") as error:
        solve_field(
            detections,
            catalogue(other, 6),
            shape=field.shape,
            center=(150.0, 30.0),
            scale_range=(0.95, 1.05),
            settings=SolveSettings(max_tries=500_000),
        )

    facts = error.value.facts
    assert facts["n_detected"] == len(detections.x)
    assert facts["n_tries"] > 0 or n_stars == 5
    assert facts["log10_chance"] > -4.0


@pytest.mark.parametrize(("n_detected", "n_reference"), [(0, 100), (2, 100), (100, 0), (100, 2), (0, 0)])
def test_too_short_lists_are_refused_with_their_lengths(n_detected, n_reference):
    rng = np.random.default_rng(7)
    detections = Detections(
        x=rng.uniform(0, 100, n_detected), y=rng.uniform(0, 100, n_detected), flux=np.ones(n_detected)
    )
    references = References(ra=np.full(n_reference, 10.0), dec=np.zeros(n_reference), mag=np.ones(n_reference))

    with pytest.raises(AstrometryError, match="at least 3") as error:
        solve_field(detections, references, shape=(100, 100), center=(10.0, 0.0))

    assert (error.value.facts["n_detected"], error.value.facts["n_reference"]) == (n_detected, n_reference)


def test_a_pointing_is_needed():
    field = make_field(8, n_stars=20)
    detections, _ = observe(field, 8)

    with pytest.raises(ValueError, match="initial_wcs or center"):
        solve_field(detections, catalogue(field, 8), shape=field.shape)


def test_missing_values_and_duplicates_change_nothing_else():
    field = make_field(9, n_stars=300)
    detections, star = observe(field, 9)
    references = catalogue(field, 9)
    n = len(detections.x)
    messy = Detections(
        x=np.concatenate([[np.nan], detections.x, detections.x[:40]]),
        y=np.concatenate([[5.0], detections.y, detections.y[:40]]),
        flux=np.concatenate([[1e9], detections.flux, np.full(40, np.nan)]),
        x_err=np.concatenate([[0.1], detections.x_err, np.full(40, np.nan)]),
        y_err=np.concatenate([[0.1], detections.y_err, np.full(40, np.nan)]),
    )
    doubled = References(
        ra=np.concatenate([[np.nan], references.ra, references.ra[:40]]),
        dec=np.concatenate([[0.0], references.dec, references.dec[:40]]),
        mag=np.concatenate([[1.0], references.mag, np.full(40, np.nan)]),
        sky_err=np.concatenate([[0.1], references.sky_err, np.full(40, np.nan)]),
    )
    messy = replace(messy, saturated=np.arange(n + 41) % 10 == 0)

    solution = solve_field(messy, doubled, shape=field.shape, center=(150.0, 30.0), radius_deg=0.1)

    assert len(np.unique(solution.detection)) == len(np.unique(solution.reference)) == solution.n_matched
    assert 0 not in solution.detection
    assert 0 not in solution.reference
    true_star = np.concatenate([[-1], star, star[:40]])
    found = solution.reference - 1
    found = np.where(found >= len(references.ra), found - len(references.ra), found)
    assert np.count_nonzero(true_star[solution.detection] != found) <= 3
    assert error_of(field, solution) < 0.02


def test_the_order_of_the_rows_does_not_matter():
    field = make_field(10, n_stars=200)
    detections, _ = observe(field, 10)
    references = catalogue(field, 10)
    shuffle = np.random.default_rng(0).permutation(len(detections.x))
    shuffled = Detections(**{name: getattr(detections, name)[shuffle] for name in ("x", "y", "flux", "x_err", "y_err")})

    first, second = (
        solve_field(d, references, shape=field.shape, center=(150.0, 30.0), radius_deg=0.1)
        for d in (detections, shuffled)
    )

    np.testing.assert_array_equal(first.tan_sip.cd, second.tan_sip.cd)
    np.testing.assert_array_equal(np.sort(shuffle[second.detection]), first.detection)


def test_the_funnel_counts_what_each_step_left():
    field = make_field(11, n_stars=200)
    detections, star = observe(field, 11, missed=0.2)

    solution = solve_field(detections, catalogue(field, 11), shape=field.shape, initial_wcs=header_wcs(field))

    counts = dict(solution.funnel)
    assert counts["detected"] == len(detections.x)
    assert counts["references"] == len(field.ra)
    assert counts["references in the frame"] == pytest.approx(200, abs=3)
    assert counts["matched"] == solution.n_matched == pytest.approx(np.count_nonzero(star >= 0), abs=5)
    assert counts["used in the fit"] == solution.n_used


@cache
def detect(path, *, saturation, threshold=3.0):
    sep.set_sub_object_limit(20_000)
    data = fits.getdata(path).astype(np.float32)
    background = sep.Background(data, bw=32, bh=32)
    clean = data - background.back()
    objects = sep.extract(clean, threshold, err=background.rms(), minarea=3, deblend_cont=1e-4, deblend_nthresh=64)
    sigma = np.full(len(objects), 0.85)
    x, y, _ = sep.winpos(clean, objects["x"], objects["y"], sigma)
    stray = np.hypot(x - objects["x"], y - objects["y"]) > 2.0
    x, y = np.where(stray, objects["x"], x), np.where(stray, objects["y"], y)
    flux, flux_err, _ = sep.sum_circle(clean, objects["x"], objects["y"], 2.5, err=background.globalrms, gain=1.0)
    error = np.maximum(1.1 * flux_err / np.maximum(flux, flux_err), 0.02)
    saturated = objects["cpeak"] + background.globalback > saturation
    return Detections(x=x, y=y, flux=flux, x_err=error, y_err=error, saturated=saturated), data.shape


def tycho(name):
    table = Table.read(DATA / "refcats" / f"{name}_tycho2.csv")
    columns = (np.asarray(table[c], dtype=float) for c in ("ra_j2000", "dec_j2000", "vt"))
    ra, dec, mag = columns
    return References(ra=ra, dec=dec, mag=mag, sky_err=np.full(len(ra), 0.1))


@needs_data
@pytest.mark.parametrize(("d_ra", "d_dec"), [(0.0, 0.0), (0.25, 0.0), (-0.15, 0.18), (0.0, -0.24)])
@pytest.mark.parametrize("scale_range", [(4.95, 5.05), (3.0, 9.0)])
def test_an_infrared_image_is_solved_with_a_visual_catalogue(d_ra, d_dec, scale_range):
    detections, shape = detect(DATA / "plates" / "gc_2mass_j.fits.gz", saturation=2900.0)

    solution = solve_field(
        detections,
        tycho("gc_2mass"),
        shape=shape,
        center=(266.4 + d_ra, -28.9333 + d_dec),
        radius_deg=0.3,
        scale_range=scale_range,
    )

    assert solution.n_matched >= 68
    assert solution.rms_px <= 0.25
    assert solution.parity == -1
    assert solution.scale_arcsec == pytest.approx(5.0, abs=0.002)


@needs_data
@pytest.mark.parametrize("index", [3, *(pytest.param(i, marks=pytest.mark.slow) for i in (0, 17, 35))])
def test_a_mirrored_frame_with_a_wrong_header_is_solved(index):
    path = sorted((DATA / "hatp32").glob("*.fits.gz"))[index]
    detections, shape = detect(path, saturation=3500.0)

    solution = solve_field(detections, tycho("hatp32"), shape=shape, center=(31.3, 46.77), radius_deg=0.5)

    assert solution.parity == 1
    assert 5.161 <= solution.scale_arcsec <= 5.171
    assert solution.n_matched >= max(34, 0.9 * solution.n_references_in_frame)
    assert solution.rms_px <= 0.32
    ra, dec = tan_sip_to_sky(solution.tan_sip, x=detections.x, y=detections.y)
    assert separation_arcsec(ra, dec, np.array(31.0428), np.array(46.6878)).min() < 3.0
