"""One night of HAT-P-32 with a 15 cm telescope: raw frames that drift by a fifth of the field, no darks, no flats.

Everything is done as a user does, with the commands: defects of the detector from the frames of the night, a template
of the night, then the frames in another repository through ``firstlight watch`` as they arrive in no order, and forced
photometry at the star.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from scipy.spatial import KDTree

from firstlight.images.catalog import read_catalog
from firstlight.images.exposure import Exposure
from firstlight.repo.repo import Repo
from firstlight.repo.rows import DatasetRow
from firstlight.tasks.difference_image import DifferenceImageTask
from firstlight.tasks.inject import InjectConfig, InjectTask

F8 = NDArray[np.float64]
Row = tuple[str, float, str, bool]

FIRSTLIGHT = str(Path(sys.executable).parent / "firstlight")
STAR = (31.0428, 46.6878)
"""RA and Dec [deg]."""

CENTRE, DURATION, INGRESS = 58107.2088, 0.1295, 0.0172
"""Middle of the transit [MJD TAI], its length and that of its ingress [d]: the ephemeris of Hartman et al. 2011,
ApJ 742, 59, with the light time over the orbit of the Earth."""

FAR = 15
"""Candidates nearer to saturated pixels than this are left to others [pixel]."""

MATCH_PX = 1.5
"""How far a candidate may lie from the source that was put there [pixel]."""

FLAGS = ("edge", "no_data_center", "saturated_center", "cr_center", "suspect_center", "streak_center")
FLAGS += ("high_variance_center", "psf_flux_flag", "interpolated_center", "sat_template_center")
"""What tells an observer not to trust a candidate."""

INPUTS = ("-i", "templates/1", "-i", "certified", "-i", "skymaps/fields")
KEPT = (*INPUTS, "-t", "template", "-t", "defects", "-t", "tract_grid")
LOST = ["-c", "isr:defects.task=MaskDefectsTask"]


def rows(data: Path, *, plots: Path | None = None) -> list[Row]:
    """Run the night and return what was measured, its target, and whether it is met.

    Parameters
    ----------
    data
        Folder of the real images.
    plots
        Folder for pictures; None draws none.
    """
    with tempfile.TemporaryDirectory() as scratch:
        night = Path(scratch)
        frames = sorted((data / "hatp32").glob("*.fits.gz"))
        prepare(night, frames, data / "refcats" / "hatp32_tycho2.csv")
        done = watch(night, frames)
        curve = light_curve(night, plots)
        counts = candidates(night / "repo")
        return [
            ("frames that watch takes through", float(done), f"{len(frames)}", done == len(frames)),
            *transit(curve),
            bound("unflagged candidates a frame, away from saturated stars, median", counts[:, 0], 20.0),
            bound("the same that FeatureVetTask calls real, median", counts[:, 1], 10.0),
            *injected(night / "repo"),
        ]


def bound(what: str, values: F8, limit: float) -> Row:
    """Return the row of a median that has a limit."""
    value = float(np.median(values))
    return what, value, f"<= {limit:g}", value <= limit


def call(*words: str, folder: Path) -> None:
    """Give one command; one that fails ends the study with what it said."""
    done = subprocess.run(
        [FIRSTLIGHT, *words],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    if done.returncode not in (0, 1):
        raise SystemExit(f"firstlight {' '.join(words)}: {done.stderr.strip()}")


def prepare(night: Path, frames: list[Path], stars: Path) -> None:
    """Make defects and template of the night in one repository, and bring them into the one that will watch."""
    known = [
        ("refcat", "register", "-b", repo, "tycho", "--name", f"{name}_refcat")
        for repo in ("before", "repo")
        for name in ("astrometry", "photometry")
    ]
    calibrate = [
        "run",
        "-b",
        "before",
        "-p",
        "single_frame.yaml#stars",
        "-i",
        "raw/microobservatory",
        "-i",
        "certified",
    ]
    combine = ["run", "-b", "before", "-p", "template.yaml", "-i", "first", "-i", "skymaps/fields"]
    for words in (
        ("repo", "create", "before"),
        ("repo", "create", "repo"),
        ("refcat", "ingest", "tycho", str(stars)),
        *known,
        ("ingest", "-b", "before", *map(str, frames)),
        ("run", "-b", "before", "-p", "night_defects.yaml", "-o", "defects"),
        ("certify", "defects", "-b", "before", "--run", "defects/1", "--into", "certified"),
        (*calibrate, *LOST, "-o", "first"),
        ("skymap", "register", "-b", "before", "fields", "-i", "first"),
        (*combine, "-o", "templates"),
        ("export", "-b", "before", *KEPT, "to_go"),
        ("import", "-b", "repo", "to_go"),
    ):
        call(*words, folder=night)


def watch(night: Path, frames: list[Path]) -> int:
    """Let the frames arrive one by one in another order, and return how many came through."""
    incoming = night / "incoming"
    incoming.mkdir()
    words = ["watch", "incoming", "-b", "repo", "-p", "difference.yaml", *INPUTS]
    process = subprocess.Popen(
        [FIRSTLIGHT, *words, *LOST, "-o", "night", "--settle", "0.5", "--every", "0.5"],
        cwd=night,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    try:
        for number, index in enumerate(np.random.default_rng(1).permutation(len(frames)), start=1):
            shutil.copy(frames[index], incoming)
            while ended(night) < number and process.poll() is None:
                time.sleep(0.2)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()
    return sum(entry["status"] == "done" for entry in entries(night))


def entries(night: Path) -> list[dict[str, object]]:
    """Return what became of each file until now."""
    log = night / "repo" / "night" / "night.json"
    return json.loads(log.read_text())["files"] if log.exists() else []


def ended(night: Path) -> int:
    """Return how many files are through or will not be."""
    return sum(entry["status"] != "waiting" for entry in entries(night))


def light_curve(night: Path, plots: Path | None) -> Table:
    """Return the forced photometry of the star."""
    place = [str(each) for each in STAR]
    call(
        *("lightcurve", *place, "-b", "repo", "--forced", "difference_image", "-i", "night", "-i", "templates/1"),
        *("-o", "curve.parquet", "--plot", "curve.png"),
        folder=night,
    )
    if plots is not None:
        plots.mkdir(parents=True, exist_ok=True)
        shutil.copy(night / "curve.png", plots / "hatp32_light_curve.png")
    return read_catalog(night / "curve.parquet")


def transit(curve: Table) -> list[Row]:
    """Fit a trapezoid whose times are known, and a slope for the airmass, to the epochs that are not flagged."""
    good = ~np.asarray(curve["total_flag"], bool) & np.isfinite(curve["total_flux"])
    mjd, base = np.asarray(curve["mjd"])[good], float(np.median(curve["template_flux"]))
    bright = np.asarray(curve["total_flux"])[good] / base
    inside = np.clip((DURATION / 2 - np.abs(mjd - CENTRE)) / INGRESS, 0.0, 1.0)
    design = np.column_stack([np.ones(len(mjd)), mjd - CENTRE, -inside])
    kept = np.ones(len(mjd), bool)
    for _ in range(5):
        solution = np.linalg.lstsq(design[kept], bright[kept], rcond=None)[0]
        left = bright - design @ solution
        kept = np.abs(left) < 5 * 1.4826 * np.median(np.abs(left[kept]))
    scatter = float(np.std(left[kept], ddof=3)) * 1085.7
    error = float(np.sqrt(np.linalg.inv(design[kept].T @ design[kept])[2, 2])) * scatter / 1085.7
    depth = float(solution[2] / solution[0])
    return [
        ("depth of the transit", depth, "0.025 +- 0.006", abs(depth - 0.025) <= 0.006),
        ("its error", error, "", True),
        ("scatter about it [mmag]", scatter, "<= 9", scatter <= 9.0),
        ("epochs that are not flagged", float(good.sum()), "", True),
        ("of these beyond 5 sigma", float((~kept).sum()), "", True),
    ]


def candidates(root: Path) -> F8:
    """Return how many candidates of each frame `count` counts."""
    counts = []
    with Repo.open(root) as repo:
        for row in repo.datasets("dia_source", collections=["night"]):
            difference = repo.get("difference_image", collections=["night"], **_of(row))
            table = repo.read(row)
            counts.append(count(table, difference))
    return np.array(counts, dtype=float)


def count(table: Table, difference: Exposure) -> tuple[int, int]:
    """Return how many candidates are unflagged and far from saturated stars, and how many of them called real."""
    kept = ~np.logical_or.reduce([np.asarray(table[name], bool) for name in FLAGS if name in table.colnames])
    away = distance_transform_edt(~difference.mask.any_of("SAT", "SAT_TEMPLATE"))
    kept &= away[np.asarray(table["peak_y"], int), np.asarray(table["peak_x"], int)] > FAR
    return int(kept.sum()), int((kept & np.asarray(table["is_real"], bool)).sum())


def injected(root: Path, *, n_frames: int = 6, per_frame: int = 40) -> list[Row]:
    """Put sources of S/N 7 to 30 on some frames, and return how many are found, and called real."""
    n_put = n_found = n_real = 0
    with Repo.open(root) as repo:
        template = repo.read(repo.datasets("template", collections=["templates/1"])[0])
        visits = repo.datasets("visit_image", collections=["night"])
        for row in visits[:: max(1, len(visits) // n_frames)][:n_frames]:
            science = repo.read(row)
            stars = repo.get("single_visit_star_unstandardized", collections=["night"], **_of(row))
            put, found, real = _recovered(science, template, stars, per_frame)
            n_put, n_found, n_real = n_put + put, n_found + found, n_real + real
    share = n_real / max(n_found, 1)
    return [
        ("injected sources at S/N 7 to 30 that are found", n_found / n_put, "", True),
        ("of these called real", share, ">= 0.95", share >= 0.95),
    ]


def _recovered(science: Exposure, template: Exposure, stars: Table, n: int) -> tuple[int, int, int]:
    """Return how many sources were put there, how many were found, and how many called real."""
    made = InjectTask(InjectConfig(count=n, snr_range=(7.0, 30.0))).run(science)
    found = DifferenceImageTask().run(made.exposure, template, stars).candidates
    places = np.column_stack([found["x"], found["y"]])
    usable = np.isfinite(places).all(axis=1) & ~np.asarray(found["is_negative"], bool)
    if not usable.any():
        return n, 0, 0
    tree = KDTree(places[usable])
    distance, which = tree.query(np.column_stack([made.truth["x"], made.truth["y"]]))
    near = distance < MATCH_PX
    real = np.asarray(found["is_real"], bool)[usable][which[near]]
    return n, int(near.sum()), int(real.sum())


def _of(row: DatasetRow) -> dict[str, int | str]:
    return {key: value for key, value in row.data_id.items() if key in ("instrument", "visit", "detector")}
