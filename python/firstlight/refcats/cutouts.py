"""Cutouts of surveys: images of any piece of sky from the hips2fits service of the CDS, asked through astroquery.

The service interpolates between the pixels of a HiPS that are at least as fine as those asked for (Boch et al. 2019,
IVOA meeting in Groningen): the noise of neighbouring pixels is correlated, and neither gain nor saturation is known.
What the survey does not show is NaN or 0.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import structlog
from astropy.io import fits
from astropy.utils.exceptions import AstropyWarning
from numpy.typing import NDArray
from scipy.ndimage import binary_opening

from firstlight.errors import HeaderError, ImageFileError, InputError
from firstlight.images.fits import RawImage, read_image
from firstlight.images.hdu_files import write_hdus
from firstlight.images.pixel_grid import PixelGrid
from firstlight.images.wcs import SkyWcs, TanSip
from firstlight.refcats.service_answers import LONGEST_REASON, why_in_vain
from firstlight.refcats.surveys import SurveyBand

SURVEY, HIPS, SERVICE, AVERAGED = "SURVEY", "HIPSID", "HIPSURL", "NAVERAGE"
"""Cards of a cutout: the survey and its band, the HiPS, the service, pixels averaged along a side."""

MAX_PIXELS_PER_REQUEST = 10_000_000
"""A bigger cutout is asked for in pieces; the service gives at most 50 million pixels and draws half a million in a
second."""

MAX_FINER_PIXELS = 100_000_000
"""Finer pixels than those of the cutout are asked for as long as they are not more than this."""

PROBE_SIDE = 64.0
"""Pixels along the longer side of the small image that tells first whether a survey has the sky at all."""

ENOUGH, ROUNDING = 2, 0.1
"""How many times finer suffices for fluxes; the share of a pixel that is not worth asking finer for."""

ASINH_ZERO = 2.5 / math.log(10.0)
"""Magnitudes of one e-fold in flux: the unit of Pan-STARRS' asinh scaling."""

MAX_ASINH = 40.0
"""Beyond this no pixel is an asinh magnitude: no flux is 1e16 times its softening."""

ADVICE = "Give a template file, or name another survey."


class _NoCutoutError(Exception):
    """Why one survey gave nothing, while another may."""


def cutout_grid(science: PixelGrid, choice: SurveyBand) -> PixelGrid:
    """Return the pixels to ask for: gnomonic, around all of an image, as fine as it is but no finer than the survey."""
    return PixelGrid.covering([science], pixel_scale=max(science.pixel_scale, choice.pixel_scale))


def fetch_cutout(
    science: PixelGrid, choices: Sequence[SurveyBand], *, min_coverage: float = 0.5, timeout: int = 120
) -> RawImage:
    """Return the cutout of the first survey that shows a piece of sky.

    Parameters
    ----------
    science
        The pixels of the image that a template is sought for.
    choices
        What to ask for, in order.
    min_coverage
        Share of the cutout that must have values.
    timeout : [s], whole
        For each request.

    Returns
    -------
    float32 image in an unknown unit of flux, NaN where the survey has nothing; the header tells where it is from.

    Raises
    ------
    InputError
        If the service is out of reach, or no survey has the sky.
    """
    reasons = []
    for choice in choices:
        fetcher = _Fetcher(choice, timeout=timeout)
        try:
            fetcher.require_sky(science)
            cutout = fetcher.cutout(cutout_grid(science, choice))
        except _NoCutoutError as why:
            reasons.append(f"{choice.name}: {why}")
            continue
        coverage = float(np.mean(np.isfinite(cutout.image)))
        structlog.get_logger().info("cutout", survey=choice.name, coverage=round(coverage, 3))
        if coverage >= min_coverage:
            return cutout
        reasons.append(f"{choice.name}: {coverage:.0%} of it")
    raise InputError(f"No cutout of this sky could be had ({'; '.join(reasons)}). {ADVICE}")


def write_cutout(cutout: RawImage, path: Path) -> None:
    """Write a cutout as a plain FITS image.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    write_hdus(path, [fits.PrimaryHDU(cutout.image, fits.Header(cutout.header.items()))])


def kept_cutout(path: Path, science: PixelGrid, choices: Sequence[SurveyBand]) -> bool:
    """Return whether a file holds the cutout that one of the choices would give."""
    try:
        cutout = read_image(path)
        there = PixelGrid((cutout.image.shape[0], cutout.image.shape[1]), SkyWcs.from_header(cutout.header))
    except (ImageFileError, HeaderError):
        return False
    wanted = [cutout_grid(science, choice) for choice in choices if choice.hips == cutout.header.get(HIPS)]
    return any(there.shape == each.shape and _is_same_sky(there, each) for each in wanted)


class _Fetcher:
    """Asks for the images of a survey in one band."""

    def __init__(self, choice: SurveyBand, *, timeout: int) -> None:
        from astroquery.hips2fits import hips2fitsClass

        self._choice = choice
        self._service = hips2fitsClass()
        self._service.timeout = timeout

    def require_sky(self, science: PixelGrid) -> None:
        """Raise unless a small image of the sky shows something; a big one takes minutes."""
        scale = science.pixel_scale * max(1.0, max(science.shape) / PROBE_SIDE)
        if not np.isfinite(self._asked(PixelGrid.covering([science], pixel_scale=scale, border=0))).any():
            raise _NoCutoutError("blank here")

    def cutout(self, grid: PixelGrid) -> RawImage:
        """Return the cutout on a grid, piece by piece."""
        n = self._averaged(grid)
        (ny, nx), fine = grid.shape, _finer(grid, n)
        rows = max(1, MAX_PIXELS_PER_REQUEST // (nx * n * n))
        image = np.empty(grid.shape, dtype=np.float32)
        for first in range(0, ny, rows):
            last = min(first + rows, ny)
            shape = ((last - first) * n, nx * n)
            pixels = self._asked(PixelGrid(shape, fine.wcs.shifted(x=0, y=first * n)))
            image[first:last] = pixels.reshape(last - first, n, nx, n).mean(axis=(1, 3))
        header = {
            **grid.wcs.to_header(),
            SURVEY: self._choice.name,
            HIPS: self._choice.hips,
            SERVICE: str(self._service.server),
            AVERAGED: n,
            "DATE": datetime.now(UTC).isoformat(timespec="seconds").removesuffix("+00:00"),
        }
        if self._choice.band is not None:
            header["FILTER"] = self._choice.band
        return RawImage(image, header, 0)

    def _averaged(self, grid: PixelGrid) -> int:
        """Return how many times finer than the cutout to ask, to average the pixels of the answer.

        Interpolation between pixels as coarse as those of the cutout gives every star a width by where it falls on
        them; twice finer ones do not show that. Fluxes can be averaged by the service too, asinh magnitudes cannot.
        """
        own = self._choice.pixel_scale
        wanted = math.ceil(grid.pixel_scale / own - ROUNDING) if own else ENOUGH
        affordable = math.isqrt(MAX_FINER_PIXELS // (grid.shape[0] * grid.shape[1]))
        return max(1, min(wanted if self._choice.is_asinh else min(wanted, ENOUGH), affordable))

    def _asked(self, grid: PixelGrid) -> NDArray[np.float64]:
        """Return the fluxes that the service draws on a grid, NaN where the survey has none."""
        wcs = grid.wcs.to_astropy()
        wcs.pixel_shape = (grid.shape[1], grid.shape[0])
        try:
            # The cuts and colours are for pictures; the parameters must be there.
            answer = self._service.query_with_wcs_async(
                hips=self._choice.hips,
                wcs=wcs,
                format="fits",
                min_cut=0.5,
                max_cut=99.5,
                stretch="linear",
                cmap="Greys_r",
            )
        except OSError as error:
            raise InputError(f"{self._service.server} cannot be reached ({why_in_vain(error)}). {ADVICE}") from error
        if answer.status_code != 200:
            raise _NoCutoutError(_refusal(answer))
        pixels = _known(_pixels(answer.content, grid.shape))
        return _flux(pixels) if self._choice.is_asinh else pixels


def _is_same_sky(one: PixelGrid, other: PixelGrid) -> bool:
    """Return whether the pixels of two grids agree to a hundredth of a pixel."""
    ra, dec = one.edge()
    (x_1, y_1), (x_2, y_2) = (grid.wcs.sky_to_pixel(ra=ra, dec=dec) for grid in (one, other))
    return bool(np.max(np.hypot(x_1 - x_2, y_1 - y_2)) < 0.01)


def _finer(grid: PixelGrid, n: int) -> PixelGrid:
    """Return a grid with n x n pixels in place of each."""
    plain = grid.wcs.tan_sip
    assert plain is not None  # noqa: S101 - grids of cutouts are gnomonic
    x, y = (n * each + (n - 1) / 2 for each in plain.crpix)
    wcs = SkyWcs.from_tan_sip(TanSip(plain.crval, (x, y), plain.cd / n))
    return PixelGrid((grid.shape[0] * n, grid.shape[1] * n), wcs)


def _pixels(content: bytes, shape: tuple[int, int]) -> NDArray[np.float64]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AstropyWarning)
            with fits.open(BytesIO(content)) as hdus:
                pixels = np.array(hdus[0].data, dtype=np.float64)
    except (OSError, ValueError, TypeError, fits.VerifyError) as error:
        raise _NoCutoutError("the answer is no FITS image") from error
    if pixels.shape != shape:
        raise _NoCutoutError(f"the answer has shape {pixels.shape} in place of {shape}")
    return pixels


def _known(pixels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the pixels with NaN for patches of exact zeros, as where a HiPS has no tile."""
    return np.where(binary_opening(pixels == 0.0, np.ones((3, 3), dtype=bool)), np.nan, pixels)


def _flux(asinh: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return fluxes, up to a factor and an offset (Waters et al. 2020, ApJS 251, 4)."""
    largest = float(np.nanmax(np.abs(asinh), initial=0.0))
    if largest > MAX_ASINH:
        raise _NoCutoutError(f"pixels of {largest:.4g} where asinh magnitudes were expected")
    return np.asarray(2.0 * np.sinh(asinh / ASINH_ZERO))


def _refusal(answer: Any) -> str:
    """Return what the service says in place of an image, in one line."""
    try:
        said = answer.json()
        text = ": ".join(str(said[name]) for name in ("title", "description") if said.get(name))
    except (ValueError, AttributeError):
        text = ""
    return f"{answer.status_code} {' '.join(text.split())[:LONGEST_REASON] or answer.reason}"
