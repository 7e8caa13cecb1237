"""The crowded field of the ISIS package: 25 epochs without WCS, gain or date.

All epochs are calibrated; a template is made of the sharpest, without the epoch itself, and laid on the pixels of every
epoch by the stars. What is left tells gain and read noise, with which everything is done again. The index of an epoch
stands for its date.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter

from firstlight.algorithms.pattern_alignment import PatternAlignment
from firstlight.algorithms.photon_transfer import PhotonTransfer
from firstlight.framework import subtask
from firstlight.images.exposure import Exposure
from firstlight.images.fits import read_image
from firstlight.images.wcs import SkyWcs
from firstlight.instruments import find_instrument
from firstlight.tasks.align_pattern import PatternAlignTask
from firstlight.tasks.associate import OBJECT_COLUMNS, AssociateTask
from firstlight.tasks.calibrate_image import CalibrateImageTask
from firstlight.tasks.detect_difference import DetectDifferenceTask
from firstlight.tasks.photon_transfer import PhotonTransferTask, with_noise_of
from firstlight.tasks.select_inputs import BestInputSelectTask
from firstlight.tasks.subtract import SubtractResult
from firstlight.tasks.subtract_alard_lupton import AlardLuptonSubtractTask
from firstlight.tasks.template import TemplateResult
from firstlight.tasks.template_coadd import CoaddTemplateConfig, CoaddTemplateTask

F8 = NDArray[np.float64]
Row = tuple[str, float, str, bool]

N_EPOCHS, N_TEMPLATE = 25, 8
VARIABLES = ((148.0, 103.0), (48.0, 53.0), (178.0, 153.0), (98.0, 53.0))
"""x, y in epoch 0 [pixel], from the description of the images; the first two are the stronger ones."""

EDGE = 36
NEAR = 3.0
"""How far a peak may lie from where a variable star is [pixel]."""

BRIGHT = 8000.0
"""Peak of the stars that may be worse [count]."""


@dataclass(frozen=True)
class Epoch:
    """One epoch, subtracted.

    Parameters
    ----------
    science
        As calibrated.
    template
        On the pixels of the epoch.
    placing
        From pixels of the epoch to those of the template.
    made
        What the subtraction gave.
    """

    science: Exposure
    template: Exposure
    placing: PatternAlignment
    made: SubtractResult


@dataclass(frozen=True)
class Season:
    """All epochs, their template and the noise of the camera."""

    template: TemplateResult
    epochs: tuple[Epoch, ...]
    curve: PhotonTransfer


def rows(data: Path) -> list[Row]:
    """Return what was measured, its value, its target, and whether it is met."""
    season = measure(data)
    return [*noise_rows(season), *star_rows(season), *variable_rows(season), *object_rows(season)]


def measure(data: Path) -> Season:
    """Subtract all epochs twice: with the noise that the pixels of single images show, and with that of differences."""
    images = [data / "isis" / f"infile{number}.fits.gz" for number in range(N_EPOCHS)]
    raw = [find_instrument(read_image(path).header).read(path) for path in images]
    _, first = subtract_all(raw, of_template=False)
    task = PhotonTransferTask()
    samples = [
        task.of_difference(each.science, each.template, each.made.kernel, template_depth=N_TEMPLATE) for each in first
    ]
    curve = task.run(samples).curve
    template, epochs = subtract_all([with_noise_of(exposure, curve) for exposure in raw])
    return Season(template, epochs, curve)


def subtract_all(raw: list[Exposure], *, of_template: bool = True) -> tuple[TemplateResult, tuple[Epoch, ...]]:
    """Calibrate all epochs, make a template of the best, and subtract it from each on the pixels of the epoch.

    Without ``of_template`` the epochs that the template is made of are left out.
    """
    calibrated = [CalibrateImageTask().run(exposure) for exposure in raw]
    config = CoaddTemplateConfig(
        scaling="stars",
        align=subtask(PatternAlignTask),
        select=subtask(BestInputSelectTask, max_inputs=N_TEMPLATE),
    )
    exposures = [each.exposure for each in calibrated]
    make, align = CoaddTemplateTask(config), PatternAlignTask()
    subtract = AlardLuptonSubtractTask()
    template = make.run_on(exposures)
    epochs = []
    for number, (each, used) in enumerate(zip(calibrated, template.inputs["used"], strict=True)):
        if used and not of_template:
            continue
        # An epoch that is in the template would hide what changed in it, and share its noise.
        others = make.run_on([*exposures[:number], *exposures[number + 1 :]]) if used else template
        placing = align.find(template.template, onto=each.exposure)
        aligned = align.run(others.template, onto=each.exposure)
        made = subtract.run(each.exposure, aligned.exposure, each.stars)
        epochs.append(Epoch(each.exposure, aligned.exposure, placing, made))
    return template, tuple(epochs)


def noise_rows(season: Season) -> list[Row]:
    """Tell the noise of the camera and whether the differences have it."""
    curve = season.curve
    rms = [epoch.placing.rms for epoch in season.epochs]
    gates = [{gate.name: gate.value for gate in epoch.made.gates} for epoch in season.epochs]
    noise, flux = (float(np.median([each[name] for each in gates])) for name in ("difference_noise", "residual_ratio"))
    return [
        ("epochs subtracted", float(len(season.epochs)), "= 25", len(season.epochs) == N_EPOCHS),
        ("largest scatter of the stars about their map [pixel]", max(rms), "<= 0.2", max(rms) <= 0.2),
        ("gain by photon transfer [electron / count]", curve.gain, "", True),
        ("its error", curve.gain_err, "<= 0.05", curve.gain_err <= 0.05),
        ("variance without light [count^2]", curve.floor, "", True),
        ("scatter that goes with the light, of a pixel", curve.mismatch, "", True),
        ("median of |noise of the sky / stated - 1|", noise, "<= 0.1", noise <= 0.1),
        ("median share of the light of stars that is left", flux, "<= 0.02", flux <= 0.02),
    ]


def star_rows(season: Season) -> list[Row]:
    """Tell the standard deviation of the pixels of stars that do not vary."""
    faint, bright = star_scatter(season)
    both = [float(np.sqrt(np.mean(values**2))) for values in (faint, bright)]
    return [
        ("stars compared", float(len(faint) + len(bright)), "", True),
        ("std(D/sigma) on stars", both[0], "<= 1.15", both[0] <= 1.15),
        ("the same, worst tenth of the stars", float(np.percentile(faint, 90)), "", True),
        (f"std(D/sigma) on stars that peak above {BRIGHT:g} counts", both[1], "<= 1.4", both[1] <= 1.4),
    ]


def star_scatter(season: Season) -> tuple[F8, F8]:
    """Return the standard deviation of D/sigma within half the FWHM of each star over all epochs; faint and bright."""
    table = template_stars(season)
    sums, counts = np.zeros(len(table)), np.zeros(len(table))
    for epoch in season.epochs:
        x, y = positions(epoch, table)
        difference = epoch.made.difference
        z = difference.image / np.sqrt(difference.variance)
        radius = 0.5 * difference.psf.fwhm(x=128.0, y=128.0)
        rows_, columns = np.indices(difference.shape)
        for k in range(len(table)):
            near = (np.hypot(columns - x[k], rows_ - y[k]) <= radius) & np.isfinite(z)
            sums[k] += np.sum(z[near] ** 2)
            counts[k] += near.sum()
    scatter = np.sqrt(sums / np.maximum(counts, 1))
    bright = np.asarray(table["peak"]) > BRIGHT
    return scatter[~bright], scatter[bright]


def template_stars(season: Season) -> Table:
    """Return the places of the peaks of the template above ten times its noise that do not vary and lie inside."""
    template = season.template.template
    image = np.nan_to_num(template.image)
    sky = float(season.epochs[0].science.background.evaluate(shape=template.shape).mean())
    top = (maximum_filter(image, 5) == image) & (image > 10.0 * np.sqrt(template.variance))
    y, x = np.nonzero(top)
    ny, nx = template.shape
    inside = (x >= EDGE) & (y >= EDGE) & (x < nx - EDGE) & (y < ny - EDGE)
    varies = np.min([np.hypot(x - vx, y - vy) for vx, vy in in_template(season)], axis=0) < 8.0
    kept = inside & ~varies
    return Table({"x": x[kept].astype(float), "y": y[kept].astype(float), "peak": image[y, x][kept] + sky})


def in_template(season: Season) -> list[tuple[float, float]]:
    """Return where the variable stars are in the template."""
    x, y = season.epochs[0].placing.position(*(np.array(axis) for axis in zip(*VARIABLES, strict=True)))
    return list(zip(x.tolist(), y.tolist(), strict=True))


def positions(epoch: Epoch, table: Table) -> tuple[F8, F8]:
    """Return where places in the template are in an epoch; two rounds undo a map that is nearly a shift."""
    x, y = (np.asarray(table[name], float) for name in ("x", "y"))
    there = x.copy(), y.copy()
    for _ in range(4):
        back = epoch.placing.position(*there)
        there = there[0] + x - back[0], there[1] + y - back[1]
    return there


def rms_map(season: Season) -> F8:
    """Return the root mean square over all epochs of the significance of a point source, in pixels of the template."""
    align = PatternAlignTask()
    total, counts = np.zeros(season.template.template.shape), np.zeros(season.template.template.shape)
    for epoch in season.epochs:
        known = ~epoch.made.difference.mask.any_of("NO_DATA", "EDGE")
        score = epoch.science.replace(
            image=np.where(known, epoch.made.score, np.nan), variance=np.ones(known.shape, np.float32), psf=None
        )

        def position(x: F8, y: F8, epoch: Epoch = epoch) -> tuple[F8, F8]:
            x, y = np.asarray(x), np.asarray(y)
            there = positions(epoch, Table({"x": x.ravel(), "y": y.ravel()}))
            return there[0].reshape(x.shape), there[1].reshape(y.shape)

        moved = align.warp.warped(score, total.shape, wcs=None, position=position).exposure.image
        good = np.isfinite(moved)
        total[good] += moved[good].astype(float) ** 2
        counts += good
    return np.sqrt(total / np.maximum(counts, 1))


def variable_rows(season: Season) -> list[Row]:
    """Tell whether the variable stars are the strongest in the map."""
    peaks = strongest(rms_map(season), len(VARIABLES) + 4)
    known = in_template(season)
    rank = [
        next((k + 1 for k, (x, y, _) in enumerate(peaks) if np.hypot(x - vx, y - vy) < NEAR), 99) for vx, vy in known
    ]
    names = [f"rank of the variable star at ({x:g}, {y:g})" for x, y in VARIABLES]
    found = [(name, float(place), "<= 4", place <= 4) for name, place in zip(names, rank, strict=True)]
    return [*found, ("rms of the fourth over the fifth", peaks[3][2] / peaks[4][2], "> 1", peaks[3][2] > peaks[4][2])]


def strongest(image: F8, number: int) -> list[tuple[float, float, float]]:
    """Return x, y and height of the highest peaks far from the edges."""
    inner = np.zeros(image.shape, bool)
    inner[EDGE:-EDGE, EDGE:-EDGE] = True
    y, x = np.nonzero((maximum_filter(image, 9) == image) & inner)
    order = np.argsort(-image[y, x])[:number]
    return [(float(x[k]), float(y[k]), float(image[y[k], x[k]])) for k in order]


def object_rows(season: Season) -> list[Row]:
    """Tell whether each variable star is one object that was seen again and again."""
    objects = associate(season)
    x, y = (np.asarray(objects[name], float) for name in ("x", "y"))
    seen = np.asarray(objects["n_detections"])
    inside = (x >= EDGE) & (y >= EDGE) & (x < 256 - EDGE) & (y < 256 - EDGE)
    often = inside & (seen >= 5)
    near = [np.flatnonzero((np.hypot(x - vx, y - vy) < NEAR) & (seen >= 3)) for vx, vy in in_template(season)]
    single = sum(len(each) == 1 for each in near)
    detections = [int(seen[each].max()) if len(each) else 0 for each in near]
    others = int(often.sum()) - sum(int(seen[each].max() >= 5) for each in near if len(each))
    return [
        ("variable stars that are one object each", float(single), "= 4", single == len(VARIABLES)),
        ("epochs in which the least seen of them is", float(min(detections)), ">= 5", min(detections) >= 5),
        ("other objects seen five times or more", float(others), "", True),
    ]


def associate(season: Season) -> Table:
    """Return the objects of the season with their places in the template; 1 pixel stands for an arc second."""
    plane = plane_wcs(season.template.template.shape)
    objects, task, last = _no_objects(), AssociateTask(), 0
    for index, epoch in enumerate(season.epochs):
        made = epoch.made
        candidates = (
            DetectDifferenceTask()
            .run(
                made.difference,
                science=epoch.science,
                template=epoch.template,
                kernel=made.kernel,
                score=made.score,
                kernel_sources=made.kernel_sources,
            )
            .sources
        )
        x, y = (np.asarray(candidates[name], float) for name in ("x", "y"))
        ra, dec = plane.pixel_to_sky(**dict(zip(("x", "y"), epoch.placing.position(x, y), strict=True)))
        table = Table({"id": last + 1 + np.arange(len(x)), "ra": ra, "dec": dec}, units={"ra": "deg", "dec": "deg"})
        last += len(x)
        changed = task.run(table, objects, mjd=float(index)).objects
        kept = ~np.isin(np.asarray(objects["id"]), np.asarray(changed["id"]))
        objects = merged(objects[kept], changed)
    objects["x"], objects["y"] = plane.sky_to_pixel(ra=np.asarray(objects["ra"]), dec=np.asarray(objects["dec"]))
    return objects


def _no_objects() -> Table:
    columns = {name: np.empty(0, kind) for name, (kind, _) in OBJECT_COLUMNS.items()}
    return Table(columns, units={name: unit for name, (_, unit) in OBJECT_COLUMNS.items() if unit})


def merged(first: Table, second: Table) -> Table:
    """Return the rows of both, which have the same columns."""
    if not len(first):
        return second
    made = first.copy()
    for row in second:
        made.add_row(row)
    return made


def plane_wcs(shape: tuple[int, int]) -> SkyWcs:
    """Return a plane of one arc second a pixel somewhere on the sky."""
    ny, nx = shape
    step = 1.0 / 3600.0
    return SkyWcs(
        {
            "CTYPE1": "RA---TAN",
            "CTYPE2": "DEC--TAN",
            "CUNIT1": "deg",
            "CUNIT2": "deg",
            "RADESYS": "ICRS",
            "EQUINOX": 2000.0,
            "CRVAL1": 150.0,
            "CRVAL2": 2.0,
            "CRPIX1": (nx + 1) / 2,
            "CRPIX2": (ny + 1) / 2,
            "CD1_1": -step,
            "CD1_2": 0.0,
            "CD2_1": 0.0,
            "CD2_2": step,
        }
    )
