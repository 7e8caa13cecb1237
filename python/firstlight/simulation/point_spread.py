"""How light spreads: an elliptical Moffat profile that changes over the image, integrated over pixels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from firstlight.simulation.settings import OpticsSettings
from firstlight.simulation.streams import Stream, random_stream

FloatArray = NDArray[np.float64]

CORE_RADIUS = 4
"""Pixels this near to the centre are integrated with 4 x 4 Gauss-Legendre nodes, the others with 2 x 2."""

RADIUS_CLASSES = (10, 12, 15, 19, 24, 32, 44, 64, 96, 144, 216, 320)
"""Half sizes of the stamps [pixel]; a star takes the first that is large enough for it."""

VARIATION_DEGREE = 3
"""Total degree of the polynomials over the image."""


class AdaptiveMoments(NamedTuple):
    """Second moments under a Gaussian weight that matches the object (HSM, LSST `SdssShape`) [pixel^2]."""

    ixx: float
    iyy: float
    ixy: float

    @property
    def sigma(self) -> float:
        """Return the fourth root of the determinant [pixel]."""
        return float((self.ixx * self.iyy - self.ixy**2) ** 0.25)


@dataclass(frozen=True)
class FieldPolynomial:
    """A smooth function over the image.

    Parameters
    ----------
    coefficients
        Powers (p, q) -> factor of ``u**p * v**q``; u and v run from -1 to 1 over the image and stay there beyond it.
    shape : (ny, nx) [pixel]
    """

    coefficients: Mapping[tuple[int, int], float]
    shape: tuple[int, int]

    def __call__(self, *, x: FloatArray, y: FloatArray) -> FloatArray:
        """Return the values at pixel positions."""
        ny, nx = self.shape
        u = np.clip((x - (nx - 1) / 2) / (nx / 2), -1.0, 1.0)
        v = np.clip((y - (ny - 1) / 2) / (ny / 2), -1.0, 1.0)
        total = np.zeros(np.broadcast(u, v).shape)
        for (p, q), factor in self.coefficients.items():
            total += factor * u**p * v**q
        return total

    def scaled(self, factor: float) -> FieldPolynomial:
        """Return the function times a number."""
        return FieldPolynomial({powers: factor * c for powers, c in self.coefficients.items()}, self.shape)

    def plus(self, constant: float) -> FieldPolynomial:
        """Return the function plus a number."""
        return FieldPolynomial({**self.coefficients, (0, 0): self.coefficients.get((0, 0), 0.0) + constant}, self.shape)


@dataclass(frozen=True)
class PointSpread:
    """The profile of a star anywhere on the image; its flux is that of the infinite profile.

    Parameters
    ----------
    fwhm_centre
        Full width at half maximum at the image centre before pixel integration [pixel].
    beta
        Exponent of the Moffat profile.
    width : relative change of the FWHM over the image; 0 at the centre.
    e1, e2 : ellipticity (a2 - b2) / (a2 + b2) along x and along the diagonal.
    """

    fwhm_centre: float
    beta: float
    width: FieldPolynomial
    e1: FieldPolynomial
    e2: FieldPolynomial

    def fwhm(self, *, x: FloatArray | float, y: FloatArray | float) -> FloatArray:
        """Return the FWHM of the profile before pixel integration [pixel]: of the circle of the same area."""
        width = self.width(x=np.asarray(x, np.float64), y=np.asarray(y, np.float64))
        return np.asarray(self.fwhm_centre * (1.0 + width))

    def scale_matrix(self, *, x: FloatArray | float, y: FloatArray | float) -> FloatArray:
        """Return the (n, 3) elements xx, yy, xy of the matrix C in ``(1 + d' C^-1 d)**-beta`` [pixel^2]."""
        x, y = np.asarray(x, float), np.asarray(y, float)
        alpha = self.fwhm(x=x, y=y) / (2.0 * np.sqrt(2.0 ** (1.0 / self.beta) - 1.0))
        e1, e2 = self.e1(x=x, y=y), self.e2(x=x, y=y)
        size = alpha**2 / np.sqrt(1.0 - e1**2 - e2**2)
        return np.stack([size * (1.0 + e1), size * (1.0 - e1), size * e2], axis=-1)

    def image(self, *, x: float, y: float, radius: int) -> FloatArray:
        """Return a star of unit total flux; pixel [0, 0] is image pixel ``(round(y) - radius, round(x) - radius)``."""
        return np.asarray(self.images(x=np.array([x]), y=np.array([y]), radius=radius)[0])

    def images(self, *, x: FloatArray, y: FloatArray, radius: int) -> FloatArray:
        """Return (n, s, s) stars of unit total flux, ``s = 2 * radius + 1``; see `image`."""
        offsets = np.arange(-radius, radius + 1.0)
        dx, dy = offsets - (x - np.round(x))[:, None], offsets - (y - np.round(y))[:, None]
        return moffat_pixels(dx=dx, dy=dy, scale=self.scale_matrix(x=x, y=y), beta=self.beta)

    def encircled(self, radius: float, *, x: float, y: float) -> float:
        """Return the fraction of the flux within a radius [pixel], before pixel integration and without ellipticity."""
        alpha = float(self.fwhm(x=x, y=y)) / (2.0 * np.sqrt(2.0 ** (1.0 / self.beta) - 1.0))
        return float(1.0 - (1.0 + (radius / alpha) ** 2) ** (1.0 - self.beta))

    def adaptive_moments(self, *, x: float, y: float) -> AdaptiveMoments:
        """Return the adaptive moments of the pixel-integrated profile, averaged over where a star falls in a pixel.

        References
        ----------
        Bernstein & Jarvis 2002, AJ 123, 583, section 3; Hirata & Seljak 2003, MNRAS 343, 459.
        """
        grid, image = self._fine_image(x=x, y=y)
        dx, dy = np.meshgrid(grid, grid)
        matrix = np.eye(2) * float(self.fwhm(x=x, y=y)) ** 2 / 5.5
        for _ in range(200):
            inverse = np.linalg.inv(matrix)
            weight = (
                np.exp(-0.5 * (inverse[0, 0] * dx**2 + inverse[1, 1] * dy**2 + 2 * inverse[0, 1] * dx * dy)) * image
            )
            ixx, iyy, ixy = ((weight * product).sum() / weight.sum() for product in (dx**2, dy**2, dx * dy))
            updated = 2.0 * np.array([[ixx, ixy], [ixy, iyy]])
            converged = np.abs(updated - matrix).max() < 1e-10
            matrix = updated
            if converged:
                break
        return AdaptiveMoments(float(matrix[0, 0]), float(matrix[1, 1]), float(matrix[0, 1]))

    def pixel_fwhm(self, *, x: float, y: float) -> float:
        """Return the FWHM of the pixel-integrated profile [pixel]: of the circle with the area above half maximum."""
        grid, image = self._fine_image(x=x, y=y)
        angles = np.linspace(0.0, np.pi, 90, endpoint=False)
        radii = np.linspace(0.0, grid[-1], 4000)
        step = grid[1] - grid[0]
        rows = (radii[None] * np.sin(angles)[:, None] - grid[0]) / step
        columns = (radii[None] * np.cos(angles)[:, None] - grid[0]) / step
        profiles = _bilinear(image, rows=rows, columns=columns)
        half = 0.5 * image.max()
        crossings = np.array([np.interp(-half, -profile, radii) for profile in profiles])
        return float(2.0 * np.sqrt(np.mean(crossings**2)))

    def _fine_image(self, *, x: float, y: float) -> tuple[FloatArray, FloatArray]:
        """Return offsets at a sixteenth of a pixel and the flux of a pixel centred there."""
        extent = np.ceil(16.0 * max(6.0, 4.0 * float(self.fwhm(x=x, y=y)))) / 16.0
        grid = np.arange(-extent, extent + 1e-9, 1.0 / 16.0)
        scale = self.scale_matrix(x=np.array([x]), y=np.array([y]))
        return grid, moffat_pixels(dx=grid[None], dy=grid[None], scale=scale, beta=self.beta, core_nodes=4)[0]


def draw_point_spread(
    settings: OpticsSettings, *, seed: int, epoch: int, shape: tuple[int, int], fwhm: float
) -> PointSpread:
    """Draw the point spread of one exposure: part belongs to the telescope, part to the night.

    Parameters
    ----------
    shape : (ny, nx) [pixel]
    fwhm
        FWHM at the image centre [pixel].
    """
    static, nightly = random_stream(seed, Stream.OPTICS, epoch=1), random_stream(seed, Stream.SEEING, epoch=epoch)
    fields = []
    for _ in range(3):
        always, tonight = _draw_polynomial(static, shape=shape), _draw_polynomial(nightly, shape=shape)
        mixed = {powers: 0.8 * c + 0.5 * tonight.coefficients[powers] for powers, c in always.coefficients.items()}
        fields.append(FieldPolynomial(mixed, shape))
    width, e1, e2 = fields
    width = FieldPolynomial({**width.coefficients, (0, 0): 0.0}, shape)
    x, y = (g.ravel() for g in np.meshgrid(np.linspace(0, shape[1] - 1, 33), np.linspace(0, shape[0] - 1, 33)))
    largest_width = np.abs(width(x=x, y=y)).max()
    largest_ellipticity = np.hypot(e1(x=x, y=y), e2(x=x, y=y)).max()
    e1, e2 = (e.scaled(settings.ellipticity_variation / largest_ellipticity) for e in (e1, e2))
    angle = 2.0 * np.pi * random_stream(seed, Stream.OPTICS, epoch=3).random()
    return PointSpread(
        fwhm_centre=fwhm,
        beta=settings.beta,
        width=width.scaled(settings.fwhm_variation / largest_width),
        e1=e1.plus(settings.ellipticity * float(np.cos(angle))),
        e2=e2.plus(settings.ellipticity * float(np.sin(angle))),
    )


def moffat_pixels(
    *, dx: FloatArray, dy: FloatArray, scale: FloatArray, beta: float, core_nodes: int | None = None
) -> FloatArray:
    """Integrate elliptical Moffat profiles of unit total flux over square pixels.

    Parameters
    ----------
    dx, dy : (n, sx), (n, sy) [pixel]
        Offsets of the pixel centres from the star.
    scale : (n, 3) [pixel^2]
        Elements xx, yy, xy of the scale matrix.
    beta
        Exponent of the profile.
    core_nodes
        Gauss-Legendre nodes per axis for all pixels; None: 4 near the centre, 2 elsewhere, which is
        good to 1e-6 of the flux at a FWHM of 1.6 pixel.

    Returns
    -------
    (n, sy, sx) flux per pixel
    """
    if core_nodes is not None:
        return _integrate(dx=dx, dy=dy, scale=scale, beta=beta, nodes=core_nodes)
    pixels = _integrate(dx=dx, dy=dy, scale=scale, beta=beta, nodes=2)
    near_x = np.flatnonzero((np.abs(dx) <= CORE_RADIUS + 0.5).any(axis=0))
    near_y = np.flatnonzero((np.abs(dy) <= CORE_RADIUS + 0.5).any(axis=0))
    if len(near_x) and len(near_y):
        columns, rows = slice(near_x[0], near_x[-1] + 1), slice(near_y[0], near_y[-1] + 1)
        pixels[:, rows, columns] = _integrate(dx=dx[:, columns], dy=dy[:, rows], scale=scale, beta=beta, nodes=4)
    return pixels


def add_stars(
    image: FloatArray, *, x: FloatArray, y: FloatArray, flux: FloatArray, spread: PointSpread, faintest: float
) -> None:
    """Add stars to an image in place, out to where they fall below a level.

    Parameters
    ----------
    image : (ny, nx) [adu]
    x, y : (n,) [pixel]
        Positions; may lie outside the image.
    flux : (n,) [adu]
        Total flux of the infinite profile.
    faintest
        Surface brightness [adu] to which the wings are drawn, and never less than six scale radii (99.9 % of the flux).
    """
    alpha = spread.fwhm(x=x, y=y) / (2.0 * np.sqrt(2.0 ** (1.0 / spread.beta) - 1.0))
    peak = flux * (spread.beta - 1.0) / (np.pi * alpha**2)
    reach = alpha * np.sqrt(np.maximum(peak / faintest, 1.0) ** (1.0 / spread.beta) - 1.0)
    classes = np.array(RADIUS_CLASSES)
    chosen = classes[np.minimum(np.searchsorted(classes, np.maximum(reach, 6.0 * alpha)), len(classes) - 1)]
    ny, nx = image.shape
    inside = (x > -0.5 - chosen) & (x < nx - 0.5 + chosen) & (y > -0.5 - chosen) & (y < ny - 0.5 + chosen)
    for radius in classes:
        members = np.flatnonzero(inside & (chosen == radius) & (flux > 0))
        batch = max(1, 60_000 // (2 * radius + 1) ** 2)
        for start in range(0, len(members), batch):
            part = members[start : start + batch]
            stamps = spread.images(x=x[part], y=y[part], radius=int(radius)) * flux[part, None, None]
            for stamp, star_x, star_y in zip(stamps, np.round(x[part]), np.round(y[part]), strict=True):
                add_stamp(image, stamp, x0=int(star_x) - int(radius), y0=int(star_y) - int(radius))


def add_stamp(image: FloatArray, stamp: FloatArray, *, x0: int, y0: int) -> None:
    """Add the part of a stamp that lies on the image, in place; its pixel [0, 0] is image pixel ``[y0, x0]``."""
    ny, nx = image.shape
    height, width = stamp.shape
    rows, columns = slice(max(y0, 0), min(y0 + height, ny)), slice(max(x0, 0), min(x0 + width, nx))
    if rows.start < rows.stop and columns.start < columns.stop:
        image[rows, columns] += stamp[rows.start - y0 : rows.stop - y0, columns.start - x0 : columns.stop - x0]


def _integrate(*, dx: FloatArray, dy: FloatArray, scale: FloatArray, beta: float, nodes: int) -> FloatArray:
    positions, weights = np.polynomial.legendre.leggauss(nodes)
    n, sx = dx.shape
    sy = dy.shape[1]
    fine_x = (dx[:, :, None] + 0.5 * positions).reshape(n, 1, sx * nodes)
    fine_y = (dy[:, :, None] + 0.5 * positions).reshape(n, sy * nodes, 1)
    xx, yy, xy = (scale[:, k, None, None] for k in range(3))
    determinant = xx * yy - xy**2
    q = (-2.0 * xy / determinant * fine_y) * fine_x
    q += yy / determinant * fine_x**2
    q += xx / determinant * fine_y**2 + 1.0
    values = np.power(q, -beta, out=q).reshape(n, sy, nodes, sx, nodes)
    half = 0.5 * weights
    total = np.einsum("nyaxb,a,b->nyx", values, half, half, optimize=False)
    return np.asarray(total * ((beta - 1.0) / (np.pi * np.sqrt(determinant))))


def _draw_polynomial(rng: np.random.Generator, *, shape: tuple[int, int]) -> FieldPolynomial:
    powers = [(degree - q, q) for degree in range(VARIATION_DEGREE + 1) for q in range(degree + 1)]
    weights = {0: 0.5, 1: 1.0, 2: 1.0, 3: 0.4}
    return FieldPolynomial({(p, q): weights[p + q] * float(rng.normal()) for p, q in powers}, shape)


def _bilinear(image: FloatArray, *, rows: FloatArray, columns: FloatArray) -> FloatArray:
    row = np.clip(rows.astype(int), 0, image.shape[0] - 2)
    column = np.clip(columns.astype(int), 0, image.shape[1] - 2)
    down, right = rows - row, columns - column
    top = image[row, column] * (1 - right) + image[row, column + 1] * right
    bottom = image[row + 1, column] * (1 - right) + image[row + 1, column + 1] * right
    return np.asarray(top * (1 - down) + bottom * down)
