"""CPU time and memory of a difference of full frames, from two calibrated images to candidates.

python benchmarks/bench_difference_frame.py [--side 3072] [--seed 2021] [-c subtract.task=ZogySubtractTask]

The pair is simulated and calibrated first, and written; a process of its own reads and subtracts it twice. CPU seconds
are those of the second time, one thread. Memory is the largest resident size of the first time above that before the
images are read, less their six planes, in units of an image of 4 bytes a pixel; the template is handed over, as the
commands do.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import structlog
from subtraction.pairs import Scene, make_pair

from firstlight.framework import Handle, Layer, build_config
from firstlight.images.fits import read_exposure, write_exposure
from firstlight.tasks.difference_image import DifferenceImageConfig, DifferenceImageTask

GOAL_CPU_S, GOAL_MEMORY = 9.0, 20.0

N_PLANES_READ = 6
"""Image, mask and variance of both exposures."""


def main() -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=3072)
    parser.add_argument("--seed", type=int, default=2021)
    parser.add_argument("-c", dest="settings", nargs="*", default=[])
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    if options.measure:
        measure(options.measure, options.settings)
        return
    with tempfile.TemporaryDirectory() as scratch:
        pair = make_pair(Scene(options.seed, "default", 1.2, options.side))
        for name, exposure in (("science", pair.science), ("template", pair.template)):
            write_exposure(exposure, Path(scratch) / f"{name}.fits")
        del pair
        call = [sys.executable, __file__, "--measure", scratch, "-c", *options.settings]
        subprocess.run(call, check=True)


def measure(folder: Path, settings: list[str]) -> None:
    """Print time and memory of the pair in a folder."""
    layers = [Layer.from_assignment(text) for text in settings]
    task = DifferenceImageTask(build_config(DifferenceImageConfig, layers, labelled=False))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    science = read_exposure(folder / "science.fits")
    task.run(science, Handle.giving(read_exposure(folder / "template.fits")))
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    added = (largest - before) * 1024 / (4 * science.image.size) - N_PLANES_READ
    template = read_exposure(folder / "template.fits")
    start = time.process_time()
    made = task.run(science, template)
    seconds = time.process_time() - start
    print(f"{science.shape[1]} x {science.shape[0]}: {len(made.candidates)} candidates")
    print(f"CPU {seconds:.1f} s (goal {GOAL_CPU_S}), memory {added:.1f} images (goal {GOAL_MEMORY})")


if __name__ == "__main__":
    main()
