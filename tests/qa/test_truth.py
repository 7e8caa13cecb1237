"""The comparison with the truth measures what it says."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS

from firstlight.errors import InputError
from firstlight.qa.truth import ImageTruth, astrometry_rms, compare_with_truth, half_complete_magnitude, read_truth
from firstlight.simulation import SimulationSettings, write_night

from .fields import WCS_CARDS, make_content

SIZE = 4000


def make_truth(n=4000, seed=5, **changes) -> ImageTruth:
    rng = np.random.default_rng(seed)
    parts = {
        "wcs": WCS(fits.Header(WCS_CARDS)),
        "zero_point": 26.0,
        "psf_sigma": 1.2,
        "x": rng.uniform(0, SIZE, n),
        "y": rng.uniform(0, SIZE, n),
        "magnitude": rng.uniform(15, 22, n),
    }
    return ImageTruth(**{**parts, **changes})


@pytest.mark.parametrize(("midpoint", "width", "missed"), [(20.0, 0.2, 0.0), (19.0, 0.4, 0.0), (20.5, 0.15, 0.1)])
def test_the_magnitude_of_half_completeness_is_found(midpoint, width, missed):
    truth = make_truth()
    rng = np.random.default_rng(8)
    probability = (1 - missed) / (1 + np.exp((truth.magnitude - midpoint) / width))
    found = rng.random(len(truth.x)) < probability
    spurious = rng.uniform(0, SIZE, (2, 500))
    x = np.concatenate([truth.x[found] + rng.normal(0, 0.2, found.sum()), spurious[0]])
    y = np.concatenate([truth.y[found] + rng.normal(0, 0.2, found.sum()), spurious[1]])
    expected = midpoint + width * math.log(2 * (1 - missed) - 1)
    per_magnitude = len(truth.x) / 7
    error = math.sqrt(2 * width / per_magnitude)

    assert half_complete_magnitude(truth, x=x, y=y) == pytest.approx(expected, abs=4 * error)


def test_nothing_found_has_no_completeness():
    assert math.isnan(half_complete_magnitude(make_truth(), x=np.zeros(0), y=np.zeros(0)))


@pytest.mark.parametrize(("ra", "dec"), [(150.0, 2.0), (0.0, 60.0)])
def test_a_shift_of_the_wcs_is_its_astrometric_rms(ra, dec):
    cards = {**WCS_CARDS, "CRVAL1": ra, "CRVAL2": dec}
    exposure = make_content().exposure
    exposure = exposure.replace(wcs=type(exposure.wcs).from_header(cards))
    shift_mas = 7.0
    moved = {**cards, "CRVAL1": (ra - shift_mas / 3.6e6 / math.cos(math.radians(dec))) % 360}

    assert astrometry_rms(exposure, WCS(fits.Header(cards))) < 1e-3
    assert astrometry_rms(exposure, WCS(fits.Header(moved))) == pytest.approx(shift_mas, rel=0.01)


def test_what_is_missing_fails_its_gate():
    exposure = make_content().exposure.replace(wcs=None, psf=None)
    noise = np.random.default_rng(0).normal(100, 5, exposure.shape).astype(np.float32)
    compared = compare_with_truth(exposure, None, raw=noise, zero_point=math.nan, truth=make_truth())

    assert [gate.status for gate in compared.gates()] == ["fail"] * 4


def test_sky_sources_do_not_count_as_detections():
    truth = make_truth()
    content = make_content()
    table = Table({"x": truth.x, "y": truth.y, "sky_source": truth.magnitude > 20})
    compared = compare_with_truth(content.exposure, table, raw=content.exposure.image, zero_point=26.004, truth=truth)

    assert compared.half_complete == pytest.approx(20, abs=0.02)
    assert compared.zero_point_error == pytest.approx(0.004)
    assert compared.gates()[1].status == "ok"


def test_the_truth_that_the_simulation_writes_is_read(tmp_path):
    write_night(tmp_path, SimulationSettings(shape=(128, 160)), seed=2)
    truth = read_truth(tmp_path)
    values = json.loads((tmp_path / "truth_0.json").read_text())

    assert truth.zero_point == values["zero_point"]
    assert len(truth.x) > 5
    assert truth.x.min() >= -0.5
    assert truth.x.max() < 159.5
    assert truth.y.max() < 127.5
    assert np.isfinite(truth.magnitude).all()
    assert truth.wcs.sip is not None


def test_a_folder_without_truth_is_the_users_mistake(tmp_path):
    with pytest.raises(InputError, match="firstlight simulate"):
        read_truth(tmp_path)
