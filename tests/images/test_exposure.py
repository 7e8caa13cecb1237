import pickle

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.nddata import CCDData, InverseVariance, StdDevUncertainty

from firstlight.errors import HeaderError
from firstlight.images.box import Box
from firstlight.images.exposure import Exposure, plain_header, separation
from firstlight.images.mask import Mask
from firstlight.images.observation import DetectorInfo, ObservationInfo

IMAGE = np.arange(12, dtype=np.float32).reshape(3, 4)


def exposure(**changes):
    return Exposure(**{"image": IMAGE, "mask": Mask.empty(IMAGE.shape), "variance": IMAGE + 1, **changes})


def test_planes_of_different_shape_are_refused():
    with pytest.raises(ValueError, match=r"mask \(2, 2\)"):
        exposure(mask=Mask.empty((2, 2)))
    with pytest.raises(ValueError, match="shape"):
        exposure(image=IMAGE[0])


def test_a_unit_that_is_not_known_is_refused():
    with pytest.raises(ValueError, match=r"count, nJy.*'adu'"):
        exposure(unit="adu")


def test_pixels_of_float32_are_shared_and_others_converted():
    assert exposure().image is IMAGE
    assert exposure(image=IMAGE.astype(">f8")).image.dtype == np.float32
    assert exposure(image=IMAGE.astype(">f8")).image.dtype.isnative


def test_replacing_a_field_leaves_the_exposure_alone():
    first = exposure()

    second = first.replace(unit="nJy")

    assert (first.unit, second.unit) == ("count", "nJy")
    assert second.image is first.image
    with pytest.raises(AttributeError):
        first.unit = "nJy"
    with pytest.raises(TypeError):
        first.header["A"] = 1


def test_the_sky_circle_holds_every_pixel(full_exposure):
    whole = full_exposure()
    y, x = np.mgrid[-0.5:69.6:0.5, -0.5:49.6:0.5]

    ra, dec, radius = whole.sky_circle()

    distances = separation(ra, dec, *whole.wcs.pixel_to_sky(x=x, y=y))
    assert distances.max() <= radius * (1 + 1e-9)
    assert distances.max() > 0.999 * radius


def test_the_sky_circle_without_a_wcs_is_that_of_the_pointing_and_its_error():
    observation = ObservationInfo(ra=10.0, dec=20.0, pointing_error=6.0)
    pointed = exposure(observation=observation, detector=DetectorInfo(pixel_scale=2.0))

    assert pointed.sky_circle() == (10.0, 20.0, pytest.approx(2.5 * 2 / 3600 + 0.1))
    with pytest.raises(HeaderError, match="no pointing"):
        exposure().sky_circle()


def test_separations_are_those_of_the_sphere():
    assert separation(0, 90, [17.0, 99.0], [89.0, -90.0]) == pytest.approx([1.0, 180.0])
    assert float(separation(359.9999, 0, 0.0001, 0)) == pytest.approx(2e-4, rel=1e-9)


def test_a_cutout_keeps_its_place_on_the_sky(full_exposure):
    whole = full_exposure()

    part = whole.cutout(Box(10, 20, 1000, 5))

    assert part.shape == (5, 40)
    np.testing.assert_array_equal(part.image, whole.image[20:25, 10:])
    np.testing.assert_array_equal(part.mask.any_of("SAT"), whole.mask.any_of("SAT")[20:25, 10:])
    np.testing.assert_allclose(
        part.wcs.pixel_to_sky(x=1.0, y=2.0), whole.wcs.pixel_to_sky(x=11.0, y=22.0), rtol=0, atol=1e-12
    )
    assert (part.psf, part.summary, len(part.background)) == (None, None, 0)


def test_an_exposure_goes_to_ccddata_and_back(full_exposure):
    whole = full_exposure()

    ccd = whole.to_ccddata(bad_planes=("BAD", "CR"))
    back = Exposure.from_ccddata(ccd, observation=whole.observation, detector=whole.detector)

    np.testing.assert_array_equal(back.image, whole.image)
    np.testing.assert_array_equal(back.variance, whole.variance)
    np.testing.assert_array_equal(back.mask.any_of("BAD"), whole.mask.any_of("BAD", "CR"))
    np.testing.assert_array_equal(back.mask.any_of("NO_DATA"), ~np.isfinite(whole.image))
    here = whole.wcs.pixel_to_sky(x=5.0, y=6.0)
    np.testing.assert_allclose(back.wcs.pixel_to_sky(x=5.0, y=6.0), here, rtol=0, atol=1e-9)
    assert (back.unit, back.filter, back.detector) == ("count", whole.filter, whole.detector)


@pytest.mark.parametrize(
    ("uncertainty", "variance"),
    [(StdDevUncertainty(IMAGE + 2), (IMAGE + 2) ** 2), (InverseVariance(1 / (IMAGE + 2)), IMAGE + 2)],
)
def test_every_kind_of_uncertainty_becomes_a_variance(uncertainty, variance):
    made = Exposure.from_ccddata(CCDData(IMAGE, unit=u.electron, uncertainty=uncertainty))

    np.testing.assert_allclose(made.variance, variance, rtol=1e-6)
    assert made.unit == "count"


def test_flux_densities_become_njy():
    made = Exposure.from_ccddata(CCDData(IMAGE, unit=u.uJy), variance=IMAGE)

    assert made.unit == "nJy"
    np.testing.assert_allclose(made.image, IMAGE * 1000)
    np.testing.assert_allclose(made.variance, IMAGE * 1e6)


def test_a_ccddata_that_cannot_be_used_is_refused():
    with pytest.raises(ValueError, match="no uncertainty"):
        Exposure.from_ccddata(CCDData(IMAGE, unit=u.adu))
    with pytest.raises(ValueError, match="counts or in nJy"):
        Exposure.from_ccddata(CCDData(IMAGE, unit=u.m), variance=IMAGE)


def test_a_plain_header_keeps_plain_values():
    header = fits.Header([("A", 1), ("B", 2.5), ("C", True), ("D", "text"), ("E", None)])
    header["HISTORY"] = "one"
    header["HISTORY"] = "two"

    assert plain_header(header) == {"A": 1, "B": 2.5, "C": True, "D": "text", "HISTORY": "one\ntwo"}
    assert plain_header({"N": np.float32(0.5), "L": [1]}) == {"N": 0.5}


def test_an_exposure_survives_pickling(full_exposure, assert_equal_exposures):
    whole = full_exposure()

    assert_equal_exposures(pickle.loads(pickle.dumps(whole)), whole)  # noqa: S301 - made on the line itself
