"""Files that belong to an image and lie beside it: masks, weight maps, variances; told from images by their names."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

FITS_ENDING = re.compile(r"\.(fits|fit|fts)(\.(gz|fz))?$", re.IGNORECASE)
"""How the names of FITS files end."""

USUAL_ENDINGS = (".fits", ".fits.gz", ".fits.fz")
LAST_WORD = re.compile(r"(?P<image>.+)[._-](?P<word>[A-Za-z]+)")
KINDS: Mapping[str, str] = {
    **dict.fromkeys(("mask", "masks", "msk", "mskimg", "bpm", "dq", "dqmask", "flag", "flags"), "mask"),
    **dict.fromkeys(("weight", "weights", "wht", "wt", "ivar", "invvar"), "weight map"),
    **dict.fromkeys(("variance", "var", "rms", "unc", "uncertainty"), "noise map"),
    **dict.fromkeys(("background", "bkg"), "background"),
    **dict.fromkeys(("segm", "segmentation"), "map of sources"),
    **dict.fromkeys(("psf", "psfimg"), "point-spread function"),
    **dict.fromkeys(("exposuremap", "expmap", "coverage"), "coverage map"),
    "image": "calibrated image",
}
"""Last word of a file's name, after that of its image -> what the file is."""


def stem_of(path: Path) -> str:
    """Return the name of a file without the endings of FITS files and of compression."""
    return FITS_ENDING.sub("", path.name)


def mask_beside(path: Path) -> Path | None:
    """Return the mask that lies beside an image: ``NAME_mask.fits`` for ``NAME.fits``; None if there is none."""
    return next(_beside(path, f"{stem_of(path)}_mask"), None)


def why_no_image(path: Path, *, dated: bool) -> str:
    """Return why a FITS file is taken for a companion of an image, as what follows its name; empty if it is not.

    A name that ends like ``NAME_weight.fits`` tells it where ``NAME.fits`` lies beside it, or where the header has no
    date; a target may be called ``RR_Lyr_var``.

    Parameters
    ----------
    path
    dated
        Whether the header says when the exposure was taken.
    """
    found = LAST_WORD.fullmatch(stem_of(path))
    kind = KINDS.get(found["word"].lower()) if found else None
    if found is None or kind is None:
        return ""
    image = next(_beside(path, found["image"]), None)
    if image is not None:
        return f"is the {kind} of {image.name}, by its name."
    return "" if dated else f"is a {kind} by its name, and its header has no date."


def _beside(path: Path, stem: str) -> Iterator[Path]:
    """Yield the FITS files in the folder of ``path`` that have a stem."""
    own = FITS_ENDING.search(path.name)
    for ending in dict.fromkeys((*([own[0]] if own else []), *USUAL_ENDINGS)):
        beside = path.with_name(f"{stem}{ending}")
        if beside.is_file():
            yield beside
