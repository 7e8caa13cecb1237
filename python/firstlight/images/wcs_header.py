"""The celestial WCS keywords of a FITS header, brought to one form."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from astropy import units as u
from astropy.coordinates import FK4, FK5, SkyCoord
from numpy.typing import NDArray

from firstlight.errors import HeaderError

Cards = Mapping[str, str | int | float]
"""FITS keyword -> value: WCSAXES, CTYPEi, CUNITi, CRPIXi, CRVALi, CDi_j, RADESYS, EQUINOX and, where there are any,
LONPOLE, LATPOLE, PVi_m, the SIP coefficients and WCSMAXER."""

MAX_ERROR_KEYWORD = "WCSMAXER"
"""FITS keyword for the largest error [arcsec] of a WCS that approximates another."""

UNSUPPORTED = ("TNX", "ZPX", "DSS")
ZENITHAL = ("AZP", "SZP", "TAN", "STG", "SIN", "ARC", "ZPN", "ZEA", "AIR", "TPV")
WCS_KEYWORD = re.compile(
    r"WCSAXES|WCSNAME|(CTYPE|CUNIT|CRPIX|CRVAL|CDELT|CROTA)\d|(CD|PC|PV)\d_\d+|PC00\d00\d|CD00\d00\d"
    r"|LONPOLE|LATPOLE|(A|B|AP|BP)_(ORDER|DMAX|\d_\d)|WCSMAXER|WCSDIM|WAT\d_\d{3}"
)
"""Keywords that describe a WCS and no more hold once there is another one."""


def canonical_cards(header: Any) -> dict[str, str | int | float]:
    """Return the WCS keywords of a header as `SkyWcs` needs them.

    Parameters
    ----------
    header
        A FITS header or a mapping with the same keywords.

    Raises
    ------
    HeaderError
        If the header has no complete celestial WCS, or one that cannot be used.
    """
    types = _celestial_types(header)
    has_sip = "A_ORDER" in header and "B_ORDER" in header
    pv = _pv_cards(header)
    types = [_with_distortion(kind, has_sip=has_sip, has_pv=bool(pv)) for kind in types]
    cards: dict[str, str | int | float] = {"WCSAXES": 2, "CTYPE1": types[0], "CTYPE2": types[1]}
    cards |= {"CUNIT1": "deg", "CUNIT2": "deg"}
    for key in ("CRPIX1", "CRPIX2"):
        cards[key] = _number(header, key, default=0.0)
    for i in (1, 2):
        cards[f"CRVAL{i}"] = _number(header, f"CRVAL{i}") * _degrees_per_unit(header, i)
    cards |= {"RADESYS": "ICRS", "EQUINOX": 2000.0}
    matrix = _matrix(header) * np.array([[_degrees_per_unit(header, 1)], [_degrees_per_unit(header, 2)]])
    cards |= {f"CD{i + 1}_{j + 1}": float(matrix[i, j]) for i in range(2) for j in range(2)}
    cards |= {key: _number(header, key) for key in ("LONPOLE", "LATPOLE") if key in header}
    if cards.get("LONPOLE") == 180.0 and _projection(types[0]) in ZENITHAL:
        cards.pop("LONPOLE")
        cards.pop("LATPOLE", None)
    if has_sip:
        for name in ("A", "B", "AP", "BP"):
            if f"{name}_ORDER" in header:
                cards |= sip_cards(name, _read_sip(header, name))
    else:
        cards |= pv
    if MAX_ERROR_KEYWORD in header:
        cards[MAX_ERROR_KEYWORD] = _number(header, MAX_ERROR_KEYWORD)
    return _in_icrs(cards, header)


def has_celestial_wcs(header: Any) -> bool:
    """Return whether a header claims a celestial WCS."""
    return str(header.get("CTYPE1", ""))[4:5] == "-" and str(header.get("CTYPE2", ""))[4:5] == "-"


def matrix_of(cards: Cards) -> NDArray[np.float64]:
    """Return the CD matrix [deg / pixel]."""
    return np.array([[cards["CD1_1"], cards["CD1_2"]], [cards["CD2_1"], cards["CD2_2"]]], dtype=np.float64)


def sip_cards(name: str, matrix: NDArray[np.float64]) -> dict[str, str | int | float]:
    """Return the keywords of one SIP polynomial (``A``, ``B``, ``AP`` or ``BP``) with coefficients [p, q]."""
    order = matrix.shape[0] - 1
    cards: dict[str, str | int | float] = {f"{name}_ORDER": order}
    for p in range(order + 1):
        cards |= {f"{name}_{p}_{q}": float(matrix[p, q]) for q in range(order + 1) if matrix[p, q] != 0}
    return cards


def sip_matrix(name: str, cards: Cards) -> NDArray[np.float64] | None:
    """Return the coefficients [p, q] of one SIP polynomial; None if it is not there."""
    return _read_sip(cards, name) if f"{name}_ORDER" in cards else None


def _celestial_types(header: Any) -> list[str]:
    types = [str(header.get(f"CTYPE{i}", "")).strip() for i in (1, 2)]
    pair = {kind[:5].rstrip("-") for kind in types}
    known = ({"RA", "DEC"}, {"GLON", "GLAT"}, {"ELON", "ELAT"})
    if pair not in known:
        raise HeaderError(f"The header has no celestial WCS: CTYPE1 is {types[0]!r} and CTYPE2 is {types[1]!r}.")
    projections = {_projection(kind) for kind in types}
    if len(projections) != 1 or "" in projections or projections & set(UNSUPPORTED):
        raise HeaderError(
            f"The WCS projection {types[0]!r}, {types[1]!r} is not supported; convert it to TPV or TAN-SIP."
        )
    return types


def _projection(kind: str) -> str:
    return kind[5:8].strip("- ")


def _with_distortion(kind: str, *, has_sip: bool, has_pv: bool) -> str:
    """Return CTYPE with a ``-SIP`` suffix exactly when there are coefficients, and SCAMP's TAN with PV as TPV."""
    plain = kind[:8]
    if has_sip:
        return f"{plain}-SIP"
    return f"{plain[:5]}TPV" if has_pv and _projection(plain) == "TAN" else plain


def _pv_cards(header: Any) -> dict[str, float]:
    keys = [f"PV{i}_{m}" for i in (1, 2) for m in range(40)]
    return {key: _number(header, key) for key in keys if key in header}


def _matrix(header: Any) -> NDArray[np.float64]:
    """Return d(intermediate world coordinate)/d(pixel), from CDi_j, or CDELTi with PCi_j or CROTA2."""
    if any(f"CD{i}_{j}" in header for i in (1, 2) for j in (1, 2)):
        matrix = np.array([[_number(header, f"CD{i}_{j}", default=0.0) for j in (1, 2)] for i in (1, 2)])
    elif "CDELT1" in header and "CDELT2" in header:
        steps = np.array([_number(header, "CDELT1"), _number(header, "CDELT2")])
        matrix = steps[:, None] * _rotation(header, steps)
    else:
        raise HeaderError("The header has no WCS scale: neither CD1_1 nor CDELT1 is there.")
    if not np.isfinite(matrix).all() or np.linalg.det(matrix) == 0:
        raise HeaderError(f"The WCS matrix of the header is singular: {matrix.tolist()}.")
    return matrix


def _rotation(header: Any, steps: NDArray[np.float64]) -> NDArray[np.float64]:
    if any(f"PC{i}_{j}" in header for i in (1, 2) for j in (1, 2)):
        return np.array([[_number(header, f"PC{i}_{j}", default=float(i == j)) for j in (1, 2)] for i in (1, 2)])
    angle = np.radians(_number(header, "CROTA2", default=0.0))
    ratio = steps[1] / steps[0]
    return np.array([[np.cos(angle), -np.sin(angle) * ratio], [np.sin(angle) / ratio, np.cos(angle)]])


def _read_sip(header: Any, name: str) -> NDArray[np.float64]:
    order = int(_number(header, f"{name}_ORDER"))
    if not 0 <= order <= 9:
        raise HeaderError(f"{name}_ORDER is {order}; a SIP polynomial has an order from 0 to 9.")
    indices = range(order + 1)
    return np.array([[_number(header, f"{name}_{p}_{q}", default=0.0) for q in indices] for p in indices])


def _degrees_per_unit(header: Any, axis: int) -> float:
    unit = str(header.get(f"CUNIT{axis}", "deg")).strip() or "deg"
    try:
        return float(u.Unit(unit.lower()).to(u.deg))
    except (ValueError, u.UnitConversionError) as error:
        raise HeaderError(f"CUNIT{axis} is {unit!r}, which is not an angle.") from error


def _number(header: Any, keyword: str, *, default: float | None = None) -> float:
    if keyword not in header:
        if default is None:
            raise HeaderError(f"The WCS of the header is not complete: {keyword} is missing.")
        return default
    try:
        value = float(header[keyword])
    except (TypeError, ValueError) as error:
        raise HeaderError(f"{keyword} of the WCS is {header[keyword]!r}, which is not a number.") from error
    if not np.isfinite(value):
        raise HeaderError(f"{keyword} of the WCS is {value}, which is not finite.")
    return value


def _in_icrs(cards: dict[str, str | int | float], header: Any) -> dict[str, str | int | float]:
    """Turn a WCS of another celestial frame to ICRS, by its reference point and the direction of its pole.

    FK4 is not only turned against ICRS: its E-terms, up to 0.35 arcsec over the whole sky, are right at the
    reference point only; over a few degrees they change by much less.
    """
    frame = _frame(str(cards["CTYPE1"]), str(cards["CTYPE2"]), header)
    if frame is None:
        return cards
    if _projection(str(cards["CTYPE1"])) not in ZENITHAL:
        raise HeaderError(f"A WCS with projection {cards['CTYPE1']} must be in ICRS; its frame is {frame}.")
    first = 2 if str(cards["CTYPE1"])[:5] in ("DEC--", "GLAT-", "ELAT-") else 1
    lon, lat = float(cards[f"CRVAL{first}"]), float(cards[f"CRVAL{3 - first}"])
    center = SkyCoord(lon * u.deg, lat * u.deg, frame=frame).icrs
    ahead = SkyCoord(lon * u.deg, lat * u.deg, frame=frame).directional_offset_by(0 * u.deg, 0.01 * u.deg).icrs
    turn = center.position_angle(ahead).to_value(u.deg)
    tail = [str(cards[f"CTYPE{first}"])[5:], str(cards[f"CTYPE{3 - first}"])[5:]]
    turned = (float(cards.get("LONPOLE", 180.0)) + turn) % 360.0
    return cards | {
        f"CTYPE{first}": f"RA---{tail[0]}",
        f"CTYPE{3 - first}": f"DEC--{tail[1]}",
        f"CRVAL{first}": float(center.ra.deg),
        f"CRVAL{3 - first}": float(center.dec.deg),
        "LONPOLE": turned,
    }


def _frame(first: str, second: str, header: Any) -> Any:
    kinds = {first[:4], second[:4]}
    if "GLON" in kinds:
        return "galactic"
    if "ELON" in kinds:
        return "barycentrictrueecliptic"
    equinox = _number(header, "EQUINOX", default=_number(header, "EPOCH", default=2000.0))
    system = str(header.get("RADESYS", header.get("RADECSYS", ""))).strip().upper()
    if system.startswith("FK4") or (not system and equinox < 1984.0):
        return FK4(equinox=f"B{equinox}", obstime=f"B{equinox}")
    return None if abs(equinox - 2000.0) < 1e-3 or system == "ICRS" else FK5(equinox=f"J{equinox}")
