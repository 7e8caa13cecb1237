"""Compare the objects of a repository with the truth of a simulated season."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from astropy.table import Table
from scipy.spatial import cKDTree

from firstlight.images.catalog import read_catalog
from firstlight.repo.light_curves import light_curve
from firstlight.repo.object_schema import detection, sky_object
from firstlight.repo.objects import select_rows
from firstlight.repo.repo import Repo

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MATCH_ARCSEC = 1.5
SAME_TIME_DAYS = 1.0 / 1440.0
DETECTABLE = 5.0
SNR_EDGES = (3.0, 4.0, 5.0, 6.0, 8.0, 12.0, 20.0, np.inf)

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Season:
    """What is true and what was found, joined."""

    truth: Table
    """Rows on images of the season, with ``change`` [nJy], ``change_snr``, ``detection`` (row; -1) per row."""

    detections: Table
    """All that are kept, with ``true_id`` (-1 for none)."""

    objects: Table
    """All that are kept, with ``true_id`` of most of their detections (-1 for none)."""

    curves: dict[int, Table]
    """Light curve of each object of two detections and more, and of each that is true."""


def read_season(repo: Repo, folder: Path, *, n_templates: int) -> Season:
    """Join a repository with the truth tables beside its frames."""
    truth = read_catalog(folder / "truth_light_curves.parquet")
    before, truth = truth[truth["night"] < 0], truth[(truth["night"] >= 0) & truth["on_image"]]
    _add_change(truth, before, n_templates=n_templates)
    with repo.database.read() as connection:
        found, objects = select_rows(connection, detection), select_rows(connection, sky_object)
    found["true_id"], truth["detection"] = -1, -1
    for mjd in np.unique(np.asarray(found["mjd"])):
        now = np.flatnonzero(np.abs(np.asarray(found["mjd"]) - mjd) < 1e-9)
        then = np.flatnonzero(np.abs(np.asarray(truth["mjd"]) - mjd) < SAME_TIME_DAYS)
        for row, true_row in _pairs(found[now], truth[then]):
            found["true_id"][now[row]] = truth["id"][then[true_row]]
            truth["detection"][then[true_row]] = now[row]
    objects["true_id"] = [_owner(found, number) for number in objects["id"]]
    wanted = (np.asarray(objects["n_detections"]) >= 2) | (np.asarray(objects["true_id"]) >= 0)
    curves = {int(number): light_curve(repo, int(number)) for number in objects["id"][wanted]}
    season = Season(truth, found, objects, curves)
    _take_off_template(season)
    return season


def recall(season: Season) -> list[tuple[str, int, int, int]]:
    """Return (range of the largest signal-to-noise ratio, objects, found, found twice) of what does not move."""
    rows = []
    still = season.truth[season.truth["kind"] != "mover"]
    groups = [still[still["id"] == number] for number in np.unique(still["id"])]
    best = np.array([np.max(np.abs(group["change_snr"])) for group in groups])
    times = np.array([np.sum(group["detection"] >= 0) for group in groups])
    for low, high in pairwise(SNR_EDGES):
        of = (best >= low) & (best < high)
        rows.append((f"{low:g} to {high:g}", int(of.sum()), int((times[of] >= 1).sum()), int((times[of] >= 2).sum())))
    return rows


def completeness(season: Season, kind: str) -> list[tuple[str, int, int]]:
    """Return (range of the signal-to-noise ratio, how often something shone so, how often it was detected)."""
    part = season.truth[season.truth["kind"] == kind]
    snr, seen = np.abs(np.asarray(part["change_snr"])), np.asarray(part["detection"]) >= 0
    rows = []
    for low, high in pairwise(SNR_EDGES):
        of = (snr >= low) & (snr < high)
        rows.append((f"{low:g} to {high:g}", int(of.sum()), int(seen[of].sum())))
    return rows


def purity(season: Season, *, min_score: float = 0.0) -> tuple[int, Table]:
    """Return how many objects have two detections and more, and those of them that are not true.

    Parameters
    ----------
    season
    min_score
        Detections that are less probable do not count; those without a score do.
    """
    counts = ~(np.asarray(season.detections["score"]) < min_score)
    numbers, times = np.unique(np.asarray(season.detections["object_id"])[counts], return_counts=True)
    often = season.objects[np.isin(np.asarray(season.objects["id"]), numbers[times >= 2])]
    return len(often), often[np.asarray(often["true_id"]) < 0]


def named(season: Season, folder: Path) -> tuple[int, int, int]:
    """Return detections of predicted bodies, how many of them have their name, and how many other ones have a name."""
    objects = read_catalog(folder / "truth_objects.parquet")
    known = {int(row["id"]) for row in objects if row["known"]}
    seen = right = wrong = 0
    for row in season.detections:
        number, name = int(row["true_id"]), str(row["solar_system"])
        seen += number in known
        right += number in known and name == f"body {number}"
        wrong += bool(name) and name != f"body {number}"
    return seen, right, wrong


def duplicates(season: Season) -> dict[int, list[int]]:
    """Return true objects that stay in place and have several numbers."""
    still = {int(number) for number in season.truth["id"][season.truth["kind"] != "mover"]}
    found: dict[int, list[int]] = {}
    for row in season.detections[np.asarray(season.detections["object_id"]) != 0]:
        if int(row["true_id"]) in still:
            found.setdefault(int(row["true_id"]), []).append(int(row["object_id"]))
    return {true: sorted(set(numbers)) for true, numbers in found.items() if len(set(numbers)) > 1}


def mixed(season: Season) -> list[int]:
    """Return objects whose detections are of several true objects."""
    number, true = np.asarray(season.detections["object_id"]), np.asarray(season.detections["true_id"])
    with_truth = (number != 0) & (true >= 0)
    return [
        int(each) for each in np.unique(number[with_truth]) if len(np.unique(true[with_truth & (number == each)])) > 1
    ]


def pulls(season: Season, kind: str, of: str) -> list[tuple[int, Floats, Floats]]:
    """Return (true object, pulls, true signal-to-noise ratios) of light curves of one kind of object.

    A variable star has an unknown flux in the template, so the mean difference is taken off its pulls, and these are
    made larger for the degree of freedom that it takes.

    Parameters
    ----------
    season
    kind
        "supernova" or "variable".
    of
        "detection" or "forced".
    """
    rows = []
    for entry in season.objects[np.asarray(season.objects["true_id"]) >= 0]:
        curve, mine = season.curves[int(entry["id"])], season.truth[season.truth["id"] == entry["true_id"]]
        if mine["kind"][0] != kind:
            continue
        curve = curve[curve["kind"] == of]
        apart = np.abs(np.asarray(curve["mjd"])[:, None] - np.asarray(mine["mjd"])[None])
        near = np.argmin(apart, axis=1) if len(curve) else np.empty(0, int)
        good = np.flatnonzero(apart[np.arange(len(curve)), near] < SAME_TIME_DAYS)
        error = np.asarray(curve["flux_err"])[good]
        off = np.asarray(curve["flux"])[good] - np.asarray(mine["change"])[near[good]]
        if kind == "variable":
            if len(off) < 2:
                continue
            off = (off - np.average(off, weights=error**-2.0)) * np.sqrt(len(off) / (len(off) - 1))
        rows.append((int(entry["true_id"]), off / error, np.asarray(mine["change_snr"])[near[good]]))
    return rows


def draw(season: Season, path: Path, *, per_kind: int = 8) -> None:
    """Draw the light curves of supernovae and variables of many brightnesses over the truth."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(4, per_kind // 2, figsize=(4.0 * per_kind / 2, 11.0), constrained_layout=True)
    found = season.objects[np.asarray(season.objects["true_id"]) >= 0]
    for first, kind in ((0, "supernova"), (2, "variable")):
        entries = [row for row in found if season.truth["kind"][season.truth["id"] == row["true_id"]][0] == kind]
        entries.sort(key=lambda row: -np.max(season.truth["change_snr"][season.truth["id"] == row["true_id"]]))
        chosen = np.unique(np.linspace(0, max(len(entries) - 1, 0), min(per_kind, len(entries))).astype(int))
        for place, number in zip(axes[first : first + 2].flat, chosen, strict=False):
            _draw_one(place, season, entries[number])
    figure.savefig(path, dpi=90)
    plt.close(figure)


def _draw_one(place: Axes, season: Season, entry: Table.Row) -> None:
    curve, true = season.curves[int(entry["id"])], season.truth[season.truth["id"] == entry["true_id"]]
    true = true[np.argsort(true["mjd"])]
    start = np.floor(np.min(season.truth["mjd"]))
    place.plot(true["mjd"] - start, 1e-3 * true["change"], color="0.6", lw=1.5, zorder=0, label="truth")
    for kind, style in (
        ("forced", {"fmt": "o", "ms": 3, "color": "C0"}),
        ("detection", {"fmt": "s", "mfc": "none", "color": "C3"}),
    ):
        part = curve[curve["kind"] == kind]
        days = np.asarray(part["mjd"]) - start
        place.errorbar(days, 1e-3 * np.asarray(part["flux"]), 1e-3 * np.asarray(part["flux_err"]), label=kind, **style)
    place.axhline(0.0, color="0.8", lw=0.5)
    place.set_title(
        f"{true['kind'][0]} {entry['true_id']}, S/N to {np.max(np.abs(true['change_snr'])):.0f}", fontsize=9
    )
    place.set(xlabel="night", ylabel="change [uJy]")


def _add_change(truth: Table, before: Table, *, n_templates: int) -> None:
    """Add the flux above that of the template, and what it is in units of its noise."""
    flux, snr = np.asarray(truth["flux"]), np.asarray(truth["snr"])
    in_template = {int(number): 0.0 for number in np.unique(truth["id"])}
    for number in np.unique(before["id"][before["kind"] == "variable"]):
        in_template[int(number)] = float(np.mean(before["flux"][before["id"] == number]))
    change = flux - np.array([in_template[int(number)] for number in truth["id"]])
    error = np.where(snr > 0, flux / np.where(snr > 0, snr, 1.0), np.inf) * np.sqrt(1.0 + 1.0 / max(n_templates, 1))
    truth["change"], truth["change_snr"] = change, np.where(np.isfinite(error), change / error, 0.0)


def _take_off_template(season: Season) -> None:
    """Put right the changes of variables that are objects.

    A template leaves out what differs most, so the flux of a variable in it is not that of the mean of its epochs; it
    follows from the fluxes at the place of the object, as a constant that fits best.
    """
    truth = season.truth
    for entry in season.objects[np.asarray(season.objects["true_id"]) >= 0]:
        mine = np.flatnonzero((truth["id"] == entry["true_id"]) & (truth["kind"] == "variable"))
        forced = season.curves[int(entry["id"])]
        forced = forced[forced["kind"] == "forced"]
        if not (len(mine) and len(forced)):
            continue
        near = np.argmin(np.abs(np.asarray(forced["mjd"])[:, None] - np.asarray(truth["mjd"])[mine]), axis=1)
        change, snr = np.asarray(truth["change"]), np.asarray(truth["change_snr"])
        weight = np.asarray(forced["flux_err"]) ** -2.0
        shift = float(np.average(np.asarray(forced["flux"]) - change[mine[near]], weights=weight))
        error = np.divide(change[mine], snr[mine], out=np.full(len(mine), np.inf), where=snr[mine] != 0)
        truth["change_snr"][mine] = (change[mine] + shift) / error
        truth["change"][mine] += shift


def _pairs(found: Table, truth: Table) -> list[tuple[int, int]]:
    """Return rows that are near each other, the nearest first and each row once."""
    if not (len(found) and len(truth)):
        return []
    shines = np.flatnonzero(np.asarray(truth["change"]) != 0)
    tree = cKDTree(_vectors(truth[shines]))
    distance, near = tree.query(_vectors(found), k=min(3, len(shines)))
    distance, near = distance.reshape(len(found), -1), near.reshape(len(found), -1)
    pairs: list[tuple[int, int]] = []
    taken: set[int] = set()
    done: set[int] = set()
    for flat in np.argsort(distance, axis=None):
        row, k = np.unravel_index(int(flat), distance.shape)
        if distance[row, k] > np.radians(MATCH_ARCSEC / 3600.0):
            break
        true_row = int(shines[near[row, k]])
        if int(row) not in done and true_row not in taken:
            pairs.append((int(row), true_row))
            done.add(int(row))
            taken.add(true_row)
    return pairs


def _vectors(table: Table) -> Floats:
    ra, dec = (np.radians(np.asarray(table[name], dtype=np.float64)) for name in ("ra", "dec"))
    return np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=-1)


def _owner(found: Table, number: int) -> int:
    """Return the true object of most detections of an object; -1 where most have none."""
    of = np.asarray(found["true_id"])[np.asarray(found["object_id"]) == number]
    numbers, counts = np.unique(of, return_counts=True)
    return int(numbers[np.argmax(counts)]) if len(numbers) else -1
