"""Features of candidates mean what their names say."""

import numpy as np
import pytest
from scipy import ndimage

from firstlight.algorithms import candidate_fits
from firstlight.algorithms.candidate_features import FEATURES, candidate_features
from firstlight.algorithms.candidate_fits import fit_candidates
from firstlight.algorithms.stamps import StampPsfs
from firstlight.images.psf import MoffatPsf

from .candidates import FWHM, PSFS, SIGMA, SPACING, field_of, stamps_of


def table_of(stamps, *, psfs=PSFS):
    return candidate_features(stamps, fit_candidates(stamps, psfs=psfs, fwhm=FWHM), fwhm=FWHM)


def features(kind, *, snr=20.0, **changes):
    images, x, y = field_of(kind, snr=snr, **changes)
    return dict(zip(FEATURES, table_of(stamps_of(images, x, y)).T, strict=True))


def test_the_significance_of_a_star_is_recovered_within_its_noise():
    found = np.exp(features("star", snr=20.0)["log_snr"])

    # The fit is made within 1.5 FWHM, which holds nearly all of the information of this profile.
    assert np.mean(found) == pytest.approx(20.0, abs=4 / np.sqrt(25) + 0.4)
    assert np.std(found) == pytest.approx(1.0, abs=4 / np.sqrt(2 * 25))


def test_a_star_is_fitted_to_the_noise_and_has_the_shape_of_the_psf():
    star = features("star", snr=20.0)

    assert np.median(star["log_chi2"]) == pytest.approx(0.0, abs=0.2)
    assert np.median(np.abs(np.sinh(star["width_significance"]))) < 2.0
    assert np.median(star["narrowness"]) == pytest.approx(1.0, abs=0.25)


@pytest.mark.parametrize(
    ("kind", "feature", "more"),
    [
        ("hot_pixel", "narrowness", 1.5),
        ("hot_pixel", "log_chi2", 1.0),
        ("dipole", "negative_share", 0.2),
        ("trail", "line_significance", 1.0),
    ],
)
def test_artefacts_stand_out_in_the_feature_that_is_made_for_them(kind, feature, more):
    assert np.median(features(kind)[feature]) > np.median(features("star")[feature]) + more


@pytest.mark.parametrize("turn", [1, 2, 3])
def test_features_do_not_change_when_the_image_is_turned(turn):
    images, _, _ = field_of("star", snr=20.0, n=1)
    middle = np.array([23.0])
    upright = stamps_of([image[:47, :47] for image in images], middle, middle)
    turned = stamps_of([np.rot90(image[:47, :47], turn) for image in images], middle, middle)

    # The profile is round only to the pixels' own shape; the line through the middle has twelve directions.
    both = [table_of(each)[0] for each in (upright, turned)]
    np.testing.assert_allclose(*both, atol=1e-4)


def test_a_candidate_between_two_pixels_is_fitted_where_it_lies():
    images, x, y = field_of("star", snr=50.0, n=1)
    between = np.round(x - 0.5) + 0.5, np.round(y - 0.5) + 0.5

    fits = fit_candidates(stamps_of(images, *between), psfs=PSFS, fwhm=FWHM)

    # Of either place the error is the width of the PSF over S/N, 0.03 pixel.
    for fit in (fits.difference, fits.own):
        np.testing.assert_allclose([fit.x[0], fit.y[0]], [x[0], y[0]], atol=0.15)


def test_pixels_that_the_other_image_lacks_do_not_count_where_the_source_is_bright():
    images, x, y = field_of("star", snr=20.0)
    still, _, _ = field_of("star", snr=400.0, noise=False)
    science, template, difference = images[0] + still[0], images[1] + still[0], images[2]
    holed = template.copy()
    holed[:, np.rint(x).astype(int) + 2] = np.nan
    unknown = ~np.isfinite(holed)

    whole = fit_candidates(stamps_of((science, template, difference), x, y), psfs=PSFS, fwhm=FWHM).own
    lacking = fit_candidates(stamps_of((science, holed, difference), x, y, unusable=unknown), psfs=PSFS, fwhm=FWHM).own

    # A column of the core tells little of the source; the light of the star below would be 400.
    assert np.std(lacking.snr - whole.snr) < 2.0
    assert np.mean(lacking.snr) == pytest.approx(np.mean(whole.snr), abs=2.0)


def test_pixels_that_a_fit_cannot_reach_change_nothing(monkeypatch):
    # The best position is farther than the fits may go, so that the core reaches 7 columns to the right of the middle;
    # there lies its brightest pixel, whose neighbours tell how sharp it is.
    fwhm, (images, x, y) = 3.0, field_of("star", snr=20.0, n=9)
    column, row = np.rint(x).astype(int) - 4, np.rint(y).astype(int)
    images[0][row, column + 7] += 1000 * SIGMA
    stamps = stamps_of(images, column + 0.4, row)

    few = fit_candidates(stamps, psfs=PSFS, fwhm=fwhm)
    monkeypatch.setattr(candidate_fits, "core_half", lambda fwhm, *, largest_shift: stamps.half)
    every = fit_candidates(stamps, psfs=PSFS, fwhm=fwhm)

    assert few.own.core.shape[1] < every.own.core.shape[1] == 2 * stamps.half + 1
    assert every.own.core[:, stamps.half, stamps.half + 7].all()
    both = [candidate_features(stamps, fits, fwhm=fwhm) for fits in (few, every)]
    np.testing.assert_allclose(*both, rtol=1e-6, atol=1e-6)


def test_an_elongation_is_as_large_and_as_significant_along_axes_and_diagonals():
    round_psf = MoffatPsf(fwhm=5.8, beta=3.0, radius=24)
    told = []
    for e1, e2 in ((0.2, 0.0), (-0.2, 0.0), (0.0, 0.2), (0.0, -0.2)):
        image = 1e4 * MoffatPsf(fwhm=5.8, beta=3.0, radius=24, e1=e1, e2=e2).image(x=24.0, y=24.0)
        middle = np.array([24.0])
        stamps = stamps_of((image, np.zeros_like(image), image), middle, middle, half=24)
        fits = fit_candidates(stamps, psfs=StampPsfs(*3 * [round_psf]), fwhm=6.0)
        row = candidate_features(stamps, fits, fwhm=6.0)[0]
        told.append((np.sinh(row[FEATURES.index("elongation_significance")]), row[FEATURES.index("elongation")]))

    # Derivatives are differences over two pixels: a few per cent too small where the profile is narrowest.
    significance, size = np.transpose(told)
    assert significance.min() > 10.0
    np.testing.assert_allclose(significance, significance.mean(), rtol=0.1)
    np.testing.assert_allclose(size, size.mean(), rtol=0.15)


def test_a_position_that_is_a_pixel_off_is_put_right():
    images, x, y = field_of("star", snr=30.0)
    exact = fit_candidates(stamps_of(images, x, y), psfs=PSFS, fwhm=FWHM)
    off = fit_candidates(stamps_of(images, x + 0.8, y - 0.6), psfs=PSFS, fwhm=FWHM)

    for one, other in zip(exact, off, strict=True):
        np.testing.assert_allclose(other.flux / other.flux_err, one.flux / one.flux_err, atol=1.0)


def test_the_image_in_which_a_source_is_bright_tells_its_own_place():
    (science, template, difference), x, y = field_of("star", snr=50.0, noise=False)
    moved = ndimage.shift(science, (0.0, 0.4))

    fits = fit_candidates(stamps_of((moved, template, difference), x, y), psfs=PSFS, fwhm=FWHM)

    # The spline between pixels is right to a few hundredths of one.
    np.testing.assert_allclose(fits.own.x - fits.difference.x, 0.4, atol=0.1)
    np.testing.assert_allclose(fits.own.y - fits.difference.y, 0.0, atol=0.1)


def test_a_cosmic_ray_that_the_subtraction_made_round_is_sharp_in_the_image_it_hit():
    star, x, y = field_of("star", snr=20.0)
    sharp, _, _ = field_of("hot_pixel", snr=20.0)
    # A kernel has turned the hit into what a star looks like; the image it hit is as it was.
    made_round = sharp[0], sharp[1], star[2]

    told = [dict(zip(FEATURES, table_of(stamps_of(images, x, y)).T, strict=True)) for images in (star, made_round)]

    np.testing.assert_array_equal(told[0]["narrowness"], told[1]["narrowness"])
    assert told[0]["own_edge_ratio"].min() > told[1]["own_edge_ratio"].max()
    assert np.median(told[1]["own_narrowness"]) > 2 * np.median(told[0]["own_narrowness"])


def test_a_track_is_told_by_its_sharp_side():
    (science, template, difference), x, y = field_of("hot_pixel", snr=20.0, noise=False)
    track = science + 0.9 * (np.roll(science, 1, axis=1) + np.roll(science, -1, axis=1))

    table = table_of(stamps_of((track, template, difference), x, y))

    assert table[:, FEATURES.index("own_edge_significance")].max() < -np.arcsinh(5.0)


def test_what_vanished_is_fitted_with_the_psf_of_the_template():
    (science, template, difference), x, y = field_of("star", snr=20.0)
    expected = table_of(stamps_of((science, template, difference), x, y))
    wide = MoffatPsf(fwhm=5.0, beta=3.0, radius=14)
    gone = stamps_of((template, science, -difference), x, y).upright(np.ones(len(x), dtype=bool))
    some = np.arange(len(x)) % 2 == 1
    there = np.kron(some.reshape(5, 5), np.ones((SPACING, SPACING), dtype=bool))
    images = np.where(there, template, science), np.where(there, science, template), np.where(there, -1, 1) * difference
    mixed = stamps_of(images, x, y).upright(some)

    np.testing.assert_array_equal(table_of(gone, psfs=PSFS._replace(science=wide)), expected)
    np.testing.assert_array_equal(table_of(mixed), expected)


def test_light_that_both_images_show_does_not_disturb_the_fit_to_one():
    (science, template, difference), x, y = field_of("star", snr=20.0, n=25)
    rows, columns = np.indices(science.shape)
    host = sum(
        40 * SIGMA * np.exp(-np.hypot(columns - at_x - 2.0, rows - at_y) / 5.0) for at_x, at_y in zip(x, y, strict=True)
    )

    fit = fit_candidates(stamps_of((science + host, template + host, difference), x, y), psfs=PSFS, fwhm=FWHM).own

    # The template has the noise of the science image, and its share of it counts: sqrt(2) in the residuals.
    assert np.median(fit.flux / fit.flux_err) > 0.7 * 20.0
    assert np.median(np.where(fit.core, fit.residual**2, 0.0).sum(axis=(1, 2)) / fit.core.sum(axis=(1, 2))) < 2.6


def test_pixels_without_weight_change_nothing():
    images, x, y = field_of("star", snr=20.0, n=4)
    unusable = np.zeros(images[0].shape, dtype=bool)
    unusable[30, 20:28] = True
    ruined = [np.where(unusable, 1e6, image) for image in images]

    both = [table_of(stamps_of((*images[:2], each[2]), x, y, unusable=unusable)) for each in (images, ruined)]

    np.testing.assert_array_equal(*both)


def test_light_where_the_other_image_is_not_known_tells_nothing_of_the_source():
    (science, template, difference), x, y = field_of("star", snr=20.0, n=4)
    lost = np.zeros(science.shape, dtype=bool)
    lost[24:26, 20:28] = True
    template, difference = (np.where(lost, np.nan, image) for image in (template, difference))

    own = [
        fit_candidates(stamps_of((image, template, difference), x, y), psfs=PSFS, fwhm=FWHM).own
        for image in (science, np.where(lost, 1e6, science))
    ]

    for name in ("flux", "coefficients", "x", "y"):
        np.testing.assert_array_equal(*(getattr(each, name) for each in own))


def test_masks_are_counted_near_and_around():
    images, x, y = field_of("star", snr=20.0, n=4)
    saturated = np.zeros(images[0].shape, dtype=bool)
    saturated[:48, :48] = True

    table = table_of(stamps_of(images, x, y, masks={"saturated": saturated}))

    np.testing.assert_allclose(table[:, FEATURES.index("saturated_near")], [1, 0, 0, 0])
    np.testing.assert_allclose(table[:, FEATURES.index("saturated_around")], [1, 0, 0, 0])


def test_features_are_finite_where_nothing_is_known():
    images, x, y = field_of("star", snr=20.0, n=4)

    table = table_of(stamps_of(images, x, y, unusable=np.ones(images[0].shape, dtype=bool)))

    assert np.isfinite(table).all()


def test_no_candidates_have_no_features():
    images, _, _ = field_of("star", snr=20.0, n=1)
    none = np.zeros(0)

    assert table_of(stamps_of(images, none, none)).shape == (0, len(FEATURES))
