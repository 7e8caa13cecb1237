"""Epochs of one field of known stars: other pointings, other seeing, cosmic rays and something that moves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from firstlight.framework import DataId, Handle
from firstlight.images.exposure import Exposure
from firstlight.images.mask import Mask
from firstlight.images.observation import Filter, ObservationInfo
from firstlight.images.photo_calib import PhotoCalib
from firstlight.images.psf import MoffatPsf
from firstlight.images.wcs import SkyWcs

SIDE = 280
SKY = 200.0
RADIUS = 22


@dataclass(frozen=True)
class Field:
    """Stars by their place on the sky, and epochs of them."""

    ra: np.ndarray
    dec: np.ndarray
    flux: np.ndarray
    exposures: tuple[Exposure, ...]


def wcs(dx=0.0, dy=0.0, turn=0.0, side=SIDE):
    """Return a gnomonic projection of 1 arcsec, moved and turned [pixel, degree]."""
    cos, sin = (f(np.radians(turn)) / 3600 for f in (np.cos, np.sin))
    return SkyWcs(
        {
            "CTYPE1": "RA---TAN",
            "CTYPE2": "DEC--TAN",
            "CUNIT1": "deg",
            "CUNIT2": "deg",
            "CRPIX1": side / 2 + 0.5 + dx,
            "CRPIX2": side / 2 + 0.5 + dy,
            "CRVAL1": 150.0,
            "CRVAL2": 2.0,
            "CD1_1": -cos,
            "CD1_2": sin,
            "CD2_1": sin,
            "CD2_2": cos,
            "RADESYS": "ICRS",
            "EQUINOX": 2000.0,
        }
    )


def draw(x, y, flux, psf, side=SIDE):
    """Return stars on the part of a square image that their whole stamps fit on."""
    image = np.zeros((side, side))
    for star_x, star_y, light in zip(x, y, flux, strict=True):
        column, row = round(star_x), round(star_y)
        low_x, low_y = max(0, column - RADIUS), max(0, row - RADIUS)
        high_x, high_y = min(side, column + RADIUS + 1), min(side, row + RADIUS + 1)
        if low_x < high_x and low_y < high_y:
            stamp = light * psf.image(x=star_x, y=star_y)
            own = np.s_[
                low_y - row + RADIUS : high_y - row + RADIUS, low_x - column + RADIUS : high_x - column + RADIUS
            ]
            image[low_y:high_y, low_x:high_x] += stamp[own]
    return image


def make_field(fwhms, *, seed=1, rays=25, moving=3e4, dither=6.0, turn=1.0, scale=None, n_side=6, sky=SKY, side=SIDE):
    """Simulate an epoch for each seeing; the noise does not depend on cosmic rays and what moves.

    Parameters
    ----------
    fwhms : [pixel]
    rays
        Cosmic rays of each epoch, unmarked.
    moving : [count]
        Flux of a thing that crosses the field, 20 pixels per epoch.
    scale
        Counts per nJy of each epoch; 1 when left out.
    """
    rng = np.random.default_rng(seed)
    scale = np.ones(len(fwhms)) if scale is None else np.asarray(scale)
    pitch = side / n_side
    x, y = (axis.ravel() for axis in np.meshgrid(*2 * [(np.arange(n_side) + 0.5) * pitch]))
    x, y = x + rng.uniform(-0.3, 0.3, x.size) * pitch, y + rng.uniform(-0.3, 0.3, y.size) * pitch
    flux = 10 ** rng.uniform(3.5, 6.0, x.size)
    ra, dec = wcs(side=side).pixel_to_sky(x=x, y=y)
    exposures = []
    for epoch, fwhm in enumerate(fwhms):
        own = wcs(*rng.uniform(-dither, dither, 2), rng.uniform(-turn, turn), side=side)
        psf = MoffatPsf(fwhm=fwhm, beta=3.2, radius=RADIUS, e1=0.05 * (-1) ** epoch)
        at_x, at_y = own.sky_to_pixel(ra=ra, dec=dec)
        light = draw(at_x, at_y, flux, psf, side) * scale[epoch]
        light += draw([30.0 + 20 * epoch], [side / 2 + 12.0], [moving * scale[epoch]], psf, side)
        image = light + np.sqrt(light + sky) * np.random.default_rng((seed, epoch, 1)).normal(size=light.shape)
        hits = np.random.default_rng((seed, epoch, 2))
        for row, column, length in zip(
            *hits.integers(10, side - 10, (2, rays)), hits.integers(1, 5, rays), strict=True
        ):
            image[row, column : column + length] += hits.uniform(300, 5000)
        exposures.append(
            Exposure(
                image=image,
                mask=Mask.empty(image.shape),
                variance=light + sky,
                wcs=own,
                psf=psf,
                photo_calib=PhotoCalib(1.0 / scale[epoch]),
                filter=Filter("red", "r"),
                observation=ObservationInfo(exposure_id=100 + epoch, mjd_tai=60000.0 + epoch, exposure_time=30.0),
            )
        )
    return Field(ra, dec, flux, tuple(exposures))


def handles(exposures):
    """Return handles that give the exposures when asked."""
    return tuple(
        Handle("image", DataId(instrument="simulated", visit=number, detector=0), lambda each=each: each)
        for number, each in enumerate(exposures)
    )
