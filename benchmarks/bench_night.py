"""Take one frame from its file to its alerts and pages with ``firstlight watch``, and print where the time goes.

``python benchmarks/bench_night.py --folder night [--size 3072x3080] [--templates 1] [--jobs 1] [--scale 1.012]``

The folder is kept: simulated frames, reference stars and the template are made once. Each call watches the frame into
another output, in a process of its own as a telescope would, and prints wall and CPU time of the whole process, of each
step, and of writing the pages again. A CPU second is user and system time of the process and its workers.
"""

from __future__ import annotations

import argparse
import json
import resource
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

from firstlight.repo.repo import Repo

SINCE = 20250601
"""Templates of a simulated season are older, its nights are not."""


def firstlight(command: str) -> tuple[float, float]:
    """Run a command in a process of its own and return the wall and the CPU time [s]."""
    call = "import sys; from firstlight.cli.main import main; sys.argv[0] = 'firstlight'; main()"
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", call, *shlex.split(command)], capture_output=True, text=True, check=False
    )
    after, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic() - begun
    if done.returncode:
        raise SystemExit(f"firstlight {command} ended with {done.returncode}:\n{done.stderr}")
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def prepare(folder: Path, options: argparse.Namespace) -> None:
    """Make frames, a repository with reference stars, and a template of the field."""
    root, sim = folder / "R", folder / "sim"
    firstlight(
        f"simulate -o {sim} --seed 3 --nights 1 --fields 1 --lost-nights 0 --size {options.size} "
        f"--scale {options.scale} --supernovae 30 --variables 30 --movers 10"
    )
    firstlight(f"repo create {root}")
    firstlight(f"refcat ingest {folder}/stars {sim}/refcat.parquet")
    for name in ("astrometry_refcat", "photometry_refcat"):
        firstlight(f"refcat register -b {root} {folder}/stars --name {name}")
    frames = sorted((sim / "template").glob("*.fits"))[: options.templates]
    firstlight(f"ingest -b {root} {' '.join(map(str, frames))}")
    firstlight(f"run -b {root} -p single_frame.yaml -o first")
    firstlight(f"skymap register -b {root} fields -i first")
    firstlight(f"run -b {root} -p template.yaml -i first -i skymaps/fields -o templates")


def main() -> None:
    """Prepare once, watch once more, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--size", default="3072x3080")
    parser.add_argument("--scale", type=float, default=1.012)
    parser.add_argument("--templates", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1)
    options = parser.parse_args()
    folder = options.folder.absolute()
    if not (folder / "R/templates").exists():
        prepare(folder, options)
    number = len(list((folder / "R").glob("night*")))
    incoming = folder / f"incoming{number}"
    incoming.mkdir()
    for frame in sorted((folder / "sim").glob("night_*/*.fits")):
        shutil.copy(frame, incoming)
    night = folder / f"R/night{number}"
    wall, cpu = firstlight(
        f"watch {incoming} -b {folder}/R -p night.yaml -i templates -i raw/simulated -d 'day_obs > {SINCE}' "
        f"-o night{number} --once --settle 0 -j {options.jobs} "
        f"-c known.minor_planets={folder}/sim/minor_planets.parquet"
    )
    print(f"watch, the whole process: {wall:.1f} s, {cpu:.1f} CPU s")
    with Repo.open(folder / "R") as repo:
        for row in repo.quanta(f"night{number}/1"):
            print(f"  {row.label:16} {row.record['wall_s']:6.2f} s, {row.record['cpu_s']:6.2f} CPU s")
    for file in json.loads((night / "night.json").read_text())["files"]:
        print(f"{file['file']}: {file['status']}, {file['ended'] - file['arrived']:.1f} s after its arrival")
        for step, seconds in file["seconds"].items():
            print(f"  {step:16} {seconds:6.2f} s")
    for image in json.loads((night / "objects.json").read_text())["images"]:
        print(f"  {image['n_candidates']} candidates, {image['n_kept']} kept, {image['n_alerts']} alerts")
    wall, cpu = firstlight(f"pages night{number} -b {folder}/R")
    size = sum(path.stat().st_size for path in night.glob("pages/*/*.html")) / 1e6
    print(f"pages again: {wall:.1f} s, {cpu:.1f} CPU s, {size:.1f} MB and a page for each object")


if __name__ == "__main__":
    main()
