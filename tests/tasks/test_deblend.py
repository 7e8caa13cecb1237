"""Blends taken apart: the light is conserved, and measurements of crowded stars come near those of lone ones."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.table import Table

from firstlight.algorithms.detection_lists import with_sky_positions
from firstlight.algorithms.weighted_fluxes import gaussian_weighted_flux
from firstlight.errors import PsfError
from firstlight.images.mask import Mask
from firstlight.tasks.deblend import DeblendTask, SymmetricDeblendTask
from firstlight.tasks.detect import MatchedFilterDetectTask
from firstlight.tasks.measure import PluginMeasureTask

from .frames import NOISE, PSF, add_stars, exposure_of, members, noise

RADIUS = 5.6
SHAPE = (600, 600)


def pairs_of_stars(*, separation=6.5, seed=3) -> Table:
    """Return pairs of stars 6 to 8 pixels apart on a grid, the second up to 1.3 magnitudes fainter than the first."""
    rng = np.random.default_rng(seed)
    y, x = (a.ravel() for a in np.mgrid[25:580:45, 25:580:45].astype(float))
    n = len(x)
    angle, apart = rng.uniform(0, 2 * np.pi, n), separation * rng.uniform(0.9, 1.3, n)
    x, y = x + rng.uniform(-0.5, 0.5, n), y + rng.uniform(-0.5, 0.5, n)
    flux = np.exp(rng.uniform(np.log(8e3), np.log(8e4), n))
    first = Table({"x": x, "y": y, "flux": flux})
    second = {"x": x + apart * np.cos(angle), "y": y + apart * np.sin(angle), "flux": flux * rng.uniform(0.3, 0.8, n)}
    return Table({name: np.concatenate([first[name], second[name]]) for name in first.colnames})


@pytest.fixture(scope="module")
def crowded():
    """Pairs of stars on one galaxy-free sky, and what was found there."""
    stars = pairs_of_stars()
    light = add_stars(np.zeros(SHAPE), stars)
    variance = NOISE**2 + light / 2.0
    exposure = exposure_of(light + np.sqrt(variance) * noise(SHAPE) / NOISE).replace(variance=variance.astype("f4"))
    found = MatchedFilterDetectTask().run(exposure)
    return found.exposure, found.detections, stars


def measured(crowded, *, deblend: bool) -> tuple[Table, Table]:
    """Return the fainter stars of the pairs and what was measured of them."""
    exposure, detections, stars = crowded
    light = SymmetricDeblendTask().run(exposure, detections).light if deblend else None
    catalog = PluginMeasureTask().run(exposure, detections, aperture_radius=RADIUS, light=light).catalog
    faint = stars[len(stars) // 2 :]
    apart = np.hypot(np.subtract.outer(faint["x"], catalog["x"]), np.subtract.outer(faint["y"], catalog["y"]))
    seen = apart.min(axis=1) < 1.0
    assert seen.mean() > 0.9
    return faint[seen], catalog[apart.argmin(axis=1)[seen]]


@pytest.mark.parametrize("task_class", members(DeblendTask))
def test_children_add_up_to_their_parent_at_every_pixel(crowded, task_class):
    exposure, detections, _ = crowded
    light = task_class().run(exposure, detections).light
    total = np.zeros(SHAPE)
    for number in range(len(light)):
        box, child = light.child(number)
        total[box.slices] += child
    region = detections.labels > 0
    whole = light.residual.astype(float)
    for number in range(len(light)):
        x, y, width, height = light.boxes[number]
        part = light.light[light.first[number] : light.first[number + 1]].reshape(height, width)
        whole[y : y + height, x : x + width] += part

    np.testing.assert_allclose(total[region], exposure.image[region], atol=1e-4 * exposure.image.max())
    np.testing.assert_allclose(whole, exposure.image, atol=1e-4 * exposure.image.max())


def test_a_neighbour_no_longer_counts_in_an_aperture(crowded):
    inside = PSF.aperture_flux(RADIUS, x=0, y=0) / PSF.stamp_fraction(x=0, y=0)
    bias, pull = {}, {}
    for deblend in (False, True):
        truth, found = measured(crowded, deblend=deblend)
        offset = found["aper_inst_flux"] - inside * truth["flux"]
        bias[deblend] = np.median(offset / truth["flux"])
        pull[deblend] = offset / found["aper_inst_flux_err"]
    n = len(pull[True])

    assert bias[False] > 0.1
    assert abs(np.median(pull[True])) < 4 * 1.25 / np.sqrt(n)
    assert 1.4826 * np.median(np.abs(pull[True])) == pytest.approx(1.0, abs=0.35)


def test_centroids_of_a_blend_are_off_by_what_they_state(crowded):
    truth, found = measured(crowded, deblend=True)
    without_truth, without = measured(crowded, deblend=False)
    pull = np.concatenate([(found[axis] - truth[axis]) / found[f"{axis}_err"] for axis in ("x", "y")])
    before = np.concatenate([(without[a] - without_truth[a]) / without[f"{a}_err"] for a in ("x", "y")])

    assert 1.4826 * np.median(np.abs(pull)) == pytest.approx(1.0, abs=0.3)
    assert np.mean(np.abs(pull) > 4) < 0.05
    assert np.median(np.abs(pull)) < np.median(np.abs(before))


def test_sizes_of_blended_stars_are_that_of_the_psf(crowded):
    bias = {}
    for deblend in (False, True):
        _, found = measured(crowded, deblend=deblend)
        size, psf_size = found["ixx"] + found["iyy"], found["psf_ixx"] + found["psf_iyy"]
        bias[deblend] = np.nanmedian(size / psf_size) - 1
        scatter = 1.4826 * np.nanmedian(np.abs(size / psf_size - 1))

    assert abs(bias[True]) < 4 * 1.25 * scatter / np.sqrt(len(found))
    assert abs(bias[True]) < abs(bias[False])


def test_blendedness_is_the_share_of_the_neighbour(crowded):
    _, found = measured(crowded, deblend=True)
    stars = crowded[2]
    where = {name: np.asarray(found[name], dtype=float) for name in ("x", "y", "ixx", "iyy", "ixy")}
    bad = np.zeros(SHAPE, dtype=bool)
    neighbours, all_light = (
        gaussian_weighted_flux(add_stars(np.zeros(SHAPE), part), bad=bad, **where)
        for part in (stars[: len(stars) // 2], stars)
    )
    offset = np.asarray(found["blendedness"]) - neighbours / all_light
    noise_of_flux = np.nanmedian(found["psf_inst_flux_err"] / found["psf_inst_flux"])

    assert np.nanmedian(neighbours / all_light) > 0.01
    assert 1.4826 * np.nanmedian(np.abs(offset)) < noise_of_flux
    assert found["deblend_point_like"].mean() > 0.9


def galaxy_and_star(*, seed=5):
    """Return an exposure of a broad galaxy with a star on its flank."""
    rows, columns = np.mgrid[:120, :120]
    galaxy = 6e4 / (2 * np.pi * 20) * np.exp(-0.5 * ((columns - 60.3) ** 2 / 20 + (rows - 58.8) ** 2 / 20))
    stars = Table({"x": [69.4], "y": [62.2], "flux": [1.2e4]})
    return exposure_of(add_stars(galaxy, stars) + noise((120, 120), seed=seed)), galaxy, stars


def test_a_star_on_a_galaxy_is_told_from_it():
    exposure, galaxy, stars = galaxy_and_star()
    found = MatchedFilterDetectTask().run(exposure)
    light = SymmetricDeblendTask().run(found.exposure, found.detections).light
    at = [
        np.argmin(np.hypot(found.detections.peak_x - x, found.detections.peak_y - y)) for x, y in ((60, 59), (69, 62))
    ]
    _, child = light.child(at[0])

    assert len(light) == 2
    assert light.symmetric[at[0]]
    assert light.child(at[1])[1].sum() == pytest.approx(stars["flux"][0], rel=0.25)
    assert child.sum() == pytest.approx(galaxy[found.detections.labels > 0].sum(), rel=0.08)


def test_a_blend_that_is_too_large_is_left_whole_and_marked(crowded):
    exposure, detections, _ = crowded
    task = SymmetricDeblendTask(type(SymmetricDeblendTask().config)(max_peaks=1))
    result = task.run(exposure, detections)
    catalog = PluginMeasureTask().run(result.exposure, detections, aperture_radius=RADIUS, light=result.light).catalog
    left = exposure.mask.any_of("NOT_DEBLENDED")

    assert not left.any()
    np.testing.assert_array_equal(result.light.skipped, detections.blended)
    np.testing.assert_array_equal(
        result.exposure.mask.any_of("NOT_DEBLENDED"),
        np.isin(detections.labels, 1 + np.flatnonzero(detections.blended)),
    )
    np.testing.assert_array_equal(catalog["deblend_skipped"], detections.blended)
    np.testing.assert_array_equal(catalog["primary"], ~detections.blended)


def test_empty_positions_take_no_light(crowded):
    exposure, detections, _ = crowded
    placed = with_sky_positions(detections, x=np.array([47.0]), y=np.array([47.0]), radius=5, size=1.2)
    light = SymmetricDeblendTask().run(exposure, placed).light

    assert not light.point_like[-1]
    assert not light.symmetric[-1]
    assert light.light[light.first[-2] :].sum() == 0


def test_bad_pixels_are_left_as_they_are_and_hurt_no_neighbour(crowded):
    exposure, detections, stars = crowded
    where = np.zeros(SHAPE, dtype=bool)
    where[round(stars["y"][0]), round(stars["x"][0])] = True
    image = np.where(where, np.nan, exposure.image).astype(np.float32)
    broken = exposure.replace(image=image, mask=Mask.empty(SHAPE).with_plane("BAD", where))
    light = SymmetricDeblendTask().run(broken, detections).light
    catalog = PluginMeasureTask().run(broken, detections, aperture_radius=RADIUS, light=light).catalog

    assert np.isfinite(light.light).all()
    assert np.isfinite(light.residual).all()
    assert np.isfinite(catalog["aper_inst_flux"][~catalog["aper_flux_flag"]]).all()
    assert np.count_nonzero(catalog["bad"]) == 1


def test_deblending_needs_a_psf(crowded):
    exposure, detections, _ = crowded

    with pytest.raises(PsfError, match="needs a PSF"):
        SymmetricDeblendTask().run(exposure.replace(psf=None), detections)
