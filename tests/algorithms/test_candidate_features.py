"""Features of candidates mean what their names say."""

import numpy as np
import pytest

from firstlight.algorithms.candidate_features import FEATURES, candidate_features, fit_points

from .candidates import FWHM, PSF, field_of, stamps_of


def features(kind, *, snr=20.0, **changes):
    images, x, y = field_of(kind, snr=snr, **changes)
    return dict(zip(FEATURES, candidate_features(stamps_of(images, x, y), psf=PSF, fwhm=FWHM).T, strict=True))


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
    both = [candidate_features(each, psf=PSF, fwhm=FWHM)[0] for each in (upright, turned)]
    np.testing.assert_allclose(*both, atol=1e-4)


def test_a_position_that_is_a_pixel_off_is_put_right():
    images, x, y = field_of("star", snr=30.0)
    exact = fit_points(stamps_of(images, x, y), psf=PSF, fwhm=FWHM)
    off = fit_points(stamps_of(images, x + 0.8, y - 0.6), psf=PSF, fwhm=FWHM)

    np.testing.assert_allclose(off.flux / off.flux_err, exact.flux / exact.flux_err, atol=1.0)


def test_pixels_without_weight_change_nothing():
    images, x, y = field_of("star", snr=20.0, n=4)
    unusable = np.zeros(images[0].shape, dtype=bool)
    unusable[30, 20:28] = True
    ruined = [np.where(unusable, 1e6, image) for image in images]

    both = [
        candidate_features(stamps_of((*images[:2], each[2]), x, y, unusable=unusable), psf=PSF, fwhm=FWHM)
        for each in (images, ruined)
    ]

    np.testing.assert_array_equal(*both)


def test_masks_are_counted_near_and_around():
    images, x, y = field_of("star", snr=20.0, n=4)
    saturated = np.zeros(images[0].shape, dtype=bool)
    saturated[:48, :48] = True

    table = candidate_features(stamps_of(images, x, y, masks={"saturated": saturated}), psf=PSF, fwhm=FWHM)

    np.testing.assert_allclose(table[:, FEATURES.index("saturated_near")], [1, 0, 0, 0])
    np.testing.assert_allclose(table[:, FEATURES.index("saturated_around")], [1, 0, 0, 0])


def test_features_are_finite_where_nothing_is_known():
    images, x, y = field_of("star", snr=20.0, n=4)

    table = candidate_features(
        stamps_of(images, x, y, unusable=np.ones(images[0].shape, dtype=bool)), psf=PSF, fwhm=FWHM
    )

    assert np.isfinite(table).all()


def test_no_candidates_have_no_features():
    images, _, _ = field_of("star", snr=20.0, n=1)
    none = np.zeros(0)

    assert candidate_features(stamps_of(images, none, none), psf=PSF, fwhm=FWHM).shape == (0, len(FEATURES))
