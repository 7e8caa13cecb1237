"""Evaluate and invert the TAN-SIP world coordinate system (Shupe et al. 2005, ASP Conf. Ser. 347, 491)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from firstlight.algorithms.tangent_plane import plane_to_sky, sky_to_plane
from firstlight.images.wcs import TanSip
from firstlight.kernels.arrays import FloatArray

F8 = NDArray[np.float64]


def focal_coordinates(wcs: TanSip, *, x: FloatArray, y: FloatArray) -> tuple[F8, F8]:
    """Return pixel positions freed from distortion, relative to the reference pixel.

    Parameters
    ----------
    wcs : TanSip
    x, y : (n,) [pixel]

    Returns
    -------
    u, v : (n,) [pixel]
    """
    u = np.asarray(x, dtype=np.float64) - wcs.crpix[0]
    v = np.asarray(y, dtype=np.float64) - wcs.crpix[1]
    return u + evaluate_polynomial(wcs.a, u, v), v + evaluate_polynomial(wcs.b, u, v)


def focal_from_sky(wcs: TanSip, *, ra: FloatArray, dec: FloatArray) -> tuple[F8, F8]:
    """Return where sky positions lie among the `focal_coordinates` [pixel]; NaN on the far side of the sky.

    Parameters
    ----------
    wcs : TanSip
    ra, dec : (n,) [deg]
    """
    xi, eta = sky_to_plane(ra, dec, ra0=wcs.crval[0], dec0=wcs.crval[1])
    (a, b), (c, d) = wcs.cd
    determinant = a * d - b * c
    return (d * xi - b * eta) / determinant, (a * eta - c * xi) / determinant


def tan_sip_to_sky(wcs: TanSip, *, x: FloatArray, y: FloatArray) -> tuple[F8, F8]:
    """Return the sky positions of pixels.

    Parameters
    ----------
    wcs : TanSip
    x, y : (n,) [pixel]

    Returns
    -------
    ra, dec : (n,) [deg]
    """
    u, v = focal_coordinates(wcs, x=x, y=y)
    (a, b), (c, d) = wcs.cd
    return plane_to_sky(a * u + b * v, c * u + d * v, ra0=wcs.crval[0], dec0=wcs.crval[1])


def sky_to_tan_sip(wcs: TanSip, *, ra: FloatArray, dec: FloatArray) -> tuple[F8, F8]:
    """Return the pixels of sky positions by the inverse polynomials.

    Parameters
    ----------
    wcs : TanSip
    ra, dec : (n,) [deg]

    Returns
    -------
    x, y : (n,) [pixel]
        As exact as the inverse polynomials are, and only near the frame.
    """
    u, v = focal_from_sky(wcs, ra=ra, dec=dec)
    return (
        u + evaluate_polynomial(wcs.ap, u, v) + wcs.crpix[0],
        v + evaluate_polynomial(wcs.bp, u, v) + wcs.crpix[1],
    )


def frame_center(shape: tuple[int, int]) -> tuple[float, float]:
    """Return x and y of the centre of a frame of (ny, nx) pixels."""
    return 0.5 * (shape[1] - 1), 0.5 * (shape[0] - 1)


def linear_part(wcs: TanSip, *, x: float, y: float) -> TanSip:
    """Return the linear solution that touches another one at a pixel, which becomes its reference pixel.

    Parameters
    ----------
    wcs : TanSip
    x, y : float [pixel]
    """
    ra, dec = tan_sip_to_sky(
        wcs, x=x + np.array([0.0, 1.0, -1.0, 0.0, 0.0]), y=y + np.array([0.0, 0.0, 0.0, 1.0, -1.0])
    )
    xi, eta = sky_to_plane(ra, dec, ra0=float(ra[0]), dec0=float(dec[0]))
    cd = 0.5 * np.array([[xi[1] - xi[2], xi[3] - xi[4]], [eta[1] - eta[2], eta[3] - eta[4]]])
    return TanSip((float(ra[0]), float(dec[0])), (x, y), cd)


def fit_inverse_distortion(
    a: F8, b: F8, *, half_width: float, half_height: float, tolerance_px: float = 1e-4, max_order: int = 8
) -> tuple[F8, F8]:
    """Fit the inverse polynomials over a frame, of the lowest order that is good enough.

    Parameters
    ----------
    a, b : (order + 1, order + 1)
        The forward corrections.
    half_width, half_height : float [pixel]
        Half the size of the frame around the reference pixel.
    tolerance_px : float [pixel]
        Stop at the order whose largest error on the grid is below this.
    max_order : int
        Highest order tried.

    Returns
    -------
    ap, bp
    """
    order = len(a) - 1
    n = 5 * max_order + 5
    v, u = (g.ravel() for g in np.meshgrid(*(np.linspace(-h, h, n) for h in (half_height, half_width)), indexing="ij"))
    shift_u, shift_v = evaluate_polynomial(a, u, v), evaluate_polynomial(b, u, v)
    unit = max(half_width, half_height)
    for inverse_order in range(order, max_order + 1):
        powers = monomial_powers(inverse_order)
        design = monomials((u + shift_u) / unit, (v + shift_v) / unit, inverse_order)
        solution = np.linalg.lstsq(design, np.stack([-shift_u, -shift_v], axis=1), rcond=None)[0]
        worst = np.abs(design @ solution + np.stack([shift_u, shift_v], axis=1)).max()
        if worst < tolerance_px:
            break
    ap, bp = (coefficient_matrix(column, powers, unit) for column in solution.T)
    return ap, bp


def evaluate_polynomial(coefficients: F8 | None, u: F8, v: F8) -> F8:
    """Return the sum of ``coefficients[p, q]`` u^p v^q; zero without coefficients."""
    if coefficients is None:
        return np.zeros(np.broadcast_shapes(np.shape(u), np.shape(v)))
    return np.asarray(np.polynomial.polynomial.polyval2d(u, v, coefficients), dtype=np.float64)


def monomial_powers(order: int) -> list[tuple[int, int]]:
    """List the powers (p, q) with p + q <= order, by total degree."""
    return [(degree - q, q) for degree in range(order + 1) for q in range(degree + 1)]


def monomials(u: F8, v: F8, order: int) -> F8:
    """Return the (n, n_power) values of the monomials of `monomial_powers`."""
    u_powers, v_powers = [np.ones_like(u)], [np.ones_like(v)]
    for _ in range(order):
        u_powers.append(u_powers[-1] * u)
        v_powers.append(v_powers[-1] * v)
    return np.stack([u_powers[p] * v_powers[q] for p, q in monomial_powers(order)], axis=1)


def coefficient_matrix(values: F8, powers: list[tuple[int, int]], unit: float) -> F8:
    """Arrange coefficients of monomials in u / unit, v / unit as ``matrix[p, q]`` for u, v."""
    size = max(p + q for p, q in powers) + 1
    matrix = np.zeros((size, size))
    for (p, q), value in zip(powers, values, strict=True):
        matrix[p, q] = value / unit ** (p + q)
    return matrix
