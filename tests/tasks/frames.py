"""Exposures made by hand, with a truth that is known exactly, and every implementation of a family."""

from __future__ import annotations

import numpy as np
from astropy.table import Table

from firstlight.framework import Task, find_class, known_tasks
from firstlight.images.exposure import Exposure
from firstlight.images.mask import Mask
from firstlight.images.observation import DetectorInfo, ObservationInfo
from firstlight.images.psf import MoffatPsf, Psf

NOISE = 7.0
PSF = MoffatPsf(fwhm=2.8, beta=3.0, radius=20)
OWN = "firstlight."


def members(family: type) -> list[type[Task]]:
    """Return every installed implementation of a family of ours."""
    classes = [find_class(name) for name, offers in known_tasks().items() if offers[0].value.startswith(OWN)]
    found = [cls for cls in classes if issubclass(cls, family)]
    assert found, family
    return found


def exposure_of(image, *, mask: Mask | None = None, variance=NOISE**2, psf: Psf | None = PSF, **changes) -> Exposure:
    """Return an exposure with a flat variance."""
    return Exposure(
        image=np.asarray(image, dtype=np.float32),
        mask=Mask.empty(np.shape(image)) if mask is None else mask,
        variance=np.broadcast_to(np.float32(variance), np.shape(image)).copy(),
        psf=psf,
        observation=ObservationInfo(exposure_id=7, exposure_time=30.0),
        detector=DetectorInfo(gain=2.0, saturation=60_000.0),
        **changes,
    )


def noise(shape, *, seed=1):
    return np.random.default_rng(seed).normal(0.0, NOISE, shape)


def grid_of_stars(shape=(400, 400), *, spacing=40, flux=(2e3, 2e5), seed=2) -> Table:
    """Return stars on a grid, each off it by up to half a pixel, with fluxes spread evenly in magnitude."""
    rng = np.random.default_rng(seed)
    ny, nx = shape
    y, x = (a.ravel() for a in np.mgrid[spacing // 2 : ny : spacing, spacing // 2 : nx : spacing].astype(float))
    n = len(x)
    brightness = np.exp(rng.uniform(np.log(flux[0]), np.log(flux[1]), n))
    return Table({"x": x + rng.uniform(-0.5, 0.5, n), "y": y + rng.uniform(-0.5, 0.5, n), "flux": brightness})


def add_stars(image, stars: Table, *, psf: Psf = PSF):
    """Return the image with the stars; the flux of a star is that on its stamp."""
    image = np.array(image, dtype=float)
    for star, stamp in zip(stars, psf.images(x=np.asarray(stars["x"]), y=np.asarray(stars["y"])), strict=True):
        row, column = round(star["y"]) - psf.radius, round(star["x"]) - psf.radius
        y0, x0 = max(row, 0), max(column, 0)
        part = stamp[y0 - row : image.shape[0] - row, x0 - column : image.shape[1] - column]
        image[y0 : y0 + part.shape[0], x0 : x0 + part.shape[1]] += star["flux"] * part
    return image


def star_exposure(*, seed=1, photon_noise=True, **grid) -> tuple[Exposure, Table]:
    """Return stars on flat sky of zero, with the exact variance, and the truth."""
    shape = grid.get("shape", (400, 400))
    stars = grid_of_stars(**grid)
    light = add_stars(np.zeros(shape), stars)
    variance = NOISE**2 + (light / 2.0 if photon_noise else 0.0)
    image = light + np.sqrt(variance) * noise(shape, seed=seed) / NOISE
    return exposure_of(image, variance=1.0).replace(variance=variance.astype(np.float32)), stars
