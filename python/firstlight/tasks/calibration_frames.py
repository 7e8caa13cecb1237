"""What calibration frames are known by, and whether one fits an exposure."""

from __future__ import annotations

from collections.abc import Mapping

from firstlight.errors import InputError
from firstlight.images.exposure import Exposure
from firstlight.images.header_values import number

STEPS: Mapping[str, str] = {
    "saturation": "ISRSAT",
    "overscan": "ISROSCAN",
    "bias": "ISRBIAS",
    "dark": "ISRDARK",
    "flat": "ISRFLAT",
    "defects": "ISRDEFEC",
    "variance": "ISRVAR",
}
"""Step of `IsrTask` -> keyword of the header that says how it was done."""

KIND = "CALTYPE"
"""Keyword that says what a combined calibration is: bias, dark or flat."""

N_COMBINED = "NCOMBINE"
"""Keyword with the number of frames that were combined."""

BINNING_KEYWORDS = (("XBINNING", "YBINNING"), ("CCDXBIN", "CCDYBIN"), ("BINX", "BINY"))
BINNING_TEXT = "CCDSUM"


def binning_of(header: Mapping[str, object]) -> tuple[int, int] | None:
    """Return the binning in x and y; None where the header does not say."""
    for pair in BINNING_KEYWORDS:
        values = [number(header.get(keyword)) for keyword in pair]
        if values[0] is not None and values[1] is not None:
            return int(values[0]), int(values[1])
    words = str(header.get(BINNING_TEXT, "")).split()
    return (int(words[0]), int(words[1])) if len(words) == 2 and all(word.isdigit() for word in words) else None


def require_fit(exposure: Exposure, calibration: Exposure, *, kind: str) -> None:
    """Refuse a calibration of another binning or shape.

    Raises
    ------
    InputError
    """
    own, other = binning_of(exposure.header), binning_of(calibration.header)
    if own is not None and other is not None and own != other:
        raise InputError(
            f"The {kind} is binned {other[0]} x {other[1]} and the exposure {own[0]} x {own[1]}; "
            "take one of its binning."
        )
    if exposure.shape != calibration.shape:
        ny, nx = exposure.shape
        raise InputError(
            f"The {kind} has {calibration.shape[1]} x {calibration.shape[0]} pixels and the exposure {nx} x {ny}; "
            "both must be trimmed alike."
        )
    if exposure.unit != "count":
        raise InputError(f"Only an exposure in counts can be corrected with a {kind}; this one is in {exposure.unit}.")


def require_steps(exposure: Exposure, calibration: Exposure, *, kind: str, before: tuple[str, ...]) -> None:
    """Refuse a calibration of ours whose frames were corrected otherwise than the exposure.

    Parameters
    ----------
    exposure, calibration
    kind
        What the calibration is.
    before
        Steps that both or neither must have had.

    Raises
    ------
    InputError
    """
    if KIND not in calibration.header:
        return
    for step in before:
        own, other = STEPS[step] in exposure.header, STEPS[step] in calibration.header
        if own != other:
            had, had_not = ("the exposure", f"the {kind}") if own else (f"the {kind}", "the exposure")
            raise InputError(
                f"The {step} was corrected in {had} and not in {had_not}; both need the same steps before."
            )


def require_filter(exposure: Exposure, flat: Exposure) -> None:
    """Refuse a flat that is known to be of another filter.

    Raises
    ------
    InputError
    """
    if exposure.filter is None or flat.filter is None or exposure.filter.physical == flat.filter.physical:
        return
    raise InputError(
        f"The flat is of filter {flat.filter.physical!r} and the exposure of {exposure.filter.physical!r}; "
        "take a flat of its filter."
    )
