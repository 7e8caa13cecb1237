"""The point-spread function of a warped image."""

from __future__ import annotations

import math
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from firstlight.images.psf import Parts, Psf
from firstlight.images.psf_classes import psf_classes
from firstlight.kernels.arrays import FloatArray
from firstlight.kernels.warp import warp_stamps


class WarpedPsf(Psf):
    """A PSF seen through the map and the interpolation kernel that warped its image.

    A star is drawn where it lay in the input image and resampled as the image was, so that the model has what the
    interpolation does to it, at every fraction of a pixel.

    Parameters
    ----------
    psf
        Of the input image.
    nodes : (2, rows, columns) [pixel]
        Input x and y at the corners of square cells of output pixels; linear inside them, continued outside.
    step : [output pixel]
        Side of the cells.
    kernel_x, kernel_y : (phases + 1, taps)
        Weights of the interpolation by the fraction of an input pixel.
    """

    def __init__(self, psf: Psf, *, nodes: FloatArray, step: int, kernel_x: FloatArray, kernel_y: FloatArray) -> None:
        self._psf, self._step = psf, int(step)
        self._arrays: dict[str, NDArray[Any]] = {
            "nodes": np.array(nodes, dtype=np.float64),
            "kernel_x": np.ascontiguousarray(kernel_x, dtype=np.float32),
            "kernel_y": np.ascontiguousarray(kernel_y, dtype=np.float32),
        }
        rows, columns = self._arrays["nodes"].shape[1:]
        self._middle = ((columns - 1) * self._step / 2.0, (rows - 1) * self._step / 2.0)
        jacobian = self._jacobians(*(np.array([value]) for value in self._middle))[0]
        smallest = float(np.linalg.svd(jacobian, compute_uv=False)[-1])
        self._radius = max(2, math.ceil((psf.radius + 1) / max(smallest, 1e-3)))

    @property
    def psf(self) -> Psf:
        """The model of the input image."""
        return self._psf

    @property
    def radius(self) -> int:
        """Half size of the stamps [pixel]."""
        return self._radius

    @property
    def average_position(self) -> tuple[float, float]:
        """The middle of the image [pixel]."""
        return self._middle

    def images(self, *, x: FloatArray, y: FloatArray) -> NDArray[np.float64]:
        """Return (n, s, s) unit-sum stamps, each as `image` draws it."""
        stamps = self._stamps(np.asarray(x, np.float64), np.asarray(y, np.float64), self._radius)
        return np.asarray(stamps / stamps.sum(axis=(1, 2), keepdims=True))

    def cores(self, radius: int, *, x: FloatArray, y: FloatArray) -> NDArray[np.float64]:
        """Return the middle of the stamps, drawn alone.

        Their flux is that before the warp. It is that in `images` to 1e-5 where the pixels of both images are alike
        and hardly turned, else to 1e-3: there the sum of the pixels of a star goes up and down with its place.
        """
        return self._stamps(np.asarray(x, np.float64), np.asarray(y, np.float64), radius)

    def stamp_fraction(self, *, x: float, y: float) -> float:
        """Return the fraction of the total flux of a star that falls on its stamp."""
        at_x, at_y = np.array([float(x)]), np.array([float(y)])
        source_x, source_y = self._positions(at_x, at_y)
        inner = self._psf.stamp_fraction(x=float(source_x[0]), y=float(source_y[0]))
        return min(1.0, inner * float(self._stamps(at_x, at_y, self._radius).sum()))

    def wing_flux(self, radius: float, *, x: float, y: float) -> float:
        """Return the fraction of the total flux outside a circle that is no smaller than the stamp's inner circle."""
        at_x, at_y = np.array([float(x)]), np.array([float(y)])
        source_x, source_y = self._positions(at_x, at_y)
        scale = math.sqrt(abs(float(np.linalg.det(self._jacobians(at_x, at_y)[0]))))
        inner = max(radius * scale, self._psf.radius + 0.5)
        return self._psf.wing_flux(inner, x=float(source_x[0]), y=float(source_y[0]))

    def to_parts(self) -> Parts:
        """Return the arrays and the plain values from which `from_parts` makes an equal model.

        Raises
        ------
        TypeError
            If the input PSF is of a class that no package registers in ``firstlight.psfs``.
        """
        names = [name for name, cls in psf_classes().items() if type(self._psf) is cls]
        if not names:
            raise TypeError(f"No package registers {type(self._psf).__name__} in 'firstlight.psfs'.")
        arrays, values = self._psf.to_parts()
        inner = {f"psf/{name}": array for name, array in arrays.items()}
        return self._arrays | inner, {"step": self._step, "psf_class": names[0], "psf": values}

    @classmethod
    def from_parts(cls, arrays: dict[str, NDArray[Any]], values: dict[str, Any]) -> Self:
        """Make the model that `to_parts` took apart."""
        inner = {name.removeprefix("psf/"): array for name, array in arrays.items() if name.startswith("psf/")}
        model: Any = psf_classes()[values["psf_class"]]
        psf: Psf = model.from_parts(inner, values["psf"])
        own = {name: arrays[name] for name in ("nodes", "kernel_x", "kernel_y")}
        return cls(psf, step=values["step"], **own)

    def _stamps(self, x: FloatArray, y: FloatArray, radius: int) -> NDArray[np.float64]:
        """Return the middles of the stamps, (n, 2 * radius + 1, 2 * radius + 1)."""
        kernels = self._arrays["kernel_x"], self._arrays["kernel_y"]
        source_x, source_y = self._positions(x, y)
        jacobians = self._jacobians(x, y)
        # How far from the star the pixels lie in the input image, and what the interpolation looks at beyond.
        farthest = float(np.abs(jacobians).sum(axis=2).max(initial=0.0)) * (radius + 0.5)
        reach = math.ceil(farthest) + max(kernel.shape[1] for kernel in kernels) // 2 + 1
        inner = min(reach, self._psf.radius)
        stamps = self._psf.cores(inner, x=source_x, y=source_y).astype(np.float32)
        corner = np.stack([np.rint(x) - radius - x, np.rint(y) - radius - y], axis=1)
        star = np.stack([source_x - np.rint(source_x), source_y - np.rint(source_y)], axis=1) + inner
        starts = star + np.einsum("nij,nj->ni", jacobians, corner)
        return np.asarray(warp_stamps(stamps, starts, jacobians, *kernels, 2 * radius + 1), np.float64)

    def _positions(self, x: FloatArray, y: FloatArray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        nodes = self._arrays["nodes"]
        i, j = self._cells(x, y)
        s, t = x / self._step - i, y / self._step - j
        low = nodes[:, j, i] * (1 - s) + nodes[:, j, i + 1] * s
        high = nodes[:, j + 1, i] * (1 - s) + nodes[:, j + 1, i + 1] * s
        found = low * (1 - t) + high * t
        return found[0], found[1]

    def _jacobians(self, x: FloatArray, y: FloatArray) -> NDArray[np.float64]:
        """Return (n, 2, 2) derivatives; rows are input x and y, columns output x and y."""
        nodes = self._arrays["nodes"]
        i, j = self._cells(x, y)
        s, t = x / self._step - i, y / self._step - j
        along_x = (nodes[:, j, i + 1] - nodes[:, j, i]) * (1 - t) + (nodes[:, j + 1, i + 1] - nodes[:, j + 1, i]) * t
        along_y = (nodes[:, j + 1, i] - nodes[:, j, i]) * (1 - s) + (nodes[:, j + 1, i + 1] - nodes[:, j, i + 1]) * s
        return np.ascontiguousarray(np.stack([along_x, along_y], axis=-1).transpose(1, 0, 2) / self._step)

    def _cells(self, x: FloatArray, y: FloatArray) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        rows, columns = self._arrays["nodes"].shape[1:]
        i = np.clip(np.floor(x / self._step), 0, columns - 2).astype(np.int64)
        j = np.clip(np.floor(y / self._step), 0, rows - 2).astype(np.int64)
        return i, j
