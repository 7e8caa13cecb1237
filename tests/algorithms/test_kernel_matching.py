import numpy as np
import pytest

from firstlight.algorithms.fourier_subtraction import fit_fourier_kernel, star_weights
from firstlight.algorithms.kernel_basis import delta_basis, gaussian_basis, gaussian_widths, kernel_radius
from firstlight.algorithms.kernel_matching import fit_matching_kernel
from firstlight.algorithms.kernel_sources import select_kernel_sources
from firstlight.algorithms.kernel_stamps import convolved_stamps, stamp_equations
from firstlight.algorithms.spatial_convolution import convolve
from firstlight.errors import KernelError
from firstlight.images.spatial_kernel import SpatialKernel

from .frames import gaussian

SHAPE = (300, 300)
SKY = 4.0
"""Variance of the sky in both images."""


def star_field(seed=1, n=40, flux=(2e3, 2e4)):
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(30, 269, (2, n))
    flux = np.exp(rng.uniform(*np.log(flux), n))
    image = np.zeros(SHAPE)
    for star in zip(x, y, flux, strict=True):
        image += gaussian(SHAPE, x=star[0], y=star[1], sigma=1.0, flux=star[2])
    return image, x, y


def true_kernel() -> SpatialKernel:
    """A blur of flux scale 1.3 that is wider at the right and moves light by a tenth of a pixel."""
    narrow = gaussian((21, 21), x=10.1, y=10.0, sigma=1.1, flux=1.3)
    wide = gaussian((21, 21), x=10.1, y=10.0, sigma=1.3, flux=1.3)
    return SpatialKernel(np.stack([0.5 * (narrow + wide), 0.5 * (wide - narrow), np.zeros_like(wide)]), SHAPE)


def equations_of(source, target, x, y, basis, **given):
    flat = np.full(SHAPE, SKY)
    return stamp_equations(
        source,
        target,
        **({"source_variance": flat, "target_variance": flat} | given),
        x=x,
        y=y,
        basis=basis,
        radius=10,
        kernel_power=0.1,
    )


BASIS = gaussian_basis((0.7, 1.4, 2.8), (4, 2, 2), radius=10)


@pytest.mark.parametrize("basis", [BASIS, delta_basis(4)], ids=["gaussian", "delta"])
def test_only_the_first_kernel_of_a_basis_carries_flux(basis):
    np.testing.assert_allclose(basis.images.sum(axis=(1, 2)), [1.0, *[0.0] * (len(basis) - 1)], atol=1e-12)
    assert np.linalg.matrix_rank(basis.images.reshape(len(basis), -1)) == len(basis)


@pytest.mark.parametrize("basis", [BASIS, delta_basis(3)], ids=["gaussian", "delta"])
def test_convolved_stamps_are_the_convolution_with_each_kernel(basis):
    image = np.random.default_rng(1).normal(size=(60, 60))
    r, k = 8, basis.radius
    stamp = image[30 - r - k : 31 + r + k, 30 - r - k : 31 + r + k]

    fast = convolved_stamps(stamp[None], basis)[0].reshape(len(basis), 2 * r + 1, 2 * r + 1)

    for i in (0, 1, len(basis) - 1):
        whole = convolve(image, SpatialKernel.constant(basis.images[i], shape=image.shape))
        np.testing.assert_allclose(fast[i], whole[30 - r : 31 + r, 30 - r : 31 + r], atol=2e-5)


def test_widths_follow_the_seeing_as_in_lsst():
    widths = gaussian_widths(2.0, 2.5)

    assert widths == pytest.approx((0.75, 1.5, 3.0))
    assert gaussian_widths(2.5, 2.0) == widths
    assert gaussian_widths(2.0, 2.0) == pytest.approx((0.7, 1.4, 2.8))
    assert (kernel_radius((0.7, 1.4)), kernel_radius((1.0, 4.0)), kernel_radius((9.0,))) == (10, 12, 17)


def test_known_blur_is_recovered_where_there_is_no_noise():
    source, x, y = star_field()
    target = convolve(source.astype(np.float32), true_kernel()) + 3.0

    fit = fit_matching_kernel(
        equations_of(source, target, x, y, BASIS, source_variance=np.full(SHAPE, 1e-9)), BASIS, shape=SHAPE
    )

    left = target - convolve(source, fit.kernel) - fit.background.image()
    at = {"x": np.array([50.0, 250.0]), "y": np.array([150.0, 150.0])}
    assert np.abs(left[25:-25, 25:-25]).max() < 2e-3 * target.max()
    np.testing.assert_allclose(fit.kernel.total(**at), 1.3, rtol=2e-3)
    np.testing.assert_allclose(fit.kernel.centroid(**at)[0], 0.1, atol=0.01)
    assert fit.order >= 1


def test_noise_of_the_source_does_not_bias_the_kernel():
    rng = np.random.default_rng(4)
    source, x, y = star_field(flux=(300.0, 600.0), n=60)
    target = 1.3 * source
    scales, biased = [], []
    for _ in range(12):
        noisy = source + rng.normal(0, 3 * SKY**0.5, SHAPE)
        seen = target + rng.normal(0, SKY**0.5, SHAPE)
        for shared, found in ((False, scales), (True, biased)):
            equations = equations_of(
                noisy, seen, x, y, BASIS, source_variance=np.full(SHAPE, 9 * SKY), shared_noise=shared
            )
            fit = fit_matching_kernel(equations, BASIS, shape=SHAPE, orders=(0,), background_order=0)
            scales_here = fit.kernel.total(x=np.array([150.0]), y=np.array([150.0]))[0]
            found.append(scales_here)

    error = np.std(scales) / np.sqrt(len(scales))
    assert np.mean(scales) == pytest.approx(1.3, abs=3.5 * error)
    assert np.mean(biased) < 1.3 - 5 * error


def test_variable_stars_are_left_out():
    rng = np.random.default_rng(5)
    source, x, y = star_field()
    target = source.copy()
    for i in (3, 8):
        target += gaussian(SHAPE, x=x[i], y=y[i], sigma=1.0, flux=4e3)
    equations = equations_of(source + rng.normal(0, 2, SHAPE), target + rng.normal(0, 2, SHAPE), x, y, BASIS)

    fit = fit_matching_kernel(equations, BASIS, shape=SHAPE)

    assert not fit.used[[3, 8]].any()
    assert fit.used.sum() >= 30
    assert fit.kernel.total(x=np.array([150.0]), y=np.array([150.0]))[0] == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize(("flux", "finer"), [((2e4, 2e5), True), ((60.0, 200.0), False)])
def test_another_basis_than_the_first_must_predict_stars_better_beyond_doubt(flux, finer):
    rng = np.random.default_rng(6)
    source, x, y = star_field(flux=flux)
    kernel = SpatialKernel.constant(gaussian((21, 21), x=10.2, y=9.9, sigma=0.3, flux=1.0), shape=SHAPE)
    target = convolve(source.astype(np.float32), kernel) + rng.normal(0, 2, SHAPE)
    source += rng.normal(0, 2, SHAPE)
    bases = [gaussian_basis(sigmas, (2, 2), radius=10) for sigmas in ((0.9, 1.8), (0.4, 1.3))]
    coarse, fine = ((equations_of(source, target, x, y, basis), basis) for basis in bases)

    chosen = fit_matching_kernel(*coarse, shape=SHAPE, others=[fine], background_order=0)

    # The coarse basis has no blur of 0.3 pixel, but only bright stars show that.
    best = fine if finer else coarse
    assert chosen.kernel == fit_matching_kernel(*best, shape=SHAPE, background_order=0).kernel
    if finer:
        assert fit_matching_kernel(*fine, shape=SHAPE, others=[coarse], background_order=0).kernel == chosen.kernel


@pytest.mark.parametrize("n", [3, 4, 5])
def test_stars_too_few_to_be_left_out_keep_the_first_basis(n):
    rng = np.random.default_rng(3)
    source, x, y = star_field(n=n, flux=(80.0, 200.0))
    seen = source + rng.normal(0, 2, SHAPE)
    first, second = ((equations_of(seen, source, x, y, basis), basis) for basis in (BASIS, delta_basis(4)))
    given = {"shape": SHAPE, "background_order": 0, "dampings": (1e-2,)}

    chosen = fit_matching_kernel(*first, others=[second], **given)

    assert chosen.kernel == fit_matching_kernel(*first, **given).kernel


def test_few_stars_get_a_constant_kernel_and_too_few_an_error():
    source, x, y = star_field(n=4)
    equations = equations_of(source, source, x, y, BASIS, source_variance=np.full(SHAPE, 1e-9))

    assert fit_matching_kernel(equations, BASIS, shape=SHAPE, background_order=0).order == 0
    with pytest.raises(KernelError, match="at least 5 stars in both images; 4 of 4") as caught:
        fit_matching_kernel(equations, BASIS, shape=SHAPE, min_stamps=5)
    assert caught.value.facts["n_left"] == 4


def test_fourier_kernel_is_that_of_the_blur():
    source, x, y = star_field()
    small = SpatialKernel.constant(gaussian((11, 11), x=5.1, y=5.0, sigma=1.1, flux=1.3), shape=SHAPE)
    target = convolve(source, small)
    flat = np.full(SHAPE, 1e-6)
    weights = star_weights(flat, source, x=x, y=y, bad=np.zeros(SHAPE, bool), radius=18)

    fit = fit_fourier_kernel(
        source,
        target,
        source_variance=flat,
        target_variance=flat,
        weights=weights,
        basis=delta_basis(5),
        n_stars=len(x),
        dampings=(1e-6, 1e-4),
    )

    found = fit.terms.kernel(fit.solution).image(x=150, y=150)
    np.testing.assert_allclose(found, small.components[0], atol=0.02 * small.components.max())
    assert found.sum() == pytest.approx(1.3, rel=5e-3)


def test_sources_are_chosen_evenly_from_what_is_good():
    rng = np.random.default_rng(6)
    x, y = rng.uniform(0, 300, (2, 400))
    x[0], y[1] = np.nan, 2.0
    snr = np.exp(rng.uniform(0, 8, 400))
    x[3], y[3], snr[3] = 204.0, 204.0, 499.9
    bad = np.zeros(SHAPE, dtype=bool)
    bad[100, 100] = True
    unshared = np.zeros(SHAPE, dtype=bool)
    unshared[206, 206] = True

    chosen = select_kernel_sources(
        x=x,
        y=y,
        snr=snr,
        rejected=np.arange(400) == 2,
        bad=bad,
        unshared=unshared,
        margin=20,
        stamp_radius=9,
        core_radius=3,
        separation=12.0,
        min_snr=20.0,
        cell_size=100,
        per_cell=2,
    )

    picked = chosen.index
    assert not {0, 1, 2, 3} & set(picked)
    assert (snr[picked] >= 20).all()
    assert ((np.abs(x[picked] - 100) > 9) | (np.abs(y[picked] - 100) > 9)).all()
    cells = (y[picked] // 100).astype(int) * 3 + (x[picked] // 100).astype(int)
    assert np.bincount(cells, minlength=9).max() <= 2
    assert len(np.unique(cells)) == 9
    apart = np.hypot(*(v[picked][:, None] - v[picked] for v in (x, y)))
    assert apart[~np.eye(len(picked), dtype=bool)].min() > 12.0
    assert [left for _, left in chosen.steps] == sorted((left for _, left in chosen.steps), reverse=True)
