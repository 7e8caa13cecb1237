"""Which shares of the light of a star the PSF puts on its stamp and into an aperture, as fields over an image."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from firstlight.images.box import Box
from firstlight.images.fields import ChebyshevField
from firstlight.images.psf import Psf

_ORDER = 3
_PHASES = ((0.125, 0.375), (0.375, -0.125), (-0.125, -0.375), (-0.375, 0.125))


def aperture_share(psf: Psf, radius: float, *, box: Box) -> ChebyshevField:
    """Return the share of the total flux of a star inside an aperture, as a field over an image.

    At each place it is the mean over stars that lie differently on their pixels: on undersampled images those shares
    differ by a thousandth.

    Parameters
    ----------
    psf
        With its wings.
    radius : [pixel]
        Of the aperture.
    box
        The image.
    """
    x, y = _nodes(box, order=_ORDER)
    share = [
        np.mean([psf.aperture_flux(radius, x=np.rint(a) + dx, y=np.rint(b) + dy) for dx, dy in _PHASES])
        for a, b in zip(x, y, strict=True)
    ]
    return ChebyshevField.fit(share, x=x, y=y, box=box, order=_ORDER)


def stamp_share(psf: Psf, *, box: Box) -> ChebyshevField:
    """Return the share of the total flux of a star on its stamp, as a field over an image.

    Parameters
    ----------
    psf
        With its wings.
    box
        The image.
    """
    x, y = _nodes(box, order=_ORDER)
    share = [psf.stamp_fraction(x=a, y=b) for a, b in zip(x, y, strict=True)]
    return ChebyshevField.fit(share, x=x, y=y, box=box, order=_ORDER)


def quotient(field: ChebyshevField, other: ChebyshevField) -> ChebyshevField:
    """Return one field over another that changes little, as a field of the higher of their orders."""
    order = max(*field.coefficients.shape, *other.coefficients.shape) - 1
    x, y = _nodes(field.box, order=order)
    return ChebyshevField.fit(field.evaluate(x=x, y=y) / other.evaluate(x=x, y=y), x=x, y=y, box=field.box, order=order)


def _nodes(box: Box, *, order: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return places from edge to edge of an image, x and y [pixel], that carry a field of an order."""
    steps = np.linspace(0.0, 1.0, order + 2)
    y, x = np.meshgrid(box.y0 + steps * (box.height - 1), box.x0 + steps * (box.width - 1), indexing="ij")
    return x.ravel(), y.ravel()
