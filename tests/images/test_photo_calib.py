import numpy as np
import pytest
from astropy import units as u
from hypothesis import given
from hypothesis import strategies as st

from firstlight.images.aperture_correction import ApertureCorrection, ApertureCorrectionMap
from firstlight.images.box import Box
from firstlight.images.fields import ChebyshevField
from firstlight.images.photo_calib import PhotoCalib, ab_magnitude, ab_magnitude_error

BOX = Box(0, 0, 40, 30)
coefficients = st.lists(st.lists(st.floats(-2, 2), min_size=3, max_size=3), min_size=1, max_size=4)
fields = st.builds(lambda rows: ChebyshevField(BOX, np.array(rows)), coefficients)


@given(zero_point=st.floats(10, 35), error=st.floats(0, 0.1), counts=st.floats(1e-3, 1e9))
def test_a_magnitude_is_the_zero_point_minus_that_of_the_counts(zero_point, error, counts):
    calib = PhotoCalib.from_zero_point(zero_point, error=error)

    assert calib.zero_point == pytest.approx(zero_point, abs=1e-10)
    assert calib.zero_point_error == pytest.approx(error, abs=1e-12)
    assert calib.magnitude(counts) == pytest.approx(zero_point - 2.5 * np.log10(counts), abs=1e-9)


def test_magnitudes_are_ab_as_lsst_rounds_them():
    assert ab_magnitude(1.0) == 31.4
    exact = (1 * u.nJy).to_value(u.ABmag)
    assert ab_magnitude(1.0) == pytest.approx(exact, abs=1e-4)


def test_fluxes_that_are_not_positive_have_no_magnitude():
    np.testing.assert_array_equal(np.isnan(ab_magnitude([0.0, -1.0, np.nan, 1.0])), [True, True, True, False])
    np.testing.assert_array_equal(np.isnan(ab_magnitude_error([0.0, 2.0], [1.0, 1.0])), [True, False])


def test_the_error_of_a_magnitude_is_its_slope_times_that_of_the_flux():
    step = 1e-4

    slope = (ab_magnitude(100 + step) - ab_magnitude(100 - step)) / (2 * step)

    assert ab_magnitude_error(100.0, 3.0) == pytest.approx(-3 * slope, rel=1e-6)


def test_a_calibration_that_varies_follows_its_field():
    variation = ChebyshevField(BOX, np.array([[1.0, 0.1]]))
    calib = PhotoCalib(50.0, 0.5, variation)

    assert calib.count_to_njy(x=-0.5, y=3.0) == pytest.approx(45.0)
    assert calib.count_to_njy(x=39.5, y=3.0) == pytest.approx(55.0)
    assert calib.count_to_njy() == 50.0
    np.testing.assert_allclose(calib.image((30, 40))[7], calib.count_to_njy(x=np.arange(40), y=7), rtol=1e-6)
    with pytest.raises(ValueError, match="varies over"):
        calib.image((30, 41))


@pytest.mark.parametrize("mean", [0.0, -1.0, np.nan, np.inf])
def test_a_calibration_without_a_flux_is_refused(mean):
    with pytest.raises(ValueError, match="positive"):
        PhotoCalib(mean)


@given(field=st.none() | fields, mean=st.floats(1e-6, 1e6), error=st.floats(0, 1))
def test_a_calibration_comes_back_from_its_parts(field, mean, error):
    calib = PhotoCalib(mean, error, field)

    assert PhotoCalib.from_parts(*calib.to_parts()) == calib


@given(first=fields, second=fields)
def test_aperture_corrections_come_back_from_their_parts(first, second):
    corrections = ApertureCorrectionMap({"psf_inst_flux": ApertureCorrection(first, 0.01)})
    both = corrections | {"aper_inst_flux": ApertureCorrection(second)}

    assert ApertureCorrectionMap.from_parts(*both.to_parts()) == both
    assert len(corrections) == 1
    factor, error = both.evaluate("psf_inst_flux", x=[3.0, 4.0], y=5.0)
    np.testing.assert_array_equal(factor, first.evaluate(x=[3.0, 4.0], y=5.0))
    assert error == 0.01


@given(field=fields)
def test_the_mean_and_the_image_of_a_field_agree_with_its_values(field):
    y, x = np.mgrid[0:30, 0:40]
    fine_y, fine_x = np.mgrid[-0.375:29.5:0.25, -0.375:39.5:0.25]

    np.testing.assert_allclose(field.image(), field.evaluate(x=x, y=y), rtol=0, atol=1e-12)
    assert field.mean() == pytest.approx(float(field.evaluate(x=fine_x, y=fine_y).mean()), abs=2e-3)
    assert field.scaled(2.0).mean() == pytest.approx(2 * field.mean())


def test_a_fit_finds_the_field_again():
    truth = ChebyshevField(Box(10, 20, 500, 400), np.array([[2.0, 0.3, 0.1], [0.2, -0.1, 0], [0.05, 0, 0]]))
    rng = np.random.default_rng(3)
    x, y = rng.uniform(10, 510, 300), rng.uniform(20, 420, 300)

    fitted = ChebyshevField.fit(truth.evaluate(x=x, y=y), x=x, y=y, box=truth.box, order=2)

    np.testing.assert_allclose(fitted.coefficients, truth.coefficients, atol=1e-12)


def test_a_fit_to_few_values_lowers_its_order():
    fitted = ChebyshevField.fit([1.0, 3.0], x=[0, 10], y=[0, 10], box=BOX, order=3)

    assert fitted.coefficients.shape == (1, 1)
    assert fitted.mean() == pytest.approx(2.0)
