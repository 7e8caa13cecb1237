"""Square stamps about candidates on a science image, its template and their difference, cut and scaled alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from firstlight.images.box import Box, PixelT
from firstlight.images.psf import Psf
from firstlight.kernels.arrays import BoolArray, FloatArray


class StampPsfs(NamedTuple):
    """The PSFs of the images that stamps are cut from."""

    science: Psf
    template: Psf
    difference: Psf


@dataclass(frozen=True)
class CandidateStamps:
    """Stamps of n candidates; what is not known is 0 and has no weight.

    Parameters
    ----------
    science, template, difference : (n, s, s) [unit of each image]
    science_variance, template_variance, difference_variance : (n, s, s)
        Infinite where a pixel is not known.
    x, y : (n,) [pixel]
        Positions of the candidates on the image; the middle of a stamp is the pixel that they fall on.
    negative : (n,)
        Whether science and template have changed places, see `upright`.
    masks
        Kind of trouble -> (n, s, s), True where a pixel has it.
    """

    science: NDArray[np.float32]
    template: NDArray[np.float32]
    difference: NDArray[np.float32]
    science_variance: NDArray[np.float32]
    template_variance: NDArray[np.float32]
    difference_variance: NDArray[np.float32]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    negative: BoolArray
    masks: Mapping[str, BoolArray]

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, rows: slice | NDArray[np.intp] | BoolArray) -> Self:
        own = {name: getattr(self, name)[rows] for name in self.__dataclass_fields__ if name != "masks"}
        return replace(self, **own, masks={name: mask[rows] for name, mask in self.masks.items()})

    @property
    def half(self) -> int:
        """Half size of the stamps [pixel]."""
        return int(self.difference.shape[1] // 2)

    @property
    def known(self) -> BoolArray:
        """(n, s, s) Pixels where the difference has a value and an error."""
        return np.isfinite(self.difference_variance)

    @property
    def middle(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(n,) each: column and row of the middle pixels on the image, as `firstlight.images.box.Box.around` takes."""
        return np.floor(self.x + 0.5), np.floor(self.y + 0.5)

    @property
    def radius(self) -> NDArray[np.float64]:
        """(n, s, s) Distance of each pixel from the candidate [pixel]."""
        return self.distances(self.x, self.y)

    def distances(self, x: FloatArray, y: FloatArray) -> NDArray[np.float64]:
        """Return (n, s, s) the distance of each pixel from positions on the image [pixel].

        Parameters
        ----------
        x, y : (n,) [pixel]
        """
        column, row = self.middle
        return distances(self.half, x=x - column, y=y - row)

    def cropped(self, half: int) -> Self:
        """Return the middle of the stamps.

        Parameters
        ----------
        half : [pixel]
            Half size of what is kept, at most that of the stamps.
        """
        stacks = [name for name in self.__dataclass_fields__ if name not in ("x", "y", "negative", "masks")]
        return replace(
            self,
            **{name: middle_of(getattr(self, name), half) for name in stacks},
            masks={name: middle_of(mask, half) for name, mask in self.masks.items()},
        )

    def upright(self, negative: BoolArray) -> Self:
        """Return stamps in which what vanished looks like what appeared: images change places, the sign turns.

        Parameters
        ----------
        negative : (n,)
            Candidates that are holes in the difference.
        """
        turn = negative[:, None, None]
        return replace(
            self,
            science=np.where(turn, self.template, self.science),
            template=np.where(turn, self.science, self.template),
            science_variance=np.where(turn, self.template_variance, self.science_variance),
            template_variance=np.where(turn, self.science_variance, self.template_variance),
            difference=np.where(turn, -self.difference, self.difference),
            negative=self.negative ^ negative,
        )


def middle_of(stack: NDArray[PixelT], half: int) -> NDArray[PixelT]:
    """Return the (n, 2 * half + 1, 2 * half + 1) middle pixels of square stamps, which are no smaller.

    Parameters
    ----------
    stack : (n, s, s)
    half : [pixel]
    """
    first = stack.shape[1] // 2 - half
    return stack[:, first : first + 2 * half + 1, first : first + 2 * half + 1]


def distances(half: int, *, x: FloatArray, y: FloatArray) -> NDArray[np.float64]:
    """Return (n, 2 * half + 1, 2 * half + 1) the distance of each pixel from points [pixel].

    Parameters
    ----------
    half : [pixel]
    x, y : (n,) [pixel]
        From the middle pixel.
    """
    steps = np.arange(-half, half + 1)
    dx2, dy2 = ((steps - np.asarray(offset)[:, None]) ** 2 for offset in (x, y))
    return np.asarray(np.sqrt(dx2[:, None, :] + dy2[:, :, None]))


def cut_candidates(
    images: Mapping[str, FloatArray],
    variances: Mapping[str, FloatArray],
    masks: Mapping[str, BoolArray],
    *,
    unusable: BoolArray,
    x: FloatArray,
    y: FloatArray,
    half: int,
) -> CandidateStamps:
    """Cut the stamps of candidates out of images on the same pixels.

    Parameters
    ----------
    images, variances
        ``science``, ``template`` and ``difference`` -> (ny, nx).
    masks
        Kind of trouble -> (ny, nx).
    unusable : (ny, nx)
        Pixels without a value that counts, in any of the three.
    x, y : (n,) [pixel]
        Finite.
    half : [pixel]
        Half size of the stamps.
    """
    side = 2 * half + 1
    places = _places(Box.of_shape(unusable.shape), x=x, y=y, half=half)
    hidden = _cut(unusable, places, side=side, fill=True)
    cut: dict[str, NDArray[np.float32]] = {}
    for name, image in images.items():
        values = _cut(np.asarray(image, dtype=np.float32), places, side=side, fill=np.nan)
        spread = _cut(np.asarray(variances[name], dtype=np.float32), places, side=side, fill=np.nan)
        lost = hidden | ~(np.isfinite(values) & np.isfinite(spread) & (spread > 0))
        cut[name] = np.where(lost, np.float32(0.0), values)
        cut[f"{name}_variance"] = np.where(lost, np.float32(np.inf), spread)
    return CandidateStamps(
        **cut,
        x=np.asarray(x, dtype=np.float64),
        y=np.asarray(y, dtype=np.float64),
        negative=np.zeros(len(x), dtype=bool),
        masks={name: _cut(mask, places, side=side, fill=False) for name, mask in masks.items()},
    )


_Slices = tuple[slice, slice]


def _places(image: Box, *, x: FloatArray, y: FloatArray, half: int) -> list[tuple[_Slices, _Slices]]:
    """Return for each square the pixels of the stamp, and of the image, that lie on the image."""
    boxes = [Box.around(x=at_x, y=at_y, radius=half) for at_x, at_y in zip(x, y, strict=True)]
    inside = [box.clip(image) for box in boxes]
    return [
        (part.shifted(x=-box.x0, y=-box.y0).slices, part.slices) if part.area else (np.s_[:0, :0], np.s_[:0, :0])
        for part, box in zip(inside, boxes, strict=True)
    ]


def _cut(image: NDArray[PixelT], places: Sequence[tuple[_Slices, _Slices]], *, side: int, fill: Any) -> NDArray[PixelT]:
    """Return the (n, side, side) pixels of square boxes; ``fill`` where they reach beyond the image."""
    stamps = np.full((len(places), side, side), fill, dtype=image.dtype)
    for stamp, (inside, at) in zip(stamps, places, strict=True):
        stamp[inside] = image[at]
    return stamps


def significance_of_points(image: FloatArray, variance: FloatArray, *, sigma: float) -> NDArray[np.float32]:
    """Return at each pixel of stamps the significance of a Gaussian source there, weighted by the variance.

    Parameters
    ----------
    image, variance : (n, s, s)
        Infinite variance where a pixel is not known.
    sigma : [pixel]
        Of the source.
    """
    weight = 1.0 / variance
    signal = _smoothed(image * weight, sigma)
    # The square of a Gaussian is one of sigma / sqrt(2), with 1 / (4 pi sigma^2) of its sum.
    power = _smoothed(weight, sigma / np.sqrt(2.0)) / (4.0 * np.pi * sigma**2)
    return np.asarray(signal / np.sqrt(np.maximum(power, np.finfo(np.float32).tiny)), dtype=np.float32)


def _smoothed(stack: FloatArray, sigma: float) -> FloatArray:
    """Return stamps (n, s, s) under a Gaussian; on so few pixels two products of matrices are the quickest way."""
    unit = np.eye(stack.shape[1], dtype=stack.dtype)
    filtered = ndimage.gaussian_filter1d(unit, sigma, axis=0, mode="constant", truncate=3.0)
    return np.asarray(filtered @ stack @ filtered.T)
