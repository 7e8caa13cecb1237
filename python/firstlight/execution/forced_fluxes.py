"""Measure difference images at the places of all objects, whether something was detected there or not."""

from __future__ import annotations

import hashlib

import numpy as np
from astropy.table import Table

from firstlight.algorithms.psf_flux import measure_psf_flux
from firstlight.errors import AlgorithmError, InputError
from firstlight.images.exposure import Exposure
from firstlight.repo.light_curves import save_forced_fluxes
from firstlight.repo.objects import VisitKey, objects_near
from firstlight.repo.repo import Repo

BAD_PLANES = ("BAD", "NO_DATA", "SAT", "SAT_TEMPLATE", "CR", "EDGE")
UNIT = "nJy"


def add_forced_fluxes(repo: Repo, key: VisitKey, difference: Exposure, *, band: str | None) -> int:
    """Measure one difference image at the objects of the repository that lie on it, and keep what is found.

    Fluxes of this image at places that objects had before are forgotten, so that what is kept depends on the objects
    and not on when they were found.

    Parameters
    ----------
    repo
    key
        The image.
    difference
        In nJy, with a WCS and a PSF.
    band

    Returns
    -------
    how many objects have a flux now.

    Raises
    ------
    InputError
        If the image is not in nJy.
    AlgorithmError
        If it has no WCS or no PSF.
    """
    if str(difference.unit) != UNIT:
        raise InputError(
            f"Forced fluxes need a difference in {UNIT}; that of visit {key.visit} is in {difference.unit}."
        )
    if difference.wcs is None or difference.psf is None:
        missing = "WCS" if difference.wcs is None else "PSF"
        raise AlgorithmError(f"Forced fluxes need a {missing}; the difference of visit {key.visit} has none.")
    objects = _objects_in(repo, difference.sky_circle())
    if not len(objects):
        save_forced_fluxes(
            repo, key, band=band, object_ids=np.empty(0, np.int64), flux=np.empty(0), flux_err=np.empty(0)
        )
        return 0
    x, y = difference.wcs.sky_to_pixel(ra=np.asarray(objects["ra"]), dec=np.asarray(objects["dec"]))
    ny, nx = difference.shape
    inside = (x >= -0.5) & (x < nx - 0.5) & (y >= -0.5) & (y < ny - 0.5)
    planes = (name for name in BAD_PLANES if name in difference.mask.planes)
    bad = difference.mask.any_of(*planes) | ~np.isfinite(difference.image) | ~(difference.variance > 0)
    found = measure_psf_flux(
        np.nan_to_num(difference.image),
        variance=difference.variance,
        bad=np.asarray(bad),
        psf=difference.psf,
        x=x[inside],
        y=y[inside],
        together=False,
    )
    good = np.isfinite(found.flux) & np.isfinite(found.flux_err) & ~np.asarray(found.flag, dtype=bool)
    save_forced_fluxes(
        repo,
        key,
        band=band,
        object_ids=np.asarray(objects["id"])[inside][good],
        flux=np.asarray(found.flux, dtype=np.float64)[good],
        flux_err=np.asarray(found.flux_err, dtype=np.float64)[good],
    )
    return int(good.sum())


def objects_key(repo: Repo, circle: tuple[float, float, float]) -> str:
    """Return a key of the objects in a circle and their places; while it stays, so do the fluxes measured there.

    Parameters
    ----------
    repo
    circle : [deg]
        Right ascension and declination of the middle, and radius.
    """
    objects = _objects_in(repo, circle)
    objects = objects[np.argsort(np.asarray(objects["id"]))]
    digest = hashlib.blake2b(digest_size=8)
    for name in ("id", "ra", "dec"):
        digest.update(np.asarray(objects[name]).tobytes())
    return digest.hexdigest()


def _objects_in(repo: Repo, circle: tuple[float, float, float]) -> Table:
    ra, dec, radius = circle
    with repo.database.read() as connection:
        return objects_near(connection, np.array([ra]), np.array([dec]), radius=radius * 3600.0)
