"""Check that science exposure and template show the same stars at the same pixels, before one is subtracted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PositiveFloat, PositiveInt

from firstlight.algorithms.detection import detect_sources, smooth_for_detection
from firstlight.algorithms.registration import Registration, common_offset, register_stars
from firstlight.errors import AstrometryError, NoSourcesError, PsfError
from firstlight.framework import Config, Gate, Struct, Task
from firstlight.images.exposure import Exposure
from firstlight.images.psf import FWHM_PER_SIGMA
from firstlight.tasks.measurement_scene import psf_sigma

_EMPTY = ("BAD", "NO_DATA")


@dataclass(frozen=True)
class CheckRegistrationResult(Struct):
    """What `CheckRegistrationTask.run` returns."""

    registration: Registration
    """How the stars lie on each other."""

    gates: tuple[Gate, ...]
    """Share of the stars that were found, and their median offset."""


class CheckRegistrationConfig(Config):
    """Settings of `CheckRegistrationTask`."""

    threshold: PositiveFloat = 8.0
    """Significance of the stars [standard deviation]."""

    brightest: PositiveInt = 60
    """How many of the brightest are looked for in the other image."""

    radius_fwhm: PositiveFloat = 1.0
    """How near they must lie, in units of the full width at half maximum of the wider PSF."""

    min_fraction: float = Field(default=0.25, ge=0.0, le=1.0)
    """If fewer of them are found, chance taken off, the two do not show the same sky: an error."""

    warn_fraction: float = Field(default=0.6, ge=0.0, le=1.0)
    """If fewer of them are found, that is a warning."""

    warn_offset: PositiveFloat = 0.3
    """A larger median offset is a warning; the kernel takes it up [pixel]."""

    fail_offset: PositiveFloat = 1.5
    """A larger median offset is an error [pixel]."""

    search_offset: PositiveFloat = 100.0
    """Up to here a shift is looked for, to say it in the error [pixel]."""


class CheckRegistrationTask(Task[CheckRegistrationConfig]):
    """Matches the bright stars of two exposures on the same pixels."""

    def run(self, science: Exposure, template: Exposure) -> CheckRegistrationResult:
        """Compare two exposures.

        Raises
        ------
        PsfError
            If one has no PSF.
        NoSourcesError
            If one shows no stars.
        AstrometryError
            If they do not show the same stars, or not at the same places.
        """
        x1, y1 = self._stars(science, "science exposure")
        x2, y2 = self._stars(template, "template")
        fwhm = FWHM_PER_SIGMA * max(psf_sigma(science), psf_sigma(template))
        radius = max(self.config.fail_offset, self.config.radius_fwhm * fwhm)
        found = register_stars(x1, y1, x2, y2, radius=radius, brightest=self.config.brightest)
        self.log.info("registration", matched=found.n_matched, tried=found.n_tried, x=found.x, y=found.y)
        offset = float(np.hypot(found.x, found.y))
        if found.fraction < self.config.min_fraction or not offset <= self.config.fail_offset:
            hint = self._hint(x1, y1, x2, y2)
            raise AstrometryError(
                f"Science exposure and template do not show the same stars at the same places: "
                f"{found.n_matched} of {found.n_tried} match within {radius:.1f} pixels, "
                f"{found.n_chance:.1f} of them by chance. {hint}",
                n_matched=found.n_matched,
                n_tried=found.n_tried,
                n_chance=found.n_chance,
            )
        return CheckRegistrationResult(
            registration=found,
            gates=(
                Gate(
                    "registration_fraction",
                    found.fraction,
                    sense="min",
                    warn=self.config.warn_fraction,
                    fail=self.config.min_fraction,
                    n=found.n_tried,
                ),
                Gate(
                    "registration_median_offset",
                    offset,
                    "pixel",
                    warn=self.config.warn_offset,
                    fail=self.config.fail_offset,
                    n=found.n_matched,
                ),
            ),
        )

    def _stars(self, exposure: Exposure, which: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the positions of the stars, the brightest first."""
        if exposure.psf is None:
            raise PsfError(f"Comparing the stars of two exposures needs PSFs; the {which} has none.")
        smoothed = smooth_for_detection(
            exposure.image,
            variance=exposure.variance,
            bad=exposure.mask.any_of(*(name for name in _EMPTY if name in exposure.mask.planes)),
            psf_sigma=psf_sigma(exposure),
        )
        found = detect_sources(smoothed, threshold=self.config.threshold)
        if not found.n_peaks:
            raise NoSourcesError(
                f"The {which} shows no star above {self.config.threshold:g} sigma where the two overlap; "
                "is it an image of the same field?",
                threshold=self.config.threshold,
            )
        order = np.argsort(-found.peak_snr, kind="stable")
        return found.x[order], found.y[order]

    def _hint(
        self,
        x1: NDArray[np.float64],
        y1: NDArray[np.float64],
        x2: NDArray[np.float64],
        y2: NDArray[np.float64],
    ) -> str:
        found = common_offset(x1, y1, x2, y2, reach=self.config.search_offset)
        if found.n_matched >= 5 and found.n_matched > 2 * found.n_elsewhere:
            return (
                f"Shifted by {found.x:+.1f}, {found.y:+.1f} pixels {found.n_matched} would: the WCS of one is wrong; "
                "solve it anew, or align by the stars (-c difference:align.task=PatternAlignTask)."
            )
        return "Is the WCS of one wrong, or is this another field?"
