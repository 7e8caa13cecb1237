"""What calibrated images of each visit were like: seeing, zero point, depth, over its detectors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from firstlight.repo.regions import Region, SummaryValue, all_regions

if TYPE_CHECKING:
    from firstlight.repo.repo import Repo


@dataclass(frozen=True, slots=True)
class VisitSummary:
    """Means over the calibrated detectors of a visit; None for what none of them tells."""

    n_detectors: int
    """How many detectors are calibrated."""

    seeing: float | None
    """Full width of the PSF at half its height [arcsec]."""

    zero_point: float | None
    """AB magnitude of one count."""

    depth: float | None
    """AB magnitude of a point source at the signal-to-noise ratio of the summary."""


def visit_summaries(repo: Repo, visit_numbers: Iterable[int] | None = None) -> dict[tuple[str, int], VisitSummary]:
    """Return instrument and visit -> what it was like, for every visit with a calibrated detector.

    Parameters
    ----------
    repo
    visit_numbers
        Only visits with these numbers, of any instrument; None for all.
    """
    groups: dict[tuple[str, int], list[Region]] = {}
    for one in all_regions(repo, visit_numbers):
        if one.solved:
            groups.setdefault((one.instrument, one.visit), []).append(one)
    return {name: _summary([one.summary or {} for one in several]) for name, several in groups.items()}


def _summary(detectors: list[Mapping[str, SummaryValue]]) -> VisitSummary:
    return VisitSummary(
        n_detectors=len(detectors),
        seeing=_mean(_product(each, "psf_fwhm", "pixel_scale") for each in detectors),
        zero_point=_mean(each.get("zero_point") for each in detectors),
        depth=_mean(each.get("mag_lim") for each in detectors),
    )


def _product(summary: Mapping[str, SummaryValue], *names: str) -> float | None:
    product = 1.0
    for name in names:
        value = summary.get(name)
        if not isinstance(value, int | float):
            return None
        product *= value
    return product


def _mean(values: Iterable[SummaryValue]) -> float | None:
    known = [float(value) for value in values if isinstance(value, int | float)]
    return sum(known) / len(known) if known else None
