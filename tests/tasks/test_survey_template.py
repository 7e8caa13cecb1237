"""`SurveyTemplateTask`: a simulated survey, served by this machine as the CDS serves it, and calibrated."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from firstlight.errors import InputError, NoWorkFound, PartialResult
from firstlight.framework import DataId, Handle
from firstlight.images.exposure import Exposure
from firstlight.images.mask import Mask
from firstlight.images.observation import ObservationInfo
from firstlight.images.pixel_grid import PixelGrid
from firstlight.images.wcs import SkyWcs, TanSip
from firstlight.refcats import TableReferenceCatalog
from firstlight.simulation import SimulationSettings, night_sky, simulate_reference
from firstlight.tasks.survey_template import SurveyTemplateConfig, SurveyTemplateTask

from ..refcats.services import Service, serving
from ..refcats.survey_sky import SurveySky, as_fits, shape_of

RA, DEC, SIDE = 150.0, 2.2, 240
SETTINGS = SimulationSettings.quiet().varied(shape=(SIDE, SIDE), ra=RA, dec=DEC, star_density=60_000.0)
CD = np.array([[-1.0, 0.0], [0.0, 1.0]]) / 3600
WCS = SkyWcs.from_tan_sip(TanSip((RA, DEC), ((SIDE - 1) / 2,) * 2, CD))
GRID = PixelGrid((SIDE, SIDE), WCS)


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    from astroquery.hips2fits import hips2fitsClass

    sky = SurveySky(night_sky(SETTINGS, seed=3), ra=RA, dec=DEC, side=0.1, pixel_scale=0.4, fwhm=1.5, zero_point=26.0)
    with serving(sky.answer) as service, pytest.MonkeyPatch.context() as patch:
        patch.setattr(hips2fitsClass, "server", service.url)
        yield service


def handles(band="r", wcs=WCS):
    empty = np.zeros((SIDE, SIDE), dtype=np.float32)
    exposure = Exposure(
        image=empty,
        mask=Mask.empty(empty.shape),
        variance=empty + 1,
        unit="nJy",
        wcs=wcs,
        observation=ObservationInfo(band=band),
    )
    return (Handle("exposure", DataId(exposure=1), lambda: exposure),)


def test_a_cutout_becomes_a_template_in_njy_with_a_psf(service):
    reference = simulate_reference(SETTINGS, seed=3)
    catalog = TableReferenceCatalog(reference, name="simulated")

    result = SurveyTemplateTask().run(handles(), GRID, astrometry_refcat=catalog, photometry_refcat=catalog)

    template = result.template
    assert (template.unit, template.observation.band, template.header["NINPUT"]) == ("nJy", "r", 1)
    assert list(result.inputs["label"]) == ["LS/r"]
    assert {gate.name: gate.status for gate in result.gates}["template_other_band"] == "ok"
    ra, dec, mag = (np.asarray(reference[name], dtype=float) for name in ("ra", "dec", "r_mag"))
    x, y = template.wcs.sky_to_pixel(ra=ra, dec=dec)
    (ny, nx), reach = template.shape, 20
    near = (np.minimum(x, y) > 0) & (x < nx) & (y < ny)
    x, y, mag = x[near], y[near], mag[near]
    apart = np.hypot(x[:, None] - x, y[:, None] - y) + np.where(np.eye(len(x), dtype=bool), 99.0, 0.0)
    inside = (np.minimum(x, y) > reach) & (x < nx - reach) & (y < ny - reach)
    chosen = np.flatnonzero(inside & (mag > 15) & (mag < 18) & (apart.min(axis=1) > 12))
    stamps = template.psf.images(x=x[chosen], y=y[chosen])
    places = zip(stamps, np.rint(x[chosen]).astype(int), np.rint(y[chosen]).astype(int), strict=True)
    measured = [_psf_flux(template.image, stamp, column, row) for stamp, column, row in places]
    ratio = np.array(measured) / 10.0 ** (-0.4 * (mag[chosen] - 31.4))

    # The reference has errors of 0.01 to 0.03 mag and a survey noise of 1 unit under stars of 1600 and more.
    assert len(ratio) >= 5
    assert np.median(ratio) == pytest.approx(1.0, abs=0.03)


def _psf_flux(image, stamp, column, row):
    radius = stamp.shape[0] // 2
    pixels = image[row - radius : row + radius + 1, column - radius : column + radius + 1]
    core = np.hypot(*np.indices(stamp.shape) - radius) < 4
    return float(np.sum(pixels[core] * stamp[core]) / np.sum(stamp[core] ** 2))


@pytest.mark.parametrize("survey", ["SDSS/r", "CDS/P/GALEX/NUV"])
def test_a_band_that_stands_in_for_that_of_the_images_is_warned_of(service, survey):
    result = SurveyTemplateTask(SurveyTemplateConfig(survey=survey)).run(handles(band="V"), GRID)

    assert result.template.observation.band == ("r" if survey == "SDSS/r" else None)
    assert {gate.name: gate.status for gate in result.gates}["template_other_band"] == "warn"


def test_a_cutout_without_stars_makes_no_template(service, monkeypatch):
    rng = np.random.default_rng(1)
    monkeypatch.setattr(
        service, "answer", lambda asked: (200, as_fits(rng.normal(size=shape_of(asked)).astype(np.float32)))
    )

    with pytest.raises(PartialResult) as caught:
        SurveyTemplateTask().run(handles(), GRID)
    assert caught.value.step.startswith("calibrate.psf_pass_1")
    assert not {"template", "inputs"} & set(caught.value.partial)


def test_what_is_missing_is_said_before_anything_is_asked(service):
    task, before = SurveyTemplateTask(), len(service.asked)

    with pytest.raises(NoWorkFound):
        task.run(())
    with pytest.raises(InputError, match="has no WCS"):
        task.run(handles(wcs=None))
    with pytest.raises(InputError, match="the image is in V"):
        task.run(handles(band="V"), GRID)
    with pytest.raises(InputError, match="No survey is called 'DSS3'"):
        SurveyTemplateTask(SurveyTemplateConfig(survey="DSS3")).run(handles(), GRID)
    for survey in ("SDSS/r", "CDS/P/SDSS9/r"):
        with pytest.raises(InputError, match=r"SDSS/r is no template for images in g.*; say SDSS,"):
            SurveyTemplateTask(SurveyTemplateConfig(survey=survey)).run(handles(band="g"), GRID)
    assert len(service.asked) == before
