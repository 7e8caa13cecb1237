"""Files of PSFEx are read as other readers read them, and written as PSFEx writes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from firstlight.errors import ImageFileError
from firstlight.images.exposure import Exposure
from firstlight.images.fits import read_exposure, write_exposure
from firstlight.images.mask import Mask
from firstlight.images.pixel_grid_psf import PixelGridPsf
from firstlight.images.psf import MoffatPsf
from firstlight.images.psf_classes import psf_classes
from firstlight.images.psfex_psf import PsfexFilePsf, PsfexPolynomial

FILES = Path(__file__).parent / "psfex"
REAL = FILES / "simulated.psf"
"""Made by PSFEx 3 from a simulated image of 1024 x 1024 pixels: 21 x 21 samples, degree 1."""

SHAPE = (600, 800)
LANCZOS_ERROR = 6e-3
"""Relative root mean square error of Lanczos-3 interpolation of stars at five and more samples per FWHM."""

SINGLE_PRECISION = 1e-5
"""Relative accuracy of what other readers draw in single precision."""


def rms(found, expected):
    return np.sqrt(((found - expected) ** 2).sum(axis=(1, 2)) / (expected**2).sum(axis=(1, 2)))


def middles(psf, *, x, y, radius):
    cores = psf.images(x=x, y=y)[:, psf.radius - radius :, psf.radius - radius :][:, : 2 * radius + 1, : 2 * radius + 1]
    return cores / cores.sum(axis=(1, 2), keepdims=True)


def varying_grid() -> PixelGridPsf:
    """Return a PSF whose width changes linearly from left to right by a tenth."""
    narrow, wide = (MoffatPsf(fwhm=fwhm, beta=3.0, radius=12).oversampled(3, x=0, y=0) for fwhm in (2.6, 2.9))
    mean, slope = np.pad([0.5 * (wide + narrow), 0.5 * (wide - narrow)], ((0, 0), (7, 7), (7, 7)), mode="edge")
    fractions = [grid[7:-7, 7:-7][::3, ::3].sum() for grid in (mean, slope)]
    return PixelGridPsf(
        np.array([mean, slope]),
        polynomials=np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]),
        oversampling=3,
        radius=12,
        domain=(-0.5, 799.5, -0.5, 599.5),
        stamp_fractions=np.array(fractions),
        wing=(2.0, 3.0),
        average_position=(400.0, 300.0),
    )


def test_a_file_of_psfex_gives_the_stars_that_galsim_draws():
    drawn = np.load(FILES / "galsim_stamps.npz")

    found = middles(PsfexFilePsf.read(REAL), x=drawn["x"], y=drawn["y"], radius=5)

    expected = drawn["stamps"] / drawn["stamps"].sum(axis=(1, 2), keepdims=True)
    assert rms(found, expected).max() < SINGLE_PRECISION


def test_the_width_is_the_one_that_psfex_states():
    psf = PsfexFilePsf.read(REAL)
    stated = fits.getheader(REAL, 1)["PSF_FWHM"]

    # PSFEx states the median FWHM of its stars in their half-light radius, the pixel smears included.
    assert psf.fwhm(x=512, y=512) == pytest.approx(stated, rel=0.25)


@pytest.mark.parametrize(
    "psf", [MoffatPsf(fwhm=1.5, beta=3.0, radius=9, e1=0.2), varying_grid()], ids=["moffat", "grid"]
)
def test_what_is_written_is_read_again(tmp_path, psf):
    path = tmp_path / "ours.psf"
    x, y = np.array([30.25, 400.0, 770.6]), np.array([20.4, 300.0, 580.8])

    written = PsfexFilePsf.approximate(psf, shape=SHAPE, degree=2)
    written.write(path)
    again = PsfexFilePsf.read(path)

    np.testing.assert_allclose(again.images(x=x, y=y), written.images(x=x, y=y), atol=1e-7)
    radius = min(again.radius, psf.radius)
    assert rms(middles(again, x=x, y=y, radius=radius), middles(psf, x=x, y=y, radius=radius)).max() < LANCZOS_ERROR
    assert (
        rms(middles(again, x=x[1:2], y=y[1:2], radius=radius), middles(psf, x=x[1:2], y=y[1:2], radius=radius)) < 3e-4
    )


def test_a_file_has_the_cards_and_the_column_of_psfex(tmp_path):
    PsfexFilePsf.approximate(MoffatPsf(fwhm=2.2, beta=3.0, radius=9), shape=SHAPE, degree=1).write(tmp_path / "a.psf")

    with fits.open(tmp_path / "a.psf") as ours, fits.open(REAL) as theirs:
        assert set(ours[1].header) == set(theirs[1].header)
        assert ours[1].columns.names == theirs[1].columns.names
        assert ours[1].data["PSF_MASK"].ndim == theirs[1].data["PSF_MASK"].ndim == 4
        assert ours[1].data["PSF_MASK"].dtype.kind == "f"


def test_a_star_of_unit_flux_is_drawn_at_any_position():
    psf = PsfexFilePsf.approximate(MoffatPsf(fwhm=1.5, beta=3.0, radius=9), shape=SHAPE)
    x, y = np.random.default_rng(2).uniform(0, 500, (2, 40))

    images = psf.images(x=x, y=y)

    np.testing.assert_allclose(images.sum(axis=(1, 2)), 1.0, rtol=1e-12)
    steps = np.arange(-psf.radius, psf.radius + 1)
    # Far from the centre the mean is noisy by the wings that the stamp cuts.
    core = images[:, psf.radius - 3 : psf.radius + 4, psf.radius - 3 : psf.radius + 4]
    inner = steps[psf.radius - 3 : psf.radius + 4]
    center = (core.sum(axis=1) * inner).sum(axis=1) / core.sum(axis=(1, 2))
    assert np.corrcoef(center, x - np.rint(x))[0, 1] > 0.999
    assert psf.aperture_flux(6.0, x=10, y=10) < psf.aperture_flux(9.0, x=10, y=10) <= 1.0
    assert psf.wing_flux(30.0, x=10, y=10) < psf.wing_flux(12.0, x=10, y=10) < 0.05


def test_it_is_kept_in_an_exposure(tmp_path):
    psf = PsfexFilePsf.read(REAL)
    plane = np.ones((40, 50), dtype=np.float32)
    exposure = Exposure(image=plane, mask=Mask.empty(plane.shape), variance=plane, psf=psf)

    write_exposure(exposure, tmp_path / "image.fits")

    assert psf_classes()["PsfexFilePsf"] is PsfexFilePsf
    assert read_exposure(tmp_path / "image.fits").psf == psf


def test_what_is_no_psf_of_positions_is_refused(tmp_path):
    image, other = tmp_path / "image.fits", tmp_path / "magnitude.psf"
    fits.PrimaryHDU(np.zeros((5, 5))).writeto(image)
    with fits.open(REAL) as hdus:
        hdus[1].header["POLNAME2"] = "MAG_AUTO"
        hdus.writeto(other)
    broken = np.full((3, 21, 21), np.nan)

    with pytest.raises(ImageFileError, match="has no table PSF_DATA"):
        PsfexFilePsf.read(image)
    with pytest.raises(ImageFileError, match="no table"):
        PsfexFilePsf.read(tmp_path / "missing.psf")
    with pytest.raises(ImageFileError, match="depends on X_IMAGE, MAG_AUTO"):
        PsfexFilePsf.read(other)
    with pytest.raises(ValueError, match="finite"):
        PsfexFilePsf(broken, step=0.5, polynomial=PsfexPolynomial.over(SHAPE, degree=1))
