import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firstlight.images.pixel_grid_psf import PixelGridPsf, polynomial_basis, polynomial_order
from firstlight.images.psf import FWHM_PER_SIGMA, GaussianPsf, MoffatPsf, Psf

SUBPIXELS = 24


def moffat_pixels(fwhm, beta, e1, e2, dx, dy, radius):
    """Integrate a Moffat profile over pixels by brute force."""
    alpha = 0.5 * fwhm / np.sqrt(2 ** (1 / beta) - 1)
    fine = np.arange(-radius - 0.5 + 0.5 / SUBPIXELS, radius + 0.5, 1 / SUBPIXELS)
    u, v = np.meshgrid(fine - dx, fine - dy)
    q = ((1 - e1) * u**2 + (1 + e1) * v**2 - 2 * e2 * u * v) / (alpha**2 * np.sqrt(1 - e1**2 - e2**2))
    profile = (beta - 1) / (np.pi * alpha**2) * (1 + q) ** -beta
    side = 2 * radius + 1
    return profile.reshape(side, SUBPIXELS, side, SUBPIXELS).mean(axis=(1, 3))


def grid_psf(*, fwhm=2.2, beta=3.0, radius=9, oversampling=4, slope=0.05):
    """Return a Moffat profile on a grid whose width changes by ``slope`` of itself from the middle to the right."""
    half = oversampling * (radius + 1) + 2
    alpha = 0.5 * fwhm / np.sqrt(2 ** (1 / beta) - 1)
    steps = np.arange(-half, half + 1) / oversampling
    fine = (np.arange(16) + 0.5) / 16 - 0.5
    x = (steps[:, None] + fine).ravel()

    def samples(scale):
        r2 = (x[None, :] ** 2 + x[:, None] ** 2) / scale**2
        profile = (beta - 1) / (np.pi * scale**2) * (1 + r2) ** -beta
        return profile.reshape(len(steps), 16, len(steps), 16).mean(axis=(1, 3))

    middle = samples(alpha)
    change = (samples(alpha * (1 + 1e-3)) - middle) / 1e-3 * slope
    on_stamp = half + oversampling * np.arange(-radius, radius + 1)
    grids = np.stack([middle, change])
    return PixelGridPsf(
        grids,
        polynomials=np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]),
        oversampling=oversampling,
        radius=radius,
        domain=(-0.5, 999.5, -0.5, 799.5),
        stamp_fractions=grids[:, on_stamp][:, :, on_stamp].sum(axis=(1, 2)),
        wing=(alpha, beta),
        average_position=(500.0, 400.0),
    )


PSFS = {
    "gaussian": GaussianPsf(sigma=1.1, radius=8),
    "moffat": MoffatPsf(fwhm=2.2, beta=3.0, radius=9, e1=0.06, e2=-0.04),
    "undersampled moffat": MoffatPsf(fwhm=1.4, beta=3.0, radius=9),
    "grid": grid_psf(),
}


@pytest.fixture(params=PSFS.values(), ids=PSFS.keys())
def psf(request) -> Psf:
    return request.param


@settings(max_examples=20, deadline=None)
@given(x=st.floats(-50, 1050), y=st.floats(-50, 850))
@pytest.mark.parametrize("psf", PSFS.values(), ids=PSFS.keys())
def test_star_has_unit_sum_at_any_position(psf, x, y):
    stamp = psf.image(x=x, y=y)

    assert stamp.shape == (2 * psf.radius + 1, 2 * psf.radius + 1)
    assert stamp.sum() == pytest.approx(1.0, abs=1e-5)
    assert stamp.min() >= 0


@pytest.mark.parametrize("name", ["gaussian", "moffat", "grid"])
@pytest.mark.parametrize(("x", "y"), [(100.0, 50.0), (100.3, 50.45), (99.6, 49.8), (700.49, 20.51)])
def test_star_is_centred_on_its_exact_position(name, x, y):
    psf = PSFS[name]
    stamp = psf.image(x=x, y=y)
    rows, columns = np.mgrid[: stamp.shape[0], : stamp.shape[1]].astype(float)
    left, low = np.rint(x) - psf.radius, np.rint(y) - psf.radius
    weight = np.exp(-0.5 * ((columns + left - x) ** 2 + (rows + low - y) ** 2) / 1.2**2) * stamp

    assert (weight * (columns + left)).sum() / weight.sum() == pytest.approx(x, abs=0.01)
    assert (weight * (rows + low)).sum() / weight.sum() == pytest.approx(y, abs=0.01)


def test_kernel_image_is_symmetric_where_the_profile_is(psf):
    kernel = psf.kernel_image(x=500.3, y=400.4)

    np.testing.assert_allclose(kernel, kernel[::-1, ::-1], atol=1e-7)
    assert np.unravel_index(kernel.argmax(), kernel.shape) == (psf.radius, psf.radius)


def test_many_images_are_the_single_ones(psf):
    x, y = np.array([10.2, 600.7, 999.0]), np.array([5.5, 300.1, 700.9])

    many = psf.images(x=x, y=y)

    for i in range(3):
        np.testing.assert_array_equal(many[i], psf.image(x=x[i], y=y[i]))


def test_cores_are_the_middle_of_the_images(psf):
    x, y = np.array([10.2, 600.7]), np.array([5.4, 300.1])
    cut = slice(psf.radius - 3, psf.radius + 4)

    np.testing.assert_allclose(psf.cores(3, x=x, y=y), psf.images(x=x, y=y)[:, cut, cut], rtol=3e-4)


def test_parts_make_an_equal_psf(psf):
    again = type(psf).from_parts(*psf.to_parts())

    assert again == psf
    assert hash(again) == hash(psf)
    np.testing.assert_array_equal(again.image(x=3.3, y=4.4), psf.image(x=3.3, y=4.4))


def test_another_psf_is_not_equal():
    assert GaussianPsf(sigma=1.1, radius=8) != GaussianPsf(sigma=1.2, radius=8)
    assert grid_psf(slope=0.05) != grid_psf(slope=0.04)


def test_aperture_flux_grows_to_all_of_the_light(psf):
    radii = [1.0, 2.0, 4.0, 7.0, 9.0, 9.4, 9.6, 12.0, 30.0, 1e4]
    flux = [psf.aperture_flux(radius, x=500.2, y=400.3) for radius in radii]

    assert np.diff(flux).min() > -2e-4
    assert flux[-1] == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("radius", [6.6, 8.5, 14.0])
@pytest.mark.parametrize("name", ["moffat", "grid"])
def test_aperture_flux_counts_the_wings_beyond_the_stamp(name, radius):
    alpha = 0.5 * 2.2 / np.sqrt(2 ** (1 / 3) - 1)
    outside = (1 + (radius / alpha) ** 2) ** -2.0

    assert 1 - PSFS[name].aperture_flux(radius, x=499.5, y=400.3) == pytest.approx(outside, rel=0.06)


def test_gaussian_has_the_moments_of_a_gaussian_and_a_pixel():
    moments = GaussianPsf(sigma=1.5, radius=10).moments(x=3.2, y=4.1)

    assert moments.ixx == pytest.approx(1.5**2 + 1 / 12, rel=1e-3)
    assert moments.sigma == pytest.approx(np.sqrt(1.5**2 + 1 / 12), rel=1e-3)
    assert moments.trace_radius == pytest.approx(moments.sigma, rel=1e-6)
    assert abs(moments.e1) < 1e-6
    assert abs(moments.e2) < 1e-6


def test_elongated_star_has_the_sign_of_its_ellipticity():
    along_x = MoffatPsf(fwhm=3.0, beta=3.0, radius=12, e1=0.2).moments(x=0, y=0)
    along_diagonal = MoffatPsf(fwhm=3.0, beta=3.0, radius=12, e2=0.2).moments(x=0, y=0)

    assert along_x.e1 > 0.1 > abs(along_x.e2)
    assert along_diagonal.e2 > 0.1 > abs(along_diagonal.e1)


@pytest.mark.parametrize("sigma", [1.0, 1.7, 3.0])
def test_fwhm_of_a_gaussian_is_that_of_the_pixel_integrated_profile(sigma):
    expected = FWHM_PER_SIGMA * np.sqrt(sigma**2 + 1 / 12)

    assert GaussianPsf(sigma=sigma, radius=12).fwhm(x=0, y=0) == pytest.approx(expected, rel=2e-3)


@pytest.mark.parametrize("fwhm", [1.4, 1.6, 2.2, 5.0])
@pytest.mark.parametrize("beta", [2.5, 4.8])
def test_moffat_is_integrated_over_the_pixels(fwhm, beta):
    psf = MoffatPsf(fwhm=fwhm, beta=beta, radius=8, e1=0.1, e2=0.05)
    expected = moffat_pixels(fwhm, beta, 0.1, 0.05, 0.31, -0.44, 8)

    stamp = psf.image(x=20.31, y=29.56)

    np.testing.assert_allclose(stamp, expected / expected.sum(), atol=2e-4 * stamp.max())
    assert psf.stamp_fraction(x=20.31, y=29.56) == pytest.approx(expected.sum(), abs=1e-4)


def test_grid_follows_the_polynomial():
    left, right = (grid_psf(slope=0.05).moments(x=x, y=400).sigma for x in (-0.5, 999.5))
    narrow, wide = (MoffatPsf(fwhm=2.2 * (1 + s), beta=3.0, radius=9).moments(x=0, y=0).sigma for s in (-0.05, 0.05))

    assert left == pytest.approx(narrow, rel=3e-3)
    assert right == pytest.approx(wide, rel=3e-3)


def test_grid_is_held_at_the_border_of_its_domain():
    psf = grid_psf()

    np.testing.assert_array_equal(psf.image(x=5000.25, y=400.0), psf.image(x=1000.25, y=400.0))


def test_grid_draws_a_star_between_its_samples():
    psf = grid_psf(slope=0.0)
    expected = moffat_pixels(2.2, 3.0, 0, 0, 0.37, -0.21, 9)

    stamp = psf.image(x=500.37, y=399.79)

    np.testing.assert_allclose(stamp, expected / expected.sum(), atol=5e-4 * stamp.max())


def test_shapes_are_the_moments_of_drawn_stars(psf):
    shapes = psf.shapes(x=np.array([100.0, 100.5]), y=np.array([100.0, 100.0]))

    assert shapes.shape == (2, 3)
    assert np.isfinite(shapes).all()
    assert shapes[0, 0] == pytest.approx(psf.moments(x=100, y=100).ixx, rel=0.05)


def test_oversampled_profile_holds_the_image():
    psf = PSFS["moffat"]

    np.testing.assert_allclose(psf.oversampled(5, x=10, y=20)[::5, ::5], psf.kernel_image(x=10, y=20), rtol=1e-6)


def test_samples_per_pixel_must_be_odd():
    with pytest.raises(ValueError, match="must be odd; got 4"):
        PSFS["moffat"].oversampled(4, x=0, y=0)


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"fwhm": 0.0, "beta": 3.0, "radius": 5}, "fwhm"),
        ({"fwhm": 2.0, "beta": 1.0, "radius": 5}, "beta"),
        ({"fwhm": 2.0, "beta": 3.0, "radius": 0}, "radius"),
        ({"fwhm": 2.0, "beta": 3.0, "radius": 5, "e1": 0.8, "e2": 0.7}, "e1"),
    ],
)
def test_impossible_moffat_is_refused(values, name):
    with pytest.raises(ValueError, match=name):
        MoffatPsf(**values)


def test_grid_that_is_too_small_is_refused():
    arrays, values = grid_psf().to_parts()
    with pytest.raises(ValueError, match="at least"):
        PixelGridPsf.from_parts({**arrays, "grids": arrays["grids"][:, 5:-5, 5:-5]}, values)


def test_grid_that_is_not_finite_is_refused():
    arrays, values = grid_psf().to_parts()
    with pytest.raises(ValueError, match="finite"):
        PixelGridPsf.from_parts({**arrays, "grids": np.full_like(arrays["grids"], np.nan)}, values)


@pytest.mark.parametrize(("terms", "order"), [(1, 0), (3, 1), (6, 2), (10, 3), (28, 6)])
def test_order_belongs_to_the_number_of_terms(terms, order):
    assert polynomial_order(terms) == order
    assert polynomial_basis(order, u=np.ones(2), v=np.ones(2)).shape == (2, terms)


def test_number_of_terms_without_an_order_is_refused():
    with pytest.raises(ValueError, match="No total degree has 5 terms"):
        polynomial_order(5)
