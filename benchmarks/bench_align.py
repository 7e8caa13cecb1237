"""Align simulated pairs of images in every way there is, and print how well stars keep their place and their flux.

python benchmarks/bench_align.py --pairs 100 [--side 512] [--methods lanczos swarp]
python benchmarks/bench_align.py --speed

The simulator draws both images of a pair through its own WCS: pixels of another size (x 0.7 to x 1.3), turned (half of
the pairs by less than 5 degrees), shifted, distorted otherwise, with stars from undersampled to well sampled and with
bad pixels. One is aligned with the other. `place`: root mean square offset of windowed centroids from the true place
on the other image; what the centroids themselves get wrong on the image that the simulator draws there stands in the
row `drawn`. `well`: the same for pairs whose stars have at least 2.5 pixels FWHM in both. `bias`, `scatter`: of the
ratio of aperture fluxes after and before, and `worst`, its largest scatter in a pair. `noise`: variance of aligned
white noise over what is stated. `leaks`: pixels that show a bad pixel. CPU seconds of one thread are those of one pair.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from shutil import which

import numpy as np
import sep
from astropy.io import fits
from numpy.typing import NDArray

from firstlight.algorithms.warp_kernels import warp_kernel
from firstlight.algorithms.warping import warp_grid, warp_image, warp_planes
from firstlight.errors import FirstlightError
from firstlight.images.exposure import Exposure
from firstlight.images.mask import Mask
from firstlight.images.pixel_grid import PixelGrid
from firstlight.images.wcs import SkyWcs
from firstlight.simulation import OpticsSettings
from firstlight.simulation.optics import HeaderValues, make_wcs, pixel_to_sky, sky_to_pixel, wcs_cards
from firstlight.simulation.point_spread import add_stars, draw_point_spread
from firstlight.tasks.align import AlignTask, LanczosAlignTask, sky_map
from firstlight.tasks.align_pattern import PatternAlignTask
from firstlight.tasks.align_reproject import AdaptiveAlignTask, ExactAlignTask

Floats = NDArray[np.floating]

SPACING = 34.0
APERTURE = 14.0
WELL_SAMPLED = 2.5
HOT, LEAK = 1e9, 2e6


@dataclass(frozen=True)
class Pair:
    """An image, its noise alone, the image on whose pixels it is to lie, and the truth."""

    exposure: Exposure
    noise: Exposure
    onto: Exposure
    cards: tuple[HeaderValues, HeaderValues]
    before: tuple[Floats, Floats]
    after: tuple[Floats, Floats]
    scale: float
    fwhm: tuple[float, float]


@dataclass(frozen=True)
class Aligned:
    """The aligned image and its variance, NaN where nothing is known."""

    image: Floats
    variance: Floats
    seconds: float


Method = Callable[[Exposure, Pair], Aligned]


def main() -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=100)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--methods", nargs="*")
    parser.add_argument("--speed", action="store_true", help="only time the warp of small and full frames")
    options = parser.parse_args()
    if options.speed:
        for shape in ((1024, 1024), (3080, 3072)):
            show_speed(shape)
        return
    methods = {
        name: method for name, method in known_methods().items() if not options.methods or name in options.methods
    }
    judged: dict[str, list[Floats]] = {name: [] for name in ("drawn", *methods)}
    failures: dict[str, list[str]] = {name: [] for name in methods}
    for seed in range(options.pairs):
        pair = make_pair(seed, options.side)
        judged["drawn"].append(judge(pair, pair.onto.image))
        for name, method in methods.items():
            try:
                judged[name].append(judge_method(pair, method))
            except (FirstlightError, subprocess.CalledProcessError) as error:
                failures[name].append(f"pair {seed}: {error}")
    columns = ("pairs", "place", "well", "bias", "scatter", "worst", "noise", "leaks", "CPU s")
    print(f"{'':>9}  " + "  ".join(f"{column:>8}" for column in columns))
    for name, rows in judged.items():
        if rows:
            print(f"{name:>9}  " + "  ".join(f"{cell:>8}" for cell in cells(np.array(rows))))
    for name, lines in failures.items():
        print(*(f"{name} failed on {line}" for line in lines), sep="\n", end="\n" if lines else "")


def cells(rows: Floats) -> list[str]:
    """Return the table cells of a method from its rows of (FWHM, place, bias, scatter, noise, leaks, seconds)."""
    fwhm, place, bias, scatter, noise, leaks, seconds = rows.T
    well = place[fwhm >= WELL_SAMPLED]
    return [
        str(len(rows)),
        f"{np.sqrt(np.mean(place**2)):.4f}",
        f"{np.sqrt(np.mean(well**2)):.4f}" if len(well) else "-",
        f"{np.mean(bias):+.1e}",
        f"{np.sqrt(np.mean(scatter**2)):.1e}",
        f"{scatter.max():.1e}",
        f"{np.mean(noise):.3f}",
        f"{leaks.sum():.0f}",
        f"{np.mean(seconds):.3f}",
    ]


def make_pair(seed: int, side: int) -> Pair:
    """Draw a pair; no warp of ours has a part in it."""
    rng = np.random.default_rng(seed)
    shape, scale, fwhm = (side, side), rng.uniform(0.7, 1.3), np.exp(rng.uniform(np.log(1.5), np.log(4.5)))
    turn = rng.uniform(-5, 5) if seed % 2 else rng.uniform(-180, 180)
    ra, dec = rng.uniform(0, 360), rng.uniform(-70, 85)
    optics = [OpticsSettings(pixel_scale=s, distortion=10.0, distortion_format="TPV") for s in (1.0, scale)]
    offset = rng.uniform(-15, 15, 2) / 3600
    cards = (
        wcs_cards(optics[0], seed=2 * seed, shape=shape, ra=ra, dec=dec, rotation=10.0),
        wcs_cards(
            optics[1],
            seed=2 * seed + 1,
            shape=shape,
            ra=ra + offset[0] / np.cos(np.radians(dec)),
            dec=dec + offset[1],
            rotation=10.0 + turn,
        ),
    )
    first, second = (make_wcs(card) for card in cards)
    x, y = scattered(rng, side)
    ra_stars, dec_stars = pixel_to_sky(first, x=x, y=y)
    places = sky_to_pixel(second, ra=ra_stars, dec=dec_stars)
    flux = np.exp(rng.uniform(np.log(3e4), np.log(1e6), x.size))
    images: list[Floats] = []
    for at, width in (((x, y), fwhm), (places, fwhm / scale)):
        light = np.zeros(shape)
        settings = OpticsSettings(fwhm_variation=0.02, ellipticity_variation=0.02)
        spread = draw_point_spread(settings, seed=seed, epoch=0, shape=shape, fwhm=width)
        add_stars(light, x=at[0], y=at[1], flux=flux, spread=spread, faintest=1e-3)
        images.append(light)
    noise = rng.normal(size=shape)
    bad = rng.random(shape) < 5e-4
    bad[:, rng.integers(0, side, 2)] = True
    exposures = [
        exposure_of(image, bad if index < 2 else np.zeros(shape, bool), cards[0] if index < 2 else cards[1])
        for index, image in enumerate((images[0] + noise, noise, images[1] + rng.normal(size=shape)))
    ]
    return Pair(exposures[0], exposures[1], exposures[2], cards, (x, y), places, scale, (fwhm, fwhm / scale))


def scattered(rng: np.random.Generator, side: int) -> tuple[Floats, Floats]:
    """Draw positions that keep their distance from each other."""
    found = np.empty((0, 2))
    for place in rng.uniform(0, side, (side * side // 300, 2)):
        if not len(found) or np.hypot(*(found - place).T).min() > SPACING:
            found = np.vstack([found, place])
    return found[:, 0], found[:, 1]


def exposure_of(image: Floats, bad: NDArray[np.bool_], cards: HeaderValues) -> Exposure:
    """Return an exposure of unit noise whose bad pixels are hot."""
    return Exposure(
        image=np.where(bad, HOT, image),
        mask=Mask.empty(image.shape).with_plane("BAD", bad),
        variance=np.ones_like(image),
        wcs=SkyWcs.from_header(cards),
    )


def judge_method(pair: Pair, method: Method) -> Floats:
    """Return the row of a method."""
    made = method(pair.exposure, pair)
    row = judge(pair, made.image)
    noise = method(pair.noise, pair)
    known = np.isfinite(noise.image) & np.isfinite(noise.variance) & (noise.variance > 0) & (noise.variance < 100)
    row[4] = np.mean(noise.image[known] ** 2) / np.mean(noise.variance[known]) if known.any() else np.nan
    row[6] = made.seconds
    return row


def judge(pair: Pair, image: Floats) -> Floats:
    """Return FWHM, place, bias, scatter, and room for noise, leaks and seconds."""
    bad = pair.exposure.mask.any_of("BAD")
    reach, side = APERTURE / pair.scale + 4, image.shape[0]
    spoilt, _, _ = sep.sum_circle(bad.astype(np.float32), *pair.before, APERTURE + 5)
    use = spoilt == 0
    for places, margin in ((pair.before, APERTURE + 5), (pair.after, reach)):
        use &= np.all([(at > margin) & (at < side - 1 - margin) for at in places], axis=0)
    x, y = (at[use] for at in pair.after)
    clean = np.ascontiguousarray(np.nan_to_num(image), np.float64)
    source = np.ascontiguousarray(np.where(bad, 0.0, pair.exposure.image), np.float64)
    after, _, _ = sep.sum_circle(clean, x, y, APERTURE / pair.scale, subpix=0)
    before, _, _ = sep.sum_circle(source, *(at[use] for at in pair.before), APERTURE, subpix=0)
    found_x, found_y, _ = sep.winpos(clean, x, y, pair.fwhm[1] / 2.355)
    place = np.sqrt(np.mean(np.concatenate([found_x - x, found_y - y]) ** 2))
    ratio = after / before - 1
    leaks = np.nansum(np.abs(image) > LEAK)
    return np.array([min(pair.fwhm), place, np.mean(ratio), np.std(ratio), np.nan, leaks, np.nan])


def known_methods() -> dict[str, Method]:
    """Return our variants, and SWarp where it is installed."""
    tasks: dict[str, AlignTask] = {
        "lanczos": LanczosAlignTask(),
        "pattern": PatternAlignTask(),
        "adaptive": AdaptiveAlignTask(),
        "exact": ExactAlignTask(),
    }
    methods: dict[str, Method] = {name: runner(task) for name, task in tasks.items()}
    methods["pattern"] = by_patterns
    program = which("SWarp") or which("swarp")
    return methods if program is None else methods | {"swarp": lambda image, pair: run_swarp(image, pair, program)}


def runner(task: AlignTask) -> Method:
    """Return a task as a method."""

    def run(exposure: Exposure, pair: Pair) -> Aligned:
        start = time.process_time()
        made = task.run(exposure, onto=pair.onto).exposure
        return Aligned(made.image, made.variance, time.process_time() - start)

    return run


def by_patterns(exposure: Exposure, pair: Pair) -> Aligned:
    """Align by the stars alone; noise without stars has no patterns and is resampled as with a WCS."""
    task: AlignTask = PatternAlignTask() if exposure is pair.exposure else LanczosAlignTask()
    if exposure is pair.exposure:
        exposure, pair = (exposure.replace(wcs=None), pair)
    return runner(task)(exposure, pair)


def run_swarp(exposure: Exposure, pair: Pair, program: str) -> Aligned:
    """Resample with SWarp (Bertin et al. 2002), Lanczos-3, onto the header of the other image."""
    options = {
        "RESAMPLING_TYPE": "LANCZOS3",
        "COMBINE_TYPE": "WEIGHTED",
        "SUBTRACT_BACK": "N",
        "FSCALASTRO_TYPE": "VARIABLE",
        "PROJECTION_ERR": "0.001",
        "WEIGHT_TYPE": "MAP_WEIGHT",
        "WEIGHT_IMAGE": "in.weight.fits",
        "RESCALE_WEIGHTS": "N",
        "NTHREADS": "1",
        "WRITE_XML": "N",
        "VERBOSE_TYPE": "QUIET",
    }
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        bad = exposure.mask.any_of("BAD")
        header = fits.Header(pair.cards[0])
        fits.PrimaryHDU(exposure.image, header).writeto(folder / "in.fits")
        fits.PrimaryHDU((~bad).astype(np.float32), header).writeto(folder / "in.weight.fits")
        side = pair.onto.shape[0]
        wanted = fits.Header({"SIMPLE": True, "BITPIX": -32, "NAXIS": 2, "NAXIS1": side, "NAXIS2": side})
        wanted.extend(fits.Header(pair.cards[1]).cards)
        (folder / "coadd.head").write_text(wanted.tostring(sep="\n") + "\nEND     \n")
        words = [word for name, value in options.items() for word in (f"-{name}", value)]
        before = os.times()
        subprocess.run([program, "in.fits", *words], cwd=folder, check=True, capture_output=True)
        after = os.times()
        image, weight = (fits.getdata(folder / name) for name in ("coadd.fits", "coadd.weight.fits"))
    seconds = after.children_user + after.children_system - before.children_user - before.children_system
    with np.errstate(divide="ignore"):
        return Aligned(np.where(weight > 0, image, np.nan), np.where(weight > 0, 1.0 / weight, np.nan), seconds)


def show_speed(shape: tuple[int, int]) -> None:
    """Print the best CPU seconds of three for an image alone and with its planes, and two laws of the kernel."""
    rng = np.random.default_rng(1)
    center = {"ra": 40.0, "dec": 30.0, "shape": shape}
    first, second = (
        SkyWcs.from_header(wcs_cards(OpticsSettings(), seed=seed, rotation=turn, **center))
        for seed, turn in ((1, 0.0), (2, 1.0))
    )
    image = rng.normal(100.0, 5.0, shape).astype(np.float32)
    bad = rng.random(shape) < 1e-4
    mask = np.where(bad, 1, 0).astype(np.int32)
    planes = {"variance": np.ones_like(image), "mask": mask, "bad": bad, "no_data": 256, "edge": 16}
    times: dict[str, list[float]] = {"map": [], "image": [], "planes": []}
    for _ in range(4):
        for name in times:
            start = time.process_time()
            if name == "map":
                grid = warp_grid(sky_map(first, second), shape)
                kernel = warp_kernel(3, lengths=grid.lengths())
            elif name == "image":
                warp_image(image, grid=grid, kernel=kernel)
            else:
                warp_planes(image, grid=grid, kernel=kernel, **planes)
            times[name].append(time.process_time() - start)
    best = {name: min(values) for name, values in times.items()}
    print(
        f"{shape}: map {best['map']:.3f} s, image {best['image']:.3f} s, with variance and mask {best['planes']:.3f} s"
    )
    flat = exposure_of(
        np.full(shape, 100.0), np.zeros(shape, bool), wcs_cards(OpticsSettings(), seed=1, rotation=0.0, **center)
    )
    turned = LanczosAlignTask().run(flat, onto=PixelGrid(shape, second)).exposure.image
    areas = warp_grid(sky_map(first, second), shape).pixel_areas()
    same = LanczosAlignTask().run(flat.replace(image=image), onto=PixelGrid(shape, flat.wcs)).exposure.image
    flatness, identity = np.nanmax(np.abs(turned / areas / 100.0 - 1)), np.abs(same / image - 1).max()
    print(f"  flat brightness {flatness:.1e}, identity {identity:.1e}")


if __name__ == "__main__":
    main()
