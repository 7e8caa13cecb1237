"""Process simulated frames, sparse to crowded, as a user does, and check everything that the truth allows to check.

python benchmarks/validate_calibrate.py [--seeds 2] [--first 101] [--frames crowded,gradient] [--json checks.json]

Every check has a target; a value beyond it by more than two standard errors fails, a smaller excess is "open".
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from validation.calibration_checks import astrometry_checks, photometry_checks
from validation.frame import Frame, process
from validation.pixel_checks import cosmic_ray_checks, detection_checks, sky_checks
from validation.product_checks import product_checks, repeat_checks, run_checks
from validation.psf_checks import aperture_correction_checks, psf_checks
from validation.results import Check, over_seeds, print_failures, print_summary
from validation.scenes import Scene, choose_scenes, write_scene
from validation.source_checks import source_checks

CHECKS: tuple[Callable[[Frame], list[Check]], ...] = (
    sky_checks,
    cosmic_ray_checks,
    detection_checks,
    psf_checks,
    aperture_correction_checks,
    source_checks,
    astrometry_checks,
    photometry_checks,
    product_checks,
)


def main() -> None:
    """Run the suite."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=1, help="number of seeds")
    parser.add_argument("--first", type=int, default=101, help="first seed")
    parser.add_argument("--frames", help="only scenes whose name contains one of these words")
    parser.add_argument("--json", type=Path, help="write every check there")
    parser.add_argument("--keep", type=Path, help="keep images and products there")
    parser.add_argument("--detail", action="store_true", help="print every check of every scene")
    options = parser.parse_args()
    checks: list[Check] = []
    for scene in choose_scenes(options.frames):
        for seed in range(options.first, options.first + options.seeds):
            found = study(scene, seed=seed, keep=options.keep)
            checks += found
            print(f"# {scene.name}, seed {seed}: {len(found)} checks", flush=True)
            print_failures(found)
    averaged = over_seeds(checks)
    if options.detail:
        for check in averaged:
            print(f"{check.verdict:<5} {check.section} {check.name} [{check.scene}] {check.value:.5g} {check.target}")
    print_summary(averaged)
    print_failures(averaged)
    if options.json:
        options.json.write_text(json.dumps([check.as_row() for check in checks], indent=1) + "\n")


def study(scene: Scene, *, seed: int, keep: Path | None) -> list[Check]:
    """Simulate, process and check one scene."""
    scratch = Path(tempfile.mkdtemp())
    folder = scratch if keep is None else keep / f"{scene.name.replace(' ', '_').replace('/', '_')}_{seed}"
    try:
        files = write_scene(scene, seed=seed, folder=folder)
        run = process(files, folder / "out")
        checks = run_checks(run)
        if run.exit_code == 0:
            frame = Frame(files, run)
            for check in CHECKS:
                checks += _guarded(check, frame)
            if scene.name == "default":
                checks += repeat_checks(run, process(files, folder / "again"))
        return [replace(check, scene=scene.name, seeds=(seed,)) for check in checks]
    finally:
        shutil.rmtree(scratch)


def _guarded(check: Callable[[Frame], list[Check]], frame: Frame) -> list[Check]:
    """Return the checks; a product that cannot even be compared is a failure, and the others still count."""
    try:
        return check(frame)
    except Exception as error:  # noqa: BLE001 - a missing column or a NaN in one check must not hide the other checks
        place = traceback.extract_tb(error.__traceback__)[-1]
        note = f"{type(error).__name__}: {error} ({place.name}:{place.lineno})"
        return [Check("D.9", f"{check.__name__} can be made", 0.0, 1, None, note=note)]


if __name__ == "__main__":
    main()
