"""Where light falls: a tangential projection with the distortion of a wide-field corrector, as a FITS WCS."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import numpy as np
from astropy.wcs import WCS, FITSFixedWarning
from numpy.typing import NDArray

from firstlight.simulation.settings import OpticsSettings
from firstlight.simulation.streams import Stream, random_stream

FloatArray = NDArray[np.float64]
HeaderValues = dict[str, str | int | float]

FIELD_RADIUS = 1536.0
"""Half the side of the frame for which `OpticsSettings.distortion` is stated [pixel]."""

DISTORTION_DEGREE = 4
"""Highest total degree of the distortion polynomials."""

_TPV_TERMS = ((0, 0), (1, 0), (0, 1), None, (2, 0), (1, 1), (0, 2), (3, 0), (2, 1), (1, 2), (0, 3), None)
_TPV_POWERS = (*_TPV_TERMS, (4, 0), (3, 1), (2, 2), (1, 3), (0, 4))
"""Powers of PV1_0 ... PV1_16; None where the radius stands, which the simulation does not use."""


def wcs_cards(
    settings: OpticsSettings,
    *,
    seed: int,
    shape: tuple[int, int],
    ra: float,
    dec: float,
    rotation: float,
    mirrored: bool | None = None,
    distorted: bool = True,
) -> HeaderValues:
    """Return the FITS cards of the WCS of one exposure.

    Parameters
    ----------
    shape : (ny, nx) [pixel]
    ra, dec
        Sky position of the optical axis [deg].
    rotation
        Position angle of the image's up direction, east of north [deg].
    mirrored
        Overrides the settings.
    distorted
        False: the plain tangential projection.
    """
    ny, nx = shape
    rng = random_stream(seed, Stream.OPTICS)
    axis_x, axis_y = 0.01 * min(nx, ny) * rng.uniform(-1.0, 1.0, 2)
    scale = settings.pixel_scale / 3600.0
    cosine, sine = np.cos(np.deg2rad(rotation)), np.sin(np.deg2rad(rotation))
    flip = 1.0 if (settings.mirrored if mirrored is None else mirrored) else -1.0
    cd = scale * np.array([[flip * cosine, sine], [-flip * sine, cosine]])
    projection = f"-{settings.distortion_format}" if distorted else ""
    if distorted and settings.distortion_format == "TPV":
        ctypes = ("RA---TPV", "DEC--TPV")
    else:
        ctypes = (f"RA---TAN{projection}", f"DEC--TAN{projection}")
    cards: HeaderValues = {"CTYPE1": ctypes[0], "CTYPE2": ctypes[1], "CUNIT1": "deg", "CUNIT2": "deg"}
    cards |= {"CRPIX1": nx / 2 + 0.5 + float(axis_x), "CRPIX2": ny / 2 + 0.5 + float(axis_y)}
    cards |= {"CRVAL1": ra % 360.0, "CRVAL2": dec}
    cards |= {f"CD{i + 1}_{j + 1}": float(cd[i, j]) for i in range(2) for j in range(2)}
    cards |= {"RADESYS": "ICRS", "EQUINOX": 2000.0}
    if distorted:
        coefficients = draw_distortion(settings, rng=rng)
        cards |= _sip_cards(coefficients) if settings.distortion_format == "SIP" else _tpv_cards(coefficients, cd=cd)
    return cards


def draw_distortion(settings: OpticsSettings, *, rng: np.random.Generator) -> dict[tuple[int, int], FloatArray]:
    """Draw the displacement polynomials, mostly radial, in units of `FIELD_RADIUS`.

    Returns
    -------
    dict
        Powers (p, q) -> (2,) coefficients [pixel] of ``(x / FIELD_RADIUS)**p * (y / FIELD_RADIUS)**q`` in x and y;
        the largest displacement over a square of side ``2 * FIELD_RADIUS`` is `OpticsSettings.distortion`.
    """
    weights = {2: 0.15, 3: 0.15, 4: 0.10}
    coefficients = {
        (degree - q, q): weights[degree] * rng.normal(size=2) for degree in weights for q in range(degree + 1)
    }
    radial = 1.0 if rng.random() < 0.5 else -1.0
    for powers, axis in (((3, 0), 0), ((1, 2), 0), ((2, 1), 1), ((0, 3), 1)):
        coefficients[powers][axis] += radial
    u, v = np.meshgrid(np.linspace(-1, 1, 41), np.linspace(-1, 1, 41))
    shift = sum(c[:, None, None] * u**p * v**q for (p, q), c in coefficients.items())
    largest = np.sqrt((np.asarray(shift) ** 2).sum(axis=0)).max()
    wanted = settings.distortion / settings.pixel_scale
    return {powers: c * wanted / largest for powers, c in coefficients.items()}


def make_wcs(cards: Mapping[str, str | int | float]) -> WCS:
    """Return the astropy WCS of FITS cards."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FITSFixedWarning)
        return WCS(dict(cards))


def sky_to_pixel(wcs: WCS, *, ra: FloatArray, dec: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return zero-based pixel positions, exact to 1e-7 pixel; the sources must be within about a frame of the image."""
    if len(ra) == 0:
        return np.zeros(0), np.zeros(0)
    x, y = wcs.all_world2pix(ra, dec, 0, tolerance=1e-7, maxiter=60, detect_divergence=False, quiet=True)
    return np.asarray(x), np.asarray(y)


def pixel_to_sky(wcs: WCS, *, x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the sky positions [deg] of zero-based pixel positions."""
    ra, dec = wcs.all_pix2world(x, y, 0)
    return np.asarray(ra), np.asarray(dec)


def _sip_cards(coefficients: Mapping[tuple[int, int], FloatArray]) -> HeaderValues:
    cards: HeaderValues = {"A_ORDER": DISTORTION_DEGREE, "B_ORDER": DISTORTION_DEGREE}
    for (p, q), (in_x, in_y) in coefficients.items():
        cards[f"A_{p}_{q}"] = float(in_x / FIELD_RADIUS ** (p + q))
        cards[f"B_{p}_{q}"] = float(in_y / FIELD_RADIUS ** (p + q))
    return cards


def _tpv_cards(coefficients: Mapping[tuple[int, int], FloatArray], *, cd: FloatArray) -> HeaderValues:
    """Return the same displacement as polynomials of the projected coordinates [deg]; the degree is the same."""
    u, v = (g.ravel() for g in np.meshgrid(np.linspace(-1, 1, 15), np.linspace(-1, 1, 15)))
    undistorted = cd @ np.stack([u, v]) * FIELD_RADIUS
    shift = np.asarray(sum(c[:, None] * u**p * v**q for (p, q), c in coefficients.items()))
    distorted = undistorted + cd @ shift
    size = np.abs(undistorted).max()
    cards: HeaderValues = {}
    for axis in range(2):
        a, b = undistorted[axis] / size, undistorted[1 - axis] / size
        terms = [(k, powers) for k, powers in enumerate(_TPV_POWERS) if powers is not None]
        design = np.stack([a**p * b**q for _, (p, q) in terms], axis=1)
        solution = np.linalg.lstsq(design, distorted[axis], rcond=None)[0]
        cards |= {
            f"PV{axis + 1}_{k}": float(value / size ** (p + q))
            for (k, (p, q)), value in zip(terms, solution, strict=True)
        }
    return cards
