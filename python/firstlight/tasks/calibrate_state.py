"""What the passes of `CalibrateImageTask` work on, and what of it is true so far."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from astropy.table import Table

from firstlight.algorithms.detection import Detections
from firstlight.framework import Funnel, Gate
from firstlight.images.exposure import Exposure
from firstlight.images.photo_calib import PhotoCalib
from firstlight.refcats import ReferenceCatalog
from firstlight.tasks.astrometry import Pointing


@dataclass
class CalibrateImageState:
    """What the passes of `CalibrateImageTask` work on; a pass puts there what it has finished."""

    exposure: Exposure
    astrometry_refcat: ReferenceCatalog | None
    photometry_refcat: ReferenceCatalog | None
    pointing: Pointing | None
    summarize: Callable[[Exposure, Table | None], Mapping[str, float]]
    aperture_radius: float = 0.0
    psf_order: int = 0
    detections: Detections | None = None
    psf_stars: Table = field(default_factory=Table)
    stars: Table = field(default_factory=Table)
    astrometry_matches: Table | None = None
    photometry_matches: Table | None = None
    applied_photo_calib: PhotoCalib | None = None
    measured: dict[str, float] = field(default_factory=dict)
    summary: Mapping[str, float] | None = None
    gates: list[Gate] = field(default_factory=list)
    funnels: dict[str, Funnel] = field(default_factory=dict)

    def keep(self, gates: Iterable[Gate], funnel: Funnel | None = None) -> None:
        """Keep gates and a funnel; newer ones replace those of the same name."""
        newer = {gate.name: gate for gate in gates}
        self.gates = [*(gate for gate in self.gates if gate.name not in newer), *newer.values()]
        if funnel is not None:
            self.funnels[funnel.name] = funnel

    def summarize_now(self) -> None:
        """Make the summary of the exposure as it is."""
        summary = self.summarize(self.exposure, self.psf_stars if len(self.psf_stars) else None)
        self.summary = {
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

    def products(self) -> Mapping[str, object]:
        """Return connection name -> product, for every product that is true now."""
        if self.summary is None:
            self.summarize_now()
        made: dict[str, object] = {
            "exposure": self.exposure,
            "background": self.exposure.background,
            "astrometry_matches": self.astrometry_matches,
            "photometry_matches": self.photometry_matches,
            "applied_photo_calib": self.applied_photo_calib,
            "summary": self.summary,
            "gates": tuple(self.gates),
            "funnels": tuple(self.funnels.values()),
        }
        catalogs = {"stars": self.stars, "psf_stars": self.psf_stars}
        made |= {name: catalog for name, catalog in catalogs.items() if len(catalog)}
        return {name: product for name, product in made.items() if product is not None}
