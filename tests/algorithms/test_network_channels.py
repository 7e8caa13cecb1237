"""What a network sees of a candidate is in units of its noise."""

import numpy as np
import pytest

from firstlight.algorithms.candidate_features import STAMP_FWHM
from firstlight.algorithms.candidate_fits import fit_candidates
from firstlight.algorithms.network_channels import CHANNELS, local_noise, network_channels

from .candidates import FWHM, PSFS, field_of, stamps_of


def channels_of(stamps):
    return network_channels(stamps, fit_candidates(stamps, psfs=PSFS, fwhm=FWHM), fwhm=FWHM)


def test_channels_do_not_depend_on_the_unit_of_the_pixels():
    images, x, y = field_of("star", snr=20.0, n=4)
    stamps = stamps_of(images, x, y, half=10)
    other = stamps_of([3.0 * image for image in images], x, y, half=10)
    other = other.__class__(
        **{
            **{name: getattr(other, name) for name in other.__dataclass_fields__},
            **{
                f"{name}_variance": 9.0 * getattr(stamps, f"{name}_variance")
                for name in ("science", "template", "difference")
            },
        }
    )

    np.testing.assert_allclose(
        channels_of(stamps),
        channels_of(other),
        atol=1e-4,
    )


def test_a_brighter_source_looks_brighter_to_the_network():
    peaks = []
    for snr in (10.0, 40.0):
        images, x, y = field_of("star", snr=snr, n=4, noise=False)
        peaks.append(channels_of(stamps_of(images, x, y))[:, 3].max(axis=(1, 2)).min())

    assert np.sinh(peaks[1]) == pytest.approx(4 * np.sinh(peaks[0]), rel=0.01)


def test_a_star_leaves_noise_of_the_image_in_which_it_is_bright_and_is_what_was_expected():
    images, x, y = field_of("star", snr=20.0)

    channels = np.sinh(channels_of(stamps_of(images, x, y)).astype(float))

    seen = {name: channels[:, number] for number, name in enumerate(CHANNELS)}
    fitted = seen["expected"] != 0
    left = {
        "expected": (seen["difference"] - seen["expected"])[fitted],
        "own_residual": seen["own_residual"][seen["own_residual"] != 0],
    }
    for pixels in left.values():
        # Position, flux and what lies under the star take 5 of the 60 degrees of freedom or fewer.
        assert np.std(pixels) == pytest.approx(1.0, abs=4 / np.sqrt(2 * len(pixels)) + 0.05)


def test_what_the_subtraction_made_round_leaves_a_peak_in_the_image_it_hit():
    star, x, y = field_of("star", snr=20.0)
    sharp, _, _ = field_of("hot_pixel", snr=20.0)

    peaks = [
        np.sinh(channels_of(stamps_of((*images, star[2]), x, y))[:, CHANNELS.index("own_residual")].max(axis=(1, 2)))
        for images in (star[:2], sharp[:2])
    ]

    assert peaks[0].max() < 5.0 < peaks[1].min()


def test_repaired_pixels_are_shown_as_far_as_the_features_look():
    images, x, y = field_of("star", snr=20.0, n=4)
    everywhere = np.ones(images[0].shape, dtype=bool)

    stamps = stamps_of(images, x, y, masks={"cosmic_ray": everywhere})
    channels = channels_of(stamps)

    np.testing.assert_array_equal(channels[:, CHANNELS.index("cosmic_ray")] > 0, stamps.radius <= STAMP_FWHM * FWHM)
    assert not channels[:, CHANNELS.index("defect")].any()


def test_channels_are_finite_where_nothing_is_known():
    images, x, y = field_of("star", snr=20.0, n=4)
    stamps = stamps_of(images, x, y, unusable=np.ones(images[0].shape, dtype=bool))

    assert np.isfinite(channels_of(stamps)).all()


def test_fits_to_larger_stamps_show_the_network_the_same():
    images, x, y = field_of("star", snr=20.0, n=9)
    stamps = stamps_of(images, x, y)

    fits = fit_candidates(stamps, psfs=PSFS, fwhm=FWHM)
    for half in (10, 5):
        small = stamps.cropped(half)
        shown = network_channels(small, fits, fwhm=FWHM)
        for name, fit, pixels in (
            ("expected", fits.difference, fits.difference.expected),
            ("own_residual", fits.own, fits.own.residual),
        ):
            column, row = np.meshgrid(*2 * (np.arange(-half, half + 1),))
            reach = fit.core.shape[1] // 2
            inside = (np.abs(column) <= reach) & (np.abs(row) <= reach)
            expected = np.zeros(small.science.shape)
            of_fit = row[inside] + reach, column[inside] + reach
            expected[:, inside] = np.where(fit.core, pixels, 0.0)[:, *of_fit]
            np.testing.assert_allclose(np.sinh(shown[:, CHANNELS.index(name)]), expected, rtol=1e-5)


def test_the_noise_of_a_stamp_is_of_the_median_of_what_is_known():
    rng = np.random.default_rng(1)
    variance = rng.uniform(1.0, 9.0, (40, 5, 5))
    variance[rng.random(variance.shape) < 0.3] = np.inf

    known = [stamp[np.isfinite(stamp)] for stamp in variance]
    assert {len(each) % 2 for each in known} == {0, 1}
    np.testing.assert_allclose(local_noise(variance), [np.sqrt(np.median(each)) for each in known], rtol=1e-6)


def test_a_stamp_without_a_pixel_has_endless_noise_and_finite_channels():
    assert np.isinf(local_noise(np.full((1, 5, 5), np.inf))).all()


def test_no_candidates_have_no_channels():
    images, _, _ = field_of("star", snr=20.0, n=1)
    none = np.zeros(0)

    assert channels_of(stamps_of(images, none, none, half=10)).shape == (
        0,
        len(CHANNELS),
        21,
        21,
    )
