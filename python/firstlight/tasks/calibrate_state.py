"""What the passes of `CalibrateImageTask` work on, and what of it is true so far."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from astropy.table import Table

from firstlight.algorithms.detection import Detections
from firstlight.errors import AlgorithmError
from firstlight.framework import Funnel, Gate
from firstlight.images.catalog import with_sky_positions
from firstlight.images.exposure import Exposure
from firstlight.images.footprint import Footprints
from firstlight.images.photo_calib import PhotoCalib
from firstlight.images.psf import Psf
from firstlight.images.summary_columns import SUMMARY
from firstlight.refcats import ReferenceCatalog
from firstlight.tasks.astrometry import Pointing
from firstlight.tasks.calibrate_image_contract import CalibrateImageResult

Summarize = Callable[[Exposure, Table | None, Table | None], Mapping[str, float]]
"""From exposure, PSF stars and stars to the summary."""

FAILED_PASS, FAILED_BECAUSE = "FLFAILED", "FLREASON"
"""Header keywords, and keys of the metadata of a catalogue, that mark a partial product."""


@dataclass
class CalibrateImageState:
    """What the passes of `CalibrateImageTask` work on; a pass puts there what it has finished."""

    exposure: Exposure
    astrometry_refcat: ReferenceCatalog | None
    photometry_refcat: ReferenceCatalog | None
    pointing: Pointing | None
    summarize: Summarize
    wanted: frozenset[str] = frozenset()
    """Optional products to keep."""

    aperture_radius: float = 0.0
    psf_order: int = 0
    detections: Detections | None = None
    psf_stars: Table = field(default_factory=Table)
    psf_stars_footprints: Footprints | None = None
    stars: Table = field(default_factory=Table)
    stars_footprints: Footprints | None = None
    astrometry_matches: Table | None = None
    photometry_matches: Table | None = None
    applied_photo_calib: PhotoCalib | None = None
    measured: dict[str, float] = field(default_factory=dict)
    summary: Mapping[str, float] | None = None
    gates: list[Gate] = field(default_factory=list)
    funnels: dict[str, Funnel] = field(default_factory=dict)
    psf_is_fitted: bool = False
    wcs_is_fitted: bool = False
    failure: tuple[str, AlgorithmError] | None = None
    """The pass that failed and what it raised."""

    @property
    def found(self) -> Detections:
        """What was detected last."""
        if self.detections is None:
            raise AssertionError("A pass that measures detects first.")
        return self.detections

    @property
    def psf(self) -> Psf:
        """The PSF of the exposure."""
        if self.exposure.psf is None:
            raise AssertionError("The first pass leaves a PSF.")
        return self.exposure.psf

    def wants(self, product: str) -> bool:
        """Return whether an optional product is to be kept."""
        return product in self.wanted

    @contextmanager
    def attempt(self, name: str) -> Iterator[None]:
        """Remember the pass and its error if the data make it fail."""
        try:
            yield
        except AlgorithmError as error:
            self.failure = (name, error)
            raise

    def keep(self, gates: Iterable[Gate], funnel: Funnel | None = None) -> None:
        """Keep gates and a funnel; newer ones replace those of the same name."""
        newer = {gate.name: gate for gate in gates}
        self.gates = [*(gate for gate in self.gates if gate.name not in newer), *newer.values()]
        if funnel is not None:
            self.funnels[funnel.name] = funnel

    def summarize_now(self) -> None:
        """Make the summary of the exposure as it is."""
        summary = self.summarize(self.exposure, _filled(self.psf_stars), _filled(self.stars))
        self.summary = {
            **dict.fromkeys(SUMMARY, math.nan),
            **summary,
            **self.measured,
            "psf_sigma_error": self._psf_sigma_error(summary),
            "aperture_radius": self.aperture_radius,
        }
        self.exposure = self.exposure.replace(summary=self.summary)

    def _psf_sigma_error(self, summary: Mapping[str, float]) -> float:
        """Return the error of the size of the PSF [pixel], from how the sizes of its stars scatter about it."""
        terms = (self.psf_order + 1) * (self.psf_order + 2) / 2
        n = summary.get("n_psf_star", 0)
        return summary["psf_star_delta_size_scatter"] * math.sqrt(terms / n) if n else math.nan

    def result(self) -> CalibrateImageResult:
        """Return everything, after the last pass."""
        return CalibrateImageResult(
            exposure=self.exposure,
            stars=self.stars,
            stars_footprints=self.stars_footprints,
            psf_stars=self.psf_stars,
            psf_stars_footprints=self.psf_stars_footprints,
            background=self.exposure.background,
            mask=self.exposure.mask if self.wants("mask") else None,
            astrometry_matches=self.astrometry_matches,
            photometry_matches=self.photometry_matches,
            applied_photo_calib=self.applied_photo_calib,
            aperture_radius=self.aperture_radius,
            summary=self.summary or {},
            gates=tuple(self.gates),
            funnels=tuple(self.funnels.values()),
        )

    def products(self) -> Mapping[str, object]:
        """Return connection name -> product, for every product that is true now.

        After a failure the exposure has no PSF, WCS or photometric calibration that was not finished (the header's WCS
        stays where there was nothing to fit it to), positions on the sky are NaN without a WCS, and exposure and
        catalogues are marked with the pass that failed and why.
        """
        if self.failure is not None:
            self._drop_what_is_unfinished(*self.failure)
        if self.summary is None:
            with suppress(AlgorithmError):  # an image that is the same everywhere has no statistics
                self.summarize_now()
        made: dict[str, Any] = {name: value for name, value in self.result().to_mapping().items() if value is not None}
        unmade = {name for name in ("stars", "psf_stars") if len(made[name]) == 0}
        return {name: product for name, product in made.items() if name not in {*unmade, "aperture_radius"}}

    def _drop_what_is_unfinished(self, name: str, error: AlgorithmError) -> None:
        mark = {FAILED_PASS: name, FAILED_BECAUSE: str(error)}
        header_wcs_stays = self.astrometry_refcat is None
        wcs = self.exposure.wcs if self.wcs_is_fitted or header_wcs_stays else None
        self.exposure = self.exposure.replace(
            psf=self.exposure.psf if self.psf_is_fitted else None,
            wcs=wcs,
            photo_calib=None,
            header={**self.exposure.header, **mark},
        )
        self.summary = None
        self.psf_stars, self.stars = (_marked(each, wcs, mark) for each in (self.psf_stars, self.stars))


def _marked(catalog: Table, wcs: Any, mark: Mapping[str, str]) -> Table:
    if len(catalog) == 0:
        return catalog
    marked = with_sky_positions(catalog, wcs)
    marked.meta.update(mark)
    return marked


def _filled(catalog: Table) -> Table | None:
    return catalog if len(catalog) else None
