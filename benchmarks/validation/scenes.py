"""The scenes: simulated frames from sparse to crowded, in good and bad conditions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table

from firstlight.simulation import SimulatedExposure, SimulationSettings, night_sky, simulate_exposure
from firstlight.simulation.detector import read_out
from firstlight.simulation.reference import make_reference

PLAIN = SimulationSettings()


@dataclass(frozen=True)
class Scene:
    """What is simulated, and what the camera and the catalogue get wrong about it.

    Parameters
    ----------
    name
    settings
    header
        Cards that replace those of the camera.
    wrong_references
        Share of the reference stars whose magnitude is off by half a magnitude either way.
    snaps
        True: the same light is read out twice, with other noise and cosmic rays.
    options
        More options of ``firstlight process``.
    """

    name: str
    settings: SimulationSettings
    header: Mapping[str, float] = field(default_factory=dict)
    wrong_references: float = 0.0
    snaps: bool = False
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class SceneFiles:
    """A scene on disk and its truth in memory."""

    scene: Scene
    seed: int
    truth: SimulatedExposure
    image: Path
    refcat: Path
    snap: Path | None


def _seen(name: str, **changes: object) -> Scene:
    return Scene(name, PLAIN.varied(**changes))


SCENES: tuple[Scene, ...] = (
    _seen("default"),
    _seen("sparse 2500/deg2", star_density=2500.0),
    _seen("very sparse 900/deg2", star_density=900.0),
    _seen("dense 70000/deg2", star_density=70_000.0),
    Scene("crowded", SimulationSettings.crowded()),
    _seen("fwhm 1.5", fwhm=1.25),
    _seen("fwhm 1.6", fwhm=1.4),
    _seen("fwhm 3", fwhm=2.9),
    _seen("fwhm 4.5", fwhm=4.4),
    _seen("fwhm 6", fwhm=5.95),
    _seen("wide wings, beta 2.2", beta=2.2),
    _seen("gaussian-like, beta 6", beta=6.0),
    _seen("clouds 1 %", transparency=0.99),
    _seen("clouds 10 %", transparency=0.9),
    _seen("clouds 30 %", transparency=0.7),
    _seen("gradient 60 %", sky_gradient=0.6),
    _seen("big galaxy", big_galaxy_radius=64.0, big_galaxy_magnitude=12.0),
    _seen("bright stars 5, 7, 8", bright_stars=(5.0, 7.0, 8.0)),
    _seen("oval stars 0.3", ellipticity=0.3, fwhm=3.0),
    _seen("oval and undersampled 0.2", ellipticity=0.2, fwhm=1.5),
    _seen("psf varies 5 %, 0.1", fwhm_variation=0.05, ellipticity_variation=0.1),
    _seen("cosmic rays x 10", cosmic_rays=400.0),
    _seen("satellites", satellite_trails=3),
    Scene("wrong pointing 4' and seeing", PLAIN.varied(pointing_error=240.0), header={"SEEING": 9.0, "FWHM": 9.0}),
    _seen("no WCS in the header", header_wcs="none"),
    _seen("mirrored, turned, TPV", mirrored=True, rotation=97.0, distortion_format="TPV", distortion=6.0),
    _seen("dark sky", sky_level=15.0),
    _seen("moonlit sky", sky_level=4000.0),
    _seen("colour term 0.1, g", color_term=0.1, band="g"),
    Scene("5 % wrong references", PLAIN, wrong_references=0.05),
    Scene("two snaps", PLAIN, snaps=True),
)
"""One frame each of 1024 x 1024 pixels."""


def choose_scenes(words: str | None) -> tuple[Scene, ...]:
    """Return the scenes whose name contains one of the comma-separated words; all without words."""
    if not words:
        return SCENES
    wanted = [word.strip() for word in words.split(",")]
    return tuple(scene for scene in SCENES if any(word in scene.name for word in wanted))


def write_scene(scene: Scene, *, seed: int, folder: Path) -> SceneFiles:
    """Simulate a scene and write what an observer has: the image and a reference catalogue."""
    folder.mkdir(parents=True, exist_ok=True)
    sky = night_sky(scene.settings, seed=seed)
    truth = simulate_exposure(scene.settings, seed=seed, sky=sky)
    header = truth.header.copy()
    header.update(scene.header)
    image, refcat = folder / "frame.fits", folder / "refcat.parquet"
    fits.PrimaryHDU(truth.image, header=header).writeto(image, overwrite=True)
    reference = make_reference(sky, settings=scene.settings, seed=seed)
    _spoil(reference, share=scene.wrong_references, seed=seed)
    reference.write(refcat, format="parquet", overwrite=True)
    snap = None
    if scene.snaps:
        snap = folder / "snap.fits"
        second = read_out(truth.light.astype(float), settings=scene.settings.detector, seed=seed, epoch=1)
        fits.PrimaryHDU(second.image, header=header).writeto(snap, overwrite=True)
    return SceneFiles(scene=scene, seed=seed, truth=truth, image=image, refcat=refcat, snap=snap)


def _spoil(reference: Table, *, share: float, seed: int) -> None:
    rng = np.random.default_rng([seed, 5])
    wrong = rng.random(len(reference)) < share
    for name in ("g_mag", "r_mag", "i_mag"):
        reference[name][wrong] += 0.5 * np.sign(rng.normal(size=np.count_nonzero(wrong)))
