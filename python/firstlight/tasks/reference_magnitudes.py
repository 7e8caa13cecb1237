"""The magnitudes that a zero point is fitted to, and the table of what came of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy.table import QTable, Table

from firstlight.algorithms.color_terms import StarColors, camera_magnitudes
from firstlight.algorithms.zero_point import ZeroPoint
from firstlight.kernels.arrays import BoolArray, FloatArray, IntArray
from firstlight.refcats import ReferenceStars
from firstlight.tasks.color_terms import ColorTerm, second_band


@dataclass(frozen=True)
class ReferenceMagnitudes:
    """Magnitudes of matched reference stars, in the system of the camera where its colour term is known.

    Parameters
    ----------
    band
        The reference magnitude.
    second
        The other one of the colour; None without colours.
    term
        The colour term that is applied; None where none is known.
    magnitude, error : (n,) [mag]
    color
        None where the catalogue has no second magnitude for it.
    """

    band: str
    second: str | None
    term: ColorTerm | None
    magnitude: FloatArray
    error: FloatArray
    color: StarColors | None

    def facts(self, fit: ZeroPoint) -> dict[str, Any]:
        """Return the band, and the colour term that was applied or fitted."""
        facts: dict[str, Any] = {"band": self.band}
        if self.term is not None:
            facts |= {"color": f"{self.band} - {self.second}", "c0": self.term.c0, "c1": self.term.c1}
            facts |= {"c2": self.term.c2}
        elif fit.color_term_error > 0:
            facts |= {"color": f"{self.band} - {self.second}", "c1": fit.color_term, "c1_error": fit.color_term_error}
        return facts


def with_color(matched: ReferenceStars, band: str, second: str | None) -> ReferenceMagnitudes:
    """Return a magnitude of reference stars as it is, with the colours that go with it.

    Parameters
    ----------
    matched
        One row for each calibrator.
    band
    second
        The other magnitude of the colour; None: the best that the catalogue has.
    """
    second = second or second_band(band, frozenset(matched.magnitudes))
    magnitude, error = matched.magnitudes[band], matched.magnitude_errors[band]
    if second is None or second not in matched.magnitudes:
        return ReferenceMagnitudes(band, None, None, magnitude, error, None)
    color = StarColors.of(
        magnitude,
        matched.magnitudes[second],
        primary_error=error,
        secondary_error=matched.magnitude_errors[second],
    )
    return ReferenceMagnitudes(band, second, None, magnitude, error, color)


def with_known_term(matched: ReferenceStars, term: ColorTerm) -> ReferenceMagnitudes:
    """Return the magnitudes in the system of the camera; the catalogue must have both that the term needs."""
    plain = with_color(matched, term.primary, term.secondary)
    magnitude, error = camera_magnitudes(
        plain.magnitude,
        matched.magnitudes[term.secondary],
        primary_error=plain.error,
        secondary_error=matched.magnitude_errors[term.secondary],
        c0=term.c0,
        c1=term.c1,
        c2=term.c2,
    )
    return ReferenceMagnitudes(plain.band, plain.second, term, magnitude, error, plain.color)


def match_table(
    sources: Table,
    source_index: IntArray,
    stars: ReferenceStars,
    star_index: IntArray,
    reference: ReferenceMagnitudes,
    fit: ZeroPoint,
    reserved: BoolArray,
) -> Table:
    """Tabulate matched calibrators; ``src_id`` joins to ``stars.id``, ``src_psf_id`` to ``psf_stars.id``."""
    band = reference.band
    flux, error = sources["calib_inst_flux"][source_index], sources["calib_inst_flux_err"][source_index]
    with np.errstate(invalid="ignore", divide="ignore"):
        magnitude_error = 2.5 / math.log(10) * np.asarray(error) / np.asarray(flux)
    psf_id = np.asarray(sources["psf_id"]) if "psf_id" in sources.colnames else np.zeros(len(sources), dtype=np.int64)
    matches = QTable(
        {
            "src_id": np.asarray(sources["id"])[source_index],
            "src_psf_id": psf_id[source_index],
            "ref_row": stars.row[star_index],
            "ref_ra": stars.ra[star_index],
            "ref_dec": stars.dec[star_index],
            "ref_mag": stars.magnitudes[band][star_index],
            "ref_mag_err": stars.magnitude_errors[band][star_index],
            "ref_color": np.full(len(star_index), np.nan) if reference.color is None else reference.color.value,
            "src_inst_flux": np.asarray(flux),
            "src_inst_flux_err": np.asarray(error),
            "src_mag_err": magnitude_error,
            "residual": fit.residual,
            "used": fit.used,
            "reserved": reserved,
        },
        units={
            "ref_ra": "deg",
            "ref_dec": "deg",
            "ref_mag": "mag",
            "ref_mag_err": "mag",
            "ref_color": "mag",
            "src_mag_err": "mag",
            "residual": "mag",
        },
    )
    matches.meta |= reference.facts(fit)
    return Table(matches)
