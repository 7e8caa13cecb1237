"""Short trails: what moves so fast that it is a line during the exposure, and how long and how bright it is."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares
from scipy.special import erf

from firstlight.images.box import Box
from firstlight.kernels.arrays import BoolArray, FloatArray

_REACH_SIGMA = 4.0
_MAX_REACH = 60
_N_PARAMETERS = 5
_MAX_CALLS = 300


@dataclass(frozen=True)
class Trails:
    """Fitted trails; NaN where a fit has no result.

    Parameters
    ----------
    x, y : (n,) [pixel]
        Middle of the trail.
    length, length_err : (n,) [pixel]
        From the first to the last position of the source.
    angle : (n,) [degree]
        From +x towards +y, in [-90, 90).
    flux, flux_err : (n,) [unit of the image]
    chi2, point_chi2 : (n,)
        Chi-square per degree of freedom, of the trail and of the same without length.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    length: NDArray[np.float64]
    length_err: NDArray[np.float64]
    angle: NDArray[np.float64]
    flux: NDArray[np.float64]
    flux_err: NDArray[np.float64]
    chi2: NDArray[np.float64]
    point_chi2: NDArray[np.float64]


def fit_trails(
    image: FloatArray,
    *,
    variance: FloatArray,
    bad: BoolArray,
    sigma: float,
    x: FloatArray,
    y: FloatArray,
    length: FloatArray,
    angle: FloatArray,
) -> Trails:
    """Fit a line of constant brightness, blurred by a Gaussian, to each source.

    Pixels count to both sides as far as the first guess of the length, and further, up to 60 pixels, where an end of
    the trail lies beyond. Where one still does, or is off the image, the fit has no result.

    Parameters
    ----------
    image, variance : (ny, nx)
    bad : (ny, nx)
    sigma : [pixel]
        Width of the stars.
    x, y : (n,) [pixel]
    length : (n,) [pixel]
        Where the search begins.
    angle : (n,) [degree]

    References
    ----------
    Veres et al. 2012, PASP 124, 1197 (equation 3).
    """
    starts = zip(x, y, length, angle, strict=True)
    rows = [_fit(image, variance, bad, sigma, tuple(float(value) for value in start)) for start in starts]
    return Trails(*np.array(rows, dtype=np.float64).reshape(-1, 9).T)


def trail_image(
    *, x: float, y: float, length: float, angle: float, sigma: float, columns: FloatArray, rows: FloatArray
) -> NDArray[np.float64]:
    """Return the brightness of a trail of unit flux at pixel positions.

    Parameters
    ----------
    x, y, length, sigma : [pixel]
    angle : [degree]
    columns, rows
        Positions of the pixels [pixel].
    """
    along, across = _turned(columns - x, rows - y, angle)
    half, scale = max(abs(length), 1e-3) / 2.0, math.sqrt(2.0) * sigma
    steps = erf((along + half) / scale) - erf((along - half) / scale)
    return np.asarray(_profile(across, sigma) * steps / (4.0 * half))


def trail_with_slopes(
    *, x: float, y: float, length: float, angle: float, sigma: float, columns: FloatArray, rows: FloatArray
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return `trail_image` and its derivatives with x, y, length and angle, (4, ...) for pixels of any shape."""
    along, across = _turned(columns - x, rows - y, angle)
    half, scale = max(abs(length), 1e-3) / 2.0, math.sqrt(2.0) * sigma
    profile = _profile(across, sigma)
    steps = erf((along + half) / scale) - erf((along - half) / scale)
    ends = [np.exp(-(((along + end) / scale) ** 2)) * 2.0 / (math.sqrt(math.pi) * scale) for end in (half, -half)]
    with_along = profile * (ends[0] - ends[1]) / (4.0 * half)
    with_across = -across / sigma**2 * profile * steps / (4.0 * half)
    with_half = profile * (ends[0] + ends[1] - steps / half) / (4.0 * half)
    cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    slopes = np.stack(
        [
            -cosine * with_along + sine * with_across,
            -sine * with_along - cosine * with_across,
            0.5 * math.copysign(1.0, length) * with_half,
            math.radians(1.0) * (across * with_along - along * with_across),
        ]
    )
    return np.asarray(profile * steps / (4.0 * half)), slopes


def trail_of_moments(
    ixx: FloatArray, iyy: FloatArray, ixy: FloatArray, *, sigma: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return length [pixel] and angle [degree] of trails with these second moments [pixel^2].

    A line of length L has L^2 / 12 along itself; moments under a Gaussian weight see less of a long one, so that this
    is where a fit begins and not where it ends.
    """
    ixx, iyy, ixy = (np.asarray(values, dtype=np.float64) for values in (ixx, iyy, ixy))
    middle, spread = 0.5 * (ixx + iyy), np.hypot(0.5 * (ixx - iyy), ixy)
    length = np.sqrt(12.0 * np.maximum(middle + spread - sigma**2, 0.0))
    return length, np.degrees(0.5 * np.arctan2(2.0 * ixy, ixx - iyy))


def _turned(dx: FloatArray, dy: FloatArray, angle: float) -> tuple[FloatArray, FloatArray]:
    """Return offsets along and across a direction [degree]."""
    cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    return dx * cosine + dy * sine, dy * cosine - dx * sine


def _profile(across: FloatArray, sigma: float) -> NDArray[np.float64]:
    return np.asarray(np.exp(-0.5 * (across / sigma) ** 2) / (math.sqrt(2.0 * math.pi) * sigma))


def _fit(
    image: FloatArray, variance: FloatArray, bad: BoolArray, sigma: float, start: tuple[float, ...]
) -> tuple[float, ...]:
    nothing = (np.nan,) * 9
    x, y, length, _ = start
    if not all(map(math.isfinite, start)):
        return nothing
    reach = min(math.ceil(length + _REACH_SIGMA * sigma), _MAX_REACH)
    while True:
        box = Box.around(x=x, y=y, radius=reach).clip(Box.of_shape(image.shape))
        found = _fit_within(box, image, variance, bad, sigma, start)
        if not found:
            return nothing
        if _lies_within(box, *found[:3], angle=found[4]):
            return found
        if reach == _MAX_REACH:
            return nothing
        reach = min(2 * reach, _MAX_REACH)


def _lies_within(box: Box, x: float, y: float, length: float, *, angle: float) -> bool:
    """Return whether both ends of a trail lie on the pixels of a box."""
    along_x, along_y = (0.5 * length * turn(math.radians(angle)) for turn in (math.cos, math.sin))
    return all(
        box.x0 - 0.5 <= x + side * along_x <= box.x1 - 0.5 and box.y0 - 0.5 <= y + side * along_y <= box.y1 - 0.5
        for side in (-1, 1)
    )


def _fit_within(
    box: Box, image: FloatArray, variance: FloatArray, bad: BoolArray, sigma: float, start: tuple[float, ...]
) -> tuple[float, ...]:
    """Return what `Trails` holds of the trail that fits the pixels of a box best; nothing where too few are good."""
    x, y, length, angle = start
    good = ~bad[box.slices] & np.isfinite(image[box.slices]) & (variance[box.slices] > 0)
    if int(good.sum()) < 4 * _N_PARAMETERS:
        return ()
    grid_y, grid_x = np.mgrid[box.y0 : box.y1, box.x0 : box.x1]
    columns, rows = grid_x[good].astype(np.float64), grid_y[good].astype(np.float64)
    noise = np.sqrt(np.asarray(variance[box.slices][good], dtype=np.float64))
    data = np.asarray(image[box.slices][good], dtype=np.float64) / noise
    given = {"sigma": sigma, "columns": columns, "rows": rows}

    def model(place: FloatArray) -> NDArray[np.float64]:
        at_x, at_y, size, turned = place
        return np.asarray(trail_image(x=at_x, y=at_y, length=size, angle=turned, **given) / noise)

    def flux_of(unit: NDArray[np.float64]) -> float:
        return float(unit @ data) / max(float(unit @ unit), 1e-30)

    def left(place: FloatArray) -> NDArray[np.float64]:
        unit = model(place)
        return np.asarray(data - flux_of(unit) * unit)

    def slopes(place: FloatArray) -> NDArray[np.float64]:
        at_x, at_y, size, turned = place
        unit, along = (part / noise for part in trail_with_slopes(x=at_x, y=at_y, length=size, angle=turned, **given))
        flux = flux_of(unit)
        # The flux is the best one at each place: it changes, too.
        change = along @ (data - 2.0 * flux * unit) / max(float(unit @ unit), 1e-30)
        return np.asarray(-(flux * along + change[:, None] * unit).T)

    first = np.array([x, y, max(length, sigma), angle])
    found = least_squares(left, first, slopes, x_scale=(1.0, 1.0, 1.0, 10.0), method="lm", max_nfev=_MAX_CALLS)
    unit = model(found.x)
    freedom = max(len(data) - _N_PARAMETERS, 1)
    point = left(np.array([found.x[0], found.x[1], 0.0, 0.0]))
    errors = np.sqrt(np.maximum(np.diag(np.linalg.pinv(found.jac.T @ found.jac)), 0.0))
    turned = (float(found.x[3]) + 90.0) % 180.0 - 90.0
    return (
        float(found.x[0]),
        float(found.x[1]),
        abs(float(found.x[2])),
        float(errors[2]),
        turned,
        flux_of(unit),
        1.0 / math.sqrt(max(float(unit @ unit), 1e-30)),
        float(2.0 * found.cost) / freedom,
        float(point @ point) / freedom,
    )
