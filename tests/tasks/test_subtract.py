"""Subtraction of simulated pairs of one field, the same laws for every method."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from astropy.table import Table

from firstlight.algorithms.psf_flux import measure_psf_flux
from firstlight.errors import AlgorithmError, ConstantImageError, KernelError, PsfError, TooManyMaskedPixelsError
from firstlight.tasks.subtract import SubtractResult, SubtractTask
from firstlight.tasks.subtract_alard_lupton import AlardLuptonSubtractConfig, AlardLuptonSubtractTask
from firstlight.tasks.subtract_zogy import ZogySubtractConfig, ZogySubtractTask

from ..algorithms.pairs import Pair, make_pair
from .frames import members

METHODS = sorted(members(SubtractTask), key=lambda task: task.__name__)
every_method = pytest.mark.parametrize("method", METHODS, ids=lambda task: task.__name__)
MASKED = ("SAT", "SAT_TEMPLATE", "NO_DATA", "EDGE")


@cache
def subtracted(method: type[SubtractTask], fwhm=(2.6, 2.2), **given) -> tuple[Pair, SubtractResult]:
    pair = make_pair(5, fwhm=fwhm, variation=0.0, n_new=20, **given)
    return pair, method().run(pair.science, pair.template)


def significance(result):
    """The difference in units of its noise; NaN where it is masked."""
    good = ~result.difference.mask.any_of(*MASKED)
    return np.where(good, result.difference.image / np.sqrt(result.difference.variance), np.nan)


def near(pair, x, y, radius):
    """True on squares about positions."""
    ny, nx = pair.science.shape
    where = np.zeros((ny + 2 * radius, nx + 2 * radius), dtype=bool)
    inside = (x > -radius) & (y > -radius) & (x < nx - 1 + radius) & (y < ny - 1 + radius)
    for column, row in zip(np.rint(x[inside]).astype(int), np.rint(y[inside]).astype(int), strict=True):
        where[max(row, 0) : row + 2 * radius + 1, max(column, 0) : column + 2 * radius + 1] = True
    return where[radius : radius + ny, radius : radius + nx]


def stars_between(pair, bright, faint):
    mag = 26.2 - 2.5 * np.log10(pair.flux)
    chosen = (mag > bright) & (mag < faint) & ~pair.variable
    return pair.x[chosen], pair.y[chosen]


@every_method
def test_sky_of_the_difference_is_white_noise_of_the_stated_size(method):
    pair, result = subtracted(method)
    z = significance(result)
    z[near(pair, pair.new_x, pair.new_y, 12) | near(pair, *stars_between(pair, 0, 19), 8)] = np.nan

    n = np.isfinite(z).sum()
    assert np.nanstd(z) == pytest.approx(1.0, abs=0.03)
    for pairs in (z[:, 1:] * z[:, :-1], z[1:] * z[:-1], z[1:, 1:] * z[:-1, :-1]):
        assert abs(np.nanmean(pairs)) < max(0.02, 4 / np.sqrt(n))


def test_rows_that_the_readout_shifted_are_level_again_and_told():
    pair, clean = subtracted(AlardLuptonSubtractTask)
    sigma = float(np.sqrt(np.median(pair.science.variance)))
    shifts = 0.4 * sigma * np.random.default_rng(4).normal(size=pair.science.shape[0])
    science = pair.science.replace(image=pair.science.image + shifts[:, None].astype(np.float32))
    result = AlardLuptonSubtractTask().run(science, pair.template)

    of_clean, of_shifted = (
        {gate.name: gate.value for gate in each.gates}["difference_line_noise"] for each in (clean, result)
    )
    assert of_clean < 0.05
    # The sky is the sum of both images' noise, whose ratio is that of the variances.
    expected = 0.4 * sigma / float(np.sqrt(np.nanmedian(clean.difference.variance)))
    assert of_shifted == pytest.approx(expected, rel=0.25)
    both = np.isfinite(significance(clean)) & np.isfinite(significance(result))
    change = (significance(result) - significance(clean))[both]
    # Of the shifts of 0.4, only the error of the medians of about 400 pixels of sky is left.
    assert np.std(change) < 0.15


@every_method
@pytest.mark.parametrize("fwhm", [(2.6, 2.2), (2.2, 3.0)])
def test_stars_that_do_not_vary_leave_little_more_than_noise(method, fwhm):
    pair, result = subtracted(method, fwhm)
    z = significance(result)
    z[near(pair, pair.new_x, pair.new_y, 12)] = np.nan

    z[~near(pair, *stars_between(pair, 15.5, 17), 3)] = np.nan
    assert np.isfinite(z).sum() > 300
    assert np.nanstd(z) <= 1.2


@pytest.mark.parametrize("fwhm", [(2.6, 2.2), (2.2, 3.0)])
def test_the_matched_template_has_the_psf_of_its_pixels(fwhm):
    pair, result = subtracted(AlardLuptonSubtractTask, fwhm)
    matched = result.matched_template
    x, y = stars_between(pair, 16.5, 18)
    inside = (x > 20) & (y > 20) & (x < matched.shape[1] - 21) & (y < matched.shape[0] - 21)
    alone = inside & (np.sum(np.hypot(x[:, None] - pair.x, y[:, None] - pair.y) < 12, axis=1) == 1)
    found = measure_psf_flux(
        matched.image,
        variance=matched.variance,
        bad=~np.isfinite(matched.image),
        psf=matched.psf,
        x=x[alone],
        y=y[alone],
    )

    center = {"x": matched.shape[1] / 2, "y": matched.shape[0] / 2}
    of_both = {"template": pair.science.psf, "science": pair.template.psf}[result.kernel.convolved]
    assert alone.sum() >= 3
    assert matched.psf.moments(**center).sigma == pytest.approx(of_both.moments(**center).sigma, rel=0.01)
    # A PSF that is 5 % too wide leaves several times the noise of such stars.
    assert np.median(found.chi2) < 2.0


@every_method
def test_new_sources_have_their_flux_and_stated_error(method):
    pair, result = subtracted(method)
    good = ~result.difference.mask.any_of(*MASKED)
    found = measure_psf_flux(
        result.difference.image,
        variance=result.difference.variance,
        bad=~good,
        psf=result.difference.psf,
        x=pair.new_x,
        y=pair.new_y,
    )
    # The light of another star of the same place is gone, so that only noise is left on the flux.
    pull = (found.flux - pair.new_flux) / found.flux_err
    weight = 1 / found.flux_err**2
    ratio = (found.flux * weight * pair.new_flux).sum() / (weight * pair.new_flux**2).sum()
    error = 1 / np.sqrt((weight * pair.new_flux**2).sum())

    assert ratio == pytest.approx(1.0, abs=0.01 + 3 * error)
    assert 0.5 < pull.std() < 1.6


@every_method
def test_score_is_the_significance_of_point_sources(method):
    pair, result = subtracted(method)
    good = ~result.difference.mask.any_of(*MASKED)
    empty = good & ~near(pair, pair.new_x, pair.new_y, 14) & ~near(pair, *stars_between(pair, 0, 19), 8)

    assert result.score[empty].std() == pytest.approx(1.0, abs=0.05)
    assert np.abs(result.score[empty]).max() < 5.5
    peak = [
        result.score[round(y) - 1 : round(y) + 2, round(x) - 1 : round(x) + 2].max()
        for x, y in zip(pair.new_x, pair.new_y, strict=True)
    ]
    assert min(peak) > 5.0


@every_method
def test_good_subtraction_passes_its_gates_and_tells_its_stars(method):
    pair, result = subtracted(method)

    assert [str(gate) for gate in result.gates if gate.status != "ok"] == []
    assert result.kernel.flux_scale == pytest.approx(1.0, abs=0.02)
    assert result.kernel_sources["used"].sum() >= 20
    assert result.funnel.steps[-1] == ("used", result.kernel_sources["used"].sum())
    assert result.difference.psf.fwhm(x=256, y=256) == pytest.approx(pair.science.psf.fwhm(x=256, y=256), rel=0.1)
    left = pair.science.image - result.matched_template.image
    dim = near(pair, *stars_between(pair, 15.5, 17), 3) & ~result.difference.mask.any_of(*MASKED)
    assert np.abs(left[dim]).mean() < 0.1 * np.abs(pair.science.image[dim]).mean()


@every_method
def test_flux_scale_of_images_in_other_units_is_found(method):
    pair, result = subtracted(method, scale=1.6)

    assert result.kernel.flux_scale == pytest.approx(1.6, rel=0.02)
    z = significance(result)
    z[~near(pair, *stars_between(pair, 16, 17.5), 3) | near(pair, pair.new_x, pair.new_y, 12)] = np.nan
    assert np.nanstd(z) <= 1.25


def with_rays(exposure, seed):
    """The exposure with 100 straight tracks of cosmic rays that no mask tells."""
    rng = np.random.default_rng(seed)
    image, (ny, nx) = exposure.image.copy(), exposure.shape
    for _ in range(100):
        length, angle = rng.uniform(1, 12), rng.uniform(0, np.pi)
        step = np.arange(0.0, length, 0.5)
        row = (rng.uniform(0, ny) + step * np.sin(angle)).astype(int) % ny
        column = (rng.uniform(0, nx) + step * np.cos(angle)).astype(int) % nx
        image[row, column] += np.float32(rng.uniform(300, 5000))
    return exposure.replace(image=image)


@every_method
def test_unrepaired_cosmic_rays_spoil_no_kernel_and_are_told(method):
    pair, clean = subtracted(method)

    result = method().run(with_rays(pair.science, 1), with_rays(pair.template, 2))

    gates = {gate.name: gate for gate in result.gates}
    assert gates["unshared_peaks"].status == "warn"
    used = result.kernel_sources[result.kernel_sources["used"]]
    assert np.median(used["residual_ratio"]) < 0.1
    # About a fifth of the stars have a ray of each image in their core.
    assert len(used) >= 0.5 * clean.kernel_sources["used"].sum()
    assert result.kernel.flux_scale == pytest.approx(1.0, abs=0.02)


def test_sky_that_is_left_is_taken_off_where_the_kernel_sees_no_star():
    pair = make_pair(5, fwhm=(2.6, 2.2), variation=0.0, n_new=20)
    y, x = (np.linspace(-1.0, 1.0, side) for side in pair.science.shape)
    # Of third order along either axis: the background of the kernel has no such term.
    bump = (20.0 * (4 * x**3 - 3 * x) + 20.0 * (4 * y**3 - 3 * y)[:, None]).astype(np.float32)
    science = pair.science.replace(image=pair.science.image + bump)

    result = AlardLuptonSubtractTask(AlardLuptonSubtractConfig(score=False)).run(science, pair.template)
    z = np.where(result.difference.mask.any_of(*MASKED), np.nan, result.difference.image)
    blocks = np.nanmedian(z.reshape(8, 64, 8, 64).transpose(0, 2, 1, 3).reshape(64, -1), axis=1)
    # The median of 64 x 64 pixels has an error of 1.25 / 64 sigma.
    sigma = np.sqrt(np.median(result.difference.variance))
    assert np.sqrt(np.mean(blocks**2)) < 2 * 1.25 / 64 * sigma
    assert np.abs(result.difference.background.evaluate()).max() > 5.0
    outer = np.nanmedian(science.image - result.matched_template.image - result.difference.image)
    assert abs(outer) < 0.05 * sigma


@pytest.mark.parametrize(("fwhm", "convolved"), [((2.6, 2.2), "template"), ((2.2, 2.6), "science")])
def test_the_sharper_image_is_convolved(fwhm, convolved):
    assert subtracted(AlardLuptonSubtractTask, fwhm)[1].kernel.convolved == convolved


def test_deconvolution_that_is_forced_is_warned_of():
    pair = make_pair(5, fwhm=(2.2, 3.0), variation=0.0, n_new=20)

    result = AlardLuptonSubtractTask(AlardLuptonSubtractConfig(convolve="template", score=False)).run(
        pair.science, pair.template
    )

    assert {gate.name: gate.status for gate in result.gates}["kernel_broadening"] == "warn"


def test_science_that_is_preconvolved_gives_the_same_fluxes():
    pair = make_pair(5, fwhm=(2.2, 2.6), variation=0.0, n_new=20)

    result = AlardLuptonSubtractTask(AlardLuptonSubtractConfig(convolve="both", score=False)).run(
        pair.science, pair.template
    )

    z = significance(result)
    z[near(pair, pair.new_x, pair.new_y, 12)] = np.nan
    assert np.nanstd(z[near(pair, *stars_between(pair, 15.5, 17), 3)]) <= 1.2
    assert {gate.name: gate.status for gate in result.gates}["kernel_broadening"] == "ok"


def test_identical_images_cancel():
    pair = make_pair(5, variation=0.0, n_new=20)

    result = ZogySubtractTask(ZogySubtractConfig(noise="stated")).run(pair.science, pair.science)

    good = ~result.difference.mask.any_of(*MASKED)
    assert np.abs(result.difference.image[good]).max() < 1e-5 * pair.science.image.max()


@every_method
def test_stars_can_be_given(method):
    pair = make_pair(5, variation=0.0, n_new=20)
    snr = pair.flux / np.sqrt(pair.flux / 6.2 + 50 * 25)
    sources = Table({"x": pair.x, "y": pair.y, "snr": snr, "saturated": pair.flux > 4e5})
    inside = (pair.x > 0) & (pair.x < 511) & (pair.y > 0) & (pair.y < 511)

    result = method().run(pair.science, pair.template, sources[inside])

    assert result.funnel.steps[0] == ("sources", inside.sum())
    assert result.kernel.flux_scale == pytest.approx(1.0, abs=0.02)


@every_method
def test_pixels_without_data_stay_so_and_harm_no_others(method):
    pair, whole = subtracted(method)
    science, template = pair.science.image.copy(), pair.template.image.copy()
    science[100:140, 200:260] = np.nan
    template[300:420, 50:51] = np.nan

    result = method().run(pair.science.replace(image=science), pair.template.replace(image=template))

    no_data = result.difference.mask.any_of("NO_DATA")
    assert np.isnan(result.difference.image[110:130, 210:250]).all()
    assert no_data[110:130, 210:250].all()
    assert np.isfinite(result.difference.image[~no_data]).all()
    assert np.isfinite(result.difference.variance).all()
    assert result.difference.mask.any_of("EDGE")[300:420, 49:52].all()
    far = ~result.difference.mask.any_of(*MASKED) & ~whole.difference.mask.any_of(*MASKED)
    far[70:170, 170:290] = far[270:450, 20:82] = False
    z = (result.difference.image - whole.difference.image)[far] / np.sqrt(whole.difference.variance[far])
    assert z.std() < 0.3


def shifted_template(pair, pixels):
    return pair.template.replace(image=np.roll(pair.template.image, pixels, axis=1))


@every_method
def test_wrong_registration_is_told(method):
    pair = make_pair(5, variation=0.0, n_new=20)

    try:
        result = method().run(pair.science, shifted_template(pair, 1))
    except KernelError:
        return
    shifts = [gate for gate in result.gates if gate.name in ("kernel_shift", "registration_offset")]
    assert max(gate.value for gate in shifts) == pytest.approx(1.0, abs=0.1)
    assert any(gate.status != "ok" for gate in shifts)


def bad_pairs():
    pair = make_pair(5, side=300, variation=0.0, n_new=3)
    science, template = pair.science, pair.template
    rng = np.random.default_rng(1)
    noise = rng.normal(0, 7, template.shape)
    full = np.ones(science.shape, dtype=bool)
    return {
        "a template without stars": (science, template.replace(image=noise), KernelError, "in both"),
        "a science image without stars": (science.replace(image=noise), template, KernelError, "in both"),
        "no pixel": (
            science,
            template.replace(image=np.full(science.shape, np.nan)),
            TooManyMaskedPixelsError,
            "0.0 %",
        ),
        "one value": (science, template.replace(image=np.zeros(science.shape)), ConstantImageError, "value 0"),
        "all saturated": (
            science.replace(mask=science.mask.with_plane("SAT", full)),
            template,
            AlgorithmError,
            "stars in both",
        ),
        "no PSF": (science, template.replace(psf=None), PsfError, "template has none"),
        "other pixels": (science, make_pair(5, side=200, variation=0.0, n_new=3).template, KernelError, "align"),
        "other units": (science, template.replace(unit="nJy"), KernelError, "nJy"),
    }


@every_method
@pytest.mark.parametrize("case", bad_pairs())
def test_what_cannot_be_subtracted_is_refused_in_one_line(method, case):
    science, template, error, words = bad_pairs()[case]

    with pytest.raises(error, match=words) as caught:
        method().run(science, template)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")
    assert case in ("one value", "no PSF") or caught.value.facts


@every_method
def test_three_stars_are_enough(method):
    pair = make_pair(5, variation=0.0, n_new=20)
    chosen = (pair.x > 80) & (pair.x < 430) & (pair.y > 80) & (pair.y < 430)
    brightest = np.flatnonzero(chosen & (pair.flux < 1e5))
    brightest = brightest[np.argsort(-pair.flux[brightest])][:3]
    sources = Table({"x": pair.x[brightest], "y": pair.y[brightest], "snr": [400.0, 300.0, 200.0]})

    result = method().run(pair.science, pair.template, sources)

    assert {gate.name: gate.status for gate in result.gates}["kernel_stars"] == "warn"
    # The kernel's wings and the sky under three stars can hardly be told apart; their cores are what counts.
    assert result.kernel.flux_scale == pytest.approx(1.0, abs=0.05)
    np.testing.assert_allclose(result.kernel_sources["flux_ratio"], 1.0, atol=0.04)
    z = significance(result)
    z[near(pair, pair.new_x, pair.new_y, 12)] = np.nan
    assert np.nanstd(z[near(pair, *stars_between(pair, 16.5, 18), 3)]) < 1.3


def test_a_kernel_follows_the_psfs_over_the_image_where_noise_leaves_no_solution_without_a_penalty():
    pair = make_pair(5, fwhm=(3.0, 2.5), variation=0.08, n_new=0, density=60_000.0)

    result = AlardLuptonSubtractTask(AlardLuptonSubtractConfig(score=False)).run(pair.science, pair.template)

    assert result.kernel.kernel.order > 0
    z = significance(result)
    z[~near(pair, *stars_between(pair, 15.5, 17), 3)] = np.nan
    assert np.nanstd(z) <= 1.2
