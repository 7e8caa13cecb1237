"""One law for every PSF and seeing task: unit sum, the right size, and a choice of stars that can be explained."""

from __future__ import annotations

import numpy as np
import pytest

from firstlight.errors import NonFinitePsfError, NoPsfSourcesError, NoPsfStarsError, PsfError, TooFewPsfStarsError
from firstlight.images.psf import GaussianPsf, MoffatPsf
from firstlight.tasks.detect import MatchedFilterDetectTask
from firstlight.tasks.measure import PluginMeasureTask
from firstlight.tasks.psf import FittedPsf, GaussianPsfTask, PixelPsfTask, PsfTask
from firstlight.tasks.seeing import FixedSeeingTask, SeeingTask, StarSeeingTask

from .frames import PSF, exposure_of, members, noise, star_exposure

every_psf = pytest.mark.parametrize("task_class", members(PsfTask))
every_seeing = pytest.mark.parametrize("task_class", members(SeeingTask))
CENTRE = {"x": 199.5, "y": 199.5}


@pytest.fixture(scope="module")
def measured():
    """Return an exposure with the first guess of its PSF, its sources and their detections."""
    exposure, _ = star_exposure()
    found = MatchedFilterDetectTask().run(exposure.replace(psf=GaussianPsf(sigma=1.3, radius=10)))
    return (
        found.exposure,
        PluginMeasureTask().run(found.exposure, found.detections, aperture_radius=6.0).catalog,
        found.detections,
    )


def made(task_class, **settings):
    return task_class(type(task_class().config)(**settings))


@every_psf
def test_the_psf_has_unit_sum_everywhere(task_class, measured):
    psf = task_class().run(*measured).psf
    x, y = (a.ravel() for a in np.meshgrid([0, 100.3, 399], [0, 250.8, 399]))

    np.testing.assert_allclose(psf.images(x=x, y=y).sum(axis=(1, 2)), 1.0, rtol=1e-9)


@every_psf
def test_the_psf_has_the_size_of_the_stars(task_class, measured):
    result = task_class().run(*measured)
    error = result.psf.moments(**CENTRE).sigma / PSF.moments(**CENTRE).sigma - 1
    # One Gaussian cannot have the wings of a star; its size is that of the core.
    limit = 0.05 if task_class is GaussianPsfTask else 0.004

    assert abs(error) < limit
    assert result.fwhm == pytest.approx(result.psf.fwhm(**CENTRE))


@every_psf
def test_the_psf_is_centred_on_the_position(task_class, measured):
    psf = task_class().run(*measured).psf
    stamp = psf.image(x=100.3, y=200.8)
    row, column = np.mgrid[: len(stamp), : len(stamp)]
    weight = stamp * np.exp(-((column - psf.radius - 0.3) ** 2 + (row - psf.radius + 0.2) ** 2) / 2 / 1.3**2)

    assert np.sum(weight * column) / weight.sum() - psf.radius == pytest.approx(0.3, abs=0.03)
    assert np.sum(weight * row) / weight.sum() - psf.radius == pytest.approx(-0.2, abs=0.03)


@every_psf
def test_the_flags_nest_and_the_funnel_counts_them(task_class, measured):
    result = made(task_class, reserve_fraction=0.3).run(*measured)

    assert not (result.used & result.reserved).any()
    np.testing.assert_array_equal(result.candidate, result.candidate | result.used | result.reserved)
    assert result.reserved.sum() == int(0.3 * result.candidate.sum()) > 0
    assert result.funnel.steps[-1] == ("used", result.used.sum())
    counts = [left for _, left in result.funnel.steps]
    assert counts == sorted(counts, reverse=True)
    assert {gate.name: gate.value for gate in result.gates}["psf_n_stars"] == result.used.sum()


@every_psf
def test_the_reserved_stars_are_the_same_each_time(task_class, measured):
    one, two = (made(task_class, reserve_fraction=0.3).run(*measured) for _ in range(2))

    np.testing.assert_array_equal(one.reserved, two.reserved)
    np.testing.assert_equal(one.psf.to_parts(), two.psf.to_parts())


def test_no_more_stars_are_modelled_than_asked_for(measured):
    result = made(PixelPsfTask, max_stars=15).run(*measured)

    assert result.used.sum() <= 15 < result.candidate.sum()


@every_psf
def test_few_stars_are_a_warning(task_class, measured):
    exposure, sources, detections = measured
    few = sources.copy()
    few["saturated"] = np.arange(len(few)) >= 5
    result = made(task_class, warn_n_stars=20).run(exposure, few, detections)

    assert 1 <= result.used.sum() <= 5
    assert [gate.status for gate in result.gates if gate.name == "psf_n_stars"] == ["warn"]


@every_psf
def test_without_a_clean_source_there_is_no_psf(task_class, measured):
    exposure, sources, detections = measured
    flagged = sources.copy()
    flagged["saturated"] = True

    with pytest.raises(NoPsfStarsError, match="clean 0") as raised:
        task_class().run(exposure, flagged, detections)
    facts = raised.value.facts
    assert (facts["n_sources"], facts["n_flagged"]) == (len(sources), len(sources))
    assert (facts["n_measured"] > 0, facts["n_clean"], facts["n_stellar"]) == (True, 0, 0)


@every_psf
def test_without_sources_there_is_no_psf(task_class, measured):
    exposure, sources, detections = measured

    with pytest.raises(NoPsfSourcesError) as raised:
        task_class().run(exposure, sources[:0], detections)
    assert raised.value.facts == {"n_sources": 0}


@every_psf
def test_fewer_stars_than_asked_for_are_an_error(task_class, measured):
    exposure, sources, detections = measured
    few = sources.copy()
    few["saturated"] = np.arange(len(few)) >= 5

    with pytest.raises(TooFewPsfStarsError, match="at least 10 stars") as raised:
        made(task_class, fail_n_stars=10).run(exposure, few, detections)
    assert raised.value.facts["n_needed"] == 10
    assert 1 <= raised.value.facts["n_used"] <= raised.value.facts["n_candidates"] <= 5


def test_a_psf_without_a_finite_size_is_an_error(measured):
    class BrokenPsf(MoffatPsf):
        def moments(self, *, x, y):
            if x > 300:
                raise PsfError("no moments")
            return super().moments(x=x, y=y)

    class BrokenPsfTask(PsfTask):
        def fit(self, exposure, stars, neighbours):
            return FittedPsf(psf=BrokenPsf(fwhm=2.0, beta=3.0, radius=8), used=np.ones(len(stars), dtype=bool))

    with pytest.raises(NonFinitePsfError, match="x=399, y=0") as raised:
        BrokenPsfTask().run(*measured)
    assert raised.value.facts == {"x": 399.0, "y": 0.0}


def test_reserved_stars_tell_that_the_model_is_right(measured):
    result = PixelPsfTask().run(*measured)

    gates = {gate.name: gate for gate in result.gates}
    assert gates["psf_size_residual"].n == gates["psf_chi2"].n == result.reserved.sum() == len(result.residuals.size)
    assert {gate.status for gate in result.gates} == {"ok"}
    assert 0.7 < gates["psf_chi2"].value < 1.4


def test_reserved_stars_tell_that_the_model_is_wrong(measured):
    class NarrowPsfTask(PsfTask):
        def fit(self, exposure, stars, neighbours):
            return FittedPsf(psf=MoffatPsf(fwhm=2.6, beta=3.0, radius=12), used=np.ones(len(stars), dtype=bool))

    gates = {gate.name: gate for gate in NarrowPsfTask().run(*measured).gates}

    assert gates["psf_size_residual"].status == "warn"
    assert gates["psf_size_residual"].value == pytest.approx(0.06, abs=0.03)


def test_no_star_is_reserved_where_all_are_needed(measured):
    exposure, sources, detections = measured
    few = sources.copy()
    few["saturated"] = np.arange(len(few)) >= 15

    result = PixelPsfTask().run(exposure, few, detections)

    assert result.reserved.sum() == 0 < result.used.sum()
    assert len(result.residuals.size) == 0
    assert [gate.name for gate in result.gates] == ["psf_n_stars"]


@every_seeing
def test_the_first_guess_is_a_gaussian_of_unit_sum(task_class):
    result = task_class().run(star_exposure()[0].replace(psf=None))

    assert result.psf.kernel_image(x=10, y=10).sum() == pytest.approx(1.0, rel=1e-9)
    assert 2 * result.psf.radius + 1 >= 5 * result.fwhm


def test_the_seeing_is_that_of_the_stars():
    result = StarSeeingTask().run(star_exposure()[0].replace(psf=None))

    assert result.psf.moments(x=0, y=0).sigma == pytest.approx(PSF.moments(**CENTRE).sigma, rel=0.1)
    assert result.fwhm == pytest.approx(PSF.fwhm(**CENTRE), rel=0.1)
    assert result.n_stars >= 20


def test_without_stars_the_seeing_is_the_fallback_and_warns():
    result = made(StarSeeingTask, fallback_fwhm=4.2).run(exposure_of(noise((200, 200)), psf=None))

    assert (result.n_stars, result.fwhm) == (0, 4.2)
    assert [gate.status for gate in result.gates] == ["warn"]


def test_a_fixed_seeing_is_not_measured():
    result = made(FixedSeeingTask, fallback_fwhm=4.2).run(star_exposure()[0].replace(psf=None))

    assert (result.n_stars, result.fwhm, result.gates) == (0, 4.2, ())
