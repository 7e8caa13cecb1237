"""The methods that subtract a pair: ours, and peers where they are installed."""

from __future__ import annotations

import os
import shutil
import subprocess
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
from firstlight.framework import Layer, build_config
from firstlight.images.exposure import Exposure
from firstlight.images.psf import GaussianPsf, Psf
from firstlight.kernels.matched_filter import grow_mask
from firstlight.tasks.align import LanczosAlignTask
from firstlight.tasks.difference_image import DifferenceImageConfig, DifferenceImageTask
from subtraction.pairs import Pair

Floats = NDArray[np.floating]

MASKED = ("NO_DATA", "EDGE", "SAT", "SAT_TEMPLATE")
PEER_MASKED = ("NO_DATA", "BAD", "CR", "EDGE")
"""Planes whose pixels do not count on the differences of peers, besides saturated cores grown by the FWHM."""

PEER_BORDER = 12
"""Border of the differences of peers that does not count [pixel]."""

OURS = {
    "AL": (),
    "AL both": ("subtract.convolve=both",),
    "AL delta": ("subtract.basis=delta", "subtract.kernel_order=1"),
    "Fourier": ("subtract.task=FourierSubtractTask",),
    "ZOGY": ("subtract.task=ZogySubtractTask",),
}
"""Our methods by name, and the settings of a difference that make them."""


class Difference(NamedTuple):
    """A difference and what was found on it.

    Parameters
    ----------
    image, variance : (ny, nx) [nJy], [nJy^2]
    good : (ny, nx)
        Pixels that count.
    cores
        Share of the image under saturated cores.
    x, y : (n,) [pixel]
    flux, flux_err : (n,) [nJy]
        Total fluxes.
    negative : (n,)
    seconds
        CPU time from the calibrated images to this.
    """

    image: Floats
    variance: Floats
    good: NDArray[np.bool_]
    cores: float
    x: Floats
    y: Floats
    flux: Floats
    flux_err: Floats
    negative: NDArray[np.bool_]
    seconds: float


Method = Callable[[Pair], Difference]


def all_methods() -> dict[str, Method]:
    """Return our methods, and the peers that are there.

    ``$FIRSTLIGHT_PEER_PYTHON`` names a Python in which sfft or properimage are installed, ``$HOTPANTS`` the program.
    """
    found: dict[str, Method] = {name: ours(settings) for name, settings in OURS.items()}
    python = os.environ.get("FIRSTLIGHT_PEER_PYTHON")
    for name, module, method in (("sfft", "sfft", run_sfft), ("proper", "properimage", run_properimage)):
        if (
            python
            and not subprocess.run([python, "-c", f"import {module}"], capture_output=True, check=False).returncode
        ):
            found[name] = lambda pair, method=method: method(pair, python)
    if os.environ.get("HOTPANTS"):
        found["hotpants"] = run_hotpants
    return found


def ours(settings: tuple[str, ...]) -> Method:
    """Return a difference with settings as a method."""
    layers = [Layer.from_assignment(text) for text in settings]
    task = DifferenceImageTask(build_config(DifferenceImageConfig, layers, labelled=False))

    def run(pair: Pair) -> Difference:
        start = time.process_time()
        made = task.run(pair.science, pair.template)
        seconds = time.process_time() - start
        difference, table = made.difference, made.candidates
        bad = difference.mask.any_of(*(name for name in MASKED if name in difference.mask.planes))
        columns = (np.asarray(table[name], dtype=float) for name in ("x", "y", "calib_flux", "calib_flux_err"))
        cores = {gate.name: gate.value for gate in made.gates}["masked_core_fraction"]
        negative = np.asarray(table["is_negative"], dtype=bool)
        return Difference(difference.image, difference.variance, ~bad, cores, *columns, negative, seconds)

    return run


def run_sfft(pair: Pair, python: str) -> Difference:
    """Subtract with SFFT (Hu et al. 2022), sparse flavour: crowded or not, it chooses its stars itself."""
    widths = [exposure.psf.fwhm(x=0, y=0) for exposure in (pair.science, pair.template)]
    convolved = "REF" if widths[1] <= widths[0] else "SCI"
    with tempfile.TemporaryDirectory() as scratch:
        aligned = write_pair(pair, Path(scratch))
        seconds = call(python, SFFT, convolved, scratch)
        image = np.load(Path(scratch) / "difference.npy").astype(np.float32)
    psf = pair.science.psf if convolved == "REF" else pair.template.psf
    return found_on(pair, aligned, image, psf, seconds)


def run_properimage(pair: Pair, python: str) -> Difference:
    """Subtract with ProperImage (Sanchez et al. 2019), which finds PSFs and flux scale itself."""
    with tempfile.TemporaryDirectory() as scratch:
        aligned = write_pair(pair, Path(scratch))
        seconds = call(python, PROPER, "", scratch)
        made = np.load(Path(scratch) / "difference.npz")
        image = made["difference"].astype(np.float32)
        sigma = float(np.sqrt(1.0 / (2.0 * np.pi * (made["psf"] ** 2).sum() * 2.0)))
    # Its D is in units of its own: fluxes are not compared, and the PSF counts by its width.
    return found_on(pair, aligned, image, GaussianPsf(sigma=sigma, radius=PEER_BORDER), seconds, with_flux=False)


def run_hotpants(pair: Pair) -> Difference:
    """Subtract with HOTPANTS (Becker 2015), with the widths that its manual recommends."""
    ny, nx = pair.science.shape
    sigma = [e.psf.moments(x=nx / 2, y=ny / 2).sigma for e in (pair.science, pair.template)]
    match = max(float(np.sqrt(abs(sigma[0] ** 2 - sigma[1] ** 2))), 0.7)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        aligned = write_pair(pair, folder)
        limits = [(-20 * np.sqrt(np.median(e.variance)), np.nanmax(e.image)) for e in (pair.science, aligned)]
        for name, exposure in (("science", pair.science), ("template", aligned)):
            fits.PrimaryHDU(np.sqrt(exposure.variance)).writeto(folder / f"{name}_noise.fits")
        options = {
            "-inim": "science.fits",
            "-tmplim": "template.fits",
            "-outim": "difference.fits",
            "-oni": "noise.fits",
            "-ini": "science_noise.fits",
            "-tni": "template_noise.fits",
            "-c": "t" if sigma[1] <= sigma[0] else "i",
            "-n": "i",
            "-il": limits[0][0],
            "-iu": 0.9 * limits[0][1],
            "-tl": limits[1][0],
            "-tu": 0.9 * limits[1][1],
            "-v": 0,
        }
        words = [str(word) for item in options.items() for word in item]
        widths = ["-ng", "3", "6", f"{0.5 * match:.3f}", "4", f"{match:.3f}", "2", f"{2 * match:.3f}"]
        before = os.times()
        subprocess.run([os.environ["HOTPANTS"], *words, *widths], cwd=folder, check=True, capture_output=True)
        after = os.times()
        image, noise = (fits.getdata(folder / f"{name}.fits").astype(np.float32) for name in ("difference", "noise"))
    seconds = after.children_user + after.children_system - before.children_user - before.children_system
    psf = pair.science.psf if sigma[1] <= sigma[0] else pair.template.psf
    return found_on(pair, aligned, image, psf, seconds, variance=noise**2)


SFFT = """
from sfft.EasySparsePacket import Easy_SparsePacket
made = Easy_SparsePacket.ESP(FITS_REF=os.path.abspath("template.fits"), FITS_SCI=os.path.abspath("science.fits"),
    ForceConv=sys.argv[1], GKerHW=None, KerHWRatio=2.0, KerHWLimit=(2, 20), KerPolyOrder=2, BGPolyOrder=0,
    ConstPhotRatio=True, BACKEND_4SUBTRACT="Numpy", NUM_CPU_THREADS_4SUBTRACT=1, VERBOSE_LEVEL=0,
    GAIN_KEY="GAIN", SATUR_KEY="SATURATE")
np.save("difference.npy", next(each for each in made if getattr(each, "ndim", 0) == 2 and min(each.shape) > 1).T)
"""

PROPER = """
from properimage.operations import subtract
made = subtract("template.fits", "science.fits", align=False, iterative=False, fitted_psf=True, beta=True, shift=False)
np.savez("difference.npz", difference=np.ma.filled(made[0].real, 0.0), psf=np.asarray(made[1].real))
"""


def call(python: str, script: str, argument: str, folder: str) -> float:
    """Run a script of a peer and return its CPU seconds, without its imports, children included."""
    lines = script.strip().splitlines()
    code = [
        "import os, sys",
        "import numpy as np",
        lines[0],
        "before = os.times()",
        *lines[1:],
        "spent = np.subtract(os.times(), before)[:4].sum()",
        "print('seconds', spent)",
    ]
    # sfft knows Source Extractor by its older name only.
    program = shutil.which("sex") or shutil.which("source-extractor")
    if program:
        (Path(folder) / "sex").symlink_to(program)
    done = subprocess.run(
        [python, "-W", "ignore", "-c", "\n".join(code), argument],
        cwd=folder,
        env={**os.environ, "PATH": os.pathsep.join([folder, os.environ["PATH"]])},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr or done.stdout)
    return float(done.stdout.rpartition("seconds")[2].split()[0])


def write_pair(pair: Pair, folder: Path) -> Exposure:
    """Write both images, the template aligned by us, as plain FITS files; return the aligned template."""
    aligned = LanczosAlignTask().run(pair.template, onto=pair.science).exposure
    for name, exposure in (("science", pair.science), ("template", aligned)):
        lost = ~np.isfinite(exposure.image) | exposure.mask.any_of("NO_DATA")
        saturated = float(np.nanmax(np.where(exposure.mask.any_of("SAT"), -np.inf, exposure.image)))
        bright = exposure.image > 20 * np.sqrt(np.nanmedian(exposure.variance))
        gain = float(np.nanmedian((exposure.image / exposure.variance)[bright & ~lost]))
        header = fits.Header({"GAIN": max(gain, 1e-9), "SATURATE": 0.95 * saturated})
        fits.PrimaryHDU(np.where(lost, 0.0, exposure.image).astype(np.float32), header).writeto(folder / f"{name}.fits")
    return aligned


def found_on(
    pair: Pair,
    template: Exposure,
    image: Floats,
    psf: Psf,
    seconds: float,
    *,
    variance: Floats | None = None,
    with_flux: bool = True,
) -> Difference:
    """Return a peer's difference with what a matched filter finds on it; the stated noise is scaled to the sky's."""
    good = np.isfinite(image) & (image != 0)
    for exposure in (pair.science, template):
        good &= ~exposure.mask.any_of(*(name for name in PEER_MASKED if name in exposure.mask.planes))
        good &= ~grow_mask(exposure.mask.any_of("SAT"), round(pair.fwhm))
    good[:PEER_BORDER], good[-PEER_BORDER:] = False, False
    good[:, :PEER_BORDER], good[:, -PEER_BORDER:] = False, False
    image = np.where(good, image, 0.0).astype(np.float32)
    if variance is None:
        variance = np.where(good, pair.science.variance + template.variance, 1.0)
    z = (image / np.sqrt(variance))[good]
    variance = (variance * (1.4826 * np.median(np.abs(z - np.median(z)))) ** 2).astype(np.float32)
    start = time.process_time()
    ny, nx = image.shape
    smoothed = smooth_for_detection(
        image, variance=variance, bad=~good, psf_sigma=psf.moments(x=nx / 2, y=ny / 2).sigma
    )
    peaks = [detect_sources(smoothed, threshold=5.0, negative=negative) for negative in (False, True)]
    x, y = (np.concatenate([getattr(each, name) for each in peaks]).astype(float) for name in ("peak_x", "peak_y"))
    measured = measure_psf_flux(image, variance=variance, bad=~good, psf=psf, x=x, y=y, refinements=2)
    seconds += time.process_time() - start
    unknown = np.full(len(x), np.nan)
    flux, error = (measured.flux, measured.flux_err) if with_flux else (unknown, unknown)
    negative = np.repeat([False, True], [each.n_peaks for each in peaks])
    cores = float(np.mean(pair.science.mask.any_of("SAT") | template.mask.any_of("SAT")))
    return Difference(image, variance, good, cores, x, y, flux, error, negative, seconds)
