"""Solve real images with Tycho-2 from wrong pointings and print what a user would check.

FIRSTLIGHT_TEST_DATA=... python benchmarks/real_astrometry.py
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from firstlight.images.catalog import read_catalog
from firstlight.images.fits import read_exposure

FIRSTLIGHT = [str(Path(sys.executable).parent / "firstlight")]
STAR = (31.0428, 46.6878)
"""HAT-P-32, RA and Dec [deg]."""


def main() -> None:
    """Run the study."""
    data = Path(os.environ["FIRSTLIGHT_TEST_DATA"])
    refcat = ["--refcat", str(data / "refcats" / "tycho2_vt_j2000.parquet")]
    with tempfile.TemporaryDirectory() as scratch:
        output = Path(scratch)
        for name, ra, dec in (("gc_2mass_j", 266.4, -28.93333), ("ngc6819_dss_r", 295.327, 40.19)):
            for east, north in ((0.25, 0), (-0.25, 0), (0, 0.25), (0, -0.25)):
                pointing = [
                    "--ra",
                    str(ra + east / np.cos(np.deg2rad(dec))),
                    "--dec",
                    str(dec + north),
                    "--radius",
                    "0.5",
                ]
                image = data / "plates" / f"{name}.fits.gz"
                process([image], output, [*refcat, "--ignore-wcs", *pointing])
                print(name, f"{east:+} {north:+}", line(output, name), flush=True)
        frames = sorted((data / "hatp32").glob("*.fits.gz"))
        for options in ([], ["--ra", "31.3", "--dec", "46.77", "--radius", "0.5"]):
            process(frames, output, [*refcat, *options])
            for frame in frames:
                name = frame.name.removesuffix(".fits.gz")
                print(name, line(output, name), f"HAT-P-32 at {nearest(output, name):.2f} arcsec", flush=True)


def process(images: list[Path], output: Path, options: list[str]) -> None:
    """Process images as a user does."""
    subprocess.run([*FIRSTLIGHT, "process", *map(str, images), "-o", str(output), "--no-page", *options], check=False)


def line(output: Path, name: str) -> str:
    """Return what the summary says of the astrometry."""
    summary = json.loads((output / f"{name}_summary.json").read_text())
    if summary.get("astrometry_matches_count") is None:
        return f"FAILED: {summary.get('error')}"
    return (
        f"matches {summary['astrometry_matches_count']:.0f} of {summary['astrometry_references_in_frame']:.0f}, "
        f"rms {summary['astrom_rms_2d_px']:.3f} px, held out {summary['astrom_held_out_rms_2d_px']:.3f} px, "
        f"parity {summary['parity']:+.0f}, scale {summary['pixel_scale']:.4f}"
    )


def nearest(output: Path, name: str) -> float:
    """Return the distance of the nearest star from HAT-P-32 [arcsec]."""
    if read_exposure(output / f"{name}_image.fits").wcs is None:
        return float("nan")
    stars = read_catalog(output / f"{name}_sources.parquet")
    east = (np.asarray(stars["ra"]) - STAR[0]) * np.cos(np.deg2rad(STAR[1]))
    return float(3600 * np.nanmin(np.hypot(east, np.asarray(stars["dec"]) - STAR[1])))


if __name__ == "__main__":
    main()
