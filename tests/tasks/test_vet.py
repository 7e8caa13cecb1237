"""Whatever judges candidates: scores are probabilities, and there is none where nothing can be said."""

from __future__ import annotations

import json

import numpy as np
import pytest
from astropy.table import Table
from scipy.special import logit

from firstlight.errors import ConfigError, InputError, PsfError
from firstlight.images.exposure import Exposure
from firstlight.images.mask import Mask
from firstlight.tasks.vet import VetConfig, known_enough
from firstlight.tasks.vet_features import FeatureVetConfig, FeatureVetTask
from firstlight.tasks.vet_joint import JointVetConfig, JointVetTask
from firstlight.tasks.vet_models import read_feature_model, read_network_model
from firstlight.tasks.vet_network import NetworkVetConfig, NetworkVetTask

from ..algorithms.candidates import PSF, SIGMA, field_of, stamps_of

TASKS = {FeatureVetTask: FeatureVetConfig, NetworkVetTask: NetworkVetConfig, JointVetTask: JointVetConfig}
every_task = pytest.mark.parametrize("task_class", TASKS, ids=lambda task: task.__name__)


def exposure(image, variance, mask=None):
    return Exposure(
        image=image.astype(np.float32),
        mask=Mask.empty(image.shape) if mask is None else mask,
        variance=np.full(image.shape, variance, dtype=np.float32),
        psf=PSF,
    )


def vetted(task_class, images, x, y, *, mask=None, columns=None, **settings):
    science, template, difference = images
    task = task_class(TASKS[task_class](**settings))
    candidates = Table({"x": x, "y": y, **(columns or {})})
    return task.run(
        exposure(science, SIGMA**2 / 2),
        exposure(template, SIGMA**2 / 2),
        exposure(difference, SIGMA**2, mask),
        candidates,
    )


@every_task
def test_new_stars_are_kept(task_class):
    images, x, y = field_of("star", snr=np.geomspace(8, 40, 100), n=100)

    result = vetted(task_class, images, x, y)

    # 0.985 were asked for on average: 4 standard deviations of the number that may be lost.
    assert result.real.sum() >= 100 - 1.5 - 4 * np.sqrt(1.5)


@every_task
@pytest.mark.parametrize("kind", ["hot_pixel", "dipole", "trail"])
def test_artefacts_score_lower_than_new_stars(task_class, kind):
    star, artefact = (
        logit(np.clip(vetted(task_class, *field_of(each, snr=20.0, n=36)).scores, 1e-9, 1 - 1e-9))
        for each in ("star", kind)
    )

    better = np.mean(star[:, None] > artefact[None, :])
    assert better > 0.97


@every_task
@pytest.mark.parametrize("plane", ["BAD", "CR", "INTRP"])
def test_what_cannot_be_judged_is_flagged_and_has_no_number(task_class, plane):
    images, x, y = field_of("star", snr=20.0, n=9)
    x[1], y[2] = np.nan, np.inf
    x[3], x[4] = 1.0, -40.0
    bad = np.zeros(images[0].shape, dtype=bool)
    bad[int(y[5]) - 5 : int(y[5]) + 6, int(x[5]) - 5 : int(x[5]) + 6] = True

    result = vetted(task_class, images, x, y, mask=Mask.empty(bad.shape).with_plane(plane, bad))

    np.testing.assert_array_equal(np.flatnonzero(result.undefined), [1, 2, 3, 4, 5])
    np.testing.assert_array_equal(np.isnan(result.scores), result.undefined)
    assert not result.real[result.undefined].any()
    assert list(result.candidates["vet_undefined"]) == list(result.undefined)
    assert result.funnel.steps[:2] == (("candidates", 9), ("defined", 4))


def test_a_share_of_unknown_pixels_that_is_allowed_leaves_a_score():
    images, x, y = field_of("star", snr=20.0, n=1)
    unusable = np.zeros(images[0].shape, dtype=bool)
    unusable[:, int(np.rint(x[0])) + 8] = True
    stamps = stamps_of(images, x, y, unusable=unusable)

    known = [known_enough(stamps, fwhm=2.8, config=VetConfig(max_unknown=rows / 25)) for rows in (1.0, 0.99)]

    assert [each.tolist() for each in known] == [[True], [False]]


def test_what_was_made_up_in_a_repair_changes_no_score():
    images, x, y = field_of("star", snr=20.0, n=1)
    repaired = np.zeros(images[0].shape, dtype=bool)
    repaired[int(np.rint(y[0])) + 1, int(np.rint(x[0])) + 1] = True
    mask = Mask.empty(repaired.shape).with_plane("CR", repaired)

    scores = [
        vetted(FeatureVetTask, [np.where(repaired, made_up, each) for each in images], x, y, mask=mask).scores
        for made_up in (0.0, 300.0 * SIGMA)
    ]

    np.testing.assert_array_equal(*scores)


@every_task
def test_no_candidates_are_no_trouble(task_class):
    images, _, _ = field_of("star", snr=20.0, n=4)

    result = vetted(task_class, images, np.zeros(0), np.zeros(0))

    assert len(result.scores) == len(result.candidates) == 0


@every_task
def test_what_vanished_is_judged_like_what_appeared(task_class):
    (science, template, difference), x, y = field_of("star", snr=12.0, n=16)
    appeared = vetted(task_class, (science, template, difference), x, y)
    vanished = vetted(task_class, (template, science, -difference), x, y, columns={"is_negative": np.ones(16, bool)})
    unnamed = vetted(task_class, (template, science, -difference), x, y)

    np.testing.assert_allclose(vanished.scores, appeared.scores, atol=1e-6)
    np.testing.assert_allclose(unnamed.scores, appeared.scores, atol=1e-6)


@every_task
def test_without_a_threshold_that_of_the_model_decides(task_class):
    task = task_class()
    threshold = task.model.threshold
    assert 0.0 < threshold < 1.0

    result = task._result(Table({"x": [1.0, 2.0]}), np.array([0.99, 1.01]) * threshold, fwhm=3.0)

    assert result.real.tolist() == [False, True]


@every_task
def test_the_same_candidates_get_the_same_scores_in_any_company(task_class):
    images, x, y = field_of("star", snr=8.0, n=16)

    together, alone = vetted(task_class, images, x, y), vetted(task_class, images, x[3:4], y[3:4])
    by_fives = vetted(task_class, images, x, y, batch=5)

    assert alone.scores[0] == pytest.approx(together.scores[3], abs=1e-6)
    np.testing.assert_allclose(by_fives.scores, together.scores, atol=1e-6)


@every_task
def test_the_prior_turns_scores_by_bayes_rule_and_leaves_the_decision(task_class):
    images, x, y = field_of("star", snr=6.0, n=16)

    even, rare = (vetted(task_class, images, x, y, prior=prior) for prior in (0.5, 0.06))

    expected = even.scores * 0.06 / (even.scores * 0.06 + (1 - even.scores) * 0.94)
    np.testing.assert_allclose(rare.scores, expected, atol=1e-9)
    np.testing.assert_array_equal(rare.real, even.real)


@every_task
def test_bright_stars_keep_their_score_when_the_position_is_a_pixel_off(task_class):
    images, x, y = field_of("star", snr=30.0, n=16)

    exact, off = vetted(task_class, images, x, y), vetted(task_class, images, x + 1.0, y)

    assert np.median(np.abs(exact.scores - off.scores)) < 0.05


@every_task
def test_a_lower_threshold_keeps_more(task_class):
    images, x, y = field_of("hot_pixel", snr=8.0, n=36)

    kept = [vetted(task_class, images, x, y, threshold=threshold).real.sum() for threshold in (0.999999, 1e-6)]

    assert kept[0] < kept[1]


@every_task
def test_wrong_input_is_told_in_one_line(task_class):
    images, x, y = field_of("star", snr=20.0, n=4)
    good = exposure(images[0], SIGMA**2)
    small = exposure(images[0][:50], SIGMA**2)
    task = task_class()

    bare = good.replace(psf=None)
    for images, name in (
        ((bare, good, good), "science exposure"),
        ((good, bare, good), "template"),
        ((good, good, bare), "difference"),
    ):
        with pytest.raises(PsfError, match=f"the {name} has none"):
            task.run(*images, Table({"x": x, "y": y}))
    with pytest.raises(InputError, match="50 x 96 pixels, the science exposure 96 x 96"):
        task.run(good, small, good, Table({"x": x, "y": y}))
    with pytest.raises(InputError, match="no column 'y'"):
        task.run(good, good, good, Table({"x": x}))


def test_a_seeing_that_the_model_does_not_know_is_a_warning():
    images, x, y = field_of("star", snr=20.0, n=4)
    task = FeatureVetTask()
    low, high = task.fwhm_range
    gates = {gate.name: gate for gate in vetted(FeatureVetTask, images, x, y).gates}

    assert low < 2.8 < high
    assert gates["vet_seeing"].status == "ok"
    assert 0.3 < gates["vet_seeing"].value <= 1.0


def test_a_model_can_be_written_and_read_again(tmp_path):
    images, x, y = field_of("star", snr=8.0, n=9)
    path = tmp_path / "mine.json"
    path.write_text(read_feature_model().to_text())

    shipped, mine = (vetted(FeatureVetTask, images, x, y, model=model).scores for model in (None, str(path)))

    np.testing.assert_array_equal(shipped, mine)


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "it is not JSON"), ("{}", "is needed; this is None"), ('{"kind": "other"}', "this is 'other'")],
)
def test_a_file_that_is_no_model_is_refused(tmp_path, text, message):
    path = tmp_path / "model.json"
    path.write_text(text)

    with pytest.raises(ConfigError, match=message):
        FeatureVetTask(FeatureVetConfig(model=str(path)))


def test_a_model_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.json: cannot be read"):
        FeatureVetTask(FeatureVetConfig(model=str(tmp_path / "none.json")))


def test_a_model_of_other_features_is_refused(tmp_path):
    values = json.loads(read_feature_model().to_text())
    values["features"][0] = "something_else"
    path = tmp_path / "model.json"
    path.write_text(json.dumps(values))

    with pytest.raises(ConfigError, match="made for other features"):
        read_feature_model(str(path))


def test_a_network_that_was_changed_is_refused(tmp_path):
    model = read_network_model()
    (tmp_path / "vet_network.onnx").write_bytes(model.network[:-1] + b"\x00\x00")
    path = tmp_path / "vet_network.json"
    path.write_text(model.to_text("vet_network.onnx"))

    with pytest.raises(ConfigError, match="its checksum differs"):
        NetworkVetTask(NetworkVetConfig(model=str(path)))


def test_a_network_hardly_cares_how_a_bright_star_is_turned():
    images, x, y = field_of("star", snr=30.0, n=16)

    one, eight = (vetted(NetworkVetTask, images, x, y, views=views).scores for views in (1, 8))

    assert np.median(np.abs(one - eight)) < 0.05
