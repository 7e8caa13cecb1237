"""A processed exposure made by hand, with everything the page can show."""

from __future__ import annotations

import numpy as np
from astropy.table import Table

from firstlight.framework import Gate
from firstlight.images.background import BackgroundList, MeshBackground
from firstlight.images.exposure import Exposure
from firstlight.images.mask import Mask
from firstlight.images.psf import MoffatPsf
from firstlight.images.wcs import SkyWcs
from firstlight.qa.page import PageContent

SKY_NOISE = 5.0
WCS_CARDS = {
    "CTYPE1": "RA---TAN",
    "CTYPE2": "DEC--TAN",
    "CRVAL1": 150.0,
    "CRVAL2": 2.0,
    "CRPIX1": 201.0,
    "CRPIX2": 151.0,
    "CD1_1": -1 / 3600,
    "CD1_2": 0.0,
    "CD2_1": 0.0,
    "CD2_2": 1 / 3600,
}


def make_content(*, shape=(300, 400), n_stars=120, seed=1) -> PageContent:
    rng = np.random.default_rng(seed)
    ny, nx = shape
    psf = MoffatPsf(fwhm=2.6, beta=3.0, radius=12)
    x, y = rng.uniform(14, nx - 15, n_stars), rng.uniform(14, ny - 15, n_stars)
    flux = 10 ** rng.uniform(2.5, 5, n_stars)
    image = rng.normal(0, SKY_NOISE, shape)
    detected = np.zeros(shape, dtype=bool)
    for one_x, one_y, one_flux, stamp in zip(x, y, flux, psf.images(x=x, y=y), strict=True):
        row, column = round(one_y), round(one_x)
        place = np.s_[row - 12 : row + 13, column - 12 : column + 13]
        image[place] += one_flux * stamp
        detected[place] |= one_flux * stamp > SKY_NOISE / 2
    moments = psf.moments(x=nx / 2, y=ny / 2)
    stars = Table(
        {
            "x": x,
            "y": y,
            "snr": flux / 30,
            "psf_inst_flux": flux,
            "ixx": moments.ixx * rng.normal(1, 0.03, n_stars),
            "iyy": moments.iyy * rng.normal(1, 0.03, n_stars),
            "calib_psf_used": flux > 2e4,
        }
    )
    used = rng.random(n_stars) > 0.1
    residual = np.where(used, rng.normal(0, 0.01, n_stars), 0.2)
    photometry = Table({"ref_mag": 26.2 - 2.5 * np.log10(flux), "residual": residual, "used": used}, meta={"band": "r"})
    astrometry = Table(
        {"src_x": x, "src_y": y, "dx": rng.normal(0, 0.03, n_stars), "dy": rng.normal(0, 0.03, n_stars), "used": used}
    )
    values = np.zeros((3, 4))
    background = MeshBackground(shape, values, values, "chebyshev", np.zeros((1, 1)))
    exposure = Exposure(
        image=image,
        mask=Mask.empty(shape).with_plane("DETECTED", detected),
        variance=np.full(shape, SKY_NOISE**2),
        wcs=SkyWcs.from_header(WCS_CARDS),
        psf=psf,
        background=BackgroundList((background,)),
    )
    return PageContent(
        exposure=exposure,
        title="field.fits    r    30 s",
        stars=stars,
        psf_stars=stars,
        sources=stars,
        astrometry_matches=astrometry,
        photometry_matches=photometry,
        summary={"psf_fwhm": 2.6, "pixel_scale": 1.0, "zero_point": 26.2, "n_psf_star": 40.0, "mag_lim": float("nan")},
        gates=(
            Gate("astrometry_rms", 31.0, "mas", warn=50, fail=200, n=80),
            Gate("photometry_n_calibrators", 7, sense="min", warn=10, fail=1),
            Gate("psf_size_residual", 0.2, "px", warn=0.05, fail=0.1),
        ),
    )
