"""The page that a calibration scientist looks at before trusting an exposure: one HTML file that needs nothing else."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import jinja2

from firstlight.framework import Funnel, Gate, worst
from firstlight.images.atomic import write_text_atomically
from firstlight.qa.advice import ADVICE, UNKNOWN, Advice
from firstlight.qa.content import PageContent
from firstlight.qa.pictures import Section
from firstlight.qa.sections_flux import astrometry_section, depth_section, flux_section, photometry_section
from firstlight.qa.sections_pixels import image_section, sky_section
from firstlight.qa.sections_psf import aperture_section, psf_section

TEMPLATE = "page.html"

SECTIONS: tuple[Callable[[PageContent], Section], ...] = (
    image_section,
    sky_section,
    psf_section,
    aperture_section,
    flux_section,
    astrometry_section,
    photometry_section,
    depth_section,
)
"""The parts of the page that have pictures, in order."""

MAIN_NUMBERS = (
    ("FWHM", "psf_fwhm", "{:.2f}", "px"),
    ("seeing", "", "{:.2f}", "arcsec"),
    ("pixel scale", "pixel_scale", "{:.4f}", "arcsec"),
    ("centre RA", "ra", "{:.5f}", "deg"),
    ("centre Dec", "dec", "{:+.5f}", "deg"),
    ("zero point", "zero_point", "{:.3f}", "mag"),
    ("limit (5 sigma)", "mag_lim", "{:.2f}", "mag"),
    ("sky", "sky_bg", "{:.1f}", "ct"),
    ("sky noise", "sky_noise", "{:.2f}", "ct"),
    ("noise / variance plane", "variance_ratio", "{:.3f}", ""),
    ("PSF stars", "n_psf_star", "{:.0f}", ""),
    ("matches", "astrometry_matches_count", "{:.0f}", ""),
)
"""What to read first: words, name of the statistic, format, unit."""


@dataclass(frozen=True)
class JudgedGate:
    """A gate with what it means and what to do."""

    gate: Gate
    advice: Advice

    @property
    def value(self) -> str:
        """The measured value with its unit."""
        return f"{self.gate.value:.4g} {self.gate.unit}".strip()

    @property
    def limits(self) -> str:
        """From where on the gate warns and fails."""
        beyond = "above" if self.gate.sense == "max" else "below"
        known = (("warns", self.gate.warn), ("fails", self.gate.fail))
        return ", ".join(f"{verb} {beyond} {limit:.4g}" for verb, limit in known if limit is not None)


@dataclass(frozen=True)
class Bar:
    """One line of a bar chart: its name, its words, and its length in per cent."""

    name: str
    words: str
    share: float


def page_of(content: PageContent) -> str:
    """Return the page as HTML.

    The same content gives the same text: it holds no time of day and no place. Its pictures are inside.
    """
    text = files("firstlight.qa").joinpath(TEMPLATE).read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    gates = [JudgedGate(gate, ADVICE.get(gate.name, UNKNOWN)) for gate in content.gates]
    return environment.from_string(text).render(
        content=content,
        status="fail" if content.note.startswith("FAILED") else worst(content.gates),
        numbers=main_numbers(content),
        gates=gates,
        worries=[judged for judged in gates if judged.gate.status != "ok"],
        sections=[section(content) for section in SECTIONS],
        funnels=[(funnel.name.replace("_", " "), funnel_bars(funnel)) for funnel in content.funnels],
        times=_time_bars(content),
    )


def write_page(content: PageContent, path: Path) -> None:
    """Write the page into a file.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    write_text_atomically(path, page_of(content))


def main_numbers(content: PageContent) -> dict[str, str]:
    """Return the numbers to read first, formatted with their units; those that are not known are left out."""
    known = {words: content.number(name) for words, name, _, _ in MAIN_NUMBERS}
    known["seeing"] = content.number("psf_fwhm") * content.number("pixel_scale")
    return {
        words: f"{form.format(known[words])} {unit}".strip()
        for words, _, form, unit in MAIN_NUMBERS
        if math.isfinite(known[words])
    }


def funnel_bars(funnel: Funnel) -> list[Bar]:
    """Return the steps of a selection as bars; each step that is left of an earlier one says how much of it."""
    longest = max((left for _, left in funnel.steps), default=0) or 1
    bars = []
    before: int | None = None
    for name, left in funnel.steps:
        cut = f" ({left - before:+d})" if before is not None and left < before else ""
        bars.append(Bar(name, f"{left}{cut}", 100 * left / longest))
        before = left
    return bars


def _time_bars(content: PageContent) -> list[Bar]:
    longest = max((time.wall_s for time in content.times), default=0.0) or 1.0
    return [
        Bar(time.name, f"{time.wall_s:.2f} s ({time.cpu_s:.2f} CPU s)", 100 * time.wall_s / longest)
        for time in content.times
    ]
