"""Put artificial stars into an exposure, to find out which of them are found again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from astropy import units as u
from astropy.table import Table
from numpy.typing import NDArray
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat

from firstlight.algorithms.injection import effective_gain, light_of_stars, point_source_errors
from firstlight.errors import InputError, PsfError
from firstlight.framework import Config, Struct, Task
from firstlight.images.catalog import with_sky_positions
from firstlight.images.exposure import Exposure
from firstlight.images.psf import Psf
from firstlight.kernels.arrays import BoolArray
from firstlight.tasks.measurement_scene import exposure_unit

_UNUSABLE = ("BAD", "NO_DATA", "SAT")
_TRIALS = 20


@dataclass(frozen=True)
class InjectResult(Struct):
    """What `InjectTask.run` returns."""

    exposure: Exposure
    """The exposure with the artificial stars, in image, variance and mask."""

    truth: Table
    """``id``, ``x``, ``y``, ``ra``, ``dec``, ``true_flux``, ``true_flux_err``, ``true_snr`` and ``host``."""


class InjectConfig(Config):
    """Settings of `InjectTask`."""

    count: NonNegativeInt = 100
    """How many stars are made, where none are given."""

    law: Literal["snr", "flux"] = "snr"
    """What is drawn evenly in its logarithm: the signal-to-noise ratio against the sky, or the flux."""

    snr_range: tuple[PositiveFloat, PositiveFloat] = (2.0, 30.0)
    """Smallest and largest signal-to-noise ratio."""

    flux_range: tuple[PositiveFloat, PositiveFloat] = (100.0, 10_000.0)
    """Smallest and largest flux [unit of the exposure]."""

    places: Literal["anywhere", "beside"] = "anywhere"
    """``beside``: near the sources that are given, such as galaxies as hosts or bright stars."""

    beside_fwhm: NonNegativeFloat = 1.0
    """Largest distance from such a source, evenly in area, in units of the full width at half maximum of the PSF."""

    border_fwhm: NonNegativeFloat = 3.0
    """No star is made nearer to the border than this, in units of the full width at half maximum of the PSF."""

    seed: NonNegativeInt = 0
    """Added to the number of the exposure: another seed, other stars."""

    noise: bool = True
    """Whether the light of the stars has photon noise."""

    gain: PositiveFloat | None = None
    """Electrons in one unit of the pixels; of the detector, or by how the variance rises with the light, when left
    out."""

    mask_sigma: PositiveFloat = Field(default=0.1, le=10.0)
    """Pixels are marked INJECTED where the light exceeds this [standard deviation]."""


class InjectTask(Task[InjectConfig]):
    """Stars of the PSF with photon noise, marked in the mask, and what they truly are (LSST ``source_injection``).

    Raw images can be given, too, with a PSF beside them.
    """

    def run(
        self, exposure: Exposure, *, psf: Psf | None = None, stars: Table | None = None, hosts: Table | None = None
    ) -> InjectResult:
        """Add artificial stars.

        Parameters
        ----------
        exposure
        psf
            Instead of that of the exposure.
        stars
            ``x``, ``y`` [pixel] and ``flux`` [unit of the exposure] of the stars; drawn by the settings when left out.
        hosts
            ``x``, ``y`` [pixel] of sources beside which stars are made.

        Raises
        ------
        PsfError
            If there is no PSF.
        InputError
            If a table has no such columns, or there is no host or no place for a star.
        """
        profile = psf or exposure.psf
        if profile is None:
            raise PsfError("Artificial stars need a PSF: the exposure has none, and none was given.")
        rng = np.random.default_rng([exposure.observation.exposure_id, exposure.detector.id, self.config.seed])
        bad = exposure.mask.any_of(*_UNUSABLE) | ~np.isfinite(exposure.image)
        if stars is None:
            x, y, host = self._places(exposure, profile, bad, hosts, rng)
        else:
            x, y = _columns(stars, "x", "y", of="stars")
            host = np.full(len(x), -1)
        error = point_source_errors(exposure.variance, psf=profile, x=x, y=y, bad=bad)
        flux = self._fluxes(error, rng) if stars is None else _columns(stars, "flux", of="stars")[0]
        truth = Table({"id": np.arange(1, len(x) + 1), "x": x * u.pix, "y": y * u.pix})
        unit = exposure_unit(exposure)
        truth["true_flux"], truth["true_flux_err"] = flux * unit, error * unit
        with np.errstate(invalid="ignore", divide="ignore"):
            truth["true_snr"] = flux / error
        truth["host"] = host
        self.log.info("injected", stars=len(x))
        return InjectResult(
            exposure=self._with_light(exposure, profile, bad, truth, rng),
            truth=with_sky_positions(truth, exposure.wcs),
        )

    def _places(
        self, exposure: Exposure, psf: Psf, bad: BoolArray, hosts: Table | None, rng: np.random.Generator
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
        ny, nx = exposure.shape
        fwhm = psf.fwhm(x=(nx - 1) / 2, y=(ny - 1) / 2)
        border, wanted = self.config.border_fwhm * fwhm, self.config.count * _TRIALS
        host = np.full(wanted, -1)
        if self.config.places == "beside":
            if hosts is None or not len(hosts):
                raise InputError("Stars are to be made beside sources, and no source was given.")
            host_x, host_y = _columns(hosts, "x", "y", of="hosts")
            host = rng.integers(0, len(host_x), wanted)
            distance = self.config.beside_fwhm * fwhm * np.sqrt(rng.random(wanted))
            angle = rng.uniform(0.0, 2.0 * np.pi, wanted)
            x, y = host_x[host] + distance * np.cos(angle), host_y[host] + distance * np.sin(angle)
        else:
            x, y = rng.uniform(-0.5, nx - 0.5, wanted), rng.uniform(-0.5, ny - 0.5, wanted)
        with np.errstate(invalid="ignore"):
            inside = (x >= border) & (y >= border) & (x <= nx - 1 - border) & (y <= ny - 1 - border)
        column, row = (np.rint(np.where(inside, at, 0)).astype(int) for at in (x, y))
        chosen = np.flatnonzero(inside & ~bad[row, column])[: self.config.count]
        if len(chosen) < self.config.count:
            raise InputError(
                f"Only {len(chosen)} of {self.config.count} artificial stars find a good pixel {border:.1f} pixels "
                "inside the border; lower 'count' or 'border_fwhm'."
            )
        return x[chosen], y[chosen], host[chosen]

    def _fluxes(self, error: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
        low, high = self.config.snr_range if self.config.law == "snr" else self.config.flux_range
        drawn = np.exp(rng.uniform(np.log(low), np.log(high), len(error)))
        return np.asarray(drawn * error if self.config.law == "snr" else drawn)

    def _with_light(
        self, exposure: Exposure, psf: Psf, bad: BoolArray, truth: Table, rng: np.random.Generator
    ) -> Exposure:
        x, y, flux = (np.asarray(truth[name], dtype=np.float64) for name in ("x", "y", "true_flux"))
        light = light_of_stars(exposure.shape, psf=psf, x=x, y=y, flux=flux)
        marked = np.abs(light) > self.config.mask_sigma * np.sqrt(np.maximum(exposure.variance, 0.0))
        variance = exposure.variance
        gain = self._gain(exposure, bad) if self.config.noise else None
        if gain is not None:
            lit = np.maximum(light, 0.0)
            light = np.where(light > 0.0, rng.poisson(lit * gain) / gain, light)
            variance = variance + (lit / gain).astype(np.float32)
        image = exposure.image + light.astype(np.float32)
        mask = exposure.mask.with_new_planes("INJECTED", "INJECTED_CORE", "SAT").with_plane("INJECTED", marked)
        ny, nx = exposure.shape
        core = np.zeros(exposure.shape, dtype=bool)
        for column, row in zip(np.rint(x).astype(int), np.rint(y).astype(int), strict=True):
            core[max(row - 1, 0) : max(min(row + 2, ny), 0), max(column - 1, 0) : max(min(column + 2, nx), 0)] = True
        mask = mask.with_plane("INJECTED_CORE", core)
        full = exposure.detector.saturation
        if full is not None and exposure.unit == "count":
            over = marked & (image > full)
            image, mask = np.where(over, np.float32(full), image), mask.with_plane("SAT", over)
        return exposure.replace(image=image, variance=variance, mask=mask)

    def _gain(self, exposure: Exposure, bad: BoolArray) -> float | None:
        if self.config.gain is not None:
            return self.config.gain
        if exposure.unit == "count" and exposure.detector.gain:
            return exposure.detector.gain
        return effective_gain(exposure.image, exposure.variance, bad=bad)


def _columns(table: Table, *names: str, of: str) -> list[NDArray[np.float64]]:
    """Return columns as numbers.

    Raises
    ------
    InputError
        If one is missing.
    """
    missing = [name for name in names if name not in table.colnames]
    if missing:
        raise InputError(
            f"The table of {of} has no column {missing[0]!r}; it has {', '.join(table.colnames) or 'none'}."
        )
    return [np.asarray(table[name], dtype=np.float64) for name in names]
