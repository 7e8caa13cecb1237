"""What ``firstlight process`` is asked to do with an image, and what became of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from firstlight.framework import Funnel, Gate

Status = Literal["ok", "stopped", "failed", "unreadable"]
"""``stopped``: ended after the pass that was asked for. ``failed``: a pass failed on these data; what was made before
it is true. ``unreadable``: there is no image to work on."""

FITS_ENDING = re.compile(r"\.(fits|fit|fts)(\.(gz|fz))?$", re.IGNORECASE)


@dataclass(frozen=True)
class ImageFiles:
    """The files of one image.

    Parameters
    ----------
    path
        The image.
    snap
        Second image of a pair.
    hdu
        Number or name of its extension; None for the first image there is.
    mask, variance
        Its other planes, when they are in files of their own.
    """

    path: Path
    snap: Path | None = None
    hdu: str | None = None
    mask: Path | None = None
    variance: Path | None = None

    @property
    def stem(self) -> str:
        """Name of the image without the endings of FITS files and of compression."""
        return FITS_ENDING.sub("", self.path.name)


@dataclass(frozen=True)
class SearchArea:
    """Where the images may lie on the sky, as options say it; None where they say nothing.

    Parameters
    ----------
    ra, dec, radius : [deg]
    scale_low, scale_high : [arcsec / pixel]
    """

    ra: float | None = None
    dec: float | None = None
    radius: float | None = None
    scale_low: float | None = None
    scale_high: float | None = None

    @property
    def is_given(self) -> bool:
        """Whether any option says something."""
        return any(value is not None for value in vars(self).values())


@dataclass(frozen=True)
class ImageJob:
    """What is the same for all images of a call.

    Parameters
    ----------
    output
        Folder for the results.
    refcat, photometry_refcat
        Reference tables or stores; the first serves for both when there is no second.
    instrument
        Name of an instrument or path of a file that describes one; None to recognise it from each header.
    area
        Where the images may lie.
    ignore_wcs
        Whether to work as if headers had no WCS.
    stop_after
        Name of the pass to end after; None to do everything.
    config_files, settings
        Overrides in the order in which they were given: files, then ``label:path=value``.
    with_page
        Whether to draw a page.
    """

    output: Path
    refcat: Path | None = None
    photometry_refcat: Path | None = None
    instrument: str | None = None
    area: SearchArea = SearchArea()
    ignore_wcs: bool = False
    stop_after: str | None = None
    config_files: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    with_page: bool = True


@dataclass(frozen=True)
class StepTime:
    """Time that one step took."""

    step: str
    wall_s: float
    cpu_s: float


@dataclass(frozen=True)
class ImageOutcome:
    """What became of one image."""

    files: ImageFiles
    status: Status
    exit_code: int = 0
    step: str | None = None
    """The pass that failed, or after which the work was stopped."""

    error: str | None = None
    """Why it failed, in a sentence."""

    summary: Mapping[str, float] = field(default_factory=dict)
    gates: tuple[Gate, ...] = ()
    funnels: tuple[Funnel, ...] = ()
    timing: tuple[StepTime, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
    written: tuple[Path, ...] = ()
