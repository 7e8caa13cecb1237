"""An exposure with everything in it, and what it means that two are equal."""

import numpy as np
import pytest
from hypothesis import settings

from firstlight.images.aperture_correction import ApertureCorrection, ApertureCorrectionMap
from firstlight.images.background import BackgroundList, MeshBackground
from firstlight.images.box import Box
from firstlight.images.exposure import Exposure
from firstlight.images.fields import ChebyshevField
from firstlight.images.mask import Mask
from firstlight.images.observation import DetectorInfo, Filter, ObservationInfo
from firstlight.images.photo_calib import PhotoCalib
from firstlight.images.psf import GaussianPsf
from firstlight.images.wcs import SkyWcs, TanSip

settings.register_profile("without deadline", deadline=None)
settings.load_profile("without deadline")

MODELS = (
    "wcs",
    "psf",
    "photo_calib",
    "aperture_corrections",
    "filter",
    "observation",
    "detector",
    "unit",
    "background",
)


def _full_exposure(shape=(70, 50), *, seed=5):
    """Return an exposure in which nothing is left out, with every special number that float32 has."""
    rng = np.random.default_rng(seed)
    image = rng.normal(300, 10, shape).astype(np.float32)
    image[0, :5] = [np.nan, np.inf, -np.inf, -0.0, np.float32(1e-45)]
    mask = Mask(rng.integers(0, 1 << 12, shape).astype(np.int32)).with_new_planes("MINE")
    box = Box.of_shape(shape)
    cd = np.array([[-2.811703032876123e-4, 1e-5 / 3], [2e-5 / 7, 2.8e-4]])
    sip = np.zeros((3, 3))
    sip[2, 0] = 1e-7 / 3
    background = MeshBackground(
        shape=shape,
        values=np.array([[1.0, np.nan], [3.0, 1 / 3]]),
        variance=np.array([[0.1, np.nan], [0.3, 0.4]]),
        method="chebyshev",
        coefficients=rng.normal(size=(2, 2)),
    )
    return Exposure(
        image=image,
        mask=mask.with_plane("MINE", image > 310),
        variance=rng.uniform(50, 60, shape).astype(np.float32),
        unit="count",
        wcs=SkyWcs.from_tan_sip(TanSip((10.1, -20.2), (24.5, 30.0), cd, sip, sip), max_error_arcsec=1e-3),
        psf=GaussianPsf(sigma=5 / 3, radius=8),
        photo_calib=PhotoCalib(1 / 3, 1e-3, ChebyshevField(box, np.array([[1.0, 0.01]]))),
        aperture_corrections=ApertureCorrectionMap(
            {"psf_inst_flux": ApertureCorrection(ChebyshevField(box, rng.normal(size=(2, 3))), 0.1)}
        ),
        background=BackgroundList([background, background.scaled(0.1)]),
        filter=Filter("ZTF_r", "r"),
        observation=ObservationInfo(exposure_id=2**62 + 1, mjd_tai=59116.1 / 3, physical_filter="ZTF_r", band="r"),
        detector=DetectorInfo(id=50, name="c13_q3", gain=6.2, variance_source="gain"),
        summary={"psf_sigma": 1.7, "zero_point": float("nan")},
        header={
            "OBJECT": "it's a 'field'",
            "EXPTIME": 30.0,
            "LONG": "x" * 150 + " &",
            "a mixed Key": 3,
            "LONGERKEYWORD": True,
            "NOTANUM": float("nan"),
            "GREEK": "\u03b1 Ori",
            "HISTORY": "first\nsecond",
            "CRVAL1": 1.0,
            "BUNIT": "adu",
        },
    )


def _assert_equal(one, two):
    """Assert that two exposures hold the same bits."""
    for name in ("image", "variance"):
        np.testing.assert_array_equal(getattr(one, name).view(np.uint32), getattr(two, name).view(np.uint32))
    assert one.mask == two.mask
    for name in MODELS:
        assert getattr(one, name) == getattr(two, name), name
    for name in ("header", "summary"):
        assert repr(getattr(one, name)) == repr(getattr(two, name))


@pytest.fixture
def full_exposure():
    return _full_exposure


@pytest.fixture
def assert_equal_exposures():
    return _assert_equal
