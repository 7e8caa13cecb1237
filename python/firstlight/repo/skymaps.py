"""Skymaps of kind ``fields``: each target has a tract of its own, for teams without a tiling of the sky."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from firstlight.errors import ImageFileError, NoWorkFound, RepoError
from firstlight.framework import DataId
from firstlight.images.exposure import separation
from firstlight.images.fits import read_headers
from firstlight.images.pixel_grid import PixelGrid
from firstlight.images.wcs import SkyWcs
from firstlight.repo.dataset_types import DatasetType
from firstlight.repo.names import require_data_id
from firstlight.repo.repo import Repo
from firstlight.repo.rows import DatasetRow

TRACT_GRID = "tract_grid"
"""Dataset type of the pixels of a tract."""

RUNS = "skymaps"
"""The tracts of a skymap are in the run ``skymaps/NAME``."""


def tracts_in(repo: Repo, collections: Sequence[str]) -> list[tuple[DataId, PixelGrid]]:
    """Return the data id and the pixels of every tract in some collections."""
    if TRACT_GRID not in repo.type_names():
        return []
    found = []
    for row in repo.datasets(TRACT_GRID, collections=collections):
        grid = repo.read(row)
        if isinstance(grid, PixelGrid):
            found.append((row.data_id, grid))
    return found


def register_fields(
    repo: Repo,
    name: str,
    *,
    images: str,
    collections: Sequence[str],
    where: str = "",
    pixel_scale: float | None = None,
    border: int = 20,
) -> list[tuple[DataId, PixelGrid, int]]:
    """Make a tract around every field that images show, and put them into the run ``skymaps/NAME``.

    Images belong to one field where the middle of one lies within the circle about another.

    Parameters
    ----------
    repo
    name
        Of the skymap.
    images, collections, where
        Dataset type of calibrated exposures, where to look for it, and which of it.
    pixel_scale : [arcsec]
        Of the tracts; the median of the images when left out.
    border : [pixel]
        Room around the images.

    Returns
    -------
    Data id, pixels and number of images of each tract, by right ascension.

    Raises
    ------
    NoWorkFound
        If there is no such image with a WCS.
    RepoError
        If there is a skymap of that name.
    """
    run = f"{RUNS}/{name}"
    if any(each.name == run for each in repo.collections(run)):
        raise RepoError(f"Skymap {name!r} is there already; tracts never change, so give another name.")
    rows = repo.datasets(images, collections=collections, where=where)
    grids = [grid for grid in map(_grid_of, rows) if grid is not None]
    if not grids:
        raise NoWorkFound(f"None of {len(rows)} {images} in {', '.join(collections)} has a WCS to make a tract from.")
    fields = [
        (PixelGrid.covering(members, pixel_scale=pixel_scale, border=border), len(members))
        for members in _fields(grids)
    ]
    fields.sort(key=lambda field: field[0].sky_circle()[0])
    repo.register_type(DatasetType(TRACT_GRID, ("skymap", "tract"), "pixel_grid"))
    repo.make_run(run)
    made = []
    for number, (grid, count) in enumerate(fields):
        data_id = require_data_id({"skymap": name, "tract": number})
        repo.put(grid, TRACT_GRID, run=run, skymap=name, tract=number)
        made.append((data_id, grid, count))
    return made


def _grid_of(row: DatasetRow) -> PixelGrid | None:
    """Return the pixels of an exposure from its headers; None if it has no WCS."""
    try:
        header = read_headers(row.path)[0]
    except ImageFileError as error:
        raise RepoError(f"{row} cannot be read: {error}") from error
    return PixelGrid(header.shape, SkyWcs.from_header(header.header)) if "CTYPE1" in header.header else None


def _fields(grids: Sequence[PixelGrid]) -> list[list[PixelGrid]]:
    """Return the grids in groups that hang together."""
    circles = np.array([grid.sky_circle() for grid in grids])
    group = np.arange(len(grids))
    for number, (ra, dec, radius) in enumerate(circles):
        near = separation(ra, dec, circles[:, 0], circles[:, 1]) <= np.minimum(radius, circles[:, 2])
        group[np.isin(group, group[near])] = group[number]
    return [[grid for grid, own in zip(grids, group, strict=True) if own == one] for one in np.unique(group)]
