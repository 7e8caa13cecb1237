"""The page of one image, from its summary and the products beside it, in memory or on disk."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from astropy.table import Table

from firstlight.cli.products import SUFFIXES
from firstlight.errors import InputError
from firstlight.framework import Funnel, Gate
from firstlight.images.catalog import read_catalog
from firstlight.images.exposure import Exposure
from firstlight.images.fits import read_exposure
from firstlight.qa.content import PageContent, PassTime

TABLES = ("stars", "psf_stars", "sources", "astrometry_matches", "photometry_matches")
UNTIMED = ("page",)
"""Steps whose time is not known when a page is drawn."""

NOT_STATISTICS = {
    "image", "status", "failed_pass", "stopped_after", "error", "gate_status", "gates", "funnels", "settings",
    "timing", "versions",
}  # fmt: skip
"""Keys of a summary that are no statistics."""


def page_content(values: Mapping[str, Any], products: Mapping[str, Any]) -> PageContent:
    """Return what there is to show of one image.

    Parameters
    ----------
    values
        Its summary, as `summary_values` returns it and ``<stem>_summary.json`` holds it.
    products
        Connection name -> product; the exposure must be there.
    """
    exposure: Exposure = products["exposure"]
    tables: dict[str, Table | None] = {name: products.get(name) for name in TABLES}
    return PageContent(
        exposure,
        title=_title(str(values["image"]), exposure),
        note=_note(values),
        summary={name: value for name, value in values.items() if name not in NOT_STATISTICS},
        gates=tuple(_gate(each) for each in values["gates"]),
        funnels=tuple(
            Funnel(each["name"], tuple((step, left) for step, left in each["steps"])) for each in values["funnels"]
        ),
        times=tuple(
            PassTime(each["step"], each["wall_s"], each["cpu_s"])
            for each in values["timing"]
            if each["step"] not in UNTIMED
        ),
        settings=values["settings"],
        versions=values["versions"],
        **tables,
    )


def read_page_content(summary: Path) -> PageContent:
    """Read what ``firstlight process`` left for one image.

    Parameters
    ----------
    summary
        Path of its ``<stem>_summary.json``; the products are looked for beside it.

    Raises
    ------
    InputError
        If this is no summary, or the image that it is about is not there.
    """
    ending = SUFFIXES["summary"]
    stem = summary.name.removesuffix(ending)
    try:
        values = json.loads(summary.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no JSON"
        raise InputError(f"Cannot read the summary {summary}: {reason}.") from error
    if not isinstance(values, dict) or not {"image", "status", "gates", "funnels", "timing"} <= set(values):
        raise InputError(f"{summary} is no summary of 'firstlight process'; its name is NAME{ending}.")
    image = summary.with_name(stem + SUFFIXES["exposure"])
    if not image.exists():
        raise InputError(f"There is no {image.name} beside {summary}; the page needs the image.")
    paths = {name: summary.with_name(stem + SUFFIXES[name]) for name in TABLES}
    tables = {name: read_catalog(path) for name, path in paths.items() if path.exists()}
    return page_content(values, {"exposure": read_exposure(image), **tables})


def summaries_in(result: Path) -> list[Path]:
    """Return the summaries that a path stands for: itself, or all in a folder.

    Raises
    ------
    InputError
        If there is none.
    """
    if not result.is_dir():
        return [result]
    found = sorted(result.glob(f"*{SUFFIXES['summary']}"))
    if not found:
        raise InputError(f"No NAME{SUFFIXES['summary']} in {result}; 'firstlight process IMAGE -o {result}' makes one.")
    return found


def _gate(values: Mapping[str, Any]) -> Gate:
    value = float("nan") if values["value"] is None else values["value"]
    limits = {name: values[name] for name in ("sense", "warn", "fail", "n")}
    return Gate(values["name"], value, values["unit"], **limits)


def _title(image: str, exposure: Exposure) -> str:
    seen = exposure.observation
    parts = (
        image,
        seen.object_name,
        seen.instrument,
        None if exposure.filter is None else f"filter {exposure.filter.physical}",
        None if seen.exposure_time is None else f"{seen.exposure_time:g} s",
        None if seen.date is None else seen.date.utc.isot[:19].replace("T", " ") + " UTC",
    )
    return "     ".join(part for part in parts if part)


def _note(values: Mapping[str, Any]) -> str:
    if values["status"] == "failed":
        return f"FAILED at {values['failed_pass'] or 'start'}: {values['error']}"
    return f"stopped after {values['stopped_after']}" if values["status"] == "stopped" else ""
