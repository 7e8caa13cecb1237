"""From two calibrated images to candidates: how many changes are found, how many are none, how good the fluxes are.

python benchmarks/bench_difference.py --seeds 3 [--side 1024] [--fwhm 2.6:2.2 2.2:2.6] [--template-sky 300]

Each pair has 200 transients per 1024 x 1024 pixels, of signal-to-noise ratios 2.5 to 60 on the difference, and 200
stars that are brighter by half. Times are CPU seconds of one thread, of the second of two runs. False candidates are
counted per megapixel away from everything that changed.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import structlog
from numpy.typing import NDArray

from firstlight.algorithms.injection import fit_completeness, light_of_stars, point_source_errors
from firstlight.algorithms.matching import match_points
from firstlight.framework import Layer, build_config
from firstlight.images.exposure import Exposure
from firstlight.tasks.difference_image import DifferenceImageConfig, DifferenceImageResult, DifferenceImageTask

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "algorithms"))
from pairs import GAIN, Pair, make_pair

HEADINGS = (
    "FWHM",
    "seed",
    "CPU s",
    "sky std",
    "masked %",
    "S/N 50 %",
    "+-",
    "> 6 %",
    "false +",
    "false -",
    "flux > 20",
    "pull",
    "px > 20",
    "variables",
)
MASKED = ("NO_DATA", "EDGE", "SAT", "SAT_TEMPLATE")


def main() -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument("--fwhm", nargs="*", default=["2.2:2.2", "2.6:2.2", "2.2:2.6"])
    parser.add_argument("--template-sky", type=float, default=300.0)
    parser.add_argument("--variation", type=float, default=0.04)
    parser.add_argument("-c", dest="settings", nargs="*", default=[])
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    layers = [Layer.from_assignment(text) for text in options.settings]
    task = DifferenceImageTask(build_config(DifferenceImageConfig, layers, labelled=False))
    print("  ".join(f"{heading:>9}" for heading in HEADINGS))
    for widths in options.fwhm:
        science, template = (float(value) for value in widths.split(":"))
        for seed in range(1, options.seeds + 1):
            number = round(200 * (options.side / 1024) ** 2)
            pair = make_pair(
                seed,
                side=options.side,
                fwhm=(science, template),
                sky=(300.0, options.template_sky),
                variation=options.variation,
                n_new=0,
                n_variable=number,
            )
            cells = judge(task, pair, number, seed)
            print("  ".join(f"{cell:>9}" for cell in (widths, str(seed), *cells)), flush=True)


def judge(task: DifferenceImageTask, pair: Pair, number: int, seed: int) -> list[str]:
    """Return the cells of one pair."""
    rng = np.random.default_rng(1000 + seed)
    empty = task.run(pair.science, pair.template).difference
    x, y = rng.uniform(15, pair.science.shape[0] - 15, (2, number))
    unusable = masked(empty)
    error = point_source_errors(empty.variance, psf=empty.psf, x=x, y=y, bad=unusable)
    snr = np.exp(rng.uniform(np.log(2.5), np.log(60.0), number))
    flux = np.where(np.isfinite(error), snr * error, 0.0)
    science = with_stars(pair.science, x, y, flux, rng)
    start = time.process_time()
    result = task.run(science, pair.template)
    seconds = time.process_time() - start
    clear = np.isfinite(error) & ~unusable[np.rint(y).astype(int), np.rint(x).astype(int)]
    clear &= ~near(pair, x, y)
    return [f"{seconds:.2f}", *of_pixels(result), *of_candidates(pair, result, x, y, flux, snr, clear)]


def with_stars(
    exposure: Exposure,
    x: NDArray[np.floating],
    y: NDArray[np.floating],
    flux: NDArray[np.floating],
    rng: np.random.Generator,
) -> Exposure:
    """Return the exposure with new stars and their photon noise."""
    light = light_of_stars(exposure.shape, psf=exposure.psf, x=x, y=y, flux=flux)
    image = exposure.image + (rng.poisson(light * GAIN) / GAIN).astype(np.float32)
    return exposure.replace(image=image, variance=exposure.variance + (light / GAIN).astype(np.float32))


def near(pair: Pair, x: NDArray[np.floating], y: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Return which positions lie on a star that varies, or on one so bright that its noise counts."""
    noisy = pair.variable | (pair.flux > 2e3)
    distance = np.hypot(x[:, None] - pair.x[noisy], y[:, None] - pair.y[noisy])
    return np.asarray(distance.min(axis=1) < 8.0)


def masked(difference: Exposure) -> NDArray[np.bool_]:
    """Return the pixels that do not count."""
    return difference.mask.any_of(*(name for name in MASKED if name in difference.mask.planes))


def of_pixels(result: DifferenceImageResult) -> list[str]:
    """Return the robust standard deviation of the pixels in units of the stated one, and the share of masked cores."""
    bad = masked(result.difference)
    bad |= result.difference.mask.any_of("DETECTED", "DETECTED_NEGATIVE")
    z = (result.difference.image / np.sqrt(result.difference.variance))[~bad]
    spread = 1.4826 * np.median(np.abs(z - np.median(z)))
    cores = {gate.name: gate.value for gate in result.gates}["masked_core_fraction"]
    return [f"{spread:.3f}", f"{100 * cores:.2f}"]


def of_candidates(
    pair: Pair,
    result: DifferenceImageResult,
    x: NDArray[np.floating],
    y: NDArray[np.floating],
    flux: NDArray[np.floating],
    snr: NDArray[np.floating],
    clear: NDArray[np.bool_],
) -> list[str]:
    """Return how complete, how clean and how right the candidates are."""
    table = result.candidates
    at_x, at_y = (np.asarray(table[name], dtype=float) for name in ("x", "y"))
    pairs = match_points(x, y, at_x, at_y, radius=2.5)
    found = np.zeros(len(x), dtype=bool)
    found[pairs.first] = True
    fit = fit_completeness(snr[clear], found[clear])
    limit = ["-", "-"] if fit is None else [f"{fit.half:.2f}", f"{fit.half_err:.2f}"]
    changed_x, changed_y = np.concatenate([x, pair.x[pair.variable]]), np.concatenate([y, pair.y[pair.variable]])
    apart = np.hypot(at_x[:, None] - changed_x, at_y[:, None] - changed_y).min(axis=1) > 8.0
    negative = np.asarray(table["is_negative"], dtype=bool)
    megapixels = result.difference.image.size / 1e6
    false = [f"{np.sum(apart & sign) / megapixels:.1f}" for sign in (~negative, negative)]
    good = clear[pairs.first]
    rows, stars = table[pairs.second[good]], pairs.first[good]
    measured, stated = (np.asarray(rows[name]) for name in ("psf_inst_flux", "psf_inst_flux_err"))
    bright = snr[stars] > 20
    weight = 1.0 / stated[bright] ** 2
    ratio = np.sum(weight * measured[bright] * flux[stars][bright]) / np.sum(weight * flux[stars][bright] ** 2)
    pull = np.std((measured - flux[stars])[bright] / stated[bright])
    offset = np.hypot(at_x[pairs.second[good]] - x[stars], at_y[pairs.second[good]] - y[stars])[bright] / np.sqrt(2.0)
    return [
        *limit,
        f"{100 * found[clear & (snr > 6)].mean():.1f}",
        *false,
        f"{ratio:.4f}",
        f"{pull:.2f}",
        f"{np.sqrt(np.mean(offset**2)):.3f}",
        variables(pair, result, at_x, at_y),
    ]


def variables(pair: Pair, result: DifferenceImageResult, at_x: NDArray[np.floating], at_y: NDArray[np.floating]) -> str:
    """Return how many of the variable stars that changed by more than 6 sigma are found."""
    shape = result.difference.shape
    x, y, change = pair.x[pair.variable], pair.y[pair.variable], 0.5 * pair.flux[pair.variable]
    inside = (x > 8) & (y > 8) & (x < shape[1] - 9) & (y < shape[0] - 9)
    x, y, change = x[inside], y[inside], change[inside]
    bad = masked(result.difference)
    error = point_source_errors(result.difference.variance, psf=result.difference.psf, x=x, y=y, bad=bad)
    use = (change > 6 * error) & ~bad[np.rint(y).astype(int), np.rint(x).astype(int)]
    distance = np.hypot(x[use, None] - at_x, y[use, None] - at_y).min(axis=1)
    return f"{int((distance < 2.5).sum())}/{int(use.sum())}"


if __name__ == "__main__":
    main()
