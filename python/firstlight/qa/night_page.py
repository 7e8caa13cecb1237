"""The pages of a night: its exposures, its candidates, one page for each object; they need nothing but themselves."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

import jinja2
import numpy as np
from astropy import units as u
from astropy.coordinates import Angle
from astropy.time import Time

from firstlight.qa.night import (
    DONE,
    FAILED,
    SET_ASIDE,
    STATES,
    NightCandidate,
    NightContent,
    NightExposure,
    ObjectContent,
)
from firstlight.qa.sky_links import SkyLink, sky_links
from firstlight.qa.svg import PlotPoint, light_curve_plot, scatter_plot, spark_line

NIGHT, CANDIDATES, OBJECT = "night.html", "night_candidates.html", "night_object.html"
PLOTS = (
    ("seeing", "seeing", "arcsec"),
    ("zero point", "zero_point", "mag"),
    ("depth", "depth", "mag"),
    ("candidates kept", "n_kept", ""),
    ("from arrival to results", "latency", "s"),
)
"""Title, field and unit."""

ALWAYS = ("seeing", "zero_point", "depth")
"""Fields that are plotted even if nothing is known of them."""

SHOWN_DETECTIONS = 12
"""Detections whose stamps an object's page shows, the newest first."""


class StepTime(NamedTuple):
    """How long a step takes for one exposure [s], and the length of its bar [per cent]."""

    name: str
    seconds: float
    share: float


class CandidateRow(NamedTuple):
    """A candidate and what is written of it; empty for what is not known."""

    candidate: NightCandidate
    name: str
    utc: str
    score: str
    snr: str
    mag: str
    history: str = ""
    n: int = 1
    """How often it was detected this night."""

    is_new: bool = False
    links: Sequence[SkyLink] = ()


def night_page(content: NightContent) -> str:
    """Return the page with the exposures of a night as HTML; the same content gives the same text."""
    exposures = sorted(content.exposures, key=lambda each: (each.mjd is None, each.mjd or 0.0, each.name))
    times, n_timed = step_times(exposures)
    remarks = Counter(each.reason for each in exposures if each.status == DONE and each.reason)
    return _render(
        NIGHT,
        content=content,
        numbers=night_numbers(content),
        ill=[each for state in (FAILED, SET_ASIDE) for each in exposures if each.status == state],
        left_out=sorted(remarks.items()),
        plots=[*_plots(exposures)],
        times=times,
        n_timed=n_timed,
        waits=_waits(exposures),
        exposures=list(zip(exposures, _utc([each.mjd for each in exposures]), strict=True)),
        has_candidates=content.is_followed,
        n_kept=sum(not several[0].rejected_by for several in by_object(content.candidates)),
    )


def candidates_page(content: NightContent) -> str:
    """Return the page with the candidates of a night, the likeliest first."""
    groups = by_object(content.candidates)
    rows = _rows([several[0] for several in groups])
    rows = [
        row._replace(
            history=_history(content, row.candidate),
            n=len(several),
            is_new=any(each.is_new for each in several),
            links=sky_links(ra=row.candidate.ra, dec=row.candidate.dec),
        )
        for row, several in zip(rows, groups, strict=True)
    ]
    n_kept = sum(not row.candidate.rejected_by for row in rows)
    return _render(CANDIDATES, content=content, rows=rows, n_kept=n_kept, n_rejected=len(rows) - n_kept)


def by_object(candidates: Sequence[NightCandidate]) -> list[list[NightCandidate]]:
    """Return the candidates of each object or body together, the most significant first; the order stays otherwise."""
    groups: dict[object, list[NightCandidate]] = {}
    for each in candidates:
        name = each.object_id or each.body or id(each)
        groups.setdefault(name if not each.rejected_by else id(each), []).append(each)
    return [sorted(several, key=lambda each: -abs(each.snr)) for several in groups.values()]


def object_page(content: ObjectContent) -> str:
    """Return the page of one object."""
    newest = sorted(content.detections, key=lambda each: -each.mjd)
    last = newest[0].mjd if newest else None
    return _render(
        OBJECT,
        content=content,
        name=sexagesimal([content.ra], [content.dec])[0],
        links=sky_links(ra=content.ra, dec=content.dec),
        numbers=_object_numbers(content),
        plot=light_curve_plot(content.curve, now=last),
        rows=_rows(newest[:SHOWN_DETECTIONS]),
        n_earlier=max(len(newest) - SHOWN_DETECTIONS, 0),
    )


def night_numbers(content: NightContent) -> list[tuple[str, str]]:
    """Return what to read first: words and values."""
    states = Counter(each.status for each in content.exposures)
    numbers = [("exposures", str(len(content.exposures)))]
    numbers += [(state, str(states[state])) for state in STATES if states[state]]
    for words, field, form in (
        ("seeing, median", "seeing", '{:.2f}"'),
        ("zero point, median", "zero_point", "{:.2f}"),
        ("depth, median", "depth", "{:.2f}"),
        ("after arrival, median", "latency", "{:.0f} s"),
    ):
        if known := _known(content.exposures, field):
            numbers.append((words, form.format(statistics.median(known))))
    if known := _known(content.exposures, "latency"):
        numbers.append(("at most", f"{max(known):.0f} s"))
    for words, field in (("candidates", "n_candidates"), ("kept", "n_kept"), ("new", "n_new"), ("alerts", "n_alerts")):
        if known := _known(content.exposures, field):
            numbers.append((words, f"{sum(known):.0f}"))
    return numbers


def step_times(exposures: Sequence[NightExposure]) -> tuple[list[StepTime], int]:
    """Return how long each step takes, a mean over the exposures with known times, and how many these are."""
    timed = [each for each in exposures if each.seconds and each.status == DONE]
    sums: Counter[str] = Counter()
    for each in timed:
        sums.update(each.seconds)
    longest = max(sums.values(), default=0.0) or 1.0
    return [StepTime(name, total / len(timed), 100 * total / longest) for name, total in sums.items()], len(timed)


def _waits(exposures: Sequence[NightExposure]) -> float | None:
    """Return the median time in which nothing was done for an exposure [s]."""
    known = [
        max(each.latency - sum(each.seconds.values()), 0.0)
        for each in exposures
        if each.latency is not None and each.seconds and each.status == DONE
    ]
    return statistics.median(known) if known else None


def _plots(exposures: Sequence[NightExposure]) -> Iterator[str]:
    dated = [each for each in exposures if each.mjd is not None]
    utc = Time([each.mjd for each in dated], format="mjd", scale="tai").utc.mjd if dated else []
    zero = math.floor(min(utc, default=0.0))
    hours = [24.0 * (each - zero) for each in utc]
    for title, field, unit in PLOTS:
        points = [
            PlotPoint(hour, float(value), each.band, f"{each.name} {each.band}: {value:.3f} {unit}")
            for each, hour in zip(dated, hours, strict=True)
            if (value := getattr(each, field)) is not None
        ]
        if points or field in ALWAYS:
            yield scatter_plot(points, title=title, unit=unit, x_label="UTC [h]")


def _history(content: NightContent, candidate: NightCandidate) -> str:
    curve = content.curves.get(candidate.object_id, ())
    return spark_line(curve, now=candidate.mjd) if candidate.object_id and curve else ""


def _object_numbers(content: ObjectContent) -> list[tuple[str, str]]:
    seen = content.detections
    days = content.last_mjd - content.first_mjd
    numbers = [
        ("RA [deg]", f"{content.ra:.6f}"),
        ("Dec [deg]", f"{content.dec:+.6f}"),
        ("place known to", f'{3600 * content.error:.2f}"'),
        ("detections", str(content.n_detections)),
        ("first seen", _utc([content.first_mjd], long=True)[0]),
        ("seen over", f"{days:.1f} d" if days >= 0.1 else f"{1440 * days:.0f} min"),
    ]
    scores = [each.score for each in seen if math.isfinite(each.score)]
    if scores:
        numbers.append(("score, median", f"{statistics.median(scores):.2f}"))
    return numbers


def _rows(candidates: Sequence[NightCandidate]) -> list[CandidateRow]:
    times = _utc([each.mjd for each in candidates], long=True)
    places = sexagesimal([each.ra for each in candidates], [each.dec for each in candidates])
    return [
        CandidateRow(
            each,
            name=place,
            utc=utc,
            score=_decimal(each.score, "{:.2f}"),
            snr=_decimal(each.snr, "{:.1f}"),
            mag=_decimal(each.mag, "{:.2f}"),
        )
        for each, utc, place in zip(candidates, times, places, strict=True)
    ]


def sexagesimal(ra: Sequence[float], dec: Sequence[float]) -> list[str]:
    """Return places [deg] as hours and degrees."""
    across = np.atleast_1d(
        Angle(np.asarray(ra, dtype=float) * u.deg).to_string(u.hourangle, sep=":", precision=2, pad=True)
    )
    up = np.atleast_1d(
        Angle(np.asarray(dec, dtype=float) * u.deg).to_string(u.deg, sep=":", precision=1, pad=True, alwayssign=True)
    )
    return [f"{a} {b}" for a, b in zip(across, up, strict=True)]


def _known(exposures: Iterable[NightExposure], field: str) -> list[float]:
    return [value for each in exposures if (value := getattr(each, field)) is not None]


def _decimal(value: float, form: str) -> str:
    return form.format(value) if math.isfinite(value) else ""


def _utc(mjds: Sequence[float | None], *, long: bool = False) -> list[str]:
    """Return times of day, or dates with them; a dash for what is not known."""
    known = [mjd for mjd in mjds if mjd is not None and math.isfinite(mjd)]
    texts = iter(Time(known, format="mjd", scale="tai").utc.isot if known else ())
    cut = slice(0, 19) if long else slice(11, 19)
    found = [mjd is not None and math.isfinite(mjd) for mjd in mjds]
    return [next(texts)[cut].replace("T", " ") if is_known else "-" for is_known in found]


def _render(template: str, **values: Any) -> str:
    return _environment().get_template(template).render(**values)


@cache
def _environment() -> jinja2.Environment:
    folder = files("firstlight.qa")
    return jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: folder.joinpath(name).read_text(encoding="utf-8")),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
