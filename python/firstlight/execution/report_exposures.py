"""What the images of a run are like: seeing, zero point, depth, astrometric residuals, one line for each."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from firstlight.execution.saving import CALIBRATED
from firstlight.repo.rows import QuantumRow


@dataclass(frozen=True)
class ExposureLine:
    """One calibrated image; None for what its summary does not tell."""

    data_id: str
    seeing_arcsec: float | None
    """Full width of the PSF at half its height."""

    zero_point_mag: float | None
    """AB magnitude of one count."""

    depth_mag: float | None
    """AB magnitude of a point source at the signal-to-noise ratio of the summary."""

    astrometric_rms_px: float | None
    n_matches: float | None
    """Stars that the astrometric solution rests on."""

    sky_count: float | None
    """Level of the sky."""


COLUMNS = (
    ("seeing", "arcsec", "seeing_arcsec", "{:.2f}"),
    ("zero point", "mag", "zero_point_mag", "{:.3f}"),
    ("depth", "mag", "depth_mag", "{:.2f}"),
    ("astrometric rms", "px", "astrometric_rms_px", "{:.3f}"),
    ("matches", "", "n_matches", "{:.0f}"),
    ("sky", "count", "sky_count", "{:.1f}"),
)
"""Name, unit, field and format of each number."""


def exposure_lines(rows: Iterable[QuantumRow]) -> Iterator[ExposureLine]:
    """Yield a line for every image that was calibrated, in the order of the work."""
    for row in rows:
        for output in row.record.get("outputs", ()):
            if output["type"] == CALIBRATED and "summary" in output and not output["partial"]:
                yield _line(row.data_key.replace(",", " "), output["summary"])


def ranges_of(lines: Sequence[ExposureLine]) -> Iterator[str]:
    """Yield for each number the smallest, the middle and the largest value as text."""
    for name, unit, field, form in COLUMNS:
        values = [value for line in lines if (value := getattr(line, field)) is not None]
        if values:
            low, middle, high = (form.format(each) for each in (min(values), median(values), max(values)))
            yield f"{name}: {low} to {high}{f' {unit}' if unit else ''}, median {middle}"


def cells_of(line: ExposureLine) -> list[str]:
    """Return the numbers of a line as text, a dash for what is not known."""
    values = [(getattr(line, field), form) for _, _, field, form in COLUMNS]
    return ["-" if value is None else form.format(value) for value, form in values]


def _line(data_id: str, summary: Mapping[str, Any]) -> ExposureLine:
    width, scale = _known(summary, "psf_fwhm"), _known(summary, "pixel_scale")
    return ExposureLine(
        data_id=data_id,
        seeing_arcsec=None if width is None or scale is None else width * scale,
        zero_point_mag=_known(summary, "zero_point"),
        depth_mag=_known(summary, "mag_lim"),
        astrometric_rms_px=_known(summary, "astrom_rms_2d_px"),
        n_matches=_known(summary, "astrometry_matches_count"),
        sky_count=_known(summary, "sky_bg"),
    )


def _known(summary: Mapping[str, Any], name: str) -> float | None:
    value = summary.get(name)
    return value if isinstance(value, int | float) and math.isfinite(value) else None
