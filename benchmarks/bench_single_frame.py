"""Take the whole single frame from its FITS file to written products, and time it beside the classical programs.

python benchmarks/bench_single_frame.py [--size 3072x3080] [--seed 301] [--repeat 2] [--no-peers]

CPU seconds (user + system) with one numeric thread; memory is the largest resident size of the process. Peers, where
installed: Source Extractor for vignettes, PSFEx, Source Extractor with that PSF, SCAMP on the same reference stars;
solve-field on an index made of them (its making is not counted).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table

from firstlight.images.catalog import read_catalog

FIRSTLIGHT = str(Path(sys.executable).parent / "firstlight")
IMPORTS = "import firstlight.cli.process_image, firstlight.cli.run_images"
GOAL_CPU_S, GOAL_MEMORY = 6.0, 12.0
VIGNETTE = """NUMBER
XWIN_IMAGE
YWIN_IMAGE
X_IMAGE
Y_IMAGE
ERRAWIN_IMAGE
ERRBWIN_IMAGE
ERRTHETAWIN_IMAGE
FLUX_APER(1)
FLUXERR_APER(1)
FLUX_AUTO
FLUXERR_AUTO
MAG_AUTO
FLUX_RADIUS
SNR_WIN
ELONGATION
FLAGS
FLUX_MAX
"""


@dataclass(frozen=True)
class Cost:
    """What a call took.

    Parameters
    ----------
    cpu_s
        User and system time.
    memory_mb
        Largest resident size.
    ok
        It ended with exit code 0.
    """

    cpu_s: float
    memory_mb: float
    ok: bool


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="3072x3080")
    parser.add_argument("--seed", type=int, default=301)
    parser.add_argument("--repeat", type=int, default=2, help="runs per mode; the best counts")
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--no-cold", action="store_true", help="leave out the run with an empty kernel cache")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    try:
        measure([FIRSTLIGHT, "simulate", "-o", str(folder), "--seed", str(options.seed), "--size", options.size])
        image_mb = fits.getdata(folder / "epoch_0.fits").nbytes / 1e6
        base = measure([sys.executable, "-c", IMPORTS])
        print(f"image {image_mb:.1f} MB; imports alone {base.cpu_s:.2f} CPU s, {base.memory_mb:.0f} MB")
        for passes in (1, 2):
            single_frame(folder, passes=passes, repeat=options.repeat, image_mb=image_mb, base=base)
        if not options.no_cold:
            cold = measure(process_call(folder, passes=1), NUMBA_CACHE_DIR=str(folder / "empty_cache"))
            print(f"one pass, empty kernel cache: {cold.cpu_s:.1f} CPU s, {cold.memory_mb:.0f} MB")
        if not options.no_peers:
            peers(folder)
    finally:
        shutil.rmtree(folder)


def measure(call: list[str], *, cwd: Path | None = None, **environment: str) -> Cost:
    """Run a command and return what it alone took."""
    one_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    with subprocess.Popen(
        call,
        cwd=cwd,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **one_thread, **environment},
    ) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    return Cost(usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1000, process.returncode == 0)


def process_call(folder: Path, *, passes: int) -> list[str]:
    """Return the command that processes the simulated frame."""
    files = [
        str(folder / "epoch_0.fits"),
        "--refcat",
        str(folder / "refcat.parquet"),
        "-o",
        str(folder / f"out_{passes}"),
    ]
    return [FIRSTLIGHT, "process", *files, "--no-page", "-c", f"calibrate:psf_passes={passes}"]


def single_frame(folder: Path, *, passes: int, repeat: int, image_mb: float, base: Cost) -> None:
    """Print the budget of one mode: CPU seconds per pass of the best run."""
    call = process_call(folder, passes=passes)
    measure(call)
    runs: list[tuple[float, list[dict[str, float]], Cost]] = []
    for _ in range(max(repeat, 1)):
        cost = measure(call)
        summary = json.loads((folder / f"out_{passes}" / "epoch_0_summary.json").read_text())
        total = sum(step["cpu_s"] for step in summary["timing"])
        if not cost.ok or summary["status"] != "ok":
            print(f"{passes} pass(es): FAILED, {summary['error']}")
            return
        runs.append((total, summary["timing"], cost))
    total, timing, cost = min(runs, key=lambda run: run[0])
    above = (cost.memory_mb - base.memory_mb) / image_mb
    print(f"\n{passes} PSF pass(es), best of {repeat}")
    for step in timing:
        print(f"  {step['step']:<32} {step['cpu_s']:7.2f} CPU s")
    for name, value, goal, unit in (
        ("opened FITS to written products", total, GOAL_CPU_S if passes == 1 else None, "CPU s"),
        ("whole call with imports", cost.cpu_s, None, "CPU s"),
        ("memory above imports", above, GOAL_MEMORY, "x image"),
    ):
        verdict = "" if goal is None else f"goal {goal:g}: {'pass' if value <= goal else 'FAIL'}"
        print(f"  {name:<32} {value:7.2f} {unit:<8} {verdict}")
    print(f"  {'largest resident size':<32} {cost.memory_mb:7.0f} MB")


def peers(folder: Path) -> None:
    """Time the classical programs on the same frame."""
    extractor = shutil.which("source-extractor") or shutil.which("sex")
    if extractor is None:
        print("peers: source-extractor is not installed")
        return
    work = folder / "peers"
    work.mkdir()
    image = str(folder / "epoch_0.fits")
    share = next((p for p in (Path("/usr/share/source-extractor"), Path("/usr/share/sextractor")) if p.is_dir()), None)
    if share is None:
        print("peers: the files of Source Extractor are not in /usr/share")
        return
    (work / "vignette.param").write_text(VIGNETTE + "VIGNET(35,35)\n")
    (work / "psf.param").write_text(VIGNETTE + "XPSF_IMAGE\nYPSF_IMAGE\nFLUX_PSF\nFLUXERR_PSF\nSPREAD_MODEL\n")
    settings = [
        "-FILTER_NAME", str(share / "default.conv"), "-STARNNW_NAME", str(share / "default.nnw"),
        "-CATALOG_TYPE", "FITS_LDAC", "-PHOT_APERTURES", "10", "-GAIN_KEY", "GAIN", "-SATUR_KEY", "SATURATE",
        "-DETECT_THRESH", "1.5", "-ANALYSIS_THRESH", "1.5", "-WEIGHT_TYPE", "NONE", "-VERBOSE_TYPE", "QUIET",
    ]  # fmt: skip
    (work / "empty.sex").write_text("")
    start = [extractor, image, "-c", "empty.sex", *settings]
    calls = {
        "Source Extractor, vignettes": [*start, "-PARAMETERS_NAME", "vignette.param", "-CATALOG_NAME", "first.cat"],
        "PSFEx, order 2": ["psfex", "first.cat", "-PSFVAR_DEGREES", "2", "-NTHREADS", "1", *quiet_plots("psfex")],
        "Source Extractor, PSF fluxes": [
            *start, "-PARAMETERS_NAME", "psf.param", "-CATALOG_NAME", "second.cat", "-PSF_NAME", "first.psf",
        ],
    }  # fmt: skip
    print("\npeers")
    total = 0.0
    for name, call in calls.items():
        total += show(name, call, work)
    write_reference(read_catalog(folder / "refcat.parquet"), work / "reference.cat")
    write_header(Path(image), work / "second.ahead")
    scamp = ["scamp", "second.cat", "-ASTREF_CATALOG", "FILE", "-ASTREFCAT_NAME", "reference.cat", "-NTHREADS", "1"]
    scamp += ["-DISTORT_DEGREES", "4", "-POSITION_MAXERR", "2", "-SOLVE_PHOTOM", "N", *quiet_plots("scamp")]
    total += show("SCAMP, degree 4", scamp, work)
    print(f"  {'sum':<32} {total:7.2f} CPU s")
    solve_field(folder, work)


def quiet_plots(program: str) -> list[str]:
    """Return the options that keep a program from drawing."""
    extra = ["-CHECKIMAGE_TYPE", "NONE"] if program == "psfex" else []
    return ["-CHECKPLOT_TYPE", "NONE", "-CHECKPLOT_DEV", "NULL", "-WRITE_XML", "N", "-VERBOSE_TYPE", "QUIET", *extra]


def show(name: str, call: list[str], work: Path) -> float:
    """Print what a peer took and return its CPU time."""
    if shutil.which(call[0]) is None:
        print(f"  {name:<32} not installed")
        return 0.0
    cost = measure(call, cwd=work)
    print(f"  {name:<32} {cost.cpu_s:7.2f} CPU s  {cost.memory_mb:5.0f} MB  {'' if cost.ok else 'FAILED'}")
    return cost.cpu_s


def write_reference(reference: Table, path: Path) -> None:
    """Write reference stars as SCAMP reads them: a catalogue in the FITS_LDAC form."""
    header = np.array([(" " * 80,)], dtype=[("Field Header Card", "S80")])
    cards = fits.BinTableHDU(header, name="LDAC_IMHEAD")
    degrees = np.full(len(reference), 2e-3 / 3600)
    columns = [
        fits.Column("X_WORLD", "1D", unit="deg", array=np.asarray(reference["ra"])),
        fits.Column("Y_WORLD", "1D", unit="deg", array=np.asarray(reference["dec"])),
        fits.Column("ERRA_WORLD", "1E", unit="deg", array=degrees),
        fits.Column("ERRB_WORLD", "1E", unit="deg", array=degrees),
        fits.Column("MAG", "1E", unit="mag", array=np.asarray(reference["r_mag"])),
        fits.Column("MAGERR", "1E", unit="mag", array=np.full(len(reference), 0.02)),
        fits.Column("OBSDATE", "1D", unit="yr", array=np.full(len(reference), 2016.0)),
    ]
    objects = fits.BinTableHDU.from_columns(columns, name="LDAC_OBJECTS")
    fits.HDUList([fits.PrimaryHDU(), cards, objects]).writeto(path, overwrite=True)


def write_header(image: Path, path: Path) -> None:
    """Give SCAMP the camera's own WCS as a header of its own kind."""
    header = fits.getheader(image)
    kept = [card for card in header.cards if card.keyword.startswith(("CTYPE", "CUNIT", "CRPIX", "CRVAL", "CD"))]
    path.write_text("\n".join(str(card).rstrip() for card in kept) + "\nEND     \n")


def solve_field(folder: Path, work: Path) -> None:
    """Time solve-field on the positions of Source Extractor and an index of the reference stars."""
    if shutil.which("solve-field") is None or shutil.which("build-astrometry-index") is None:
        print("  solve-field                      not installed")
        return
    reference = read_catalog(folder / "refcat.parquet")
    bright = reference[np.argsort(reference["r_mag"])[:4000]]
    Table({"RA": bright["ra"], "DEC": bright["dec"], "MAG": bright["r_mag"]}).write(work / "stars.fits", overwrite=True)
    index = ["build-astrometry-index", "-i", "stars.fits", "-o", "index.fits", "-P", "2", "-S", "MAG", "-E", "-I", "1"]
    if not measure(index, cwd=work).ok or not (work / "second.cat").exists():
        print("  solve-field                      no index could be made")
        return
    with fits.open(work / "second.cat") as hdus:
        found = Table(hdus[2].data)
    found.sort("FLUX_AUTO", reverse=True)
    Table({"X": found["XWIN_IMAGE"], "Y": found["YWIN_IMAGE"], "FLUX": found["FLUX_AUTO"]}).write(work / "xy.fits")
    header = fits.getheader(folder / "epoch_0.fits")
    (work / "engine.cfg").write_text("inparallel\nadd_path .\nindex index.fits\n")
    call = ["solve-field", "xy.fits", "--config", "engine.cfg", "--no-plots", "--overwrite", "--tweak-order", "4"]
    call += ["-w", str(header["NAXIS1"]), "-e", str(header["NAXIS2"]), "-X", "X", "-Y", "Y", "-s", "FLUX"]
    call += ["-L", "0.9", "-H", "1.1", "-u", "app", "-3", str(header["RA"]), "-4", str(header["DEC"]), "-5", "1"]
    show("solve-field, degree 4", call, work)
    print(f"  {'':<32} {'solved' if (work / 'xy.solved').exists() else 'NOT solved'}")


if __name__ == "__main__":
    main()
