"""A processed exposure made by hand, with everything the page can show."""

from __future__ import annotations

import numpy as np
from astropy.table import Table

from firstlight.framework import Funnel, Gate
from firstlight.images.aperture_correction import ApertureCorrection, ApertureCorrectionMap
from firstlight.images.background import BackgroundList, MeshBackground
from firstlight.images.box import Box
from firstlight.images.exposure import Exposure
from firstlight.images.fields import ChebyshevField
from firstlight.images.mask import Mask
from firstlight.images.psf import MoffatPsf
from firstlight.images.wcs import SkyWcs
from firstlight.qa.content import PageContent, PassTime

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
    exposure = Exposure(
        image=image,
        mask=Mask.empty(shape).with_plane("DETECTED", detected).with_plane("SAT", image > 8000),
        variance=np.full(shape, SKY_NOISE**2),
        wcs=SkyWcs.from_header(WCS_CARDS),
        psf=psf,
        aperture_corrections=ApertureCorrectionMap(
            {"psf": ApertureCorrection(ChebyshevField(Box.of_shape(shape), np.array([[1.01]])), error=1e-3)}
        ),
        background=BackgroundList((sky_model(shape, 300.0, slope=20.0), sky_model(shape, 0.5, slope=0.0))),
    )
    stars = make_stars(rng, psf, x, y, flux, shape)
    return PageContent(
        exposure=exposure,
        title="field.fits    r    30 s",
        stars=stars,
        psf_stars=stars,
        sources=stars,
        **make_matches(rng, stars),
        summary={
            "psf_fwhm": 2.6,
            "pixel_scale": 1.0,
            "zero_point": 26.2,
            "n_psf_star": 40.0,
            "mag_lim": float("nan"),
            "astrom_rms_2d_px": 0.0423,
            "astrom_held_out_rms_2d_px": 0.0451,
        },
        gates=(
            Gate("astrometry_rms", 31.0, "mas", warn=50, fail=200, n=80),
            Gate("photometry_n_calibrators", 7, sense="min", warn=10, fail=1),
            Gate("psf_size_residual", 0.2, "px", warn=0.05, fail=0.1),
        ),
        funnels=(Funnel("psf_stars", (("detected", 120), ("bright", 45), ("used", 40))),),
        times=(PassTime("calibrate.psf_pass_1", 1.25, 1.0), PassTime("calibrate.photometry", 0.5, 0.4)),
        settings={"calibrate.psf.order": "1 (from -c)"},
        versions={"firstlight": "0.1", "numpy": "2.0"},
    )


def sky_model(shape, level, *, slope):
    """Return a plane that changes by ``slope`` from the left to the right edge."""
    values = np.full((3, 4), level)
    return MeshBackground(shape, values, np.ones((3, 4)), "chebyshev", np.array([[level, slope / 2]]))


def make_stars(rng, psf, x, y, flux, shape) -> Table:
    n = len(x)
    moments = psf.moments(x=shape[1] / 2, y=shape[0] / 2)
    used = flux > 1e4
    reserved = used & (np.arange(n) % 6 == 0)
    return Table(
        {
            "id": 1000 + np.arange(n),
            "x": x,
            "y": y,
            "snr": flux / 30,
            "psf_inst_flux": flux,
            "aper_inst_flux": flux * rng.normal(1, 0.01, n),
            "ixx": moments.ixx * rng.normal(1, 0.03, n),
            "iyy": moments.iyy * rng.normal(1, 0.03, n),
            "ixy": moments.ixx * rng.normal(0, 0.03, n),
            "psf_ixx": np.full(n, moments.ixx),
            "psf_iyy": np.full(n, moments.iyy),
            "psf_ixy": np.zeros(n),
            "extendedness": np.zeros(n),
            "calib_psf_used": used & ~reserved,
            "calib_psf_reserved": reserved,
            "apcorr_psf_used": used,
        }
    )


def make_matches(rng, stars) -> dict[str, Table]:
    n = len(stars)
    used = rng.random(n) > 0.1
    photometry = Table(
        {
            "src_id": stars["id"],
            "ref_mag": 26.2 - 2.5 * np.log10(stars["psf_inst_flux"]),
            "ref_mag_err": np.full(n, 0.005),
            "ref_color": rng.uniform(0, 2, n),
            "src_mag_err": np.full(n, 0.009),
            "residual": np.where(used, rng.normal(0, 0.01, n), 0.2),
            "used": used,
            "reserved": np.zeros(n, dtype=bool),
        },
        meta={"band": "r", "color": "g - r"},
    )
    astrometry = Table(
        {
            "src_x": stars["x"],
            "src_y": stars["y"],
            "src_peak_snr": stars["snr"],
            "dx": rng.normal(0, 0.03, n),
            "dy": rng.normal(0, 0.03, n),
            "used": used,
        }
    )
    return {"astrometry_matches": astrometry, "photometry_matches": photometry}
