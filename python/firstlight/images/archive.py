"""The ARCHIVE extension of an exposure file: arrays and plain values of all the models, without loss."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from firstlight.errors import ImageFileError
from firstlight.images.aperture_correction import ApertureCorrectionMap
from firstlight.images.background import BackgroundList, MeshBackground
from firstlight.images.exposure import Exposure
from firstlight.images.json_values import from_json, to_json
from firstlight.images.observation import DetectorInfo, Filter, ObservationInfo
from firstlight.images.photo_calib import PhotoCalib
from firstlight.images.wcs import SkyWcs

MODELS: Mapping[str, Any] = {
    "wcs": SkyWcs,
    "photo_calib": PhotoCalib,
    "aperture_corrections": ApertureCorrectionMap,
    "filter": Filter,
    "observation": ObservationInfo,
    "detector": DetectorInfo,
}
"""Field of an exposure -> the class of its model, which can be taken into parts."""

INDEX = "index"


@dataclass
class Archive:
    """Arrays by name, and a tree of plain values; models are taken apart into both."""

    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)

    def put(self, name: str, model: Any) -> None:
        """Take ``model`` into parts and keep them under ``name``; None is kept as nothing."""
        if model is not None:
            arrays, self.values[name] = model.to_parts()
            self.arrays |= {f"{name}/{key}": np.asarray(array) for key, array in arrays.items()}

    def get(self, name: str, cls: Any) -> Any:
        """Return the model that was kept under ``name``; None if there is none."""
        if name not in self.values:
            return None
        prefix = f"{name}/"
        arrays = {key.removeprefix(prefix): array for key, array in self.arrays.items() if key.startswith(prefix)}
        return cls.from_parts(arrays, self.values[name])

    def to_hdu(self) -> fits.BinTableHDU:
        """Return a table of one row for each array, after one row with the plain values as JSON."""
        text = np.frombuffer(to_json(self.values).encode(), dtype=np.uint8)
        rows = [(INDEX, text), *sorted(self.arrays.items())]
        contents = np.empty(len(rows), dtype=object)
        for i, (_, array) in enumerate(rows):
            contents[i] = np.frombuffer(np.ascontiguousarray(array).tobytes(), dtype=np.uint8)
        columns = [
            _text_column("NAME", [name for name, _ in rows]),
            _text_column("DTYPE", [array.dtype.str for _, array in rows]),
            _text_column("SHAPE", [to_json(list(array.shape)) for _, array in rows]),
            fits.Column("DATA", format="QB()", array=contents),
        ]
        return fits.BinTableHDU.from_columns(columns, name="ARCHIVE")

    @classmethod
    def from_hdu(cls, hdu: fits.BinTableHDU) -> Archive:
        """Read what `to_hdu` made."""
        arrays = dict(_rows(hdu))
        values = from_json(arrays.pop(INDEX).tobytes().decode())
        return cls(arrays, values)


def to_hdu(exposure: Exposure, *, psf_classes: Mapping[str, type]) -> fits.BinTableHDU:
    """Return everything about an exposure but its pixels as one table extension.

    Raises
    ------
    TypeError
        If the PSF is of a class that is not in ``psf_classes``.
    """
    archive = Archive()
    for name in MODELS:
        archive.put(name, getattr(exposure, name))
    if exposure.psf is not None:
        archive.values["psf_class"] = _registered_name(exposure.psf, psf_classes)
        archive.put("psf", exposure.psf)
    archive.values["n_background"] = len(exposure.background)
    for i, model in enumerate(exposure.background):
        archive.put(f"background_{i}", model)
    archive.values["unit"] = exposure.unit
    archive.values["header"] = dict(exposure.header)
    archive.values["summary"] = None if exposure.summary is None else dict(exposure.summary)
    return archive.to_hdu()


def from_hdu(hdu: fits.BinTableHDU, *, psf_classes: Mapping[str, type]) -> dict[str, Any]:
    """Return the fields of the exposure whose table extension this is, without its pixels.

    Raises
    ------
    ImageFileError
        If its PSF is of a class that is not in ``psf_classes``.
    """
    archive = Archive.from_hdu(hdu)
    fields = {name: archive.get(name, cls) for name, cls in MODELS.items()}
    psf_class = archive.values.get("psf_class")
    if psf_class is not None and psf_class not in psf_classes:
        raise ImageFileError(f"The PSF is a {psf_class}; install the package that registers it in 'firstlight.psfs'.")
    fields["psf"] = None if psf_class is None else archive.get("psf", psf_classes[psf_class])
    models = (archive.get(f"background_{i}", MeshBackground) for i in range(archive.values["n_background"]))
    fields["background"] = BackgroundList(models)
    return fields | {name: archive.values[name] for name in ("unit", "header", "summary")}


def _registered_name(psf: object, psf_classes: Mapping[str, type]) -> str:
    for name, cls in psf_classes.items():
        if type(psf) is cls:
            return name
    raise TypeError(f"A {type(psf).__name__} cannot be kept in a file: no package registers it in 'firstlight.psfs'.")


def _text_column(name: str, texts: list[str]) -> fits.Column:
    return fits.Column(name, format=f"{max(1, *map(len, texts))}A", array=np.array(texts))


def _rows(hdu: fits.BinTableHDU) -> Iterator[tuple[str, NDArray[Any]]]:
    for name, dtype, shape, data in zip(*(hdu.data[key] for key in ("NAME", "DTYPE", "SHAPE", "DATA")), strict=True):
        content = np.asarray(data, dtype=np.uint8).tobytes()
        yield str(name), np.frombuffer(bytearray(content), dtype=np.dtype(str(dtype))).reshape(from_json(str(shape)))
