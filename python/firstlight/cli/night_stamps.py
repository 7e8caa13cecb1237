"""Stamps of the candidates of each image, drawn while it is in memory and kept for the pages."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table

from firstlight.execution.follow import SeenImage
from firstlight.execution.follow_log import image_name
from firstlight.images.alert_packet import STAMPS
from firstlight.images.atomic import write_text_atomically
from firstlight.images.exposure import Exposure
from firstlight.qa.stamp_marks import Compass, compasses
from firstlight.qa.stamps import Triplet, half_side, triplet

FOLDER = "stamps"
MOST = 500
"""Candidates of one image that get stamps: kept ones first, then the most significant."""


def draw_stamps(folder: Path, seen: SeenImage, *, name: str = "") -> None:
    """Write the stamps of the candidates of one image into a JSON file: number of the candidate -> `Triplet`.

    Parameters
    ----------
    folder, seen
    name
        Of the file, without its ending; that of the image when left out.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    images = [seen.images.get(kind) for kind in STAMPS]
    there = [image for image in images if image is not None]
    half = half_side(there[-1]) if there else None
    drawn = {}
    first = seen.candidates[_first(seen.candidates)]
    for one, compass in zip(first, _compasses(there, first), strict=True):
        stamps = triplet(images, x=float(one["x"]), y=float(one["y"]), half=half, compass=compass)
        if stamps is not None:
            drawn[str(int(one["id"]))] = asdict(stamps)
    folder.mkdir(parents=True, exist_ok=True)
    name = name or image_name(seen.key.instrument, seen.key.visit, seen.key.detector)
    write_text_atomically(folder / f"{name}.json", json.dumps(drawn))


def read_stamps(folder: Path, name: str) -> dict[int, Triplet]:
    """Return the stamps of an image; none where there is no such file."""
    try:
        found = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        return {int(number): _read(values) for number, values in found.items()}
    except (OSError, ValueError, TypeError):
        return {}


def _read(values: dict[str, Any]) -> Triplet:
    compass = values.pop("compass", None)
    return Triplet(**values, compass=None if compass is None else Compass(*map(tuple, compass)))


def _compasses(images: Sequence[Exposure], candidates: Table) -> list[Compass | None]:
    """Return where north and east are at each candidate, on images that share their pixels."""
    wcs = next((image.wcs for image in images if image.wcs is not None), None)
    if wcs is None or not len(candidates):
        return [None] * len(candidates)
    x, y = (np.asarray(candidates[name], dtype=np.float64) for name in ("x", "y"))
    return compasses(wcs.local_jacobian(x=x, y=y))


def _first(candidates: Table) -> list[int]:
    """Return the rows of the candidates that get stamps."""
    if not {"x", "y", "id", "snr"} <= set(candidates.colnames):
        return []
    snr = np.nan_to_num(np.abs(np.asarray(candidates["snr"], dtype=float)))
    kept = np.asarray(candidates["kept"], dtype=bool) if "kept" in candidates.colnames else np.ones(len(snr), bool)
    return [int(row) for row in np.lexsort([-snr, ~kept])[:MOST]]
