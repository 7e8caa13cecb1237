"""A night: several exposures of one field, their truth and a reference catalogue, in memory or as files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table

from firstlight.errors import OutputError
from firstlight.simulation.detector import TruthBit
from firstlight.simulation.exposure import SimulatedExposure, night_sky, simulate_exposure, sky_noise
from firstlight.simulation.output import make_folder, write_table
from firstlight.simulation.point_spread import FieldPolynomial
from firstlight.simulation.reference import make_reference
from firstlight.simulation.settings import SimulationSettings

PER_EPOCH_COLUMNS = ("x", "y", "mag", "flux", "saturated")
"""Columns of `SimulatedExposure.sources` that become ``x_0``, ``x_1`` ... in the truth table."""


@dataclass(frozen=True)
class SimulatedNight:
    """Exposures of one field and what is true about them.

    Parameters
    ----------
    exposures
        One or more, with dithers.
    truth
        Sources within the edge of any image, with ``x_k``, ``y_k``, ``mag_k``, ``flux_k``, ``saturated_k`` per epoch;
        NaN where a source is not on image k or does not shine.
    reference
        The reference catalogue, see `make_reference`.
    """

    exposures: tuple[SimulatedExposure, ...]
    truth: Table
    reference: Table


def simulate_night(settings: SimulationSettings | None = None, *, seed: int = 0, n_epochs: int = 1) -> SimulatedNight:
    """Simulate several exposures of one field and keep them in memory."""
    settings = settings or SimulationSettings()
    sky = night_sky(settings, seed=seed, n_epochs=n_epochs)
    exposures = tuple(_exposures(settings, seed=seed, n_epochs=n_epochs, sky=sky))
    truth = truth_table(sky, [exposure.sources for exposure in exposures])
    return SimulatedNight(exposures, truth, make_reference(sky, settings=settings, seed=seed))


def simulate_reference(settings: SimulationSettings | None = None, *, seed: int = 0) -> Table:
    """Return the reference catalogue of a field without drawing an image; see `make_reference`."""
    settings = settings or SimulationSettings()
    return make_reference(night_sky(settings, seed=seed), settings=settings, seed=seed)


def write_night(
    folder: str | Path, settings: SimulationSettings | None = None, *, seed: int = 0, n_epochs: int = 1
) -> tuple[Path, ...]:
    """Simulate and write a night, one exposure in memory at a time.

    Parameters
    ----------
    folder
        Made when it is not there. Gets ``epoch_K.fits``, ``truth_K.json``, ``truth_K_mask.fits`` per exposure,
        ``truth.parquet`` and ``refcat.parquet``; files of the same names are replaced.

    Returns
    -------
    Paths of everything written, the images first.

    Raises
    ------
    OutputError
        If the folder cannot be written.
    """
    settings, folder = settings or SimulationSettings(), Path(folder)
    make_folder(folder)
    sky = night_sky(settings, seed=seed, n_epochs=n_epochs)
    images, others, tables = [], [], []
    try:
        for exposure in _exposures(settings, seed=seed, n_epochs=n_epochs, sky=sky):
            k = exposure.conditions.epoch
            images.append(folder / f"epoch_{k}.fits")
            fits.PrimaryHDU(exposure.image, header=exposure.header).writeto(images[-1], overwrite=True)
            others += [folder / f"truth_{k}.json", folder / f"truth_{k}_mask.fits"]
            others[-2].write_text(json.dumps(truth_values(exposure), indent=1) + "\n")
            _mask_hdu(exposure).writeto(others[-1], overwrite=True)
            tables.append(exposure.sources)
        others += [folder / "truth.parquet", folder / "refcat.parquet"]
        write_table(truth_table(sky, tables), others[-2])
        write_table(make_reference(sky, settings=settings, seed=seed), others[-1])
    except OSError as error:
        raise OutputError(f"Cannot write the simulation into {folder}: {error.strerror or error}.") from error
    return (*images, *others)


def truth_table(sky: Table, epochs: list[Table]) -> Table:
    """Join the sources of all epochs into one table, one row a source."""
    seen = np.unique(np.concatenate([table["id"].data for table in epochs]))
    truth = sky[np.searchsorted(sky["id"].data, seen)]
    for k, table in enumerate(epochs):
        rows = np.searchsorted(seen, table["id"].data)
        for name in PER_EPOCH_COLUMNS:
            values = np.zeros(len(seen), bool) if name == "saturated" else np.full(len(seen), np.nan)
            values[rows] = table[name].data
            truth[f"{name}_{k}"] = values
            truth[f"{name}_{k}"].unit = table[name].unit
    return truth


def truth_values(exposure: SimulatedExposure) -> dict[str, object]:
    """Return what is true about an exposure as plain values, ready for JSON."""
    settings, conditions, spread = exposure.settings, exposure.conditions, exposure.point_spread
    ny, nx = settings.shape
    centre = {"x": (nx - 1) / 2, "y": (ny - 1) / 2}
    moments = spread.adaptive_moments(**centre)
    return {
        "seed": exposure.seed,
        "shape": [ny, nx],
        "band": settings.band,
        "conditions": asdict(conditions),
        "wcs": exposure.wcs_cards,
        "zero_point": exposure.zero_point,
        "color_term": settings.color_term,
        "psf": {
            "profile": "elliptical Moffat integrated over pixels",
            "beta": spread.beta,
            "fwhm_centre": spread.fwhm_centre,
            "u": f"(x - {centre['x']}) / {nx / 2}",
            "v": f"(y - {centre['y']}) / {ny / 2}",
            "fwhm": "fwhm_centre * (1 + sum over fwhm_terms upvq of factor * u**p * v**q)",
            "fwhm_terms": _terms(spread.width),
            "e1_terms": _terms(spread.e1),
            "e2_terms": _terms(spread.e2),
        },
        "psf_sigma": moments.sigma,
        "psf_moments": moments._asdict(),
        "psf_fwhm": spread.pixel_fwhm(**centre),
        "sky_level": conditions.sky_level,
        "sky_gradient": list(conditions.sky_gradient),
        "sky_noise": sky_noise(settings, conditions=conditions),
        "trails": [asdict(trail) for trail in exposure.trails],
        "gain": settings.detector.gain,
        "read_noise": settings.detector.read_noise,
        "saturation": settings.detector.saturation,
        "mask_bits": {bit.name: int(bit) for bit in TruthBit},
        "mask_pixels": {str(bit.name): int(np.count_nonzero(exposure.mask & bit)) for bit in TruthBit},
        "settings": asdict(settings),
    }


def _exposures(settings: SimulationSettings, *, seed: int, n_epochs: int, sky: Table) -> Iterator[SimulatedExposure]:
    for epoch in range(n_epochs):
        yield simulate_exposure(settings, seed=seed, epoch=epoch, n_epochs=n_epochs, sky=sky)


def _terms(polynomial: FieldPolynomial) -> dict[str, float]:
    return {f"u{p}v{q}": factor for (p, q), factor in polynomial.coefficients.items()}


def _mask_hdu(exposure: SimulatedExposure) -> fits.PrimaryHDU:
    hdu = fits.PrimaryHDU(exposure.mask)
    for bit in TruthBit:
        hdu.header[f"BIT_{bit.bit_length() - 1}"] = (bit.name, "truth mask bit")
    return hdu
