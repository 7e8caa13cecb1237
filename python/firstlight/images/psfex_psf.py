"""Point-spread functions of PSFEx: read its files, and write files that its readers read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from firstlight.errors import ImageFileError
from firstlight.images.atomic import write_atomically
from firstlight.images.psf import Parts, Psf
from firstlight.kernels.arrays import FloatArray

EXTENSION = "PSF_DATA"
"""Name of the tables of a PSFEx file."""

_TAPS = 3
_BATCH = 1000
_AXES = ("X_IMAGE", "Y_IMAGE")
_SAMPLES_PER_FWHM = 4.0
_WING_POWER = 2.0


@dataclass(frozen=True)
class PsfexPolynomial:
    """How a PSFEx model changes over an image: powers of ``(position - zero) / scale``, positions one-based.

    Parameters
    ----------
    degree
        Total degree.
    zero, scale : (x, y) [pixel]
    """

    degree: int
    zero: tuple[float, float]
    scale: tuple[float, float]

    @property
    def terms(self) -> int:
        """Number of terms."""
        return (self.degree + 1) * (self.degree + 2) // 2

    def basis(self, *, x: FloatArray, y: FloatArray) -> NDArray[np.float64]:
        """Return (n, terms) products at zero-based positions, by rising power of y, then of x."""
        u = (np.asarray(x, np.float64) + 1.0 - self.zero[0]) / self.scale[0]
        v = (np.asarray(y, np.float64) + 1.0 - self.zero[1]) / self.scale[1]
        return np.stack([u**p * v**q for q in range(self.degree + 1) for p in range(self.degree + 1 - q)], axis=-1)

    @classmethod
    def over(cls, shape: tuple[int, int], *, degree: int) -> Self:
        """Return the polynomial whose variables run from -1/2 to 1/2 over an image of (ny, nx) pixels."""
        ny, nx = shape
        return cls(degree, zero=((nx + 1) / 2, (ny + 1) / 2), scale=(float(nx), float(ny)))


class PsfexFilePsf(Psf):
    """A PSF as PSFEx keeps it: pixel-integrated samples whose step is any number of pixels, interpolated by Lanczos-3.

    PSFEx fits its samples through this interpolation, and another one would make another PSF: Lanczos-4 changes the
    size of stars by 0.4 per cent.

    Parameters
    ----------
    samples : (terms, n, n)
        Flux of a pixel about each sample, of each term of the polynomial, star on the middle one; n is odd.
    step : [pixel]
        Distance of the samples.
    polynomial
        How they change over the image.

    References
    ----------
    Bertin 2011, ASPC 442, 435; PSFEx manual, section 6.4 (format of the files).
    """

    def __init__(self, samples: FloatArray, *, step: float, polynomial: PsfexPolynomial) -> None:
        self._samples = np.array(samples, dtype=np.float64)
        self._step, self._polynomial = float(step), polynomial
        shape = self._samples.shape
        if len(shape) != 3 or shape[1] != shape[2] or shape[1] % 2 == 0 or shape[0] != polynomial.terms:
            raise ValueError(f"samples must be ({polynomial.terms}, n, n) with n odd; got {shape}.")
        if not step > 0 or not np.isfinite(self._samples).all() or self.radius < 1:
            raise ValueError(f"samples must be finite and reach a pixel from the middle; the step is {step}.")
        self._samples.setflags(write=False)

    @classmethod
    def read(cls, path: str | Path, *, hdu: int | str | None = None) -> Self:
        """Read a file that PSFEx wrote.

        Parameters
        ----------
        path
        hdu
            Which table, for images of several detectors; the first one when None.

        Raises
        ------
        ImageFileError
            If it is no such file, or the model depends on something else than the position.
        """
        try:
            with fits.open(path) as hdus:
                table = hdus[EXTENSION if hdu is None else hdu]
                header, samples = table.header, np.array(table.data["PSF_MASK"][0], dtype=np.float64)
        except (OSError, KeyError, IndexError, AttributeError, TypeError) as error:
            raise ImageFileError(f"{path} has no table {hdu or EXTENSION} of PSFEx ({error}).") from error
        names = tuple(str(header[f"POLNAME{k + 1}"]).strip() for k in range(header.get("POLNAXIS", 0)))
        if names not in ((), _AXES):
            raise ImageFileError(
                f"The PSF in {path} depends on {', '.join(names)}; only {' and '.join(_AXES)} can be read."
            )
        degree = int(header["POLDEG1"]) if names else 0
        zero, scale = (
            tuple(float(header[f"{key}{k}"]) for k in (1, 2)) if names else default
            for key, default in (("POLZERO", (0.0, 0.0)), ("POLSCAL", (1.0, 1.0)))
        )
        samples = samples.reshape(-1, *samples.shape[-2:])
        polynomial = PsfexPolynomial(degree, zero=(zero[0], zero[1]), scale=(scale[0], scale[1]))
        try:
            return cls(samples, step=float(header["PSF_SAMP"]), polynomial=polynomial)
        except ValueError as error:
            raise ImageFileError(f"{path} is no PSF of PSFEx: {error}") from error

    @classmethod
    def approximate(cls, psf: Psf, *, shape: tuple[int, int], degree: int = 3) -> Self:
        """Return any PSF as PSFEx would keep it: sampled four times per FWHM or finer, and fitted by a polynomial.

        Parameters
        ----------
        psf
        shape : (ny, nx) [pixel]
            The image.
        degree
            Total degree of the polynomial.
        """
        ny, nx = shape
        fwhm = psf.fwhm(x=(nx - 1) / 2, y=(ny - 1) / 2)
        factor = 1 + 2 * int(np.clip(np.ceil((_SAMPLES_PER_FWHM / fwhm - 1.0) / 2.0), 0, 3))
        nodes = -np.cos(np.pi * np.arange(degree + 2) / (degree + 1))
        v, u = (a.ravel() for a in np.meshgrid(nodes, nodes, indexing="ij"))
        x, y = 0.5 * (nx * (u + 1.0) - 1.0), 0.5 * (ny * (v + 1.0) - 1.0)
        stamps = np.array([psf.oversampled(factor, x=a, y=b) for a, b in zip(x, y, strict=True)])
        polynomial = PsfexPolynomial.over(shape, degree=degree)
        fitted = np.linalg.lstsq(polynomial.basis(x=x, y=y), stamps.reshape(len(x), -1), rcond=None)[0]
        return cls(fitted.reshape(-1, *stamps.shape[1:]), step=1.0 / factor, polynomial=polynomial)

    def write(self, path: str | Path) -> None:
        """Write a file as PSFEx does, for all that reads its files."""
        terms, n = self._samples.shape[:2]
        column = fits.Column(
            "PSF_MASK", format=f"{terms * n * n}E", dim=f"({n},{n},{terms})", array=self._samples[None]
        )
        table = fits.BinTableHDU.from_columns([column], name=EXTENSION)
        middle = self.average_position
        cards: dict[str, tuple[object, str]] = {
            "LOADED": (0, "Number of loaded sources"),
            "ACCEPTED": (0, "Number of accepted sources"),
            "CHI2": (0.0, "Final reduced chi2"),
            "POLNAXIS": (2, "Number of context parameters"),
        }
        for k, name in enumerate(_AXES):
            cards[f"POLGRP{k + 1}"] = (1, "Polynom group for this context parameter")
            cards[f"POLNAME{k + 1}"] = (name, "Name of this context parameter")
            cards[f"POLZERO{k + 1}"] = (self._polynomial.zero[k], "Offset value for this context parameter")
            cards[f"POLSCAL{k + 1}"] = (self._polynomial.scale[k], "Scale value for this context parameter")
        cards |= {
            "POLNGRP": (1, "Number of context groups"),
            "POLDEG1": (self._polynomial.degree, "Polynom degree for this context group"),
            "PSF_FWHM": (self.fwhm(x=middle[0], y=middle[1]), "PSF FWHM in image pixels"),
            "PSF_SAMP": (self._step, "Sampling step of the PSF data in image pixels"),
            "PSFNAXIS": (3, "Dimensionality of the PSF data"),
        }
        for k, size in enumerate((n, n, terms)):
            cards[f"PSFAXIS{k + 1}"] = (size, "Number of element along this axis")
        for key, card in cards.items():
            table.header[key] = card
        write_atomically(Path(path), fits.HDUList([fits.PrimaryHDU(), table]).writeto)

    @property
    def radius(self) -> int:
        """Half size of the stamps [pixel]."""
        return int((self._samples.shape[1] // 2) * self._step)

    @property
    def average_position(self) -> tuple[float, float]:
        """Middle of what PSFEx scaled the positions with [pixel]: about that of its stars."""
        return self._polynomial.zero[0] - 1.0, self._polynomial.zero[1] - 1.0

    def images(self, *, x: FloatArray, y: FloatArray) -> NDArray[np.float64]:
        """Return (n, s, s) unit-sum stamps, each as `image` draws it."""
        stamps = self._stamps(np.asarray(x, np.float64), np.asarray(y, np.float64))
        return np.asarray(stamps / stamps.sum(axis=(1, 2), keepdims=True))

    def stamp_fraction(self, *, x: float, y: float) -> float:
        """Return the fraction of the total flux of a star that falls on its stamp."""
        return float(np.clip(self._stamps(np.array([float(x)]), np.array([float(y)])).sum(), 0.0, 1.0))

    def wing_flux(self, radius: float, *, x: float, y: float) -> float:
        """Return the fraction of the total flux outside a circle: what the samples lack, falling with its square."""
        inner = self.radius + 0.5
        return float(max(0.0, 1.0 - self.aperture_flux(inner, x=x, y=y)) * (inner / radius) ** _WING_POWER)

    def to_parts(self) -> Parts:
        """Return the arrays and the plain values from which `from_parts` makes an equal model."""
        polynomial = self._polynomial
        return {"samples": self._samples}, {
            "step": self._step,
            "degree": polynomial.degree,
            "zero": list(polynomial.zero),
            "scale": list(polynomial.scale),
        }

    @classmethod
    def from_parts(cls, arrays: dict[str, NDArray[Any]], values: dict[str, Any]) -> Self:
        """Make the model that `to_parts` took apart."""
        zero, scale = ((float(a), float(b)) for a, b in (values["zero"], values["scale"]))
        polynomial = PsfexPolynomial(int(values["degree"]), zero=zero, scale=scale)
        return cls(arrays["samples"], step=float(values["step"]), polynomial=polynomial)

    def _stamps(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return (n, s, s) stamps that hold the flux of a star of unit total flux."""
        size = 2 * self.radius + 1
        stamps = np.empty((len(x), size, size))
        for start in range(0, len(x), _BATCH):
            part = slice(start, start + _BATCH)
            grids = np.tensordot(self._polynomial.basis(x=x[part], y=y[part]), self._samples, axes=1)
            along_x, along_y = self._weights(x[part]), self._weights(y[part])
            stamps[part] = along_y @ grids @ along_x.transpose(0, 2, 1)
        return stamps

    def _weights(self, position: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return (n, s, samples) normalised Lanczos weights of the samples at each pixel along one axis."""
        half = self._samples.shape[1] // 2
        offset = np.arange(-self.radius, self.radius + 1) - (position - np.rint(position))[:, None]
        at = offset / self._step
        taps = np.arange(1 - _TAPS, _TAPS + 1) - (at - np.floor(at))[..., None]
        total = _lanczos(taps).sum(axis=-1)
        return np.asarray(_lanczos(at[..., None] - np.arange(-half, half + 1)) / total[..., None])


def _lanczos(t: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(np.abs(t) < _TAPS, np.sinc(t) * np.sinc(t / _TAPS), 0.0)
