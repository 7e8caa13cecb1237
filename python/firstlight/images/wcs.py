"""`SkyWcs`: from pixels to the sky and back, in ICRS degrees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from astropy.wcs import WCS, Sip
from numpy.typing import ArrayLike, NDArray

from firstlight.images.parts import Arrays, Values
from firstlight.images.wcs_header import MAX_ERROR_KEYWORD, Cards, canonical_cards, matrix_of, sip_cards, sip_matrix

ARCSEC_PER_DEGREE = 3600.0
CLOSURE_PX = 1e-6
"""A position that does not come back to itself within this many pixels is given as NaN."""

MAX_ITERATIONS = 60


@dataclass(frozen=True, eq=False)
class TanSip:
    """The numbers of a gnomonic projection with SIP distortion (Shupe et al. 2005).

    Parameters
    ----------
    crval : [deg]
        ICRS right ascension and declination of the reference point.
    crpix : [pixel]
        Its position x, y, zero-based.
    cd : (2, 2) [deg / pixel]
        Rows are the coordinates xi (east) and eta (north) of the tangent plane, columns are x and y.
    a, b : (order + 1, order + 1)
        ``a[p, q] u^p v^q`` is added to u = x - crpix_x before ``cd`` is applied, ``b`` to v; None for no distortion.
    ap, bp
        The same for the inverse, as a first estimate for other programs; None if there is none.
    """

    crval: tuple[float, float]
    crpix: tuple[float, float]
    cd: NDArray[np.float64]
    a: NDArray[np.float64] | None = None
    b: NDArray[np.float64] | None = None
    ap: NDArray[np.float64] | None = None
    bp: NDArray[np.float64] | None = None


class SkyWcs:
    """A celestial WCS: TAN, TAN-SIP, TPV, or any projection that astropy knows; never changed.

    Make one with `from_header` or `from_tan_sip`.

    Parameters
    ----------
    cards
        FITS keyword -> value, as `to_header` returns them.
    """

    __slots__ = ("_cards", "_has_sip", "_latitude_first", "_wcs")

    def __init__(self, cards: Cards) -> None:
        self._cards: dict[str, str | int | float] = dict(cards)
        self._wcs = _astropy_wcs(self._cards)
        self._has_sip = self._wcs.sip is not None
        self._latitude_first = self._wcs.wcs.lng == 1

    @classmethod
    def from_header(cls, header: Any) -> Self:
        """Read the WCS of a FITS header or of a mapping with the same keywords.

        FK5 J2000, and a header that names no frame, are taken as ICRS; other frames are turned to ICRS.

        Raises
        ------
        HeaderError
            If the header has no complete celestial WCS, or one that cannot be used.
        """
        return cls(canonical_cards(header))

    @classmethod
    def from_tan_sip(cls, solution: TanSip, *, max_error_arcsec: float | None = None) -> Self:
        """Make the WCS of a gnomonic projection with SIP distortion.

        Parameters
        ----------
        solution
        max_error_arcsec
            Largest difference to the WCS that this one approximates; None when it stands for itself.
        """
        suffix = "" if solution.a is None else "-SIP"
        cards: dict[str, str | int | float] = {
            "WCSAXES": 2,
            "CTYPE1": f"RA---TAN{suffix}",
            "CTYPE2": f"DEC--TAN{suffix}",
            "CUNIT1": "deg",
            "CUNIT2": "deg",
            "CRPIX1": float(solution.crpix[0]) + 1.0,
            "CRPIX2": float(solution.crpix[1]) + 1.0,
            "CRVAL1": float(solution.crval[0]),
            "CRVAL2": float(solution.crval[1]),
            "RADESYS": "ICRS",
            "EQUINOX": 2000.0,
        }
        cards |= {f"CD{i + 1}_{j + 1}": float(solution.cd[i, j]) for i in range(2) for j in range(2)}
        for name, matrix in (("A", solution.a), ("B", solution.b), ("AP", solution.ap), ("BP", solution.bp)):
            if matrix is not None:
                cards |= sip_cards(name, matrix)
        if max_error_arcsec is not None:
            cards[MAX_ERROR_KEYWORD] = float(max_error_arcsec)
        return cls(cards)

    def __eq__(self, other: object) -> bool:
        return self._cards == other._cards if isinstance(other, SkyWcs) else NotImplemented

    def __hash__(self) -> int:
        return hash(tuple(self._cards.items()))

    def __repr__(self) -> str:
        ra, dec = self.crval
        return f"SkyWcs({self._cards['CTYPE1']}, ra {ra:.5f}, dec {dec:.5f} at the reference pixel)"

    def __reduce__(self) -> tuple[type[Self], tuple[dict[str, str | int | float]]]:
        return type(self), (dict(self._cards),)

    @property
    def crval(self) -> tuple[float, float]:
        """Right ascension and declination of the reference point [deg]."""
        values = self._wcs.wcs.crval
        return float(values[self._wcs.wcs.lng]), float(values[self._wcs.wcs.lat])

    @property
    def crpix(self) -> tuple[float, float]:
        """Position x, y of the reference point [pixel], zero-based."""
        return float(self._wcs.wcs.crpix[0]) - 1.0, float(self._wcs.wcs.crpix[1]) - 1.0

    @property
    def parity(self) -> int:
        """Sign of the determinant of the CD matrix: -1 for the sky as it is seen, +1 for a mirrored image."""
        sign = 1 if np.linalg.det(matrix_of(self._cards)) > 0 else -1
        return -sign if self._latitude_first else sign

    @property
    def max_error_arcsec(self) -> float | None:
        """Largest difference to the WCS that this one approximates; None when it stands for itself."""
        value = self._cards.get(MAX_ERROR_KEYWORD)
        return None if value is None else float(value)

    @property
    def tan_sip(self) -> TanSip | None:
        """The same projection as numbers; None if it is neither TAN nor TAN-SIP."""
        kind = str(self._cards["CTYPE1"])[5:]
        if kind not in ("TAN", "TAN-SIP") or self._latitude_first or "LONPOLE" in self._cards:
            return None
        a, b, ap, bp = (sip_matrix(name, self._cards) for name in ("A", "B", "AP", "BP"))
        return TanSip(self.crval, self.crpix, matrix_of(self._cards), a, b, ap, bp)

    def pixel_to_sky(self, *, x: ArrayLike, y: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the ICRS position of pixels.

        Parameters
        ----------
        x, y : [pixel]

        Returns
        -------
        ra, dec : [deg]
            In the shape of ``x`` and ``y`` together; NaN where the projection has no sky.
        """
        pixels, shape = _pairs(x, y)
        if not len(pixels):
            return np.empty(shape), np.empty(shape)
        with np.errstate(all="ignore"):
            sky = self._wcs.all_pix2world(pixels, 0)
        ra, dec = (sky[:, 1], sky[:, 0]) if self._latitude_first else (sky[:, 0], sky[:, 1])
        return ra.reshape(shape)[()], dec.reshape(shape)[()]

    def sky_to_pixel(self, *, ra: ArrayLike, dec: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the pixel position of ICRS positions, to 1e-6 pixel also with distortion.

        Parameters
        ----------
        ra, dec : [deg]

        Returns
        -------
        x, y : [pixel]
            In the shape of ``ra`` and ``dec`` together; NaN where no pixel maps there, as on the far side of the sky.
        """
        sky, shape = _pairs(ra, dec)
        if not len(sky):
            return np.empty(shape), np.empty(shape)
        with np.errstate(all="ignore"):
            pixels = self._wcs.wcs_world2pix(sky[:, ::-1] if self._latitude_first else sky, 0)
            if self._has_sip:
                pixels = self._undistorted(pixels)
        pixels = self._closing(pixels, sky)
        return pixels[:, 0].reshape(shape)[()], pixels[:, 1].reshape(shape)[()]

    def local_jacobian(self, *, x: ArrayLike, y: ArrayLike) -> NDArray[np.float64]:
        """Return how the sky moves with the pixels.

        Parameters
        ----------
        x, y : [pixel]

        Returns
        -------
        jacobian : (..., 2, 2) [arcsec / pixel]
            Rows are east and north on the plane that touches the sky there, columns are x and y.
        """
        x, y = np.broadcast_arrays(np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64))
        east, north = _tangents(*self.pixel_to_sky(x=x, y=y))
        columns = []
        for dx, dy in ((0.5, 0.0), (0.0, 0.5)):
            ahead = _unit_vector(*self.pixel_to_sky(x=x + dx, y=y + dy))
            behind = _unit_vector(*self.pixel_to_sky(x=x - dx, y=y - dy))
            step = ahead - behind
            columns.append(np.stack([np.sum(step * east, axis=-1), np.sum(step * north, axis=-1)], axis=-1))
        return np.asarray(np.degrees(np.stack(columns, axis=-1)) * ARCSEC_PER_DEGREE)

    def pixel_scale(self, *, x: ArrayLike, y: ArrayLike) -> NDArray[np.float64]:
        """Return the side [arcsec] of a square with the area of the pixel at a position."""
        jacobian = self.local_jacobian(x=x, y=y)
        determinant = jacobian[..., 0, 0] * jacobian[..., 1, 1] - jacobian[..., 0, 1] * jacobian[..., 1, 0]
        return np.sqrt(np.abs(determinant))[()]

    def shifted(self, *, x: float, y: float) -> Self:
        """Return the WCS of a cutout whose first pixel is pixel (x, y) of this image."""
        moved = {"CRPIX1": float(self._cards["CRPIX1"]) - x, "CRPIX2": float(self._cards["CRPIX2"]) - y}
        return type(self)(self._cards | moved)

    def to_header(self) -> dict[str, str | int | float]:
        """Return the FITS keywords of the WCS, with `max_error_arcsec` as ``WCSMAXER`` if it is an approximation."""
        return dict(self._cards)

    def to_astropy(self) -> WCS:
        """Return a copy as an `astropy.wcs.WCS`."""
        return _astropy_wcs(self._cards)

    def to_parts(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Return the arrays and the plain values from which `from_parts` makes an equal WCS."""
        return {}, dict(self._cards)

    @classmethod
    def from_parts(cls, arrays: Arrays, values: Values) -> Self:
        """Make the WCS that `to_parts` took apart."""
        return cls(values)

    def _undistorted(self, target: NDArray[np.float64]) -> NDArray[np.float64]:
        """Solve ``distorted(pixel) = target`` by fixed-point iteration on the positions that have not converged."""
        pixels = target.copy()
        active = np.flatnonzero(np.isfinite(target).all(axis=1))
        for _ in range(MAX_ITERATIONS):
            step = self._wcs.pix2foc(pixels[active], 0) - target[active]
            pixels[active] -= step
            active = active[~(np.abs(step).max(axis=1) < CLOSURE_PX * 1e-3)]
            if not active.size:
                break
        return pixels

    def _closing(self, pixels: NDArray[np.float64], sky: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return ``pixels`` with NaN where they do not lead back to ``sky``."""
        back = _unit_vector(*self.pixel_to_sky(x=pixels[:, 0], y=pixels[:, 1]))
        miss = np.linalg.norm(back - _unit_vector(sky[:, 0], sky[:, 1]), axis=1)
        pixel = np.sqrt(abs(np.linalg.det(matrix_of(self._cards))))
        rounding = 1e-14
        closes = miss < np.radians(pixel) * CLOSURE_PX + rounding
        return np.where(closes[:, None], pixels, np.nan)


def _astropy_wcs(cards: Cards) -> WCS:
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = [cards["CTYPE1"], cards["CTYPE2"]]
    wcs.wcs.cunit = [cards["CUNIT1"], cards["CUNIT2"]]
    wcs.wcs.crpix = [cards["CRPIX1"], cards["CRPIX2"]]
    wcs.wcs.crval = [cards["CRVAL1"], cards["CRVAL2"]]
    wcs.wcs.cd = matrix_of(cards)
    wcs.wcs.radesys = cards["RADESYS"]
    wcs.wcs.equinox = cards["EQUINOX"]
    for keyword in ("LONPOLE", "LATPOLE"):
        if keyword in cards:
            setattr(wcs.wcs, keyword.lower(), cards[keyword])
    wcs.wcs.set_pv([(int(key[2]), int(key[4:]), value) for key, value in cards.items() if key.startswith("PV")])
    a, b, ap, bp = (sip_matrix(name, cards) for name in ("A", "B", "AP", "BP"))
    if a is not None and b is not None:
        wcs.sip = Sip(a, b, ap if bp is not None else None, bp if ap is not None else None, wcs.wcs.crpix)
    wcs.wcs.set()
    return wcs


def _pairs(first: ArrayLike, second: ArrayLike) -> tuple[NDArray[np.float64], tuple[int, ...]]:
    one, two = np.broadcast_arrays(np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64))
    return np.stack([one.ravel(), two.ravel()], axis=1), one.shape


def _unit_vector(ra: ArrayLike, dec: ArrayLike) -> NDArray[np.float64]:
    a, d = np.radians(ra), np.radians(dec)
    return np.stack([np.cos(d) * np.cos(a), np.cos(d) * np.sin(a), np.sin(d)], axis=-1)


def _tangents(ra: ArrayLike, dec: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the unit vectors that point east and north at a position."""
    a, d = np.radians(ra), np.radians(dec)
    east = np.stack([-np.sin(a), np.cos(a), np.zeros_like(a)], axis=-1)
    return east, np.stack([-np.sin(d) * np.cos(a), -np.sin(d) * np.sin(a), np.cos(d)], axis=-1)
