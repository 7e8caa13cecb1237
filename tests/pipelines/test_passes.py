"""Passes: their names, stopping after each, and what is left when one fails."""

from __future__ import annotations

import weakref

import numpy as np
import pytest

from firstlight.errors import ConfigError, PartialResult
from firstlight.framework import Handle, observe_passes, run_until
from firstlight.refcats.formats import TableReferenceCatalog
from firstlight.simulation import SimulationSettings, simulate_reference
from firstlight.tasks.astrometry import Pointing
from firstlight.tasks.measure_image import MeasureImageTask

from .fields import assert_sky_can_be_put_back, task_with

CALIBRATE = ("psf_pass_1", "psf_stars", "aperture_correction", "astrometry", "stars", "photometry")
MEASURE = ("measure.detection", "measure.measurement", "measure")
ALL = (*(f"calibrate.{name}" for name in CALIBRATE), "calibrate", *MEASURE)
ALWAYS = {"exposure", "background", "summary", "gates", "funnels"}
MADE_BY = {
    "psf_stars": "calibrate.psf_pass_1",
    "astrometry_matches": "calibrate.astrometry",
    "stars": "calibrate.stars",
    "photometry_matches": "calibrate.photometry",
    "applied_photo_calib": "calibrate.photometry",
    "sources": "measure.measurement",
}
"""Product -> the pass that makes it."""

KNOWN_AFTER = {
    "psf_sigma": "calibrate.psf_pass_1",
    "sky_bg": "calibrate.psf_pass_1",
    "sky_noise": "calibrate.psf_pass_1",
    "n_psf_star": "calibrate.psf_pass_1",
    "psf_star_delta_e1_median": "calibrate.psf_pass_1",
    "astrom_offset_std": "calibrate.astrometry",
    "zero_point": "calibrate.photometry",
    "mag_lim": "calibrate.photometry",
}
"""Number of the summary -> the pass after which it is known."""


def made_until(step: str, table: dict[str, str]) -> set[str]:
    """Return what ``table`` says is there after ``step``."""
    return {name for name, maker in table.items() if ALL.index(maker) <= ALL.index(step)}


def known(summary) -> set[str]:
    """Return the numbers of `KNOWN_AFTER` that a summary has."""
    return {name for name in KNOWN_AFTER if np.isfinite(summary.get(name, np.nan))}


@pytest.fixture(scope="module")
def stopped(small):
    """Return the products after each pass."""
    task = task_with()
    return {name: run_until(name, task.run, small.exposure, **small.references) for name in ALL}


def failed(field, *settings: str, **arguments) -> PartialResult:
    """Return what the pipeline raises."""
    with pytest.raises(PartialResult) as raised:
        task_with(*settings).run(field.exposure, **{**field.references, **arguments})
    return raised.value


def test_the_passes_are_listed_in_their_order():
    assert task_with().pass_names() == ALL
    assert task_with("measure=null").pass_names() == ALL[: -len(MEASURE)]
    assert task_with("calibrate:psf_passes=2").pass_names() == (ALL[0], "calibrate.psf_pass_2", *ALL[1:])


@pytest.mark.parametrize(("short", "full"), [("astrometry", "calibrate.astrometry"), ("measure", "measure")])
def test_the_last_part_of_a_name_is_enough(short, full):
    assert task_with().find_pass(short) == full


def test_an_unknown_pass_is_refused_before_anything_is_done(small):
    task = task_with()

    with pytest.raises(ConfigError, match="astrometry"):
        run_until("astrometri", task.run, small.exposure)
    assert task.metadata.passes == []


@pytest.mark.parametrize("step", ALL)
def test_stopping_leaves_exactly_what_was_made(stopped, step):
    stop = stopped[step]

    assert stop.step == step
    assert set(stop.products) == ALWAYS | made_until(step, MADE_BY)
    assert known(stop.products["summary"]) == made_until(step, KNOWN_AFTER)


@pytest.mark.parametrize("step", ALL)
def test_after_every_pass_the_sky_can_be_put_back(small, stopped, step):
    products = stopped[step].products
    exposure, applied = products["exposure"], products.get("applied_photo_calib")

    assert_sky_can_be_put_back(small.exposure, exposure, applied)
    assert exposure.unit == ("count" if applied is None else "nJy")
    assert products["background"] == exposure.background
    assert exposure.psf is not None


@pytest.mark.parametrize("step", ALL)
def test_the_wcs_is_the_header_s_until_astrometry(small, stopped, step):
    same = stopped[step].products["exposure"].wcs is small.exposure.wcs

    assert same == (ALL.index(step) < ALL.index("calibrate.astrometry"))


def test_an_exposure_that_is_handed_over_is_freed_as_soon_as_there_is_a_newer_one(small):
    image, variance = small.exposure.image.copy(), small.exposure.variance.copy()
    alive, planes = {}, [weakref.ref(image), weakref.ref(variance)]
    handle = Handle.giving(small.exposure.replace(image=image, variance=variance))
    del image, variance
    with observe_passes(lambda event: alive.update({event.path: [plane() is not None for plane in planes]})):
        task_with("measure=null").run(handle, **small.references)

    assert alive["calibrate.psf_pass_1"] == [False, True]
    assert alive["calibrate.photometry"] == [False, False]


def test_the_deep_catalogue_keeps_no_image_with_the_last_of_the_sky(small, small_result):
    image = small_result.exposure.image.copy()
    alive, plane = {}, weakref.ref(image)
    handle = Handle.giving(small_result.exposure.replace(image=image))
    del image
    with observe_passes(lambda event: alive.update({event.path: plane() is not None})):
        MeasureImageTask().run(handle)

    assert alive == {"detection": False, "measurement": False}


def test_observers_see_each_pass_and_its_facts(small):
    seen = []
    with observe_passes(seen.append):
        task_with().run(small.exposure, **small.references)

    done = [event for event in seen if event.status == "done"]
    assert [event.path for event in done] == list(ALL)
    facts = {event.name: event.facts for event in done}
    assert facts["psf_pass_1"]["stars"] > 10
    assert facts["astrometry"]["matches"] > 20
    assert facts["photometry"]["zero_point"] == pytest.approx(small.truth.zero_point, abs=0.05)


def test_a_pass_is_timed_in_the_metadata(small):
    task = task_with("measure=null")
    task.run(small.exposure, **small.references)

    assert [record.name for record in task.calibrate.metadata.passes] == list(CALIBRATE)
    assert all(record.status == "done" and record.wall_s > 0 for record in task.calibrate.metadata.passes)


def elsewhere():
    """Return the reference of a field that does not overlap."""
    settings = SimulationSettings(shape=(320, 320)).varied(ra=10.0, dec=-20.0)
    return TableReferenceCatalog(simulate_reference(settings, seed=99), name="elsewhere")


FAILURES = {
    "calibrate.psf_pass_1": ["calibrate:psf_detection.threshold=1e6"],
    "calibrate.aperture_correction": ["calibrate:aperture_fwhm=60"],
    "calibrate.astrometry": ["calibrate:astrometry.max_rms_pixels=0.001", "calibrate:astrometry.warn_rms_pixels=0.001"],
    "calibrate.stars": ["calibrate:star_detection.threshold=1e5"],
    "calibrate.photometry": ["calibrate:photometry.max_error=0.0001", "calibrate:photometry.warn_error=0.0001"],
    "measure.detection": ["measure:detection.threshold=1e7"],
}


@pytest.mark.parametrize("step", FAILURES)
def test_a_pass_that_fails_leaves_what_was_made_before_it(small, step):
    end = failed(small, *FAILURES[step])
    before = ALL[ALL.index(step) - 1] if ALL.index(step) else None
    expected = ALWAYS | (made_until(before, MADE_BY) if before else set())
    numbers = made_until(before, KNOWN_AFTER) if before else {"sky_bg", "sky_noise", "n_psf_star"}

    assert end.step == step
    assert set(end.partial) == expected
    assert known(end.partial["summary"]) == numbers
    assert end.cause.facts
    assert str(end.cause).endswith((".", "?"))
    assert_sky_can_be_put_back(small.exposure, end.partial["exposure"], end.partial.get("applied_photo_calib"))


def test_a_reference_of_another_field_fails_in_astrometry(small):
    end = failed(small, astrometry_refcat=elsewhere())

    assert end.step == "calibrate.astrometry"
    assert "right field?" in str(end)
    assert end.cause.facts == {"n_reference": 0}
    assert end.partial["exposure"].wcs is None


def test_a_reference_of_another_field_that_has_stars_here_is_not_matched_by_chance(small):
    table = small.reference.table.copy()
    rng = np.random.default_rng(5)
    for name in ("ra", "dec"):
        table[name] = rng.uniform(table[name].min(), table[name].max(), len(table))

    quick = "calibrate:astrometry.max_tries=100000"
    end = failed(small, quick, astrometry_refcat=TableReferenceCatalog(table, name="scrambled"))

    assert end.step == "calibrate.astrometry"
    assert end.cause.facts


def test_photometry_without_calibrators_leaves_pixels_in_counts(small):
    end = failed(small, photometry_refcat=elsewhere())

    assert end.step == "calibrate.photometry"
    assert end.partial["exposure"].unit == "count"
    assert np.isnan(end.partial["summary"]["zero_point"])
    assert end.partial["summary"]["astrom_offset_std"] > 0
    assert len(end.partial["stars"]) == end.cause.facts["n_sources"]


def test_a_failed_pass_is_a_failed_record_and_the_facts_are_seen(small):
    task, seen = task_with(*FAILURES["calibrate.stars"]), []

    with observe_passes(seen.append), pytest.raises(PartialResult):
        task.run(small.exposure, **small.references)

    assert task.calibrate.metadata.passes[-1].status == "failed"
    (inner,) = [event for event in seen if event.status == "failed" and not event.nested]
    assert (inner.path, inner.facts["threshold"]) == ("calibrate.stars", 2e5)


def test_a_pointing_by_hand_replaces_the_wcs_of_the_header(small):
    ra, dec = small.truth.wcs.all_pix2world(160, 160, 0)
    pointing = Pointing(ra=float(ra) + 0.1, dec=float(dec) - 0.05, radius=0.3, scale_low=0.8, scale_high=1.3)
    bare = small.exposure.replace(wcs=None)
    stop = run_until("astrometry", task_with().run, bare, astrometry_refcat=small.reference, pointing=pointing)
    found = stop.products["exposure"].wcs.pixel_to_sky(x=160.0, y=160.0)

    assert found[0] == pytest.approx(float(ra), abs=1e-5)
    assert found[1] == pytest.approx(float(dec), abs=1e-5)


def test_without_any_pointing_the_message_asks_for_one(small):
    bare = small.exposure.replace(wcs=None, observation=type(small.exposure.observation)())

    with pytest.raises(PartialResult, match="--ra and --dec"):
        task_with().run(bare, **small.references)
