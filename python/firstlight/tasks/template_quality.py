"""What a template is made of and how good it is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from firstlight.framework import Gate
from firstlight.images.coadd_psf import CoaddPsf
from firstlight.images.exposure import Exposure, HeaderValue
from firstlight.images.mask import Mask
from firstlight.images.observation import ObservationInfo
from firstlight.images.photo_calib import ab_magnitude
from firstlight.images.psf import Psf
from firstlight.kernels.arrays import BoolArray
from firstlight.tasks.input_facts import DEPTH_SNR, InputFacts, measure_sky, stated_sky
from firstlight.tasks.match_inputs import InputMatch
from firstlight.tasks.template import FIRST_DATE, LAST_DATE, N_INPUTS


@dataclass(frozen=True)
class Member:
    """One aligned exposure of a template, without its pixels."""

    facts: InputFacts
    observation: ObservationInfo
    psf: Psf
    """On the pixels of the template."""

    cells: BoolArray
    """Where it has values, in cells [row, column]."""

    match: InputMatch
    factor: float
    """What its pixels were multiplied with after the alignment."""

    sky_variance: float
    """Typical variance of its pixels on the template [unit^2]."""

    noise_correlation: float


@dataclass(frozen=True)
class Combined:
    """The planes of a template and how they came to be."""

    image: NDArray[np.float32]
    variance: NDArray[np.float32]
    mask: Mask
    n_used: NDArray[np.int16]
    weights: NDArray[np.float64]
    clipped: NDArray[np.float64]
    """Fraction of the template in which each input was left out as an outlier."""

    noise_correlation: float
    """Noise in a large aperture over what the variance plane alone gives."""

    psf: CoaddPsf

    @property
    def coverage(self) -> float:
        """Fraction of the template that has a value."""
        return float(np.mean(self.n_used > 0))


def provenance(
    first: ObservationInfo, members: Sequence[Member], combined: Combined
) -> tuple[ObservationInfo, dict[str, HeaderValue]]:
    """Return what the inputs are as one observation, and the cards that list them."""
    dates = np.array([each.facts.mjd for each in members])
    known = np.isfinite(dates)
    weights = combined.weights
    times = [each.observation.exposure_time for each in members]
    header: dict[str, HeaderValue] = {N_INPUTS: len(members)}
    if known.any():
        header |= {FIRST_DATE: float(dates[known].min()), LAST_DATE: float(dates[known].max())}
    for number, (each, weight) in enumerate(zip(members, weights, strict=True), start=1):
        header[f"INP{number:05d}"] = each.facts.label
        header[f"IID{number:05d}"] = each.observation.exposure_id
        header[f"WGT{number:05d}"] = float(weight)
    mean = float(np.average(dates[known], weights=weights[known])) if known.any() else None
    return (
        replace(
            first,
            mjd_tai=mean,
            exposure_time=None if None in times else float(sum(time for time in times if time is not None)),
            observation_type="template",
        ),
        header,
    )


def template_summary(template: Exposure, combined: Combined) -> Mapping[str, float]:
    """Return the numbers that describe a template."""
    x, y = template.box.center
    assert template.psf is not None  # noqa: S101 - a template has the PSFs of its inputs
    stamp = template.psf.kernel_image(x=x, y=y)
    sky = measure_sky(template) or stated_sky(template)
    noise = math.nan if sky is None else sky.sigma
    area = float(1.0 / np.sum(stamp**2))
    limit = DEPTH_SNR * noise * combined.noise_correlation * math.sqrt(area)
    calibration = template.photo_calib
    depth = math.nan if calibration is None else float(ab_magnitude(limit * calibration.mean))
    return {
        "psf_sigma": template.psf.moments(x=x, y=y).sigma,
        "psf_fwhm": template.psf.fwhm(x=x, y=y),
        "psf_area": area,
        "sky_noise": noise,
        "mag_lim": depth,
        "noise_correlation": combined.noise_correlation,
    }


def template_gates(
    template: Exposure, members: Sequence[Member], combined: Combined, *, min_inputs: int
) -> tuple[Gate, ...]:
    """Return how good a template is."""
    n, typical = len(members), combined.n_used[combined.n_used > 0]
    matches = [each.match for each in members if math.isfinite(each.match.ratio)]
    gates = [
        Gate("template_inputs", n, sense="min", warn=max(3, min_inputs), fail=min_inputs),
        Gate("template_coverage", combined.coverage, sense="min", warn=0.9, fail=0.1, n=n),
        Gate("template_inputs_per_pixel", float(np.median(typical)) if typical.size else 0.0, sense="min", warn=3, n=n),
        Gate("template_depth_gain", _depth_gain(members, combined), "mag", sense="min", warn=0.0, n=n),
        Gate("template_clipped", float(np.max(combined.clipped)), warn=0.02, fail=0.2, n=n),
        Gate("template_high_variance", template.mask.fraction("HIGH_VARIANCE"), warn=0.1),
    ]
    if (sky := measure_sky(template)) is not None:
        gates.append(Gate("template_noise", abs(math.sqrt(sky.variance_ratio) - 1.0), warn=0.1, n=sky.n_bins))
    if len(matches) > 1:
        stars = min(each.n_stars for each in matches)
        scales = np.array([each.factor * each.match.ratio for each in members if math.isfinite(each.match.ratio)])
        gates += [
            Gate("template_offset", max(each.offset for each in matches), "pixel", warn=0.15, n=stars),
            Gate("template_scale_scatter", float(np.std(scales)), warn=0.02, n=len(scales)),
            Gate("template_star_scatter", max(each.scatter for each in matches), warn=0.1, n=stars),
        ]
    return tuple(gates)


def input_table(
    facts: Sequence[InputFacts], members: Sequence[Member], refused: Mapping[int, str], combined: Combined
) -> Table:
    """Return one row for each exposure that was given."""
    by_number = {each.facts.number: (each, place) for place, each in enumerate(members)}
    table = Table()
    table["label"] = [each.label for each in facts]
    table["used"] = [each.number in by_number for each in facts]
    table["reason"] = [refused.get(each.number, "") for each in facts]
    for name, unit in (("mjd", "d"), ("fwhm", ""), ("sky_level", ""), ("sky_noise", ""), ("depth", "mag")):
        table[name] = np.array([getattr(each, name) for each in facts], np.float64)
        table[name].unit = unit or None
    table["variance_ratio"] = [each.variance_ratio for each in facts]
    rows = [by_number.get(each.number) for each in facts]
    for name in ("ratio", "scatter", "offset"):
        table[name] = [math.nan if row is None else float(getattr(row[0].match, name)) for row in rows]
    table["n_stars"] = [0 if row is None else row[0].match.n_stars for row in rows]
    table["weight"] = [0.0 if row is None else float(combined.weights[row[1]]) for row in rows]
    table["clipped"] = [0.0 if row is None else float(combined.clipped[row[1]]) for row in rows]
    return table


def _depth_gain(members: Sequence[Member], combined: Combined) -> float:
    """Return how much less noise the template has in its sky than its best input, in large areas [mag]."""
    best = min(each.sky_variance * each.noise_correlation**2 for each in members)
    known = combined.variance[np.isfinite(combined.variance)]
    if not known.size:
        return math.nan
    return 1.25 * math.log10(best / (float(np.median(known)) * combined.noise_correlation**2))
