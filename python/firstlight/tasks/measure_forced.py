"""Measure the flux at the places of difference sources in all three images."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from astropy.table import Table

from firstlight.algorithms.psf_flux import measure_psf_flux
from firstlight.images.exposure import Exposure
from firstlight.kernels.arrays import BoolArray
from firstlight.tasks.difference_plugins import DifferencePlugin, DifferenceScene, psf_of
from firstlight.tasks.measurement_plugins import Columns, values


class ForcedFluxPlugin(DifferencePlugin):
    """PSF fluxes of science exposure and template where the difference has a source (LSST ``ip_diffim_forced``).

    Each image is measured with its own PSF; the flux of the template is brought to the scale of the science exposure.
    """

    order: ClassVar[float] = 2.0

    def run(self, scene: DifferenceScene, catalog: Table) -> Columns:
        """Measure ``science_psf_inst_flux`` and ``template_psf_inst_flux``, their errors and flags."""
        x, y = values(catalog, "x"), values(catalog, "y")
        columns: dict[str, object] = {}
        scale = scene.flux_scale(x=x, y=y)
        for name, exposure, factor in (
            ("science", scene.science, np.ones(len(x))),
            ("template", scene.template, scale),
        ):
            found = measure_psf_flux(
                exposure.image, variance=exposure.variance, bad=_unusable(exposure), psf=psf_of(exposure), x=x, y=y
            )
            columns[f"{name}_psf_inst_flux"] = found.flux * factor * scene.unit
            columns[f"{name}_psf_inst_flux_err"] = found.flux_err * factor * scene.unit
            columns[f"{name}_psf_flux_flag"] = found.flag
        return columns


def _unusable(exposure: Exposure) -> BoolArray:
    """Return the pixels that hold no light of a source."""
    planes = (name for name in ("BAD", "NO_DATA", "SAT", "CR") if name in exposure.mask.planes)
    return np.asarray(exposure.mask.any_of(*planes) | ~np.isfinite(exposure.image) | ~np.isfinite(exposure.variance))
