"""What changed on simulated pairs, found and measured: new, variable, vanished, moved."""

from __future__ import annotations

import dataclasses
from functools import cache

import numpy as np
import pytest
from astropy import units as u

from firstlight.algorithms.matching import match_points
from firstlight.algorithms.spatial_convolution import convolve
from firstlight.algorithms.trails import trail_image
from firstlight.errors import BadSubtractionError, PsfError
from firstlight.framework import subtask
from firstlight.images.catalog import read_catalog, write_catalog
from firstlight.images.spatial_kernel import SpatialKernel
from firstlight.tasks.detect_difference import DetectDifferenceConfig, DetectDifferenceResult, DetectDifferenceTask
from firstlight.tasks.sky_sources import SkySourcesTask
from firstlight.tasks.subtract import SubtractResult
from firstlight.tasks.subtract_alard_lupton import AlardLuptonSubtractTask
from firstlight.tasks.subtract_pair import difference_mask, prepare_pair

from ..algorithms.pairs import Pair, make_pair

SIDE = 384


def detected(science, template, sub: SubtractResult, **settings) -> DetectDifferenceResult:
    return DetectDifferenceTask(DetectDifferenceConfig(**settings)).run(
        sub.difference,
        science=science,
        template=template,
        kernel=sub.kernel,
        score=sub.score,
        kernel_sources=sub.kernel_sources,
    )


@cache
def found(**given) -> tuple[Pair, SubtractResult, DetectDifferenceResult]:
    pair = make_pair(5, side=SIDE, variation=0.0, n_new=30, **given)
    sub = AlardLuptonSubtractTask().run(pair.science, pair.template)
    return pair, sub, detected(pair.science, pair.template, sub)


def matched(pair, table):
    return match_points(pair.new_x, pair.new_y, np.asarray(table["x"]), np.asarray(table["y"]), radius=2.0)


def test_new_sources_are_found_with_their_flux_and_place():
    pair, _, result = found()
    sources = result.sources
    pairs = matched(pair, sources)
    rows = sources[pairs.second]
    truth = pair.new_flux[pairs.first]

    # All are brighter than 7 sigma; one or two may lie on a saturated star.
    assert len(pairs) >= 28
    assert len(sources) - len(pairs) <= 1
    pull = (np.asarray(rows["psf_inst_flux"]) - truth) / np.asarray(rows["psf_inst_flux_err"])
    assert abs(np.median(pull)) < 4 * 1.25 / np.sqrt(len(pull))
    assert 0.6 < np.std(pull) < 1.6
    offset = np.hypot(pair.new_x[pairs.first] - rows["x"].value, pair.new_y[pairs.first] - rows["y"].value)
    assert np.median(offset[np.asarray(rows["snr"]) > 20]) < 0.1
    assert not np.any(rows["is_negative"])


def test_the_same_sources_are_negative_when_the_images_change_places():
    pair, *_ = found()
    sub = AlardLuptonSubtractTask().run(pair.template, pair.science)
    result = detected(pair.template, pair.science, sub)
    pairs = matched(pair, result.sources)
    rows = result.sources[pairs.second]

    assert len(pairs) >= 28
    assert np.all(rows["is_negative"])
    assert (np.asarray(rows["psf_inst_flux"]) < 0).all()
    assert (np.asarray(rows["snr"]) < -4).all()
    assert np.median(-np.asarray(rows["psf_inst_flux"]) / pair.new_flux[pairs.first]) == pytest.approx(1.0, abs=0.04)
    peaks = (rows["peak_y"].value.astype(int), rows["peak_x"].value.astype(int))
    assert result.difference.mask.any_of("DETECTED_NEGATIVE")[peaks].all()


def test_science_minus_template_is_the_difference_also_for_single_fluxes():
    pair, _, result = found()
    rows = result.sources[matched(pair, result.sources).second]
    of_science, of_template, of_difference = (
        np.asarray(rows[f"{name}psf_inst_flux"]) for name in ("science_", "template_", "")
    )
    error = np.hypot(*(np.asarray(rows[f"{name}psf_inst_flux_err"]) for name in ("science_", "template_")))
    quiet = ~(rows["science_psf_flux_flag"] | rows["template_psf_flux_flag"])

    pull = ((of_science - of_template - of_difference) / error)[quiet]
    # Stars under the new sources count in both images and are not fitted apart from them.
    assert abs(np.median(pull)) < 0.5
    assert np.mean(np.abs(pull) < 3) > 0.85


def test_unchanged_images_give_nothing_but_a_catalogue_with_all_columns(tmp_path):
    pair = make_pair(6, side=SIDE, variation=0.0, n_new=0)
    sub = AlardLuptonSubtractTask().run(pair.science, pair.template)
    result = detected(pair.science, pair.template, sub)
    full = found()[2].sources

    assert len(result.sources) <= 1
    assert result.sources.colnames == full.colnames
    write_catalog(full, tmp_path / "sources.parquet")
    again = read_catalog(tmp_path / "sources.parquet")
    assert again["psf_inst_flux"].unit == u.ct
    assert not [name for name in full.colnames if not again[name].description]


def test_a_moved_star_is_a_dipole_with_its_flux_and_no_new_source():
    pair = make_pair(5, side=SIDE, variation=0.0, n_new=0)
    moved = make_pair(5, side=SIDE, variation=0.0, n_new=0, shift=0.3)
    sub = AlardLuptonSubtractTask().run(pair.science, pair.template)
    # The kernel of the aligned pair leaves the stars of the shifted one as dipoles.
    change = convolve(pair.template.image - moved.template.image, sub.kernel.kernel)
    shifted = sub.difference.replace(image=sub.difference.image + change)
    result = DetectDifferenceTask(DetectDifferenceConfig(systematic_share=0.0)).run(
        shifted, science=pair.science, template=moved.template, kernel=sub.kernel
    )
    error = np.sqrt(pair.flux / 6.2 + 50 * 40)
    alone = _isolated(pair, 8.0) & (pair.flux / error > 100) & (pair.flux < 1.5e5)
    pairs = match_points(pair.x[alone], pair.y[alone], *_places(result.sources), radius=2.5)
    rows = result.sources[pairs.second]

    assert alone.sum() >= 5
    assert len(pairs) >= 0.9 * alone.sum()
    assert np.mean(rows["is_dipole"]) > 0.9
    dipoles = rows[rows["is_dipole"]]
    truth = pair.flux[alone][pairs.first][rows["is_dipole"]]
    assert np.median(dipoles["dipole_separation"]) == pytest.approx(0.3, abs=0.05)
    assert np.median(dipoles["dipole_positive_inst_flux"] / truth) == pytest.approx(1.0, abs=0.05)
    assert (dipoles["dipole_negative_inst_flux"] < 0).all()
    assert {gate.name: gate.status for gate in result.gates}["dipole_fraction"] == "warn"


def _places(table):
    return np.asarray(table["x"], dtype=float), np.asarray(table["y"], dtype=float)


def _isolated(pair, radius):
    """Stars inside the image without another one nearby that is brighter than a tenth of them."""
    inside = (pair.x > 20) & (pair.x < SIDE - 21) & (pair.y > 20) & (pair.y < SIDE - 21)
    near = np.hypot(pair.x[:, None] - pair.x, pair.y[:, None] - pair.y) < radius
    rivals = near & (pair.flux[None, :] > 0.05 * pair.flux[:, None])
    return inside & (rivals.sum(axis=1) == 1)


def test_registration_that_is_right_gives_hardly_a_dipole():
    _, _, result = found()

    assert np.mean(result.sources["is_dipole"]) < 0.05


def test_saturated_cores_of_either_image_are_left_out_and_their_area_is_told():
    pair, sub, _ = found()
    y, x = np.mgrid[:SIDE, :SIDE]
    core = (x - pair.new_x[0]) ** 2 + (y - pair.new_y[0]) ** 2 < 16
    difference = sub.difference.replace(mask=sub.difference.mask.with_plane("SAT_TEMPLATE", core))

    result = DetectDifferenceTask().run(
        difference, science=pair.science, template=pair.template, kernel=sub.kernel, score=sub.score
    )

    distance = np.hypot(
        *(place - at[0] for place, at in zip(_places(result.sources), (pair.new_x, pair.new_y), strict=True))
    )
    assert distance.min() > 3
    gate = {gate.name: gate for gate in result.gates}["masked_core_fraction"]
    assert gate.value >= core.mean()
    assert gate.value < 0.03
    assert (result.significance[core] == 0).all()


def test_candidates_say_where_the_psf_of_the_template_is_that_of_other_inputs():
    pair, sub, _ = found()
    half = np.zeros((SIDE, SIDE), dtype=bool)
    half[:, : SIDE // 2] = True
    template = pair.template.replace(mask=pair.template.mask.with_plane("INEXACT_PSF", half))
    ready = prepare_pair(pair.science, template, bad_planes=(), min_overlap=0.1, stamp_fwhm=5.0)
    kernels = sub.kernel.kernel, sub.kernel.kernel
    mask = difference_mask(ready, kernels, max_lost_weight=0.01, max_doubtful_weight=0.1)
    difference = sub.difference.replace(mask=mask)

    result = detected(pair.science, template, dataclasses.replace(sub, difference=difference))

    x, _ = _places(result.sources)
    # The kernel carries the plane a little to the right.
    clear = np.abs(x - SIDE // 2) > sub.kernel.kernel.radius
    assert clear.sum() > 10
    assert (result.sources["inexact_psf_center"] == (x < SIDE // 2))[clear].all()


def test_a_repaired_pixel_of_the_template_spoils_no_more_of_the_difference_than_it_weighs():
    pair, sub, _ = found()
    hit = np.zeros((SIDE, SIDE), dtype=bool)
    hit[SIDE // 2, SIDE // 2 : SIDE // 2 + 3] = True
    template = pair.template.replace(mask=pair.template.mask.without("CR").with_plane("CR", hit))
    template = template.replace(mask=template.mask.without("SAT").with_plane("SAT", hit).with_plane("INTRP", hit))
    ready = prepare_pair(pair.science, template, bad_planes=(), min_overlap=0.1, stamp_fwhm=5.0)
    kernels = sub.kernel.kernel, sub.kernel.kernel

    mask = difference_mask(ready, kernels, max_lost_weight=0.01, max_doubtful_weight=0.1)

    marked = mask.any_of("CR") & ~pair.science.mask.any_of("CR")
    assert marked[hit].all()
    rows, columns = np.nonzero(marked)
    assert np.hypot(rows - SIDE // 2, columns - SIDE // 2 - 1).max() < sub.kernel.kernel.radius / 2
    assert mask.any_of("SAT_TEMPLATE").sum() > 2 * marked.sum()


def test_saturated_light_of_a_science_image_that_is_convolved_stays_under_its_mask():
    pair, sub, _ = found()
    hit = np.zeros((SIDE, SIDE), dtype=bool)
    hit[SIDE // 2 : SIDE // 2 + 5, SIDE // 2] = True
    science = pair.science.replace(mask=pair.science.mask.without("SAT").with_plane("SAT", hit))
    ready = prepare_pair(science, pair.template, bad_planes=(), min_overlap=0.1, stamp_fwhm=5.0)
    blurring, sharp = sub.kernel.kernel, SpatialKernel.constant(np.ones((1, 1)), shape=(SIDE, SIDE))

    convolved, as_it_was = (
        difference_mask(ready, kernels, max_lost_weight=0.01, max_doubtful_weight=0.1).any_of("SAT")
        for kernels in ((blurring, sharp), (sharp, blurring))
    )

    spread = convolve(hit.astype(np.float32), blurring)
    # A share of 0.01 of the absolute kernel, whose sum is near one.
    assert np.abs(spread[~convolved]).max() < 0.015 < np.abs(spread[~hit]).max()
    np.testing.assert_array_equal(as_it_was, hit)


def test_the_matched_filter_of_the_difference_serves_where_there_is_no_score():
    pair, sub, scored = found()

    result = DetectDifferenceTask().run(sub.difference, science=pair.science, template=pair.template, kernel=sub.kernel)

    assert len(matched(pair, result.sources)) >= len(matched(pair, scored.sources)) - 1


def test_an_exposure_without_psf_is_refused():
    pair, sub, _ = found()

    with pytest.raises(PsfError, match="the template has none"):
        DetectDifferenceTask().run(
            sub.difference, science=pair.science, template=pair.template.replace(psf=None), kernel=sub.kernel
        )


def test_a_moving_source_is_measured_as_a_trail():
    pair, sub, _ = found()
    rows, columns = np.mgrid[:SIDE, :SIDE].astype(float)
    sigma = sub.difference.psf.moments(x=200, y=200).sigma
    light = 2e4 * trail_image(x=200.0, y=180.0, length=12.0, angle=30.0, sigma=sigma, columns=columns, rows=rows)
    difference = sub.difference.replace(image=sub.difference.image + light.astype(np.float32))

    result = DetectDifferenceTask().run(difference, science=pair.science, template=pair.template, kernel=sub.kernel)

    x, y = _places(result.sources)
    near = np.hypot(x - 200.0, y - 180.0) < 6
    trails = result.sources[near & result.sources["is_trail"]]
    assert len(trails) >= 1
    best = trails[np.argmax(np.abs(trails["trail_inst_flux"]))]
    assert best["trail_length"] == pytest.approx(12.0, abs=1.0)
    assert best["trail_angle"] == pytest.approx(30.0, abs=3.0)


def test_a_subtraction_that_leaves_the_stars_is_an_error_with_its_numbers_and_can_be_taken_all_the_same():
    pair, sub, good = found()
    bad = sub.kernel_sources.copy()
    bad["residual_ratio"] = 0.3

    with pytest.raises(BadSubtractionError, match=r"leaves 0\.30 \+- 0\.00 of the light of \d+ stars") as caught:
        detected(pair.science, pair.template, dataclasses.replace(sub, kernel_sources=bad))
    assert caught.value.facts["residual_ratio"] == pytest.approx(0.3)

    settings = {"max_residual_ratio": None, "max_residual_scatter": None}
    taken = detected(pair.science, pair.template, dataclasses.replace(sub, kernel_sources=bad), **settings)
    assert len(taken.sources) == len(good.sources)


def test_empty_places_are_measured_apart_and_scatter_as_their_errors_say():
    pair, sub, good = found()

    result = detected(pair.science, pair.template, sub, sky_sources=subtask(SkySourcesTask, count=60))
    scatter = {gate.name: gate for gate in result.gates}["sky_source_scatter"]

    assert len(result.sources) == len(good.sources)
    assert 40 <= len(result.sky_sources) <= 60
    assert not result.difference.mask.any_of("DETECTED", "SAT")[
        result.sky_sources["y"].value.round().astype(int), result.sky_sources["x"].value.round().astype(int)
    ].any()
    # The error of a robust scatter of n values is about 1.17 / sqrt(n) of it.
    assert scatter.value == pytest.approx(1.0, abs=3 * 1.17 / np.sqrt(scatter.n))


def test_sources_on_one_line_carry_a_flag():
    pair, sub, good = found()
    assert good.glints == ()
    assert not np.any(good.sources["glint_trail"])
    image = sub.difference.image.copy()
    score = sub.score.copy()
    # Of the other thirty a strip 10 pixels wide has one by chance; more than ten of them come together nowhere.
    for k in range(15):
        x, y = 40 + 20 * k, 60 + 15 * k
        stamp = sub.difference.psf.image(x=x, y=y)
        r = sub.difference.psf.radius
        image[y - r : y + r + 1, x - r : x + r + 1] += np.float32(4000.0 * stamp)
        score[y - r : y + r + 1, x - r : x + r + 1] += np.float32(30.0 * stamp / stamp.max())
    shown = dataclasses.replace(sub, difference=sub.difference.replace(image=image), score=score)

    result = detected(pair.science, pair.template, shown)

    assert len(result.glints) == 1
    assert result.glints[0].angle == pytest.approx(np.degrees(np.arctan2(3, 4)), abs=1.0)
    assert result.sources["glint_trail"].sum() == len(result.glints[0].members) >= 13
