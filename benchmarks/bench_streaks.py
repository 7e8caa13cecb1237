"""Count the trails that are found, by brightness and width, and those that are found where there is none.

[FIRSTLIGHT_TEST_DATA=...] OMP_NUM_THREADS=1 python benchmarks/bench_streaks.py [--trails 6] [--seeds 41,44]

Trails are found on simulated frames, default and crowded, with a trail drawn on; none may be found on all scenes of
`validate_calibrate.py` without satellites, on small frames, and, where the data are there, on real images.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray
from validation.scenes import SCENES

from firstlight.algorithms.background import fit_mesh_background
from firstlight.algorithms.streaks import find_streaks, mark_streaks
from firstlight.simulation import SimulationSettings, simulate_exposure

Image = NDArray[np.float32]
DEFECTS = 4 | 8 | 16
"""Hot pixels, bad columns and saturation in the truth mask."""

FOUND = 0.8
"""A trail is found when this share of its light is marked."""

FIELDS = {"default": SimulationSettings(), "crowded": SimulationSettings.crowded()}
REAL = ("hatp32/*.fits.gz", "isis/*.fits*", "plates/*.fits*", "decam_pairs/*mini.fits.gz", "ztf/ztf_left_sci.fits.gz")


def main() -> None:
    """Print what is found and what is not."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trails", type=int, default=6, help="number of trails for each brightness and width")
    parser.add_argument("--seeds", default="41,44", help="of the frames without trails")
    options = parser.parse_args()
    print(f"{'field':10} {'FWHM [px]':>9} {'peak [sigma]':>12} {'found':>7} {'least share of its light marked':>32}")
    for name, settings in FIELDS.items():
        recall(name, settings, options.trails)
    taken, wrong, n = 0.0, 0, 0
    for name, image, variance, bad in empty_frames([int(seed) for seed in options.seeds.split(",")]):
        before = time.process_time()
        streaks = find_streaks(without_sky(image, bad), variance=variance, bad=bad)
        taken, wrong, n = taken + time.process_time() - before, wrong + len(streaks), n + 1
        for streak in streaks:
            print(f"false trail on {name}: {streak}", flush=True)
    print(f"false trails: {wrong} on {n} frames, {taken / n:.3f} CPU s each with the sky")


def recall(name: str, settings: SimulationSettings, n_trails: int) -> None:
    """Draw trails at random places and angles on one frame, and print how many are found."""
    frame = simulate_exposure(settings, seed=77)
    bad = (frame.mask & DEFECTS) > 0
    noise = float(np.sqrt(np.median(frame.variance)))
    rng = np.random.default_rng(5)
    ny, nx = frame.image.shape
    rows, columns = np.mgrid[:ny, :nx].astype(np.float32)
    for fwhm in (2.5, 6.0, 15.0, 30.0):
        for peak in (0.5, 1.0, 2.0, 5.0):
            found, shares = 0, [np.nan]
            for _ in range(n_trails):
                x, y, angle = *(rng.uniform(0.15, 0.85, 2) * [nx, ny]), rng.uniform(0.0, np.pi)
                distance = (rows - y) * np.cos(angle) - (columns - x) * np.sin(angle)
                profile = peak * np.exp2(-4.0 * (distance / fwhm) ** 2)
                image = (frame.image + noise * profile).astype(np.float32)
                streaks = find_streaks(without_sky(image, bad), variance=frame.variance, bad=bad)
                share = float(profile[mark_streaks(streaks, (ny, nx))].sum() / profile.sum())
                if share > FOUND:
                    found += 1
                    shares.append(share)
            print(f"{name:10} {fwhm:9.1f} {peak:12.1f} {found:4d}/{n_trails} {np.nanmin(shares) if found else 0:32.3f}")


def empty_frames(seeds: list[int]) -> Iterator[tuple[str, Image, Image, Any]]:
    """Yield name, image, variance and bad pixels of frames that no satellite crossed."""
    small = [
        (f"{name} of {side} pixels", FIELDS[name].varied(shape=(side, side))) for name in FIELDS for side in (128, 256)
    ]
    plain = [
        (scene.name, scene.settings) for scene in SCENES if not scene.snaps and not scene.settings.satellite_trails
    ]
    for name, settings in small + plain:
        for seed in seeds:
            frame = simulate_exposure(settings, seed=seed)
            yield f"{name}, seed {seed}", frame.image, frame.variance, (frame.mask & DEFECTS) > 0
    folder = Path(os.environ.get("FIRSTLIGHT_TEST_DATA", "nowhere"))
    for path in sorted(path for pattern in REAL for path in folder.glob(pattern)):
        with fits.open(path) as hdus:
            image = next(np.asarray(hdu.data, dtype=np.float32) for hdu in hdus if hdu.data is not None)
        if image.ndim == 2:
            bad = ~np.isfinite(image) | (image > 0.95 * np.nanmax(image))
            light = without_sky(image, bad)[~bad]
            noise = 1.4826 * float(np.median(np.abs(light - np.median(light))))
            yield path.name, image, np.full_like(image, noise**2), bad


def without_sky(image: Image, bad: Any) -> Image:
    """Return the image less its sky."""
    return np.asarray(image - fit_mesh_background(image, bad=bad).evaluate(), dtype=np.float32)


if __name__ == "__main__":
    main()
