"""A survey of a simulated sky, served as hips2fits serves a HiPS: interpolated between finer pixels."""

from __future__ import annotations

import json
from io import BytesIO

import numpy as np
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from scipy.ndimage import map_coordinates

from firstlight.simulation import OpticsSettings
from firstlight.simulation.point_spread import add_stars, draw_point_spread
from firstlight.simulation.sky import magnitudes_at

SOFTENING = 3.0
"""Half the softening of asinh pixels, in units of the noise."""


class SurveySky:
    """The sky before the first epoch, on pixels of the survey's own.

    Parameters
    ----------
    sky
        From `night_sky`.
    ra, dec, side : [deg]
        Middle and side of the square that the survey has.
    pixel_scale, fwhm : [arcsec]
    zero_point
        AB magnitude of a source with one unit in total, noise 1 in each pixel.
    """

    def __init__(
        self, sky: Table, *, ra: float, dec: float, side: float, pixel_scale: float, fwhm: float, zero_point: float
    ) -> None:
        n = int(side * 3600 / pixel_scale)
        self.wcs = WCS(naxis=2)
        self.wcs.wcs.ctype, self.wcs.wcs.crval = ["RA---TAN", "DEC--TAN"], [ra, dec]
        self.wcs.wcs.crpix, self.wcs.wcs.cdelt = [(n + 1) / 2] * 2, [-pixel_scale / 3600, pixel_scale / 3600]
        self.image = np.random.default_rng(1).normal(size=(n, n))
        stars = sky[sky["kind"] != "galaxy"]
        magnitude = magnitudes_at(stars, band="r", days=0.0, epoch=0)
        x, y = self.wcs.wcs_world2pix(stars["ra"], stars["dec"], 0)
        optics = OpticsSettings(fwhm_variation=0.0, ellipticity_variation=0.0, beta=3.5)
        spread = draw_point_spread(optics, seed=1, epoch=0, shape=(n, n), fwhm=fwhm / pixel_scale)
        flux = 10.0 ** (-0.4 * (magnitude - zero_point))
        add_stars(self.image, x=np.asarray(x), y=np.asarray(y), flux=flux, spread=spread, faintest=0.1)

    def drawn(self, wcs: WCS, shape: tuple[int, int], *, is_asinh: bool = False) -> np.ndarray:
        """Return the sky on other pixels, from the level of the HiPS that is at least as fine; NaN outside."""
        n = 2 ** max(0, int(np.log2(_pixel_scale(wcs) / _pixel_scale(self.wcs) * 1.001)))
        side = len(self.image) // n * n
        pixels = 2.5 / np.log(10) * np.arcsinh(self.image / (2 * SOFTENING)) if is_asinh else self.image
        level = pixels[:side, :side].reshape(side // n, n, side // n, n).mean(axis=(1, 3))
        rows, columns = np.indices(shape)
        x, y = self.wcs.world_to_pixel(wcs.pixel_to_world(columns, rows))
        places = [(each - (n - 1) / 2) / n for each in (y, x)]
        return map_coordinates(level, places, order=1, cval=np.nan).astype(np.float32)

    def answer(self, asked: dict[str, str]) -> tuple[int, bytes]:
        """Answer as the service does."""
        header = fits.Header(json.loads(asked["wcs"]).items())
        shape = (int(header["NAXIS2"]), int(header["NAXIS1"]))
        return 200, as_fits(self.drawn(WCS(header), shape, is_asinh=asked["hips"].endswith("PanSTARRS/DR1/r")))


def _pixel_scale(wcs: WCS) -> float:
    return float(np.sqrt(np.abs(np.linalg.det(wcs.pixel_scale_matrix))))


def as_fits(pixels: np.ndarray) -> bytes:
    """Return the bytes of a FITS file."""
    file = BytesIO()
    fits.PrimaryHDU(pixels).writeto(file)
    return file.getvalue()


def shape_of(asked: dict[str, str]) -> tuple[int, int]:
    """Return rows and columns that are asked for."""
    cards = json.loads(asked["wcs"])
    return cards["NAXIS2"], cards["NAXIS1"]
