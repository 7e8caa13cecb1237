"""A repository with two nights of difference images of stars whose fluxes are known."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import sqlalchemy as sa
from astropy.table import Table
from scipy.special import ndtr

from firstlight.images.exposure import Exposure
from firstlight.images.mask import Mask
from firstlight.images.psf import GaussianPsf
from firstlight.images.wcs import SkyWcs, TanSip
from firstlight.repo import schema
from firstlight.repo.dataset_types import DatasetType
from firstlight.repo.repo import Repo

CAMERA, RUN = "camera", "night/1"
DIMENSIONS = ("instrument", "visit", "detector")
SHAPE, CENTRE, SCALE_DEG = (90, 110), (359.999, 80.0), 0.4 / 3600
NOISE, SIGMA_PX = 3.0, 1.6
X, Y = np.array([30.0, 75.3, 107.0]), np.array([40.2, 60.0, 8.0])
"""The third is so near to the edge that its stamp is cut."""

FLUXES = np.array([[0.0, 900.0, 0.0], [1500.0, -700.0, 0.0], [2200.0, 800.0, 1200.0]])
"""Of each visit [nJy]; what is 0 is not detected."""

DAYS = (20260101, 20260102, 20260102)
MJD = (61041.3, 61042.3, 61042.4)
ERROR_NJY = NOISE * 2 * np.sqrt(np.pi) * np.hypot(SIGMA_PX, 12**-0.5)
"""Of the flux of a Gaussian that is summed over each pixel."""


def wcs() -> SkyWcs:
    cd = np.array([[-SCALE_DEG, 0.0], [0.0, SCALE_DEG]])
    return SkyWcs.from_tan_sip(TanSip(CENTRE, (54.5, 44.5), cd, np.zeros((1, 1)), np.zeros((1, 1))))


def in_pixels(n: int, centre: float) -> np.ndarray:
    """Share of the light that falls on each of n pixels of a line."""
    return np.diff(ndtr((np.arange(n + 1) - 0.5 - centre) / SIGMA_PX))


def exposure(fluxes: np.ndarray, *, seed: int) -> Exposure:
    image = np.random.default_rng(seed).normal(0, NOISE, SHAPE)
    for x0, y0, flux in zip(X, Y, fluxes, strict=True):
        image += flux * np.outer(in_pixels(SHAPE[0], y0), in_pixels(SHAPE[1], x0))
    return Exposure(
        image=image.astype(np.float32),
        mask=Mask(np.zeros(SHAPE, dtype=np.int32)),
        variance=np.full(SHAPE, NOISE**2, dtype=np.float32),
        unit="nJy",
        wcs=wcs(),
        psf=GaussianPsf(sigma=SIGMA_PX, radius=10),
    )


def candidates(fluxes: np.ndarray, *, seed: int) -> Table:
    rows = np.flatnonzero(fluxes)
    shift = np.random.default_rng(seed).normal(0, 0.1, (2, len(rows)))
    ra, dec = wcs().pixel_to_sky(x=X[rows] + shift[0], y=Y[rows] + shift[1])
    error = np.full(len(rows), 0.1 * SCALE_DEG)
    return Table(
        {
            "id": rows + 1,
            "x": X[rows] + shift[0],
            "y": Y[rows] + shift[1],
            "ra": ra,
            "dec": dec,
            "ra_err": error,
            "dec_err": error,
            "psf_flux": fluxes[rows],
            "psf_flux_err": np.full(len(rows), ERROR_NJY),
            "snr": fluxes[rows] / ERROR_NJY,
            "is_negative": fluxes[rows] < 0,
            "edge": rows == 9,
            "is_dipole": fluxes[rows] < 0,
            "score": np.linspace(0.5, 0.9, len(rows)),
        },
        units={"ra": "deg", "dec": "deg", "ra_err": "deg", "dec_err": "deg", "psf_flux": "nJy", "psf_flux_err": "nJy"},
    )


IMAGES = ("visit_image", "template_matched", "difference_image")


def make_repo(folder: Path, *, visits: Iterable[int] = range(len(MJD))) -> Repo:
    repo = Repo.create(folder)
    for name in IMAGES:
        repo.register_type(DatasetType(name, DIMENSIONS, "exposure"))
    repo.register_type(DatasetType("dia_source", DIMENSIONS, "table"))
    repo.make_run(RUN)
    with repo.database.write() as connection:
        rows = [
            {"instrument": CAMERA, "visit": number, "day_obs": DAYS[number], "band": "rgr"[number], "mjd_tai": mjd}
            for number, mjd in enumerate(MJD)
        ]
        connection.execute(sa.insert(schema.visit), rows)
    for visit in visits:
        add_images(repo, visit)
    return repo


def add_images(repo: Repo, visit: int) -> None:
    """Put what was made of one visit into the repository."""
    place = {"run": RUN, "instrument": CAMERA, "visit": visit, "detector": 0}
    fluxes, template = FLUXES[visit], np.array([500.0, 3000.0, 0.0])
    for name, light in zip(IMAGES, (template + fluxes, template, fluxes), strict=True):
        repo.put(exposure(light, seed=10 * visit + len(name)), name, **place)
    repo.put(candidates(fluxes, seed=visit), "dia_source", **place)
