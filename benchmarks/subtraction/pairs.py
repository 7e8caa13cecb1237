"""Pairs of exposures of one field, simulated as a telescope takes them and calibrated as a user does."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table, vstack
from numpy.typing import NDArray

from firstlight.framework import build_config
from firstlight.images.exposure import Exposure
from firstlight.instruments.registry import get_instrument
from firstlight.refcats.formats import TableReferenceCatalog
from firstlight.simulation import OpticsSettings, SimulatedExposure, SimulationSettings, SkySettings, night_sky
from firstlight.simulation import simulate_exposure as simulate
from firstlight.simulation.conditions import Conditions, draw_conditions
from firstlight.simulation.detector import TruthBit
from firstlight.simulation.optics import make_wcs, pixel_to_sky, sky_to_pixel, wcs_cards
from firstlight.simulation.point_spread import PointSpread, draw_point_spread
from firstlight.simulation.reference import make_reference
from firstlight.simulation.sky import magnitudes_at
from firstlight.tasks.calibrate_image import CalibrateImageConfig, CalibrateImageTask

Floats = NDArray[np.floating]

DENSITIES = {"sparse": 4_000.0, "default": 24_000.0, "crowded": 168_000.0}
"""Stars per square degree between magnitudes 10 and 22."""

SEEING_RATIOS = (0.6, 1.6)
"""FWHM of the science image over that of the template, of the first and the last pair."""

MIDDLE_FWHM = 2.6
"""Geometric mean of the two FWHM [pixel]."""

SNR_RANGE = (2.5, 60.0)
"""Range of the signal-to-noise ratios of transients on an empty sky."""

CHANGES = (1.5, 0.6)
"""Brightness of a variable star in the science image over that in the template, in turn."""

EPOCHS = {"template": 0, "science": 1}
NEW_IDS = 10_000_000
PSF_RADIUS = 24
"""Half size of the true profiles, which tell the ideal signal-to-noise ratios [pixel]."""


@dataclass(frozen=True)
class Scene:
    """What a pair is of.

    Parameters
    ----------
    seed
    kind
        A name of `DENSITIES`.
    ratio
        FWHM of the science image over that of the template.
    side : [pixel]
    """

    seed: int
    kind: str
    ratio: float
    side: int = 1024

    @property
    def settings(self) -> SimulationSettings:
        """Return the settings of both exposures; what varies is added by hand."""
        return SimulationSettings(
            shape=(self.side, self.side),
            sky=SkySettings(star_density=DENSITIES[self.kind], variable_fraction=0.0, transient_density=0.0),
            optics=OpticsSettings(),
        )

    @property
    def n_changes(self) -> int:
        """Return the number of transients, and at most that of the variable stars."""
        return round(200 * (self.side / 1024) ** 2)


@dataclass(frozen=True)
class Pair:
    """Two calibrated exposures and what is true about them, on the pixels of the science image.

    Parameters
    ----------
    scene
    science, template
        In nJy, with WCS and PSF from our own calibration.
    new_x, new_y : (n,) [pixel]
    new_flux : (n,) [nJy]
    new_snr : (n,)
        Ideal signal-to-noise ratio, without the noise of the transient itself.
    crowded : (n,)
        True for transients near a variable star or another transient, or where stars add to the noise.
    stars_x, stars_y, stars_mag : (m,) [pixel], [mag]
        Constant sources of both images.
    variable_x, variable_y, variable_snr : (k,)
        Stars that changed, and the significance of the change.
    """

    scene: Scene
    science: Exposure
    template: Exposure
    new_x: Floats
    new_y: Floats
    new_flux: Floats
    new_snr: Floats
    crowded: NDArray[np.bool_]
    stars_x: Floats
    stars_y: Floats
    stars_mag: Floats
    variable_x: Floats
    variable_y: Floats
    variable_snr: Floats

    @property
    def fwhm(self) -> float:
        """Full width at half maximum of the wider PSF [pixel]."""
        return MIDDLE_FWHM * max(np.sqrt(self.scene.ratio), 1 / np.sqrt(self.scene.ratio))

    @cached_property
    def changed(self) -> NDArray[np.bool_]:
        """True near everything that changed [y, x]."""
        x, y = (np.concatenate(both) for both in ((self.new_x, self.variable_x), (self.new_y, self.variable_y)))
        return self.near(x, y, round(3 * self.fwhm))

    def between(self, bright: float, faint: float) -> tuple[Floats, Floats]:
        """Return the places of the constant sources between two magnitudes."""
        chosen = (self.stars_mag >= bright) & (self.stars_mag < faint)
        return self.stars_x[chosen], self.stars_y[chosen]

    def near(self, x: Floats, y: Floats, radius: int) -> NDArray[np.bool_]:
        """Return True on squares about positions."""
        ny, nx = self.science.shape
        where = np.zeros((ny, nx), dtype=bool)
        for column, row in zip(np.rint(x).astype(int), np.rint(y).astype(int), strict=True):
            if -radius <= column < nx + radius and -radius <= row < ny + radius:
                where[max(row - radius, 0) : row + radius + 1, max(column - radius, 0) : column + radius + 1] = True
        return where


def scenes(first: int, count: int, side: int) -> list[Scene]:
    """Return scenes whose seeing ratios run from end to end in an order that mixes them with the densities."""
    low, high = SEEING_RATIOS
    ratios = np.linspace(low, high, count) if count > 1 else np.array([1.2])
    kinds = ("default", "sparse", "default", "crowded")
    return [Scene(first + k, kinds[k % len(kinds)], float(ratios[k]), side) for k in range(count)]


def make_pair(scene: Scene) -> Pair:
    """Simulate both exposures, calibrate them, and keep the truth."""
    settings = scene.settings
    rng = np.random.default_rng(scene.seed)
    sky = night_sky(settings, seed=scene.seed, n_epochs=2)
    conditions = {name: _conditions(scene, name) for name in EPOCHS}
    wcs = make_wcs(
        wcs_cards(
            settings.optics,
            seed=scene.seed,
            shape=settings.shape,
            **{name: getattr(conditions["science"], name) for name in ("ra", "dec", "rotation")},
        )
    )
    spreads = {name: _spread(scene, conditions[name], epoch) for name, epoch in EPOCHS.items()}
    x, y = rng.uniform(20, scene.side - 20, (2, scene.n_changes))
    wanted = np.exp(rng.uniform(*np.log(SNR_RANGE), scene.n_changes))
    new_flux = wanted * ideal_errors(
        spreads, {name: _sky_variance(settings, conditions[name]) for name in EPOCHS}, x, y
    )
    changed, variables = _with_variables(sky, wcs, scene, rng)
    taken = {
        "template": _simulated(scene, "template", sky, conditions),
        "science": _simulated(
            scene, "science", vstack([changed, _transients(sky, wcs, x, y, new_flux, settings)]), conditions
        ),
    }
    reference = TableReferenceCatalog(make_reference(sky, settings=settings, seed=scene.seed), name="simulated")
    return _with_truth(scene, taken, reference, variables, (x, y, new_flux), spreads)


def ideal_errors(spreads: dict[str, PointSpread], variances: dict[str, Floats | float], x: Floats, y: Floats) -> Floats:
    """Return the smallest errors of the flux of new sources that any difference of the two images allows.

    One over the square is the mean over frequencies of ``|P_n|^2 |P_r|^2 / (v_n |P_r|^2 + v_r |P_n|^2)`` with the
    transforms of the true PSFs (Zackay, Ofek & Gal-Yam 2016, ApJ 830, 27, equations 8 and 17).

    Parameters
    ----------
    spreads
    variances : (n,) [nJy^2]
        Of the pixels about the positions, without the light of the sources themselves.
    x, y : (n,) [pixel]
    """
    power = {
        name: np.abs(np.fft.rfft2(np.fft.ifftshift(_centred(spread, x, y), axes=(1, 2)))) ** 2
        for name, spread in spreads.items()
    }
    noise = {name: np.broadcast_to(np.asarray(value, dtype=float), x.shape) for name, value in variances.items()}
    both = noise["science"][:, None, None] * power["template"] + noise["template"][:, None, None] * power["science"]
    information = power["science"] * power["template"] / np.maximum(both, 1e-12 * both.max(axis=(1, 2), keepdims=True))
    # The half plane of a real transform: every column but the first stands for two.
    weights = np.full(information.shape[2], 2.0)
    weights[0] = 1.0
    size = information.shape[1]
    return np.asarray(1.0 / np.sqrt((information * weights).sum(axis=(1, 2)) / size**2))


def _centred(spread: PointSpread, x: Floats, y: Floats) -> Floats:
    """Return the profiles as they are at positions, each in the middle of a pixel."""
    return np.stack(
        [spread.image(x=float(np.rint(a)), y=float(np.rint(b)), radius=PSF_RADIUS) for a, b in zip(x, y, strict=True)]
    )


def _conditions(scene: Scene, name: str) -> Conditions:
    drawn = draw_conditions(scene.settings, seed=scene.seed, epoch=EPOCHS[name])
    factor = np.sqrt(scene.ratio) if name == "science" else 1 / np.sqrt(scene.ratio)
    return replace(drawn, fwhm=float(MIDDLE_FWHM * factor))


def _spread(scene: Scene, conditions: Conditions, epoch: int) -> PointSpread:
    settings = scene.settings
    return draw_point_spread(settings.optics, seed=scene.seed, epoch=epoch, shape=settings.shape, fwhm=conditions.fwhm)


def _zero_point(settings: SimulationSettings, conditions: Conditions) -> float:
    return settings.zero_point + 2.5 * float(np.log10(conditions.transparency))


def _njy_per_count(settings: SimulationSettings, conditions: Conditions) -> float:
    return float(10 ** (0.4 * (31.4 - _zero_point(settings, conditions))))


def _sky_variance(settings: SimulationSettings, conditions: Conditions) -> float:
    """Return the variance of an empty pixel [nJy^2]."""
    detector = settings.detector
    counts = conditions.sky_level / detector.gain + (detector.read_noise / detector.gain) ** 2
    return counts * _njy_per_count(settings, conditions) ** 2


def _with_variables(sky: Table, wcs: object, scene: Scene, rng: np.random.Generator) -> tuple[Table, NDArray[np.intp]]:
    """Return the sky of the science image and the rows of the stars that changed."""
    x, y = sky_to_pixel(wcs, ra=np.asarray(sky["ra"]), dec=np.asarray(sky["dec"]))
    mag = np.asarray(sky["r_mag"])
    inside = (x > 20) & (x < scene.side - 20) & (y > 20) & (y < scene.side - 20)
    able = np.flatnonzero(inside & (np.asarray(sky["kind"]) == "star") & (mag > 14.0) & (mag < 21.0))
    rows = rng.choice(able, min(scene.n_changes, len(able) // 5), replace=False)
    changed = sky.copy()
    for number, factor in enumerate(CHANGES):
        for band in ("g_mag", "r_mag", "i_mag"):
            changed[band][rows[number :: len(CHANGES)]] -= 2.5 * np.log10(factor)
    return changed, rows


def _transients(sky: Table, wcs: object, x: Floats, y: Floats, flux: Floats, settings: SimulationSettings) -> Table:
    """Return rows of new stars, with fluxes in nJy, that do not move."""
    rows = sky[np.flatnonzero(np.asarray(sky["kind"]) == "star")[np.zeros(len(x), dtype=int)]]
    rows["ra"], rows["dec"] = pixel_to_sky(wcs, x=x, y=y)
    rows["pmra"] = rows["pmdec"] = 0.0
    for band in ("g_mag", "r_mag", "i_mag"):
        rows[band] = 31.4 - 2.5 * np.log10(flux)
    rows["id"] = NEW_IDS + np.arange(len(x))
    return rows


def _simulated(scene: Scene, name: str, sky: Table, conditions: dict[str, Conditions]) -> SimulatedExposure:
    return simulate(
        scene.settings, seed=scene.seed, epoch=EPOCHS[name], n_epochs=2, sky=sky, conditions=conditions[name]
    )


def calibrated(taken: SimulatedExposure, reference: TableReferenceCatalog) -> Exposure:
    """Return the exposure as our own calibration makes it of the camera's file and its map of defects."""
    instrument = get_instrument("simulated")
    task = CalibrateImageTask(
        build_config(CalibrateImageConfig, [], labelled=False, settings_of_class=instrument.overrides())
    )
    defects = (taken.mask & (TruthBit.BAD_COLUMN | TruthBit.HOT)) > 0
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "image.fits"
        fits.PrimaryHDU(taken.image, header=taken.header).writeto(path)
        return task.run(
            instrument.read(path, mask=defects), astrometry_refcat=reference, photometry_refcat=reference
        ).exposure


def _with_truth(
    scene: Scene,
    taken: dict[str, SimulatedExposure],
    reference: TableReferenceCatalog,
    variables: NDArray[np.intp],
    new: tuple[Floats, Floats, Floats],
    spreads: dict[str, PointSpread],
) -> Pair:
    science, settings = taken["science"], scene.settings
    x, y, flux = new
    sources = science.sources
    ids = np.asarray(sources["id"])
    # Rows of the sky are numbered as they stand.
    is_variable, is_new = np.isin(ids, variables), ids >= NEW_IDS
    places = [np.asarray(sources[name])[is_variable] for name in ("x", "y")]
    mag = magnitudes_at(sources, band="r", days=0.0, epoch=1)
    after = 10 ** (0.4 * (31.4 - mag[is_variable]))
    numbers = ids[is_variable]
    order = {int(row): k for k, row in enumerate(variables)}
    factor = np.array([CHANGES[order[int(number)] % len(CHANGES)] for number in numbers])
    others = _others_noise(taken, x, y, flux)
    at_variables = _others_noise(taken, *places, np.zeros(len(factor)))
    near = _nearest(x, y, np.concatenate([x, places[0]]), np.concatenate([y, places[1]]))
    empty = {name: _sky_variance(settings, taken[name].conditions) for name in EPOCHS}
    noisy = sum(others.values()) > 1.25 * sum(empty.values())
    return Pair(
        scene=scene,
        science=calibrated(science, reference),
        template=calibrated(taken["template"], reference),
        new_x=x,
        new_y=y,
        new_flux=flux,
        new_snr=flux / ideal_errors(spreads, others, x, y),
        crowded=np.asarray(noisy | (near < 4 * MIDDLE_FWHM)),
        stars_x=np.asarray(sources["x"])[~is_variable & ~is_new],
        stars_y=np.asarray(sources["y"])[~is_variable & ~is_new],
        stars_mag=mag[~is_variable & ~is_new],
        variable_x=places[0],
        variable_y=places[1],
        variable_snr=np.abs(after - after / factor) / ideal_errors(spreads, at_variables, *places),
    )


def _others_noise(taken: dict[str, SimulatedExposure], x: Floats, y: Floats, flux: Floats) -> dict[str, Floats]:
    """Return the variance [nJy^2] about positions in each image, without the light of the sources there."""
    science = taken["science"]
    ra, dec = pixel_to_sky(science.wcs, x=x, y=y)
    found = {}
    for name, exposure in taken.items():
        at_x, at_y = (x, y) if name == "science" else sky_to_pixel(exposure.wcs, ra=ra, dec=dec)
        to_njy = _njy_per_count(exposure.settings, exposure.conditions)
        values = np.empty(len(x))
        ny, nx = exposure.variance.shape
        variance, gain = exposure.variance, exposure.settings.detector.gain
        for k, (a, b) in enumerate(zip(at_x, at_y, strict=True)):
            profile = exposure.point_spread.image(x=float(a), y=float(b), radius=4)
            row, column = int(np.clip(round(b), 4, ny - 5)), int(np.clip(round(a), 4, nx - 5))
            square = variance[row - 4 : row + 5, column - 4 : column + 5].astype(float)
            if name == "science":
                square = square - flux[k] / to_njy * profile / gain
            weight = profile**2
            values[k] = (weight * square).sum() / weight.sum() * to_njy**2
        found[name] = values
    return found


def _nearest(x: Floats, y: Floats, other_x: Floats, other_y: Floats) -> Floats:
    """Return the distance to the nearest other place; a place of distance 0 is the same one."""
    distance = np.hypot(x[:, None] - other_x, y[:, None] - other_y)
    return np.asarray(np.where(distance > 0, distance, np.inf).min(axis=1))
