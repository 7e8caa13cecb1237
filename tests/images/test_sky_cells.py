"""No cell that a circle touches is left out, and hardly any other is named."""

from __future__ import annotations

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy_healpix.core import lonlat_to_healpix

from firstlight.images.sky_cells import cells_of_circle

ANGLES = np.linspace(0.0, 360.0, 240, endpoint=False)


def places(n, *, seed):
    rng = np.random.default_rng(seed)
    dec = np.degrees(np.arcsin(rng.uniform(-1, 1, n)))
    dec[::9] = rng.choice([-90.0, -41.8, 0.0, 41.8, 89.99, 90.0], len(dec[::9]))
    return rng.uniform(0, 360, n), dec, rng


@pytest.mark.parametrize(
    ("nside", "smallest", "largest"), [(64, 0.01, 4.0), (64, 11.0, 40.0), (4, 1.0, 30.0), (16384, 1e-4, 0.02)]
)
def test_every_point_of_a_circle_lies_in_one_of_its_cells(nside, smallest, largest):
    ra, dec, rng = places(60, seed=nside)
    radii = np.exp(rng.uniform(np.log(smallest), np.log(largest), len(ra)))
    for one_ra, one_dec, radius in zip(ra, dec, radii, strict=True):
        share = np.where(np.arange(len(ANGLES)) % 3, 1.0, np.sqrt(rng.random(len(ANGLES))))
        middle = SkyCoord(one_ra, one_dec, unit="deg")
        points = middle.directional_offset_by(ANGLES * u.deg, radius * share * u.deg)
        touched = set(lonlat_to_healpix(points.ra, points.dec, nside, order="nested").tolist())

        assert touched <= set(cells_of_circle(ra=one_ra, dec=one_dec, radius=radius * (1 + 1e-9), nside=nside).tolist())


def test_a_small_circle_has_few_cells():
    ra, dec, _ = places(200, seed=1)

    counts = [len(cells_of_circle(ra=a, dec=d, radius=0.2, nside=64)) for a, d in zip(ra, dec, strict=True)]

    assert np.mean(counts) < 3
    assert max(counts) <= 8


def test_the_whole_sky_has_all_cells():
    np.testing.assert_array_equal(cells_of_circle(ra=10.0, dec=-5.0, radius=180.0, nside=8), np.arange(12 * 8**2))
