"""Simulate fields, process them as a user does, and print how far the results are from the truth.

python benchmarks/truth_fields.py --seeds 10 [--density 2500] [--crowded] [--size 3072x3080] [--pointing-offset 15]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from astropy.io import fits

from firstlight.images.catalog import read_catalog
from firstlight.images.fits import read_exposure
from firstlight.qa.truth import compare_with_truth, read_truth

FIRSTLIGHT = [str(Path(sys.executable).parent / "firstlight")]
HEADINGS = ("seed", "WCS mas", "stated", "zp mmag", "stated", "n", "PSF %", "stated", "n", "50 % mag", "sep", "CPU s")


def main() -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--keep", type=Path)
    options, simulate_options = parser.parse_known_args()
    print("  ".join(f"{heading:>8}" for heading in HEADINGS))
    for seed in range(options.first, options.first + options.seeds):
        with tempfile.TemporaryDirectory() as scratch:
            folder = options.keep / f"seed_{seed}" if options.keep else Path(scratch)
            print("  ".join(f"{cell:>8}" for cell in study(folder, seed, simulate_options)), flush=True)


def study(folder: Path, seed: int, simulate_options: list[str]) -> list[str]:
    """Return one line of the table."""
    call = [*FIRSTLIGHT, "simulate", "-o", str(folder), "--seed", str(seed), *simulate_options]
    subprocess.run(call, check=True, capture_output=True)
    image, output = folder / "epoch_0.fits", folder / "out"
    before = time.perf_counter()
    call = [
        *FIRSTLIGHT,
        "process",
        str(image),
        "-o",
        str(output),
        "--refcat",
        str(folder / "refcat.parquet"),
        "--no-page",
    ]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    elapsed = time.perf_counter() - before
    if done.returncode:
        return [str(seed), done.stderr.strip()]
    summary = json.loads((output / "epoch_0_summary.json").read_text())
    found = compare_with_truth(
        read_exposure(output / "epoch_0_image.fits"),
        read_catalog(output / "epoch_0_sources.parquet"),
        raw=fits.getdata(image).astype(np.float32),
        zero_point=summary["zero_point"],
        truth=read_truth(folder),
    )
    return [
        str(seed),
        f"{found.astrometry_rms:.2f}",
        f"{1000 * summary['astrom_stated_error']:.2f}",
        f"{1000 * found.zero_point_error:+.2f}",
        f"{1000 * summary['zero_point_error']:.2f}",
        f"{summary['n_photometry']:.0f}",
        f"{100 * found.psf_size_error:+.3f}",
        f"{100 * summary['psf_sigma_error'] / summary['psf_sigma']:.3f}",
        f"{summary['n_psf_star']:.0f}",
        f"{found.half_complete:.2f}",
        f"{found.peer_half_complete:.2f}",
        f"{elapsed:.1f}",
    ]


if __name__ == "__main__":
    main()
