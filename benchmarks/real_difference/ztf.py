"""Half a frame of the Zwicky Transient Facility, undersampled, and a second epoch made from it.

The second epoch is the image blurred, turned by splines that are not our resampling, made fainter, and given photon
noise of its own. What it shares with the first, stars and noise alike, has to vanish: so the first epoch, which is the
template, is taken to have no noise. Any candidate is false but those that were put in. The template is what is
resampled; the science image never is.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray
from scipy.ndimage import affine_transform, binary_dilation, gaussian_filter, maximum_filter
from scipy.stats import norm

from firstlight.algorithms.injection import point_source_errors
from firstlight.algorithms.matching import match_points
from firstlight.images.exposure import Exposure
from firstlight.images.fits import read_image
from firstlight.images.mask import Mask
from firstlight.images.wcs import SkyWcs
from firstlight.instruments import find_instrument
from firstlight.tasks.calibrate_image import CalibrateImageTask
from firstlight.tasks.difference_image import DifferenceImageResult, DifferenceImageTask
from firstlight.tasks.inject import InjectConfig, InjectTask

F8 = NDArray[np.float64]
Row = tuple[str, float, str, bool]

FWHM, TURN, SCALE = 2.4, 0.5, 0.8
"""Seeing of the second epoch [pixel], how far it is turned [degree], and its flux scale."""

SPREAD = 5
"""So far light and defects are blurred [pixel]."""

PER_MEGAPIXEL = 60
THRESHOLD = 5.0
UNUSABLE = ("NO_DATA", "EDGE", "SAT", "SAT_TEMPLATE", "BAD")


@dataclass(frozen=True)
class Pair:
    """Two epochs and their differences.

    Parameters
    ----------
    science, template
        As calibrated.
    empty
        The difference where nothing was put in.
    truth
        The stars that were put in.
    filled
        The difference with them.
    """

    science: Exposure
    template: Exposure
    empty: DifferenceImageResult
    truth: Table
    filled: DifferenceImageResult


def rows(data: Path) -> list[Row]:
    """Return what was measured, its value, its target, and whether it is met."""
    pair = measure(data)
    return [*false_rows(pair), *recovery_rows(pair)]


def measure(data: Path, *, rows_used: slice = slice(None)) -> Pair:
    """Make both epochs and subtract them, with and without new stars."""
    path = data / "ztf" / "ztf_left_sci.fits.gz"
    whole = find_instrument(read_image(path).header).read(path, mask=data / "ztf" / "ztf_left_mask.fits.gz")
    part = slice(*rows_used.indices(whole.shape[0]))
    first = whole.replace(
        image=whole.image[part],
        variance=whole.variance[part],
        mask=whole.mask.cutout((part, slice(None))),
        wcs=whole.wcs.shifted(x=0, y=part.start),
    )
    calibrated = CalibrateImageTask().run(first).exposure
    # Its noise is in both epochs and cancels.
    template = calibrated.replace(variance=calibrated.variance * np.float32(1e-2))
    fwhm = calibrated.psf.fwhm(x=first.shape[1] / 2, y=first.shape[0] / 2)
    # Cosmic rays of the first epoch are repaired in the template only: what they leave in the second is no change.
    marked = first.replace(mask=calibrated.mask)
    second = CalibrateImageTask().run(second_epoch(marked, fwhm=fwhm))
    area = second.exposure.image.size / 1e6
    injected = InjectTask(InjectConfig(count=round(PER_MEGAPIXEL * area), snr_range=(3.0, 40.0))).run(second.exposure)
    task = DifferenceImageTask()
    return Pair(
        science=second.exposure,
        template=template,
        empty=task.run(second.exposure, template, second.stars),
        truth=injected.truth,
        filled=task.run(injected.exposure, template, second.stars),
    )


def second_epoch(exposure: Exposure, *, fwhm: float) -> Exposure:
    """Return an epoch of other seeing, orientation, flux scale and noise."""
    rng = np.random.default_rng(20200924)
    good = np.isfinite(exposure.image)
    image = np.where(good, exposure.image, np.median(exposure.image[good])).astype(float)
    blurred = gaussian_filter(image, np.sqrt(FWHM**2 - fwhm**2) / 2.3548, truncate=6.0)
    cos, sin = np.cos(np.radians(TURN)), np.sin(np.radians(TURN))
    rotation = np.array([[cos, -sin], [sin, cos]])  # of (x, y), from new pixels to old ones
    swapped, center = rotation[::-1, ::-1], (np.array(exposure.shape[::-1]) - 1) / 2
    offset = center[::-1] - swapped @ center[::-1]
    light = SCALE * affine_transform(blurred, swapped, offset=offset, order=5, cval=np.nan)
    outside = ~np.isfinite(light)
    gain, read_noise = exposure.detector.gain, exposure.detector.read_noise
    variance = np.maximum(np.nan_to_num(light), 0.0) / gain + (read_noise / gain) ** 2
    mask = Mask.empty(exposure.shape)
    for plane in exposure.mask.planes:
        there = exposure.mask.any_of(plane) | (~good if plane == "BAD" else False)
        if plane in ("BAD", "SAT", "CR", "NO_DATA", "SUSPECT") and there.any():
            wide = binary_dilation(there, iterations=SPREAD).astype(float)
            turned = affine_transform(wide, swapped, offset=offset, order=1) > 0.01
            mask = mask.with_new_planes(plane).with_plane("BAD" if plane == "CR" else plane, turned)
    return exposure.replace(
        image=light + rng.normal(size=light.shape) * np.sqrt(variance),
        variance=variance,
        mask=mask.with_plane("NO_DATA", outside),
        wcs=turned_wcs(exposure.wcs, rotation, center),
        psf=None,
    )


def turned_wcs(wcs: SkyWcs, rotation: F8, center: F8) -> SkyWcs:
    """Return the WCS of pixels that are turned about the centre."""
    cards = wcs.to_header()
    matrix = np.array([[cards[f"CD{i}_{j}"] for j in (1, 2)] for i in (1, 2)]) @ rotation
    place = center + rotation.T @ (np.array([cards["CRPIX1"], cards["CRPIX2"]]) - 1 - center) + 1
    cards |= {"CRPIX1": float(place[0]), "CRPIX2": float(place[1])}
    cards |= {f"CD{i + 1}_{j + 1}": float(matrix[i, j]) for i in range(2) for j in range(2)}
    return SkyWcs(cards)


def false_rows(pair: Pair) -> list[Row]:
    """Count candidates where nothing changed."""
    difference = pair.empty.difference
    bad = difference.mask.any_of(*(name for name in UNUSABLE if name in difference.mask.planes))
    area = float(np.count_nonzero(~bad)) / 1e6
    negative = np.asarray(pair.empty.candidates["is_negative"], bool)
    counts = [float(np.count_nonzero(sign)) / area for sign in (~negative, negative)]
    empty = ~bad & ~difference.mask.any_of("DETECTED", "DETECTED_NEGATIVE")
    z = (difference.image / np.sqrt(difference.variance))[empty]
    spread = 1.4826 * float(np.median(np.abs(z - np.median(z))))
    gates = {gate.name: gate.value for gate in pair.empty.gates}
    return [
        ("FWHM of the template [pixel]", pair.template.psf.fwhm(x=700.0, y=500.0), "", True),
        ("FWHM of the science image [pixel]", pair.science.psf.fwhm(x=700.0, y=500.0), "", True),
        ("area [megapixel]", area, "", True),
        ("false positive candidates per megapixel", counts[0], "<= 1", counts[0] <= 1.0),
        ("false negative candidates per megapixel", counts[1], "<= 1", counts[1] <= 1.0),
        ("robust scatter of the empty difference [sigma]", spread, "1 +- 0.03", abs(spread - 1.0) <= 0.03),
        (
            "noise of the difference over the stated one - 1",
            gates["difference_noise"],
            "<= 0.1",
            gates["difference_noise"] <= 0.1,
        ),
    ]


def recovery_rows(pair: Pair) -> list[Row]:
    """Compare the stars that were put in with what a normal law lets one find."""
    difference, truth = pair.filled.difference, pair.truth
    x, y, flux = (np.asarray(truth[name], float) for name in ("x", "y", "true_flux"))
    bad = difference.mask.any_of(*(name for name in UNUSABLE if name in difference.mask.planes))
    error = point_source_errors(pair.empty.difference.variance, psf=difference.psf, x=x, y=y, bad=bad)
    # Where stars add noise of their own the law is that of the score; sky tells whether the numbers are right.
    brightest = maximum_filter(pair.empty.difference.variance, 7)
    at = np.rint(y).astype(int), np.rint(x).astype(int)
    clear = np.isfinite(error) & ~maximum_filter(bad, 9)[at] & (brightest[at] < 1.3 * np.median(brightest[~bad]))
    snr = flux[clear] / error[clear]
    table = pair.filled.candidates
    found = match_points(x[clear], y[clear], np.asarray(table["x"]), np.asarray(table["y"]), radius=2.0)
    expected = float(norm.cdf(snr - THRESHOLD).sum())
    doubt = float(np.sqrt(np.sum(norm.cdf(snr - THRESHOLD) * norm.sf(snr - THRESHOLD))) + 0.01 * len(snr))
    pulls = (len(found) - expected) / doubt
    bright = snr[found.first] > 15
    measured, stated = (np.asarray(table[name], float)[found.second] for name in ("psf_inst_flux", "psf_inst_flux_err"))
    true = flux[clear][found.first]
    ratio = float(np.median(measured[bright] / true[bright]))
    ratio_error = 1.25 * float(np.std(measured[bright] / true[bright])) / np.sqrt(bright.sum())
    pull = 1.4826 * float(np.median(np.abs((measured - true) / stated)))
    certain = snr > THRESHOLD + 3.0
    certain_found = float(np.isin(np.flatnonzero(certain), found.first).mean())
    return [
        ("stars put in on empty sky", float(len(snr)), "", True),
        ("found", float(len(found)), f"{expected:.0f} +- {3 * doubt:.0f}", abs(pulls) <= 3.0),
        ("found of those three sigma above the threshold", certain_found, ">= 0.99", certain_found >= 0.99),
        ("flux measured over flux put in", ratio, "1 +- 0.01", abs(ratio - 1.0) <= max(0.01, 3.0 * ratio_error)),
        ("scatter of the fluxes in units of their errors", pull, "<= 1.15", pull <= 1.15),
    ]
