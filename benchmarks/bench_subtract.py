"""Subtract simulated pairs of known truth with every method and with peers, and print how good and how fast each is.

python benchmarks/bench_subtract.py --seeds 2 [--side 1024] [--fwhm 2.2:2.6 2.6:2.2] [--peer-python /path/to/python]

Times are CPU seconds of one thread, of the second of two runs. A peer (sfft) is taken from the Python given, HOTPANTS
from the program that $HOTPANTS names. Peers get the images without their sky, and the same list of stars.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from firstlight.algorithms.detection import detect_sources, smooth_for_detection
from firstlight.algorithms.psf_flux import measure_psf_flux
from firstlight.images.exposure import Exposure
from firstlight.tasks.subtract_alard_lupton import AlardLuptonSubtractConfig, AlardLuptonSubtractTask
from firstlight.tasks.subtract_fourier import FourierSubtractTask
from firstlight.tasks.subtract_zogy import ZogySubtractTask

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "algorithms"))
from pairs import GAIN, READ_NOISE, Pair, make_pair

HEADINGS = (
    "FWHM",
    "method",
    "CPU s",
    "sky std",
    "lag 1",
    "stars 14",
    "15.5-17",
    "17-18.5",
    "flux",
    "pull",
    "false +",
    "false -",
    "found",
)
NEW_MAGNITUDES = (17.0, 21.0)


class Difference(NamedTuple):
    """A difference image, its variance, which pixels of it count, and its PSF where that is known."""

    image: NDArray[np.floating]
    variance: NDArray[np.floating]
    good: NDArray[np.bool_]
    psf: object | None
    seconds: float


def main() -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument("--fwhm", nargs="*", default=["2.2:2.2", "2.6:2.2", "3.5:2.2", "2.2:2.6", "2.2:3.5"])
    parser.add_argument("--template-sky", type=float, default=300.0)
    parser.add_argument("--variation", type=float, default=0.04)
    parser.add_argument("--peer-python", type=Path)
    parser.add_argument("--methods", nargs="*")
    options = parser.parse_args()
    methods = ours() | peers(options.peer_python)
    print("  ".join(f"{heading:>9}" for heading in HEADINGS))
    for widths in options.fwhm:
        science, template = (float(value) for value in widths.split(":"))
        for seed in range(1, options.seeds + 1):
            faint, bright = (10 ** (-0.4 * (mag - 26.2)) for mag in NEW_MAGNITUDES[::-1])
            pair = make_pair(
                seed,
                side=options.side,
                fwhm=(science, template),
                sky=(300.0, options.template_sky),
                variation=options.variation,
                n_new=round(60 * (options.side / 1024) ** 2),
                new_flux=(faint, bright),
                n_variable=round(15 * (options.side / 1024) ** 2),
            )
            for name, method in methods.items():
                if not options.methods or name in options.methods:
                    print("  ".join(f"{cell:>9}" for cell in (widths, name, *judge(pair, method))), flush=True)


def judge(pair: Pair, method: Callable[[Pair], Difference]) -> list[str]:
    """Return the cells of one method."""
    try:
        method(pair)
        found = method(pair)
    except Exception as error:  # noqa: BLE001 - the table tells that a peer failed, whatever it raised
        return [str(error).strip().splitlines()[-1][:80] if str(error).strip() else type(error).__name__]
    changed_x = np.concatenate([pair.new_x, pair.x[pair.variable]])
    changed_y = np.concatenate([pair.new_y, pair.y[pair.variable]])
    changed = near(pair, changed_x, changed_y, 8)
    with np.errstate(invalid="ignore", divide="ignore"):
        z = np.where(found.good, found.image / np.sqrt(found.variance), np.nan)
    sky = np.where(changed | near(pair, *stars(pair, 0, 20), 8) | near(pair, *stars(pair, 0, 15), 25), np.nan, z)
    cells = [f"{found.seconds:.2f}", f"{np.nanstd(sky):.3f}", f"{np.nanmean(sky[1:] * sky[:-1]) / np.nanvar(sky):+.3f}"]
    for bright, faint in ((14.0, 15.5), (15.5, 17.0), (17.0, 18.5)):
        cells.append(f"{np.nanstd(np.where(near(pair, *stars(pair, bright, faint), 3) & ~changed, z, np.nan)):.2f}")
    return cells + fluxes(pair, found) + detections(pair, found, changed)


def fluxes(pair: Pair, found: Difference) -> list[str]:
    """Return the ratio of measured to true fluxes of new sources, and the scatter in units of the stated errors."""
    psf = pair.science.psf if found.psf is None else found.psf
    measured = measure_psf_flux(
        found.image, variance=found.variance, bad=~found.good, psf=psf, x=pair.new_x, y=pair.new_y
    )
    use = ~measured.flag
    weight = 1.0 / measured.flux_err[use] ** 2
    truth, flux = pair.new_flux[use], measured.flux[use]
    ratio = (weight * flux * truth).sum() / (weight * truth**2).sum()
    return [f"{ratio:.4f}", f"{np.std((flux - truth) / measured.flux_err[use]):.2f}"]


def detections(pair: Pair, found: Difference, changed: NDArray[np.bool_]) -> list[str]:
    """Return the false detections of either sign, and how many of the new sources above 6 sigma are found."""
    psf = pair.science.psf if found.psf is None else found.psf
    sigma = psf.moments(x=pair.science.shape[1] / 2, y=pair.science.shape[0] / 2).sigma
    smoothed = smooth_for_detection(found.image, variance=found.variance, bad=~found.good, psf_sigma=sigma)
    cells = []
    for negative in (False, True):
        peaks = detect_sources(smoothed, threshold=5.0, negative=negative)
        cells.append(str(int(np.sum(~changed[peaks.peak_y, peaks.peak_x]))))
    profile = psf.image(x=100.0, y=100.0)
    snr = pair.new_flux * np.sqrt((profile**2).sum() / np.median(found.variance[found.good]))
    rows, columns = np.rint(pair.new_y).astype(int), np.rint(pair.new_x).astype(int)
    use = (snr > 6.0) & found.good[rows, columns]
    best = np.array([smoothed.snr[y - 1 : y + 2, x - 1 : x + 2].max() for y, x in zip(rows, columns, strict=True)])
    return [*cells, f"{int((best[use] > 5).sum())}/{int(use.sum())}"]


def ours() -> dict[str, Callable[[Pair], Difference]]:
    """Return our methods by name."""
    tasks = {
        "AL": AlardLuptonSubtractTask(),
        "AL both": AlardLuptonSubtractTask(AlardLuptonSubtractConfig(convolve="both")),
        "AL delta": AlardLuptonSubtractTask(AlardLuptonSubtractConfig(basis="delta", kernel_order=1)),
        "Fourier": FourierSubtractTask(),
        "ZOGY": ZogySubtractTask(),
    }

    def runner(task: AlardLuptonSubtractTask) -> Callable[[Pair], Difference]:
        def run(pair: Pair) -> Difference:
            start = time.process_time()
            result = task.run(pair.science, pair.template)
            seconds = time.process_time() - start
            good = ~result.difference.mask.any_of("SAT", "SAT_TEMPLATE", "NO_DATA", "EDGE")
            difference = result.difference
            return Difference(difference.image, difference.variance, good, difference.psf, seconds)

        return run

    return {name: runner(task) for name, task in tasks.items()}


def peers(python: Path | None) -> dict[str, Callable[[Pair], Difference]]:
    """Return the peers that are there."""
    found: dict[str, Callable[[Pair], Difference]] = {}
    if python is not None:
        found["sfft"] = lambda pair: run_sfft(pair, python)
    if os.environ.get("HOTPANTS"):
        found["hotpants"] = run_hotpants
    return found


SFFT = """
import os, sys, time
import numpy as np
from sfft.EasySparsePacket import Easy_SparsePacket
start = time.process_time()
made = Easy_SparsePacket.ESP(FITS_REF=os.path.abspath("template.fits"), FITS_SCI=os.path.abspath("science.fits"),
    ForceConv=sys.argv[1], GKerHW=None, KerHWRatio=2.0, KerHWLimit=(2, 20), KerPolyOrder=2, BGPolyOrder=0,
    ConstPhotRatio=True, BACKEND_4SUBTRACT="Numpy", NUM_CPU_THREADS_4SUBTRACT=1, VERBOSE_LEVEL=0,
    GAIN_KEY="GAIN", SATUR_KEY="SATURATE")
print("seconds", time.process_time() - start)
np.save("difference.npy", next(each for each in made if getattr(each, "ndim", 0) == 2 and min(each.shape) > 1).T)
"""


def run_sfft(pair: Pair, python: Path) -> Difference:
    """Subtract with SFFT (Hu et al. 2022), sparse flavour, without decorrelation."""
    with tempfile.TemporaryDirectory() as scratch:
        for name, exposure in (("science", pair.science), ("template", pair.template)):
            write_plain(exposure, Path(scratch) / f"{name}.fits")
        widths = [e.psf.fwhm(x=0, y=0) for e in (pair.science, pair.template)]
        direction = "REF" if widths[1] <= widths[0] else "SCI"
        call = [str(python), "-c", SFFT, direction]
        done = subprocess.run(call, cwd=scratch, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(done.stderr or done.stdout)
        seconds = float(done.stdout.rpartition("seconds")[2])
        image = np.load(Path(scratch) / "difference.npy").astype(np.float32)
    return Difference(image, pair.science.variance + pair.template.variance, known(pair, image), None, seconds)


def run_hotpants(pair: Pair) -> Difference:
    """Subtract with HOTPANTS (Becker 2015), with the widths that its manual recommends."""
    sigma = [e.psf.moments(x=0, y=0).sigma for e in (pair.science, pair.template)]
    match = max(float(np.sqrt(abs(sigma[0] ** 2 - sigma[1] ** 2))), 0.7)
    with tempfile.TemporaryDirectory() as scratch:
        paths = {name: Path(scratch) / f"{name}.fits" for name in ("science", "template", "difference", "noise")}
        write_plain(pair.science, paths["science"])
        write_plain(pair.template, paths["template"])
        options = {
            "-inim": paths["science"],
            "-tmplim": paths["template"],
            "-outim": paths["difference"],
            "-oni": paths["noise"],
            "-c": "t" if sigma[1] <= sigma[0] else "i",
            "-n": "i",
            "-tl": -200,
            "-il": -200,
            "-tu": 45_000,
            "-iu": 45_000,
            "-tg": GAIN,
            "-ig": GAIN,
            "-tr": READ_NOISE,
            "-ir": READ_NOISE,
            "-tp": -300,
            "-ip": -300,
        }
        words = [str(word) for item in options.items() for word in item]
        widths = ["-ng", "3", "6", f"{0.5 * match:.3f}", "4", f"{match:.3f}", "2", f"{2 * match:.3f}", "-v", "0"]
        before = os.times()
        subprocess.run([os.environ["HOTPANTS"], *words, *widths], check=True, capture_output=True)
        after = os.times()
        image, noise = (fits.getdata(paths[name]).astype(np.float32) for name in ("difference", "noise"))
    seconds = after.children_user + after.children_system - before.children_user - before.children_system
    return Difference(image, noise**2, known(pair, image), None, seconds)


def write_plain(exposure: Exposure, path: Path) -> None:
    """Write the image as a plain FITS file with gain and saturation."""
    header = fits.Header({"GAIN": GAIN, "SATURATE": 45_000.0})
    fits.PrimaryHDU(exposure.image, header).writeto(path)


def known(pair: Pair, image: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Return which pixels of a peer's difference count: as many of the border as ours, and no saturated ones."""
    good = np.isfinite(image) & (image != 0)
    good &= ~pair.science.mask.any_of("SAT") & ~pair.template.mask.any_of("SAT")
    good[:10], good[-10:], good[:, :10], good[:, -10:] = False, False, False, False
    return np.asarray(good)


def stars(pair: Pair, bright: float, faint: float) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Return the places of the constant stars between two magnitudes."""
    mag = 26.2 - 2.5 * np.log10(pair.flux)
    chosen = (mag >= bright) & (mag < faint) & ~pair.variable
    return pair.x[chosen], pair.y[chosen]


def near(pair: Pair, x: NDArray[np.floating], y: NDArray[np.floating], radius: int) -> NDArray[np.bool_]:
    """Return True on squares about positions."""
    ny, nx = pair.science.shape
    where = np.zeros((ny, nx), dtype=bool)
    for column, row in zip(np.rint(x).astype(int), np.rint(y).astype(int), strict=True):
        if -radius <= column < nx + radius and -radius <= row < ny + radius:
            where[max(row - radius, 0) : row + radius + 1, max(column - radius, 0) : column + radius + 1] = True
    return where


if __name__ == "__main__":
    main()
