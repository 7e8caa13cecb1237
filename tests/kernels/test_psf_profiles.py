import numpy as np
import pytest

from firstlight.kernels.psf_profiles import flux_in_circle, moffat_images, moffat_sums

SUBPIXELS = 48


def moffat_reference(alpha, beta, e1, e2, dx, dy, half, step=1.0):
    """Integrate a Moffat profile over pixels whose centres are ``step`` apart."""
    fine = (np.arange(SUBPIXELS) + 0.5) / SUBPIXELS - 0.5
    centers = step * np.arange(-half, half + 1)
    u = (centers[:, None] - dx + fine).ravel()[None, :]
    v = (centers[:, None] - dy + fine).ravel()[:, None]
    q = ((1 - e1) * u**2 + (1 + e1) * v**2 - 2 * e2 * u * v) / (alpha**2 * np.sqrt(1 - e1**2 - e2**2))
    profile = (beta - 1) / (np.pi * alpha**2) * (1 + q) ** -beta
    return profile.reshape(2 * half + 1, SUBPIXELS, 2 * half + 1, SUBPIXELS).mean(axis=(1, 3))


@pytest.mark.parametrize(("alpha", "beta"), [(1.1, 2.7), (2.0, 2.7), (5.0, 2.7), (5.0, 12.0)])
@pytest.mark.parametrize("step", [1.0, 0.25])
def test_moffat_images_are_those_of_the_reference(alpha, beta, step):
    images = moffat_images(np.array([0.3]), np.array([-0.45]), np.array([[alpha, 0.2, -0.1]]), beta, 9, step)

    expected = moffat_reference(alpha, beta, 0.2, -0.1, 0.3, -0.45, 9, step)
    np.testing.assert_allclose(images[0], expected, atol=3e-4 * expected.max())


@pytest.mark.parametrize(("alpha", "beta"), [(1.2, 2.5), (2.2, 3.0), (6.0, 3.0), (5.0, 12.0), (7.0, 30.0)])
def test_moffat_sums_draw_all_stars_of_a_stamp(alpha, beta):
    first, flux = np.array([0, 2, 3]), np.array([100.0, 50.0, 7.0])
    dx, dy = np.array([0.2, 4.3, -0.1]), np.array([-0.3, -9.2, 0.4])
    shapes = np.tile([alpha, 0.1, 0.05], (3, 1))

    images = moffat_sums(first, dx, dy, flux, shapes, beta, 8)

    stars = [f * moffat_reference(alpha, beta, 0.1, 0.05, a, b, 8) for f, a, b in zip(flux, dx, dy, strict=True)]
    np.testing.assert_allclose(images[0], stars[0] + stars[1], atol=3e-4 * stars[0].max())
    np.testing.assert_allclose(images[1], stars[2], atol=3e-4 * stars[2].max())


@pytest.mark.parametrize("radius", [0.3, 0.7, 2.0, 3.51])
@pytest.mark.parametrize(("x0", "y0"), [(5.0, 5.0), (5.3, 4.6), (4.5, 5.5)])
def test_circle_on_a_flat_stamp_has_its_area(radius, x0, y0):
    assert flux_in_circle(np.ones((11, 11)), x0, y0, radius) == pytest.approx(np.pi * radius**2, rel=1e-12)


def test_circle_takes_the_share_of_each_pixel_inside():
    rng = np.random.default_rng(3)
    stamp = rng.normal(size=(9, 9))
    fine = (np.arange(9 * 60) + 0.5) / 60 - 0.5
    inside = np.hypot(fine[None, :] - 4.2, fine[:, None] - 3.9) <= 2.6
    share = inside.reshape(9, 60, 9, 60).mean(axis=(1, 3))

    assert flux_in_circle(stamp, 4.2, 3.9, 2.6) == pytest.approx((share * stamp).sum(), abs=2e-3)


def test_circle_beyond_the_stamp_sums_all_of_it():
    assert flux_in_circle(np.ones((5, 5)), 2.0, 2.0, 50.0) == pytest.approx(25.0)
