"""Checks of the whole: products, ids, units, summary, repeatability (D.9, D.13)."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

import numpy as np

from validation.frame import USUAL, Frame, Run
from validation.results import Check

PRODUCTS = ("image.fits", "stars.parquet", "sources.parquet", "psf_stars.parquet", "background.fits", "summary.json")


def product_checks(frame: Frame) -> list[Check]:
    """Compare the products with their contract and the summary with the truth."""
    missing = [name for name in PRODUCTS if not (frame.run.folder / f"frame_{name}").exists()]
    stars, sources, psf_stars = frame.stars, frame.sources, frame.psf_stars
    ids = [np.asarray(table["id"]) for table in (stars, sources, psf_stars)]
    repeated = sum(len(i) - len(np.unique(i)) for i in ids)
    joined = np.asarray(stars["psf_id"])
    joined = joined[joined > 0]
    lost = np.count_nonzero(~np.isin(joined, ids[2]))
    unknown = ALLOWED_EMPTY | ({"initial_to_final_wcs"} if frame.truth.settings.header_wcs == "none" else set())
    empty = sorted(k for k, v in frame.summary.items() if k not in unknown and v is None)
    return [
        Check("D.9", "products missing", float(len(missing)), None, 0, note=str(missing or "")),
        Check("D.9", "ids repeated", float(repeated), None, 0, n=sum(map(len, ids))),
        Check("D.9", "psf_id without a PSF source", float(lost), None, 0, n=len(joined)),
        Check("D.9", "unit is nJy", float(str(frame.exposure.unit) == "nJy"), 1, None),
        Check("D.9", "summary values without a number", float(len(empty)), None, 0, note=str(empty or "")),
        *_summary_checks(frame),
    ]


ALLOWED_EMPTY = {"failed_pass", "stopped_after", "error"}
"""Fields of the summary that are empty when all went well."""


def _summary_checks(frame: Frame) -> list[Check]:
    truth, summary = frame.truth, frame.summary
    ny, nx = truth.image.shape
    centre = {"x": (nx - 1) / 2, "y": (ny - 1) / 2}
    area = _mean_area(frame)
    gain = truth.settings.detector.gain
    sigma = float(np.median(frame.sky_sigma))
    source = 25 / (2 * gain)
    counts = source + math.sqrt(source**2 + 25 * sigma**2 * area)
    expected = {
        "psf_sigma": truth.point_spread.adaptive_moments(**centre).sigma,
        "psf_area": area,
        "sky_bg": frame.n_snaps * float(np.median(truth.sky)),
        "sky_noise": sigma,
    }
    checks = [_relative(summary, name, value) for name, value in expected.items()]
    depth = frame.zero_point - 2.5 * math.log10(counts)
    found = _number(summary, "mag_lim")
    if not truth.settings.color_term:
        checks.append(Check("D.9", "mag_lim, flux / true - 1", 10 ** (-0.4 * (found - depth)) - 1, -0.03, 0.03))
        deeper = 10 ** (0.8 * (depth - USUAL["mag_lim"]))
        checks.append(_relative(summary, "eff_time", deeper * truth.settings.exposure_time))
    return checks


def _mean_area(frame: Frame) -> float:
    """Return the effective area of a star at the centre, averaged over its places in a pixel [pixel^2]."""
    ny, nx = frame.truth.image.shape
    steps = np.arange(-0.4, 0.41, 0.2)
    x, y = (g.ravel() for g in np.meshgrid(nx // 2 + steps, ny // 2 + steps))
    profiles = frame.truth.point_spread.images(x=x, y=y, radius=int(4 * frame.fwhm) + 4)
    return float(np.mean(1 / (profiles**2).sum(axis=(1, 2))))


def _relative(summary: dict[str, object], name: str, expected: float) -> Check:
    return Check("D.9", f"{name} / true - 1", _number(summary, name) / expected - 1, -0.03, 0.03)


def run_checks(run: Run) -> list[Check]:
    """Say whether the call ended well."""
    return [
        Check("D.9", "process ends well", float(run.exit_code == 0), 1, None, note=run.message[-160:]),
        Check("D.9", "CPU time of the call [s]", run.cpu_s),
        Check("D.9", "gates that warn or fail", float(len(_bad_gates(run))), note=str(_bad_gates(run) or "")),
    ]


def _bad_gates(run: Run) -> list[str]:
    gates = run.summary.get("gates") or []
    return [f"{g['name']} {g['value']}" for g in gates if g["status"] != "ok"]  # type: ignore[attr-defined]  # a list


def repeat_checks(first: Run, second: Run) -> list[Check]:
    """Compare the products of two calls byte by byte."""
    different = [
        name
        for name in PRODUCTS
        if name != "summary.json" and _digest(first.folder, name) != _digest(second.folder, name)
    ]
    return [
        Check("D.13", "products that differ in a second run", float(len(different)), None, 0, note=str(different or ""))
    ]


def _digest(folder: Path, name: str) -> str:
    path = folder / f"frame_{name}"
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else ""


def _number(summary: dict[str, object], name: str) -> float:
    value = summary.get(name)
    return float(value) if isinstance(value, int | float) else math.nan
