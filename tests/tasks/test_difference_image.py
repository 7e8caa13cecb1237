"""Pairs of images from calibrated pixels to candidates, and what is said of pairs that cannot be subtracted."""

from __future__ import annotations

import weakref

import numpy as np
import pytest

from firstlight.algorithms.injection import light_of_stars
from firstlight.algorithms.matching import match_points
from firstlight.errors import InputError, NoWorkFound, PartialResult
from firstlight.framework import Handle, Layer, Pipeline, build_config
from firstlight.images.exposure import Exposure
from firstlight.images.mask import Mask
from firstlight.images.psf import MoffatPsf
from firstlight.images.wcs import SkyWcs
from firstlight.tasks.difference_image import DifferenceImageConfig, DifferenceImageTask

SIDE, SCALE, NOISE = 300, 1.0, 6.0
RNG = np.random.default_rng(11)
N = 160
X, Y = RNG.uniform(-10, SIDE + 10, (2, N))
FLUX = np.exp(RNG.uniform(np.log(2e3), np.log(2e5), N))
NEW_X, NEW_Y = RNG.uniform(30, SIDE - 30, (2, 12))
NEW_FLUX = np.full(12, 4000.0)


def wcs_of(*, scale=SCALE, dx=0.0, dy=0.0, turn=0.0):
    """A WCS that puts pixel (dx, dy) where the science exposure has (0, 0)."""
    step, angle = scale / 3600, np.radians(turn)
    header = {
        "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 150.0, "CRVAL2": 20.0,
        "CRPIX1": 1 + dx, "CRPIX2": 1 + dy,
        "CD1_1": -step * np.cos(angle), "CD1_2": step * np.sin(angle),
        "CD2_1": step * np.sin(angle), "CD2_2": step * np.cos(angle),
    }  # fmt: skip
    return SkyWcs.from_header(header)


def exposure(*, fwhm=2.6, wcs=None, shape=(SIDE, SIDE), seed=0, new=False, scale=1.0, noise=NOISE, chosen=slice(None)):
    """An exposure of the field: its stars fall where the WCS says; ``fwhm`` is in pixels of the science exposure."""
    wcs = wcs or wcs_of()
    ra, dec = wcs_of().pixel_to_sky(x=X[chosen], y=Y[chosen])
    x, y = wcs.sky_to_pixel(ra=ra, dec=dec)
    psf = MoffatPsf(fwhm=fwhm / scale, beta=3.5, radius=12)
    light = light_of_stars(shape, psf=psf, x=x, y=y, flux=FLUX[chosen])
    if new:
        light += light_of_stars(shape, psf=psf, x=NEW_X, y=NEW_Y, flux=NEW_FLUX)
    rng = np.random.default_rng(seed)
    variance = noise**2 + light / 5.0
    image = light + rng.normal(0, 1, shape) * np.sqrt(variance)
    return Exposure(
        image=image.astype(np.float32),
        mask=Mask.empty(shape),
        variance=variance.astype(np.float32),
        psf=psf,
        wcs=wcs,
    )


SCIENCE = exposure(new=True)


def difference(science, template, *settings):
    config = build_config(DifferenceImageConfig, [Layer.from_assignment(text) for text in settings])
    return DifferenceImageTask(config).run(science, template)


def counts(result):
    """Number of new sources that were found, and of candidates that are none."""
    table = result.candidates
    pairs = match_points(NEW_X, NEW_Y, np.asarray(table["x"]), np.asarray(table["y"]), radius=2.0)
    return len(pairs), len(table) - len(pairs)


TEMPLATES = {
    "sharper": {"fwhm": 2.2},
    "broader": {"fwhm": 3.2},
    "shifted and turned": {"wcs": wcs_of(dx=7.3, dy=-4.6, turn=1.5), "shape": (330, 320), "noise": 3.0},
    "with larger pixels": {
        "wcs": wcs_of(scale=1.4, dx=20.2, dy=15.7),
        "scale": 1.4,
        "shape": (260, 260),
        "fwhm": 3.0,
        "noise": 4.0,
    },
    "with smaller pixels": {"wcs": wcs_of(scale=0.7, dx=20.2, dy=15.7), "scale": 0.7, "shape": (470, 470)},
}


@pytest.mark.parametrize("case", TEMPLATES)
def test_new_sources_are_found_whatever_the_template_is_like(case):
    template = exposure(seed=1, **TEMPLATES[case])

    result = difference(SCIENCE, template)

    found, false = counts(result)
    assert found >= 11
    assert false <= 2
    assert result.difference.shape == SCIENCE.shape
    np.testing.assert_array_equal(result.difference.wcs.to_header(), SCIENCE.wcs.to_header())
    resampled = result.template_aligned is not template
    assert resampled == ("wcs" in TEMPLATES[case])
    assert not [str(gate) for gate in result.gates if gate.status == "fail"]


def test_a_template_that_is_handed_over_is_freed_once_it_is_aligned(monkeypatch):
    task = DifferenceImageTask(build_config(DifferenceImageConfig, [Layer.from_assignment("vet=null")]))
    template = exposure(seed=1, **TEMPLATES["shifted and turned"])
    pixels, handle, held = weakref.ref(template.image), Handle.giving(template), []
    del template
    subtract = task.subtract.run
    monkeypatch.setattr(task.subtract, "run", lambda *given: held.append(pixels()) or subtract(*given))

    assert counts(task.run(SCIENCE, handle))[0] >= 11
    assert held == [None]


def test_candidates_carry_the_probability_that_they_are_real_unless_nobody_judges_them():
    template = exposure(seed=1, fwhm=2.2)

    judged, plain = difference(SCIENCE, template), difference(SCIENCE, template, "vet=null")

    score = np.asarray(judged.candidates["real_score"])
    undefined = np.asarray(judged.candidates["vet_undefined"])
    assert np.array_equal(np.isnan(score), undefined)
    assert np.all((score[~undefined] >= 0) & (score[~undefined] <= 1))
    assert np.sum(judged.candidates["is_real"]) >= 10
    assert "real_score" not in plain.candidates.colnames


def test_regions_without_data_are_left_out_and_the_rest_is_not_harmed():
    science, template = SCIENCE.image.copy(), exposure(seed=1, fwhm=2.2)
    science[:120, :90] = np.nan
    holes = template.image.copy()
    holes[200:230, 200:300] = np.nan

    result = difference(SCIENCE.replace(image=science), template.replace(image=holes))

    inside = ~((NEW_X < 95) & (NEW_Y < 125)) & ~((NEW_X > 190) & (NEW_Y > 190) & (NEW_Y < 240))
    found, false = counts(result)
    assert found >= inside.sum() - 1
    assert false <= 2
    table = result.candidates
    assert not np.any((table["x"].value < 90) & (table["y"].value < 120))
    assert result.difference.mask.any_of("NO_DATA")[:118, :88].all()


def test_three_stars_in_common_are_enough():
    chosen: list[int] = []
    for star in np.argsort(-np.where(FLUX < 4e4, FLUX, 0)):
        apart = all(np.hypot(X[star] - X[other], Y[star] - Y[other]) > 50 for other in chosen)
        if 60 < X[star] < 240 and 60 < Y[star] < 240 and apart and len(chosen) < 3:
            chosen.append(star)
    science, template = (
        exposure(seed=seed, chosen=np.array(chosen), fwhm=width) for seed, width in ((0, 2.6), (1, 2.3))
    )

    result = difference(science, template)

    assert {gate.name: gate.status for gate in result.gates}["kernel_stars"] == "warn"
    assert len(result.candidates) <= 2


def refused(science, template, *settings):
    """The error of a pair, and the names of what was made before."""
    with pytest.raises(PartialResult) as caught:
        difference(science, template, *settings)
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith((".", "?"))
    return message, caught.value


def test_a_wrong_wcs_is_told_before_anything_is_subtracted():
    template = exposure(seed=1).replace(wcs=wcs_of(dx=12.0, dy=-5.0))

    message, error = refused(SCIENCE, template)

    assert error.step == "registration"
    assert "difference" not in error.partial
    assert "Shifted by" in message
    shift = [float(word) for word in message.partition("Shifted by ")[2].partition(" pixels")[0].split(",")]
    assert shift == pytest.approx([12.0, -5.0], abs=0.6)


def test_a_wrong_wcs_does_no_harm_to_an_alignment_by_stars():
    template = exposure(seed=1, fwhm=2.2).replace(wcs=wcs_of(dx=12.0, dy=-5.0))

    result = difference(SCIENCE, template, "align.task=PatternAlignTask")

    found, false = counts(result)
    assert found >= 11
    assert false <= 2


def test_another_field_is_told():
    rng = np.random.default_rng(5)
    other = exposure(seed=1)
    light = light_of_stars(
        other.shape, psf=other.psf, x=rng.uniform(0, 300, 150), y=rng.uniform(0, 300, 150), flux=FLUX[:150]
    )
    noise = rng.normal(0, NOISE, other.shape)

    message, error = refused(SCIENCE, other.replace(image=light + noise))

    assert error.step == "registration"
    assert "another field" in message


@pytest.mark.parametrize("which", ["science exposure", "template"])
def test_an_empty_image_is_told(which):
    noise = np.random.default_rng(3).normal(0, NOISE, SCIENCE.shape).astype(np.float32)
    empty, full = SCIENCE.replace(image=noise), exposure(seed=1)

    message, _ = refused(*((empty, full) if which == "science exposure" else (full, empty)))

    assert f"The {which} shows no star" in message


def test_images_of_other_places_have_nothing_in_common():
    with pytest.raises(NoWorkFound, match="do not overlap"):
        difference(SCIENCE, exposure(seed=1, wcs=wcs_of(dx=2000.0)))


def test_saturated_images_are_told():
    full = np.ones(SCIENCE.shape, dtype=bool)

    message, _ = refused(SCIENCE.replace(mask=SCIENCE.mask.with_plane("SAT", full)), exposure(seed=1))

    assert "stars in both" in message


def test_a_template_without_a_wcs_is_told_what_to_do():
    with pytest.raises(InputError, match="PatternAlignTask"):
        difference(SCIENCE, exposure(seed=1, shape=(310, 310)).replace(wcs=None))


def test_the_pipeline_ends_with_the_difference_and_looks_for_a_template():
    built = Pipeline.load("difference.yaml").build()

    assert [node.label for node in built] == ["isr", "calibrate", "measure", "difference"]


def test_the_task_stands_in_a_pipeline_and_gives_the_same():
    template = exposure(seed=1, fwhm=2.2)
    direct = difference(SCIENCE, template)

    run = Pipeline.from_tasks(difference=DifferenceImageTask).run_in_memory(
        {"visit_image": SCIENCE, "template": template}
    )

    np.testing.assert_array_equal(run["difference_image"].image, direct.difference.image)
    assert len(run["dia_source"]) == len(direct.candidates)
    assert run["difference_kernel"] == direct.kernel
