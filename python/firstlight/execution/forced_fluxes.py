"""Measure difference images at the places of all objects, whether something was detected there or not."""

from __future__ import annotations

import hashlib
from typing import Protocol

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from firstlight.errors import AlgorithmError, InputError
from firstlight.images.exposure import Exposure
from firstlight.repo.light_curves import save_forced_fluxes
from firstlight.repo.objects import VisitKey, objects_near
from firstlight.repo.repo import Repo

UNIT = "nJy"


class PlaceFluxes(Protocol):
    """What a `MeasurePlaces` returns, such as the result of ``MeasurePlaceTask``."""

    @property
    def flux(self) -> NDArray[np.float64]:
        """(n,) Flux of the PSF at each place [unit of the image]."""

    @property
    def flux_err(self) -> NDArray[np.float64]:
        """(n,) Its error."""

    @property
    def flag(self) -> NDArray[np.bool_]:
        """(n,) Whether it is not to be trusted."""


class MeasurePlaces(Protocol):
    """Anything that measures places on an image, such as ``MeasurePlaceTask``."""

    def run(self, exposure: Exposure, *, ra: NDArray[np.float64], dec: NDArray[np.float64]) -> PlaceFluxes:
        """Measure the places ra, dec [deg]."""


def add_forced_fluxes(
    repo: Repo, measure: MeasurePlaces, key: VisitKey, difference: Exposure, *, band: str | None
) -> int:
    """Measure one difference image at the objects of the repository that lie on it, and keep what is found.

    Fluxes of this image at places that objects had before are forgotten, so that what is kept depends on the objects
    and not on when they were found.

    Parameters
    ----------
    repo
    measure
        Fluxes that it flags are not kept.
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
    found = measure.run(difference, ra=np.asarray(objects["ra"]), dec=np.asarray(objects["dec"]))
    good = ~found.flag
    save_forced_fluxes(
        repo,
        key,
        band=band,
        object_ids=np.asarray(objects["id"])[good],
        flux=found.flux[good],
        flux_err=found.flux_err[good],
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
