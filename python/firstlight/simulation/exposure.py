"""One simulated exposure: the image, the header that a camera would write, and everything that is true about it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from numpy.typing import NDArray

from firstlight.simulation.conditions import Conditions, draw_conditions
from firstlight.simulation.detector import TruthBit, read_out
from firstlight.simulation.galaxies import add_galaxies
from firstlight.simulation.optics import HeaderValues, make_wcs, sky_to_pixel, wcs_cards
from firstlight.simulation.point_spread import PointSpread, add_stars, draw_point_spread
from firstlight.simulation.settings import SimulationSettings
from firstlight.simulation.sky import apply_proper_motion, draw_sky, magnitudes_at
from firstlight.simulation.streams import Stream, random_stream
from firstlight.simulation.trails import Trail, add_trails, draw_trails

FloatArray = NDArray[np.float64]

EDGE = 40.0
"""Truth tables reach this far beyond the image [pixel]; the light of sources further out is still drawn."""

WING_LEVEL = 0.02
"""Wings are drawn until they fall below this many standard deviations of the sky noise."""


@dataclass(frozen=True)
class SimulatedExposure:
    """An exposure and its truth.

    Parameters
    ----------
    image : (ny, nx) float32 [adu]
        What the camera delivers: bias-free, flat-fielded counts with sky.
    header
        What the camera writes, see `SimulationSettings.header_wcs`.
    sources
        Rows of `draw_sky` within `EDGE` of the image, with `x`, `y` [pixel, zero-based], `mag` [mag, camera system],
        `flux` [adu, total] and `saturated` at this epoch; sources that do not shine are left out.
    wcs
        Exact, distortion included.
    wcs_cards
        Its FITS cards.
    point_spread
        Exact profile anywhere on the image.
    light : (ny, nx) float32 [adu]
        Expected sky and sources: no noise, no defects.
    sky : (ny, nx) float32 [adu]
        Expected sky alone.
    cosmic_ray_charge : (ny, nx) float32 [adu]
    mask : (ny, nx) uint8
        Sum of `TruthBit`.
    trails
        Satellites that crossed.
    zero_point
        AB magnitude of a source with one count in total [mag].
    conditions
        State of sky and telescope.
    settings, seed
        What the exposure was made from.
    """

    image: NDArray[np.float32]
    header: fits.Header
    sources: Table
    wcs: WCS
    wcs_cards: HeaderValues
    point_spread: PointSpread
    light: NDArray[np.float32]
    sky: NDArray[np.float32]
    cosmic_ray_charge: NDArray[np.float32]
    mask: NDArray[np.uint8]
    trails: tuple[Trail, ...]
    zero_point: float
    conditions: Conditions
    settings: SimulationSettings
    seed: int

    @property
    def variance(self) -> NDArray[np.float32]:
        """Return the exact variance of the counts [adu2]: photon and read noise."""
        detector = self.settings.detector
        return (self.light / detector.gain + (detector.read_noise / detector.gain) ** 2).astype(np.float32)


def simulate_exposure(
    settings: SimulationSettings | None = None,
    *,
    seed: int = 0,
    epoch: int = 0,
    n_epochs: int = 1,
    sky: Table | None = None,
    conditions: Conditions | None = None,
) -> SimulatedExposure:
    """Simulate one exposure.

    Parameters
    ----------
    settings
        None: the defaults.
    seed
        Another seed is another field, telescope pointing and noise.
    epoch
        Number of the exposure; those after the first have other pointings, seeing, transparency and sky.
    n_epochs
        Number of exposures of the night, which decides when transients shine.
    sky
        What `night_sky` returned; None: drawn here.
    conditions
        State of sky and telescope; None: drawn here.
    """
    settings = settings or SimulationSettings()
    sky = night_sky(settings, seed=seed, n_epochs=max(n_epochs, epoch + 1)) if sky is None else sky
    conditions = draw_conditions(settings, seed=seed, epoch=epoch) if conditions is None else conditions
    cards = wcs_cards(
        settings.optics,
        seed=seed,
        shape=settings.shape,
        ra=conditions.ra,
        dec=conditions.dec,
        rotation=conditions.rotation,
    )
    wcs = make_wcs(cards)
    spread = draw_point_spread(settings.optics, seed=seed, epoch=epoch, shape=settings.shape, fwhm=conditions.fwhm)
    zero_point = settings.zero_point + 2.5 * float(np.log10(conditions.transparency))
    sources = _observe(sky, settings=settings, conditions=conditions, wcs=wcs, zero_point=zero_point)
    background = sky_surface(settings.shape, conditions=conditions)
    light = background + _render(sources, settings=settings, conditions=conditions, wcs=wcs, spread=spread)
    noise = sky_noise(settings, conditions=conditions)
    trails = draw_trails(settings, seed=seed, epoch=epoch, noise=noise)
    trailed = add_trails(light, trails, spread=spread) > noise
    readout = read_out(light, settings=settings.detector, seed=seed, epoch=epoch)
    readout.mask[trailed] |= np.uint8(TruthBit.TRAIL)
    return SimulatedExposure(
        image=readout.image,
        header=_camera_header(settings, seed=seed, conditions=conditions, exact_cards=cards),
        sources=_with_saturation(_near_image(sources, shape=settings.shape), mask=readout.mask),
        wcs=wcs,
        wcs_cards=cards,
        point_spread=spread,
        light=light.astype(np.float32),
        sky=background.astype(np.float32),
        cosmic_ray_charge=readout.cosmic_ray_charge,
        mask=readout.mask,
        trails=trails,
        zero_point=zero_point,
        conditions=conditions,
        settings=settings,
        seed=seed,
    )


def night_sky(settings: SimulationSettings, *, seed: int, n_epochs: int = 1) -> Table:
    """Draw the sources of a night's field, out to the margin of the reference catalogue."""
    half_diagonal = 0.5 * float(np.hypot(*settings.shape)) * settings.optics.pixel_scale / 3600.0
    radius = half_diagonal + max(settings.reference.margin_arcmin / 60.0, 0.02) + 4.0 * settings.dither / 3600.0
    return draw_sky(settings, seed=seed, radius=min(radius, 90.0), n_epochs=n_epochs)


def sky_noise(settings: SimulationSettings, *, conditions: Conditions) -> float:
    """Return the standard deviation of a pixel of empty sky at the image centre [adu]."""
    detector = settings.detector
    return float(np.sqrt(conditions.sky_level / detector.gain + (detector.read_noise / detector.gain) ** 2))


def sky_surface(shape: tuple[int, int], *, conditions: Conditions) -> FloatArray:
    """Return the expected sky [adu]: a plane and a tenth of its slope as curvature."""
    ny, nx = shape
    u = (np.arange(nx) - (nx - 1) / 2)[None, :] / (nx / 2)
    v = (np.arange(ny) - (ny - 1) / 2)[:, None] / (ny / 2)
    right, up = conditions.sky_gradient
    curvature = 0.1 * np.hypot(right, up)
    return np.asarray(conditions.sky_level * (1.0 + right * u + up * v + curvature * (u**2 + v**2)))


def _observe(sky: Table, *, settings: SimulationSettings, conditions: Conditions, wcs: WCS, zero_point: float) -> Table:
    """Return the sources whose light may fall on the image, with x, y, mag and flux."""
    years = conditions.middle - settings.reference.epoch
    ra, dec = apply_proper_motion(
        sky["ra"].data, sky["dec"].data, pmra=sky["pmra"].data, pmdec=sky["pmdec"].data, years=years
    )
    magnitude = magnitudes_at(
        sky, band=settings.band, days=conditions.days, epoch=conditions.epoch, color_term=settings.color_term
    )
    ny, nx = settings.shape
    x, y = (np.asarray(c) for c in wcs.wcs_world2pix(ra, dec, 0))
    reach = 350.0
    near = np.isfinite(magnitude) & (np.abs(x - nx / 2) < nx / 2 + reach) & (np.abs(y - ny / 2) < ny / 2 + reach)
    sources = sky[near]
    sources["x"], sources["y"] = sky_to_pixel(wcs, ra=ra[near], dec=dec[near])
    sources["mag"] = magnitude[near]
    sources["flux"] = 10.0 ** (-0.4 * (magnitude[near] - zero_point))
    for name, unit in {"x": "pix", "y": "pix", "mag": "mag", "flux": "adu"}.items():
        sources[name].unit = unit
    return sources


def _render(
    sources: Table, *, settings: SimulationSettings, conditions: Conditions, wcs: WCS, spread: PointSpread
) -> FloatArray:
    noise = sky_noise(settings, conditions=conditions)
    image = np.zeros(settings.shape)
    stars, galaxies = sources[sources["kind"] != "galaxy"], sources[sources["kind"] == "galaxy"]
    add_stars(
        image,
        x=stars["x"].data,
        y=stars["y"].data,
        flux=stars["flux"].data,
        spread=spread,
        faintest=WING_LEVEL * noise,
    )
    to_pixels = np.linalg.inv(wcs.wcs.cd)
    angle = np.deg2rad(galaxies["position_angle"].data)
    along_x, along_y = to_pixels @ np.stack([np.sin(angle), np.cos(angle)])
    add_galaxies(
        image,
        x=galaxies["x"].data,
        y=galaxies["y"].data,
        flux=galaxies["flux"].data,
        half_light_radius=galaxies["half_light_radius"].data / settings.optics.pixel_scale,
        sersic_index=galaxies["sersic_index"].data,
        axis_ratio=galaxies["axis_ratio"].data,
        angle=np.arctan2(along_y, along_x),
        spread=spread,
        faintest=WING_LEVEL * noise,
    )
    return image


def _near_image(sources: Table, *, shape: tuple[int, int]) -> Table:
    ny, nx = shape
    x, y = sources["x"].data, sources["y"].data
    return sources[(x > -EDGE) & (x < nx + EDGE) & (y > -EDGE) & (y < ny + EDGE)]


def _with_saturation(sources: Table, *, mask: NDArray[np.uint8]) -> Table:
    """Flag sources with a saturated pixel within one pixel of their centre."""
    bad = np.pad((mask & TruthBit.SATURATED) > 0, 2)
    column = np.clip(np.round(sources["x"].data).astype(int) + 2, 1, bad.shape[1] - 2)
    row = np.clip(np.round(sources["y"].data).astype(int) + 2, 1, bad.shape[0] - 2)
    steps = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
    sources["saturated"] = np.any([bad[row + dy, column + dx] for dy, dx in steps], axis=0)
    return sources


def _camera_header(
    settings: SimulationSettings, *, seed: int, conditions: Conditions, exact_cards: HeaderValues
) -> fits.Header:
    """Write what a camera knows: its pointing only roughly."""
    rng = random_stream(seed, Stream.CONDITIONS, epoch=10_000 + conditions.epoch)
    error = settings.pointing_error * rng.uniform(0.4, 1.0) / 3600.0
    direction, turn, stretch = 2.0 * np.pi * rng.random(), rng.normal(0.0, 0.05), rng.normal(0.0, 5e-4)
    ra = (conditions.ra + error * np.sin(direction) / np.cos(np.deg2rad(conditions.dec))) % 360.0
    dec = float(np.clip(conditions.dec + error * np.cos(direction), -90.0, 90.0))
    start = conditions.start(exposure_time=settings.exposure_time)
    detector = settings.detector
    header = fits.Header()
    for card in (
        ("INSTRUME", "firstlight simulated camera", "not a real instrument"),
        ("TELESCOP", "firstlight simulated 1.2 m", ""),
        ("OBSERVAT", "Simulated", "observatory"),
        ("OBJECT", f"seed {seed} epoch {conditions.epoch}", "simulated field"),
        ("FILTER", settings.band, "band of the AB magnitudes"),
        ("EXPTIME", settings.exposure_time, "[s] exposure time"),
        ("DATE-OBS", start.isot, "[UTC] start of the exposure"),
        ("TIMESYS", "UTC", "time scale"),
        ("MJD-OBS", float(start.mjd), "[d] start of the exposure (UTC)"),
        ("RA", ra, "[deg] telescope pointing"),
        ("DEC", dec, "[deg] telescope pointing"),
        ("PIXSCALE", settings.optics.pixel_scale, "[arcsec/pixel] nominal"),
        ("AIRMASS", round(conditions.airmass, 4), ""),
        ("GAIN", detector.gain, "[electron/adu]"),
        ("RDNOISE", detector.read_noise, "[electron]"),
        ("SATURATE", detector.saturation, "[adu]"),
        ("BUNIT", "adu", "unit of the pixels"),
    ):
        header.append(card, end=True)
    if settings.header_wcs == "exact":
        header.update(exact_cards)
    elif settings.header_wcs == "approximate":
        header.update(
            _approximate_cards(
                settings, seed=seed, ra=ra, dec=dec, rotation=conditions.rotation + turn, stretch=stretch
            )
        )
    return header


def _approximate_cards(
    settings: SimulationSettings, *, seed: int, ra: float, dec: float, rotation: float, stretch: float
) -> HeaderValues:
    cards = wcs_cards(
        settings.optics, seed=seed, shape=settings.shape, ra=ra, dec=dec, rotation=rotation, distorted=False
    )
    for name in ("CD1_1", "CD1_2", "CD2_1", "CD2_2"):
        cards[name] = float(cards[name]) * (1.0 + stretch)
    return cards
