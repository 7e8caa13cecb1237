"""Star fields at catalogue level: where stars of known positions lie on a distorted frame, by astropy's own WCS."""

from dataclasses import dataclass

import numpy as np
from astropy.wcs import WCS, Sip

from firstlight.algorithms.star_lists import Detections, References


@dataclass(frozen=True)
class StarField:
    """A frame, its true WCS, and stars: the first ``n_inside`` on the frame, the others around it."""

    wcs: WCS
    shape: tuple[int, int]
    x: np.ndarray
    y: np.ndarray
    ra: np.ndarray
    dec: np.ndarray
    mag: np.ndarray

    @property
    def n_inside(self):
        return len(self.x)

    def sky(self, x, y):
        return self.wcs.all_pix2world(x, y, 0)


def make_field(
    seed,
    *,
    n_stars,
    side=1024,
    scale=1.0,
    parity=-1,
    turn=None,
    center=(150.0, 30.0),
    distortion_px=2.0,
    margin_deg=0.4,
):
    rng = np.random.default_rng(seed)
    turn = rng.uniform(0, 2 * np.pi) if turn is None else np.radians(turn)
    middle = (side - 1) / 2
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN-SIP", "DEC--TAN-SIP"]
    wcs.wcs.crval, wcs.wcs.crpix = center, [middle + 1, middle + 1]
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    wcs.wcs.cd = rotation @ np.diag([1.0, parity]) * scale / 3600
    wcs.sip = Sip(*_distortion(rng, middle, distortion_px), None, None, wcs.wcs.crpix)
    wcs.wcs.set()
    x, y = rng.uniform(0, side - 1, (2, n_stars))
    reach = middle * 1.42 + margin_deg * 3600 / scale
    n_around = rng.poisson(n_stars * (2 * reach / side) ** 2)
    far_x, far_y = middle + rng.uniform(-reach, reach, (2, n_around))
    outside = (np.abs(far_x - middle) > middle + 5) | (np.abs(far_y - middle) > middle + 5)
    ra, dec = wcs.all_pix2world(x, y, 0)
    far_ra, far_dec = wcs.wcs_pix2world(far_x[outside], far_y[outside], 0)
    ra, dec = np.concatenate([ra, far_ra]), np.concatenate([dec, far_dec])
    return StarField(wcs, (side, side), x, y, ra, dec, 20.5 - rng.exponential(1.6, len(ra)))


def _distortion(rng, middle, largest):
    matrices = np.zeros((2, 5, 5))
    for p in range(5):
        for q in range(5 - p):
            if p + q >= 2:
                matrices[:, p, q] = rng.normal(size=2) / middle ** (p + q)
    v, u = np.mgrid[-middle:middle:21j, -middle:middle:21j]
    shift = [np.polynomial.polynomial.polyval2d(u, v, m) for m in matrices]
    return matrices * largest / np.hypot(*shift).max()


def observe(field, seed, *, missed=0.1, spurious=0.1, error_px=None, keep_ranks=True):
    """Return the detections of a field, and for each the star that it is (-1: none)."""
    rng = np.random.default_rng(seed + 1000)
    star = np.flatnonzero(rng.random(field.n_inside) >= missed)
    mag = field.mag[star]
    error = (
        np.clip(0.008 * 10 ** (0.35 * (mag - 16.5)), 0.008, 0.2) if error_px is None else np.full(len(star), error_px)
    )
    n_spurious = int(spurious * len(star))
    x = np.concatenate([field.x[star] + rng.normal(size=len(star)) * error, rng.uniform(0, field.shape[1], n_spurious)])
    y = np.concatenate([field.y[star] + rng.normal(size=len(star)) * error, rng.uniform(0, field.shape[0], n_spurious)])
    ranked = mag + rng.normal(0, 0.2, len(star)) if keep_ranks else rng.uniform(14, 20.5, len(star))
    mags = np.concatenate([ranked, rng.uniform(15, 20.5, n_spurious)])
    errors = np.concatenate([error, np.full(n_spurious, np.median(error) if len(error) else 0.1)])
    detections = Detections(x=x, y=y, x_err=errors, y_err=errors, flux=10 ** (-0.4 * (mags - 25)))
    return detections, np.concatenate([star, np.full(n_spurious, -1)])


def catalogue(field, seed, *, error_arcsec=0.0015):
    """Return the reference stars of a field; row i is star i."""
    rng = np.random.default_rng(seed + 2000)
    errors = np.full(len(field.ra), error_arcsec)
    ra = field.ra + rng.normal(size=len(errors)) * errors / 3600 / np.cos(np.radians(field.dec))
    return References(
        ra=ra, dec=field.dec + rng.normal(size=len(errors)) * errors / 3600, mag=field.mag, sky_err=errors
    )


def offset_center(field, arcmin, angle_deg):
    """Return a position so far from the middle of the frame."""
    ra, dec = field.wcs.wcs.crval
    angle = np.radians(angle_deg)
    dec_off = dec + arcmin / 60 * np.sin(angle)
    return float(ra + arcmin / 60 * np.cos(angle) / np.cos(np.radians(dec))) % 360, float(dec_off)


def error_over_frame(field, ra_dec_of_pixel):
    """Return the rms distance [arcsec] of a solution from the truth over the frame."""
    cells = (np.arange(20) + 0.5) / 20
    x, y = (g.ravel() * (field.shape[0] - 1) for g in np.meshgrid(cells, cells))
    ra, dec = ra_dec_of_pixel(x, y)
    true_ra, true_dec = field.sky(x, y)
    east = ((ra - true_ra + 180) % 360 - 180) * np.cos(np.radians(true_dec))
    return float(np.sqrt(np.mean(east**2 + (dec - true_dec) ** 2)) * 3600)
