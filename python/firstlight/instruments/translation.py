"""What is in the files of any camera: images, what their headers mean, and where on the sky they lie."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
from astropy.coordinates import angular_separation

from firstlight.errors import NoImageError
from firstlight.images.companions import FITS_ENDING
from firstlight.images.fits import RawHeader, read_headers
from firstlight.images.hdu_files import is_fits
from firstlight.images.instrument import Instrument
from firstlight.images.wcs import SkyWcs
from firstlight.instruments.raw_images import detector_images
from firstlight.instruments.registry import find_instrument
from firstlight.repo.translated import Translated

UNKNOWN_HALF_DIAGONAL = 1.0
"""Angle [deg] from the middle of an image to its corners, where nothing tells the scale of its pixels."""

EDGE_POINTS = 9
"""Positions along each side of an image that its region must hold."""


def translate_file(path: str | Path, *, instrument: Instrument | None = None) -> tuple[Translated, ...]:
    """Return what is in a FITS file: the image of each detector that its headers number, or else the first image.

    Parameters
    ----------
    path
    instrument
        None finds it by the header.

    Raises
    ------
    NoImageError
        If the file is whole and is no image: a folder, a text, a table, or the mask or weight map of an image.
    ImageFileError
        If the file is damaged or not there.
    HeaderError
        If a keyword cannot be understood.
    """
    path = Path(path)
    if path.is_dir():
        raise NoImageError(f"{path} is a folder.")
    if not FITS_ENDING.search(path.name) and path.is_file() and not is_fits(path):
        raise NoImageError(f"{path} is not a FITS file.")
    headers = read_headers(path)
    camera = instrument or find_instrument(headers[0].header)
    if reason := camera.why_no_image(path, headers[0].header):
        raise NoImageError(f"{path} {reason}")
    mask = camera.mask_path(path)
    return tuple(replace(_translated(each, camera), mask=mask) for each in detector_images(headers, camera))


def _translated(raw: RawHeader, camera: Instrument) -> Translated:
    observation, detector = camera.translate(raw.header, shape=raw.shape)
    if observation.ra is None or observation.dec is None:
        return Translated(raw.hdu, observation, detector)
    wcs = camera.wcs(raw.header)
    half = None if wcs is None else _half_diagonal(wcs, raw.shape, observation.ra, observation.dec)
    if half is None:
        scale = detector.pixel_scale
        half = UNKNOWN_HALF_DIAGONAL if scale is None else math.hypot(*raw.shape) / 2 * scale / 3600
    radius = min(180.0, half + (observation.pointing_error or 0.0) / 60)
    return Translated(raw.hdu, observation, detector, ra=observation.ra, dec=observation.dec, radius=radius)


def _half_diagonal(wcs: SkyWcs, shape: tuple[int, int], ra: float, dec: float) -> float | None:
    """Return the largest angle [deg] between a position and the edge of an image; None if the WCS ends before."""
    ny, nx = shape
    x, y = np.linspace(-0.5, nx - 0.5, EDGE_POINTS), np.linspace(-0.5, ny - 0.5, EDGE_POINTS)
    edge_x = np.concatenate([x, x, np.full(EDGE_POINTS, -0.5), np.full(EDGE_POINTS, nx - 0.5)])
    edge_y = np.concatenate([np.full(EDGE_POINTS, -0.5), np.full(EDGE_POINTS, ny - 0.5), y, y])
    edge_ra, edge_dec = wcs.pixel_to_sky(x=edge_x, y=edge_y)
    angle = angular_separation(np.radians(ra), np.radians(dec), np.radians(edge_ra), np.radians(edge_dec))
    largest = float(np.degrees(np.max(angle)))
    return largest if math.isfinite(largest) else None
