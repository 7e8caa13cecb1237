"""What a model learns from is labelled rightly, divided by field, and the same for the same seed."""

from __future__ import annotations

from dataclasses import fields, replace
from functools import cache
from importlib import resources

import numpy as np
import pytest
from scipy.spatial import KDTree
from scipy.special import logit

from firstlight.algorithms.injection import light_of_stars
from firstlight.algorithms.network_channels import CHANNELS
from firstlight.cli.main import run
from firstlight.errors import BadSubtractionError, ConfigError, InputError
from firstlight.images.fits import write_exposure
from firstlight.images.psf import MoffatPsf
from firstlight.tasks.vet_features import FeatureVetConfig, FeatureVetTask
from firstlight.tasks.vet_joint import JointVetConfig, JointVetTask
from firstlight.tasks.vet_models import FEATURE_MODEL, JOINT_MODEL, NETWORK_MODEL
from firstlight.training import vet_network
from firstlight.training.vet import VetRecipe, _divided, choose_threshold, train_features
from firstlight.training.vet_examples import THRESHOLD, as_bright, draw_positions, injected, make_examples, misshapen
from firstlight.training.vet_fields import draw_settings, read_field, simulate_field
from firstlight.training.vet_joint import join_models, scores_of_examples, write_joint
from firstlight.training.vet_network import augmented
from firstlight.training.vet_pool import FieldOrigin, gather_examples


@cache
def field():
    return simulate_field(3, seed=5, side=320)


@cache
def examples():
    return make_examples(field(), seed=2, n_visits=1)


def test_positions_of_injections_keep_apart():
    x, y = draw_positions(field(), np.random.default_rng(1))

    assert len(x) > 20
    assert KDTree(np.column_stack([x, y])).query(np.column_stack([x, y]), k=2)[0][:, 1].min() >= 16.0
    assert min(x.min(), y.min()) > 0
    assert max(x.max(), y.max()) < 319


def test_an_injection_adds_its_flux_and_its_noise():
    science = field().science
    x, y, flux = np.array([100.0, 200.0]), np.array([150.0, 80.0]), np.array([2e4, 1e4])

    added = injected(science, x=x, y=y, flux=flux, rng=np.random.default_rng(3))

    light = added.image.astype(float) - science.image
    variance = added.variance.astype(float) - science.variance
    assert abs(light.sum() - flux.sum()) < 5 * np.sqrt(variance.sum()) + 1e-3 * flux.sum()
    assert variance.min() >= 0


def test_some_new_sources_lie_on_stars_where_that_is_asked_for():
    def on_stars(share):
        x, y = draw_positions(field(), np.random.default_rng(1), on_stars=share)
        return np.mean(KDTree(field().stars).query(np.column_stack([x, y]))[0] < 0.01)

    assert on_stars(0.0) == 0.0
    assert on_stars(0.3) > 0.1


@pytest.mark.parametrize("fwhm", [1.6, 5.0])
def test_a_new_source_is_a_little_wider_or_narrower_than_the_psf_in_any_seeing(fwhm):
    science = field().science.replace(psf=MoffatPsf(fwhm=fwhm, beta=3.0, radius=15))
    x, y, flux = np.array([150.0]), np.array([150.0]), np.array([1e8])
    model = light_of_stars(science.shape, psf=science.psf, x=x, y=y, flux=flux)

    heights = [
        (injected(science, x=x, y=y, flux=flux, rng=np.random.default_rng(k)).image - science.image)[150, 150]
        for k in range(20)
    ]

    # A width that differs by w makes a source fainter in the middle by 2 w; 2 % along each axis and one undersampled.
    off = np.array(heights) / model[150, 150] - 1.0
    assert 0.005 < np.std(off) < 0.04
    assert np.abs(off).max() < 0.06


def test_a_misshapen_psf_changes_stars_and_leaves_the_noise():
    science = field().science
    sky = ~science.mask.any_of("DETECTED")

    changed = misshapen(science, np.random.default_rng(1)).image - science.image

    noise = np.sqrt(np.median(science.variance))
    assert changed[sky].std() < 0.1 * noise
    column, row = np.rint(field().stars[((field().stars > 8) & (field().stars < 311)).all(axis=1)]).astype(int).T
    height, change = science.image[row, column], changed[row, column]
    bright = height > 20 * noise
    assert np.abs(change / height)[bright].max() < 0.15
    assert np.abs(change / height)[bright].max() > 0.01


def test_both_kinds_are_found_and_real_ones_are_as_bright_as_said():
    found = examples()

    assert found.real.sum() > 5
    assert set(found.kind[found.real]) == {"real"}
    assert "real" not in set(found.kind[~found.real])
    # log_snr is that of the fit; both have the scatter of the noise, and the PSF is up to 2 % off.
    measured = np.exp(found.features[found.real, 0])
    assert np.median(np.abs(measured - found.snr[found.real])) < 2.0 + 0.1 * np.median(found.snr[found.real])


def test_hard_lessons_show_stars_that_vary_and_what_subtractions_leave_of_others():
    def on_stars(hard):
        found = make_examples(field(), seed=22, n_visits=1, hard=hard)
        middle = found.channels.shape[2] // 2
        template = np.sinh(found.channels[:, CHANNELS.index("template"), middle, middle].astype(float))
        return (found.real & (template > 5.0)).sum(), (found.kind == "star").sum()

    plain, hard = on_stars(hard=False), on_stars(hard=True)

    # The draws of this seed make the visit a trusting and a rough one.
    assert hard[0] > plain[0]
    assert hard[1] > plain[1]


def test_on_an_artefact_only_noise_and_psf_excuse_another_brightness():
    expected = np.array([4.0, 4.0, 60.0, 60.0, 60.0])
    height = np.array([6.0, 8.0, 65.0, 85.0, 95.0])

    alone, overlaid = (as_bright(height, expected, overlaid=np.full(5, way)) for way in (False, True))

    np.testing.assert_array_equal(alone, [True, True, True, True, False])
    np.testing.assert_array_equal(overlaid, [True, False, True, False, False])


def test_a_subtraction_that_the_detection_refuses_teaches_nothing():
    template = field().template
    blocks = np.random.default_rng(0).uniform(0.02, 1.0, (14, 14)).repeat(24, axis=0).repeat(24, axis=1)[:320, :320]
    uneven = replace(field(), template=template.replace(image=(template.image * blocks).astype(np.float32)))

    with pytest.raises(BadSubtractionError):
        make_examples(uneven, seed=2, n_visits=1)


def test_every_example_is_as_significant_as_it_was_looked_for():
    assert examples().peak_snr.min() >= THRESHOLD


def test_the_same_seed_gives_the_same_examples():
    again = make_examples(field(), seed=2, n_visits=1)

    for each in fields(again):
        np.testing.assert_array_equal(getattr(again, each.name), getattr(examples(), each.name))


def test_a_benchmark_draws_from_wider_ranges_than_training():
    widths = [[draw_settings(seed, side=64, wild=wild)[0].optics.fwhm for seed in range(200)] for wild in (False, True)]

    assert min(widths[1]) < min(widths[0])
    assert max(widths[1]) > max(widths[0])


@pytest.mark.parametrize("recall", [0.9, 0.985])
def test_the_threshold_keeps_the_share_that_is_asked_for_and_no_more_than_needed(recall):
    scores = np.random.default_rng(0).uniform(0.01, 0.99, 1000)

    threshold = choose_threshold(scores, recall=recall)

    assert np.mean(scores >= threshold) >= recall
    assert np.mean(scores > threshold) < recall + 0.002


def test_a_shown_stamp_is_the_middle_shifted_by_a_pixel_at_most_turned_or_mirrored():
    channels = np.zeros((200, 4, 9, 9), dtype=np.float16)
    channels[:, :, 4, 4] = 1.0

    shown = augmented(channels, np.random.default_rng(0))

    assert shown.shape == (200, 4, 7, 7)
    rows, columns = (np.abs(axis - 3) for axis in np.nonzero(shown[:, 0])[1:])
    assert len(rows) == 200
    assert set(rows) == set(columns) == {0, 1}


def test_a_network_without_torch_says_what_to_install(monkeypatch):
    monkeypatch.setattr(vet_network, "torch", None)

    with pytest.raises(ConfigError, match=r"pip install firstlight\[train\]"):
        vet_network.require_torch()


def test_too_few_fields_are_refused_before_any_work():
    with pytest.raises(InputError, match="at least 4 fields; got 2"):
        train_features(VetRecipe(n_fields=2))


def test_a_fifth_of_the_fields_judges_as_they_are_and_all_others_teach_by_what_is_hard():
    judging, groups = _divided([FieldOrigin(number) for number in range(10)], VetRecipe(n_rounds=2))

    assert [each.number for each in judging] == [0, 5]
    assert not any(each.hard for each in judging)
    learning = [each for group in groups for each in group]
    assert sorted(each.number for each in learning) == [1, 2, 3, 4, 6, 7, 8, 9]
    assert all(each.hard for each in learning)


def test_pairs_of_a_user_become_fields(tmp_path):
    science, template = tmp_path / "science.fits", tmp_path / "template.fits"
    write_exposure(field().science, science)
    write_exposure(field().template, template)

    mine = read_field(9, science=science, template=template)
    found = make_examples(replace(mine, number=9), seed=2, n_visits=1)

    assert found.real.any()
    assert set(found.kind[~found.real]) <= {"unknown"}
    assert set(found.number) == {9}


def test_an_exposure_without_a_psf_is_no_pair(tmp_path):
    path = tmp_path / "bare.fits"
    write_exposure(field().science.replace(psf=None), path)

    with pytest.raises(InputError, match="needs a PSF and a WCS"):
        read_field(0, science=path, template=path)


def test_the_command_makes_a_model_that_the_task_can_use(tmp_path, capsys):
    code = run(["train", "vet", "-o", str(tmp_path), "--smoke", "--model", "features"])

    assert code == 0
    assert "vet_features.json: recall" in capsys.readouterr().out
    task = FeatureVetTask(FeatureVetConfig(model=str(tmp_path / "vet_features.json")))
    assert 0 < task.model_threshold < 1


def test_two_models_are_joined_by_the_mean_of_their_log_odds(tmp_path):
    for name in (FEATURE_MODEL, NETWORK_MODEL, vet_network.NETWORK_FILE):
        (tmp_path / name).write_bytes((resources.files("firstlight") / "models" / name).read_bytes())
    found, recipe = examples(), VetRecipe()
    path = write_joint(join_models(tmp_path, found, recipe), tmp_path)

    joint = JointVetTask(JointVetConfig(model=str(path)))
    together = scores_of_examples(joint, found)

    odds = [logit(scores_of_examples(task, found)) for task in (joint.features, joint.network)]
    # Probabilities this near to 0 and 1 are told apart no more.
    assert np.diff(together[np.argsort(np.mean(odds, axis=0))]).min() > -1e-12
    faint = found.real & (found.snr >= 5) & (found.snr < 10)
    assert np.mean(together[faint] >= joint.model_threshold) >= recipe.recall


def test_models_that_were_not_joined_are_refused_together(tmp_path):
    models = resources.files("firstlight") / "models"
    for name in (FEATURE_MODEL, NETWORK_MODEL, vet_network.NETWORK_FILE, JOINT_MODEL):
        (tmp_path / name).write_bytes((models / name).read_bytes())
    (tmp_path / FEATURE_MODEL).write_text("{}")

    with pytest.raises(ConfigError, match="its checksum differs"):
        JointVetTask(JointVetConfig(model=str(tmp_path / JOINT_MODEL)))


def test_the_number_of_processes_changes_nothing_but_the_rounding_of_examples():
    origins = [FieldOrigin(number, seed=20 + number, side=256) for number in range(2)]

    one, two = (gather_examples(origins, seed=3, n_visits=1, jobs=jobs) for jobs in (1, 2))

    assert len(one) > 5
    for each in fields(one):
        first, second = (getattr(some, each.name) for some in (one, two))
        if first.dtype.kind == "f":
            # Products of matrices round as the number of threads has it; channels are stored with 11 bits.
            rounding = 2e-3 if each.name == "channels" else 1e-5
            np.testing.assert_allclose(first, second, rtol=rounding, atol=rounding)
        else:
            np.testing.assert_array_equal(first, second)


def test_an_unknown_device_is_refused_in_one_line():
    pytest.importorskip("torch", reason="a network is trained with torch")

    with pytest.raises(ConfigError, match="device 'abacus'"):
        vet_network.require_torch("abacus")


def test_a_network_is_trained_and_written_as_onnx():
    pytest.importorskip("torch", reason="a network is trained with torch")
    found = examples()
    recipe = VetRecipe.smoke()
    training = vet_network.VetTraining(found, found, None, 1)

    model = vet_network.train_network(training, recipe)

    again = vet_network.train_network(training, recipe)
    assert len(model.network) < 2_000_000
    assert model.network == again.network
