import numpy as np
import pytest

from firstlight.algorithms.aperture_correction import fit_flux_ratio
from firstlight.errors import ApertureCorrectionError
from firstlight.images.box import Box

BOX = Box(0, 0, 1000, 800)


def stars(n=200, *, scatter=0.004, seed=3):
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(0, 1000, n), rng.uniform(0, 800, n)
    flux = 1e4 * rng.uniform(1, 10, n)
    ratio = 1.05 + 0.01 * (x / 500 - 1) - 0.008 * (y / 400 - 1) ** 2
    return x, y, flux, flux * ratio * (1 + scatter * rng.normal(size=n)), ratio


def test_corrected_fluxes_are_the_reference():
    x, y, flux, reference, ratio = stars()

    found = fit_flux_ratio(flux, reference=reference, x=x, y=y, box=BOX)

    corrected = flux * found.field.evaluate(x=x, y=y)
    assert np.median(corrected / reference) == pytest.approx(1.0, abs=1e-3)
    np.testing.assert_allclose(found.field.evaluate(x=x, y=y), ratio, atol=3e-3)
    assert found.scatter == pytest.approx(0.004 * 1.05, rel=0.2)
    assert found.error == pytest.approx(0.0042 * 1.25 / np.sqrt(194), rel=0.3)
    assert found.order == 2


def test_median_residual_is_zero():
    x, y, flux, reference, _ = stars(50)

    found = fit_flux_ratio(flux, reference=reference, x=x, y=y, box=BOX)

    residual = (reference / flux - found.field.evaluate(x=x, y=y))[found.used]
    assert np.median(residual) == pytest.approx(0.0, abs=1e-12)


def test_outliers_are_clipped():
    x, y, flux, reference, ratio = stars()
    reference[::10] *= 1.3

    found = fit_flux_ratio(flux, reference=reference, x=x, y=y, box=BOX)

    assert not found.used[::10].any()
    assert found.used.sum() > 170
    np.testing.assert_allclose(found.field.evaluate(x=x, y=y), ratio, atol=4e-3)


@pytest.mark.parametrize(("n", "order"), [(40, 2), (12, 1), (4, 0), (1, 0)])
def test_order_is_lowered_when_there_are_few_stars(n, order):
    x, y, flux, reference, _ = stars(n)

    found = fit_flux_ratio(flux, reference=reference, x=x, y=y, box=BOX)

    assert found.order == order
    assert np.isfinite(found.field.evaluate(x=np.array([0.0, 999.0]), y=np.array([0.0, 799.0]))).all()


def test_fluxes_that_are_not_positive_are_left_out():
    x, y, flux, reference, _ = stars(30)
    flux[0], reference[1], x[2], flux[3] = -5.0, np.nan, np.nan, 0.0

    found = fit_flux_ratio(flux, reference=reference, x=x, y=y, box=BOX)

    assert not found.used[:4].any()


def test_no_star_is_an_error():
    with pytest.raises(ApertureCorrectionError, match="None of 2 stars"):
        fit_flux_ratio(np.array([-1.0, np.nan]), reference=np.ones(2), x=np.ones(2), y=np.ones(2), box=BOX)
